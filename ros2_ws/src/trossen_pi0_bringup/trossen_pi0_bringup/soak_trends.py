"""What a long run's series say: is memory flat, do counts stay where they were?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import theilslopes

_MOST_POINTS = 1500  # the fit looks at every pair of them
_WARM_UP_PART = 1.0 / 3.0
_COMPARED = 3


@dataclass(frozen=True)
class MemoryBounds:
    """How much memory may grow after the warm-up.

    Attributes:
        per_hour_mb: largest slope [MB/h].
        fraction: largest growth over the judged time, as a part of the size at its beginning [1].
        floor_mb: growth over the judged time that is always allowed [MB]. A slope says little
            over minutes: one page cache of 1 MB in 3 min is 20 MB/h.
    """

    per_hour_mb: float
    fraction: float
    floor_mb: float


@dataclass(frozen=True)
class Trend:
    """A straight line through a series, robust against outliers and single steps.

    Attributes:
        first: the line at the beginning of the series.
        per_hour: its slope [1/h].
        span_s: time that the series covers [s].
    """

    first: float
    per_hour: float
    span_s: float

    @property
    def growth(self) -> float:
        """Rise of the line over the series."""
        return self.per_hour * self.span_s / 3600.0

    def is_flat(self, bounds: MemoryBounds) -> bool:
        """Whether memory [MB] grows no more than the bounds allow."""
        if self.growth <= bounds.floor_mb:
            return True
        slow = self.per_hour <= bounds.per_hour_mb
        return slow and self.growth <= bounds.fraction * max(self.first, 0.0)


def fit_trend(times_s: Sequence[float], values: Sequence[float]) -> Trend | None:
    """Theil-Sen line through a series: its slope is the median over all pairs of points.

    Args:
        times_s: rising times [s].
        values: as many; NaN where there is none.

    Returns:
        None with fewer than three values.
    """
    times, series = np.asarray(times_s, dtype=float), np.asarray(values, dtype=float)
    known = np.isfinite(series)
    times, series = times[known], series[known]
    if len(times) < 3 or times[-1] <= times[0]:
        return None
    step = -(-len(times) // _MOST_POINTS)
    slope, intercept = np.asarray(theilslopes(series[::step], times[::step])).tolist()[:2]
    first = intercept + slope * float(times[0])
    return Trend(first, slope * 3600.0, float(times[-1] - times[0]))


def warm_up_end(times_s: Sequence[float], warm_up_s: float) -> float:
    """When the judged time of a run begins [s].

    Args:
        times_s: rising times of the samples [s].
        warm_up_s: wanted length of the warm-up [s]; a short run gives it a third of its time.
    """
    if not times_s:
        return 0.0
    return times_s[0] + min(warm_up_s, (times_s[-1] - times_s[0]) * _WARM_UP_PART)


@dataclass(frozen=True)
class CountTrend:
    """How a count of things that must not pile up went, looked at when the stack was at rest.

    Attributes:
        first: most at the first instants.
        last: fewest at the last ones.
    """

    first: int
    last: int

    @property
    def leaked(self) -> int:
        """How many more there are for good; a single peak is none."""
        return max(0, self.last - self.first)


def count_trend(values: Sequence[int]) -> CountTrend | None:
    """Compares the first with the last counts, up to three of each.

    The first value is left out where there are enough: caches and pools fill in the first episode.

    Args:
        values: one for each episode, taken after its end.

    Returns:
        None with fewer than two values.
    """
    judged = values[1:] if len(values) > 2 else values
    if len(judged) < 2:
        return None
    part = min(_COMPARED, len(judged) // 2)
    return CountTrend(max(judged[:part]), min(judged[-part:]))
