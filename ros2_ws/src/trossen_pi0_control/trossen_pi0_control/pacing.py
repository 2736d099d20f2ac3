"""When the control loop does what."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from trossen_pi0_core.contract import NANOSECONDS


@dataclass(frozen=True)
class Tick:
    """One turn of a paced loop.

    Attributes:
        lateness_s: how long after its time it begins [s].
        elapsed_s: since the one before, at most two periods [s]. So a time in which this process
            could not run is not held against others.
    """

    lateness_s: float
    elapsed_s: float


def paced(
    period_s: float,
    stopping: threading.Event,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Tick]:
    """Yields at absolute times of a clock, until ``stopping`` is set.

    Turns that were missed are left out, not made up for, and the grid stays where it is.

    Args:
        period_s: time between turns [s].
        stopping: ends the loop within a period.
        clock: monotonic [s].
        sleep: waits that long [s].
    """
    due_s = last_s = clock()
    while not stopping.is_set():
        delay_s = due_s - clock()
        if delay_s > 0:
            sleep(delay_s)
        began_s = clock()
        yield Tick(began_s - due_s, min(began_s - last_s, 2 * period_s))
        last_s = began_s
        missed = int((clock() - due_s) / period_s)
        due_s += max(missed, 1) * period_s


class RateGrid:
    """Tells which of the ticks of a loop are due at a lower rate."""

    def __init__(self, rate: float, tick_rate: float) -> None:
        """Takes the lower rate and that of the loop [Hz]; no lower, every tick is due."""
        self._period_ns = int(NANOSECONDS / rate)
        self._early_ns = int(NANOSECONDS / tick_rate / 2.0)
        self._every = rate >= tick_rate
        self._next_ns: int | None = None

    def due(self, now_ns: int) -> bool:
        """Whether the tick at this time [ns] is the nearest to a point of the grid.

        After a pause, or when the clock is set, a new grid begins.
        """
        if self._every:
            return True
        next_ns = self._next_ns
        if next_ns is None or abs(now_ns - next_ns) > 2 * self._period_ns:
            next_ns = now_ns
        if now_ns < next_ns - self._early_ns:
            return False
        self._next_ns = next_ns + self._period_ns
        return True
