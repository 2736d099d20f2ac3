"""When the policy is asked again, and how long its answers take."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np

from trossen_pi0_core.contract import NANOSECONDS

_FAR = 3
_FORGIVEN = 2


class InferenceSchedule:
    """Asks for an inference every ``rate_of_inference`` control steps.

    The reference client's meaning of the number: control steps between two inferences. An
    inference that takes longer than that is followed by the next one at once. Times in ns.
    """

    def __init__(self, rate_of_inference: int, control_period_ns: int) -> None:
        self.rate_of_inference = rate_of_inference
        self.control_period_ns = control_period_ns
        self._last_ns: int | None = None

    def restart(self) -> None:
        """The next inference is due at once, as at the start of a run or after a failure."""
        self._last_ns = None

    @property
    def interval_ns(self) -> int:
        """Time between two inferences [ns]."""
        return self.rate_of_inference * self.control_period_ns

    @property
    def due_ns(self) -> int:
        """When the next inference is due [ns]; 0 when at once."""
        if self._last_ns is None:
            return 0
        return self._last_ns + self.interval_ns

    def is_due(self, now_ns: int) -> bool:
        """Whether an inference shall begin now; also at once after the clock was set back."""
        return self._set_back(now_ns) or now_ns >= self.due_ns

    def began(self, now_ns: int) -> None:
        """An inference has begun; keeps the grid as long as the policy keeps up."""
        late = now_ns - self.due_ns
        keeps_up = self._last_ns is not None and 0 <= late < self.interval_ns
        self._last_ns = self.due_ns if keeps_up else now_ns

    def _set_back(self, now_ns: int) -> bool:
        return self._last_ns is not None and now_ns < self._last_ns


class LatencyWindow:
    """Quantiles of the most recent latencies."""

    def __init__(self, size: int = 100) -> None:
        self._seconds: deque[float] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self._seconds)

    def add(self, duration_ns: int) -> None:
        """Takes one latency [ns]."""
        self._seconds.append(duration_ns / NANOSECONDS)

    def quantile(self, fraction: float) -> float:
        """The quantile [s]; NaN before the first latency."""
        return float(np.quantile(self._seconds, fraction)) if self._seconds else float("nan")

    def quantiles(self, fractions: Sequence[float]) -> list[float]:
        """Several quantiles [s]; NaN before the first latency."""
        return [self.quantile(fraction) for fraction in fractions]


class DelayEstimate:
    """The expected time from an observation's stamp to the moment its chunk can be executed.

    A quantile of recent delays plus an allowance for the way to the arm controller. Up to two
    delays of more than three times the median are forgotten: an inference that compiles says
    nothing about the next one. Not thread-safe.
    """

    def __init__(
        self, quantile: float = 0.9, *, size: int = 50, transport_ns: int = 10_000_000
    ) -> None:
        """Args:
        quantile: of the delays, 0..1; may be changed at any time.
        size: delays that are remembered.
        transport_ns: from the publication of a chunk to the controller's next tick [ns].
        """
        self.quantile = quantile
        self._transport_ns = transport_ns
        self._delays: deque[int] = deque(maxlen=size)

    def __len__(self) -> int:
        return len(self._delays)

    def add(self, delay_ns: int) -> None:
        """Takes the time from an observation's stamp to its chunk's publication [ns].

        A negative one is no delay but a clock that was set, and is ignored.
        """
        if delay_ns >= 0:
            self._delays.append(delay_ns)

    def clear(self) -> None:
        """Forgets all delays."""
        self._delays.clear()

    @property
    def expected_ns(self) -> int | None:
        """The expected delay [ns]; None before the first."""
        if not self._delays:
            return None
        delays = sorted(self._delays)
        median = delays[(len(delays) - 1) // 2]
        usual = [delay for delay in delays if delay <= _FAR * median]
        if len(delays) - len(usual) <= _FORGIVEN:
            delays = usual
        return round(float(np.quantile(delays, self.quantile))) + self._transport_ns

    @property
    def expected_s(self) -> float:
        """The expected delay [s]; NaN before the first."""
        expected_ns = self.expected_ns
        return math.nan if expected_ns is None else expected_ns / NANOSECONDS

    def rows(self, period_ns: int) -> int | None:
        """The rows of a chunk that pass during the expected delay; None before the first.

        Args:
            period_ns: time between two rows [ns].
        """
        expected_ns = self.expected_ns
        return None if expected_ns is None else -(-expected_ns // period_ns)
