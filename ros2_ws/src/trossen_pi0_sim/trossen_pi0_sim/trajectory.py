"""Smooth joint trajectories through way points, within speed limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import CubicHermiteSpline

Array = NDArray[np.float64]

# Highest speed over mean speed of a cubic that begins and ends at rest.
_CUBIC_PEAK = 1.5


@dataclass(frozen=True)
class WayPoint:
    """A point to pass.

    Attributes:
        joints: shape (joints,) [rad; m for carriages].
        duration_s: shortest time from the point before [s].
        label: name of the phase that ends here.
    """

    joints: Array
    duration_s: float
    label: str = ""


class Trajectory:
    """Cubic Hermite spline through way points.

    Slopes are those of monotone interpolation, so that no joint overshoots a way point and a joint
    that holds between two points stands still. Each segment takes at least its own duration and is
    stretched until the speed limits are kept.
    """

    def __init__(
        self,
        start: Array,
        points: Sequence[WayPoint],
        velocity_limit: Array,
        start_velocity: Array | None = None,
    ) -> None:
        """Fits the spline.

        Args:
            start: where it begins, shape (joints,) [rad; m for carriages].
            points: at least one way point.
            velocity_limit: shape (joints,) [rad/s; m/s].
            start_velocity: speed at the start, shape (joints,); none for standing still.
        """
        knots = np.vstack([start, *(point.joints for point in points)])
        steps = np.abs(np.diff(knots, axis=0))
        durations = np.maximum(
            [point.duration_s for point in points],
            (_CUBIC_PEAK * steps / velocity_limit).max(axis=1),
        )
        velocity = np.zeros_like(start) if start_velocity is None else start_velocity
        self._times = np.concatenate([[0.0], np.cumsum(durations)])
        self._spline = CubicHermiteSpline(
            self._times, knots, _monotone_slopes(self._times, knots, velocity)
        )
        self._derivative = self._spline.derivative()
        self._labels = [point.label for point in points]

    @property
    def duration_s(self) -> float:
        """Time from the first to the last way point [s]."""
        return float(self._times[-1])

    def time_of(self, label: str) -> float:
        """When the way point of that label is passed [s]; labels are those given."""
        return float(self._times[1 + self._labels.index(label)])

    def sample(self, t_s: ArrayLike) -> Array:
        """Positions at times since the start [s], shape (n, joints); ends are held outside."""
        return self._spline(np.clip(np.atleast_1d(np.asarray(t_s, float)), 0.0, self.duration_s))

    def velocity(self, t_s: ArrayLike) -> Array:
        """Speeds at times since the start [s], shape (n, joints) [rad/s; m/s]; 0 outside."""
        times = np.atleast_1d(np.asarray(t_s, float))
        inside = (times >= 0.0) & (times <= self.duration_s)
        return np.where(
            inside[:, None], self._derivative(np.clip(times, 0.0, self.duration_s)), 0.0
        )


def _monotone_slopes(times: Array, knots: Array, start_velocity: Array) -> Array:
    """Slopes at the knots: weighted harmonic means (Fritsch and Butland), 0 at turning points."""
    steps = np.diff(times)[:, None]
    secants = np.diff(knots, axis=0) / steps
    slopes = np.zeros_like(knots)
    slopes[0] = start_velocity
    before, after = secants[:-1], secants[1:]
    weight_before = 2 * steps[1:] + steps[:-1]
    weight_after = steps[1:] + 2 * steps[:-1]
    same = before * after > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = (weight_before + weight_after) / (weight_before / before + weight_after / after)
    slopes[1:-1] = np.where(same, mean, 0.0)
    return slopes
