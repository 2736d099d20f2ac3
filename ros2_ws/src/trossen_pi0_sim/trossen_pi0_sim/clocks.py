"""Between the clock that paces the physics and the one that messages are stamped with."""

from __future__ import annotations

from collections.abc import Callable

_READINGS = 5


class ClockOffset:
    """How far one clock is ahead of another.

    Attributes:
        ns: to be added to the first clock's time to get the second's [ns].
    """

    def __init__(self, clock_ns: Callable[[], int], other_ns: Callable[[], int]) -> None:
        """Takes two clocks [ns] and compares them."""
        self._clock_ns = clock_ns
        self._other_ns = other_ns
        self.ns = 0
        self.refresh()

    def refresh(self) -> None:
        """Compares the clocks again; of several readings the one that took the least time counts.

        Stamps made with one offset keep their order and their distances, whatever holds up the
        thread that makes them.
        """
        readings: list[tuple[int, int]] = []
        for _ in range(_READINGS):
            before = self._clock_ns()
            other = self._other_ns()
            after = self._clock_ns()
            readings.append((after - before, other - (before + after) // 2))
        self.ns = min(readings)[1]
