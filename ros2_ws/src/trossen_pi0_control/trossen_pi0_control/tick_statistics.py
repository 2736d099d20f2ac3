"""How well the control loop keeps its time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_WINDOW = 1000


@dataclass(frozen=True)
class TickSummary:
    """Figures since activation, percentiles over the last 1000 ticks.

    Attributes:
        ticks: control ticks.
        missed_deadlines: ticks that began more than one period late.
        lateness_p50_s: how late ticks began, median [s].
        lateness_p99_s: likewise, 99th percentile [s].
        round_trip_p50_s: time in driver calls in a tick, median [s].
        round_trip_p99_s: likewise, 99th percentile [s].
    """

    ticks: int = 0
    missed_deadlines: int = 0
    lateness_p50_s: float = 0.0
    lateness_p99_s: float = 0.0
    round_trip_p50_s: float = 0.0
    round_trip_p99_s: float = 0.0


class TickStatistics:
    """Collects the times of ticks. Not thread-safe."""

    def __init__(self, period_s: float) -> None:
        """Takes the time between ticks [s]."""
        self._period_s = period_s
        self._lateness_s = np.zeros(_WINDOW)
        self._round_trip_s = np.zeros(_WINDOW)
        self._ticks = 0
        self._missed = 0

    def add(self, lateness_s: float, round_trip_s: float) -> None:
        """Counts a tick that began late by ``lateness_s`` [s] and spent ``round_trip_s`` [s]."""
        i = self._ticks % _WINDOW
        self._lateness_s[i] = lateness_s
        self._round_trip_s[i] = round_trip_s
        self._ticks += 1
        self._missed += lateness_s > self._period_s

    def summary(self) -> TickSummary:
        """The figures up to now."""
        if not self._ticks:
            return TickSummary()
        lateness = np.quantile(self._lateness_s[: self._ticks], (0.5, 0.99))
        round_trip = np.quantile(self._round_trip_s[: self._ticks], (0.5, 0.99))
        return TickSummary(
            self._ticks,
            self._missed,
            float(lateness[0]),
            float(lateness[1]),
            float(round_trip[0]),
            float(round_trip[1]),
        )
