"""Figures of a motion: pauses, jerk, jumps between chunks, and how sure a success rate is."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.joints import JOINTS_PER_ARM

Array = NDArray[np.float64]

STILL = np.tile([*(1e-3,) * 6, 1e-4], 2)
"""A joint slower than this stands still [rad/s; m/s for carriages], shape (14,)."""

SHORTEST_PAUSE_S = 0.05
"""Standing still for less is no pause [s]."""

_CARRIAGE = np.arange(2 * JOINTS_PER_ARM) % JOINTS_PER_ARM == JOINTS_PER_ARM - 1

GROUPS: dict[str, NDArray[np.intp]] = {
    "shoulder and elbow": np.flatnonzero(np.arange(2 * JOINTS_PER_ARM) % JOINTS_PER_ARM < 3),
    "wrist": np.flatnonzero((np.arange(2 * JOINTS_PER_ARM) % JOINTS_PER_ARM >= 3) & ~_CARRIAGE),
    "carriages": np.flatnonzero(_CARRIAGE),
}
"""Joints of both arms that are alike: name -> indices."""

REVOLUTE = np.flatnonzero(~_CARRIAGE)
"""Indices of all joints but the carriages."""


def rms_jerk(positions: Array, period_s: float, pause_s: float = 0.0) -> float:
    """Root of the mean square of the third difference over the cube of the period.

    The mean is over the time in motion, so that pauses, which have none, do not make it smaller.

    Args:
        positions: of alike joints at equal times, shape (n, joints) [rad; m].
        period_s: time between two of them [s].
        pause_s: how much of the time they stand still [s].

    Returns:
        [rad/s^3; m/s^3]; NaN with fewer than four positions or without motion.
    """
    duration_s = (len(positions) - 1) * period_s
    if len(positions) < 4 or duration_s <= pause_s:
        return math.nan
    mean_square = np.mean((np.diff(positions, 3, axis=0) / period_s**3) ** 2)
    return float(np.sqrt(mean_square * duration_s / (duration_s - pause_s)))


def still_time(
    positions: Array, period_s: float, still: Array, shortest_s: float = SHORTEST_PAUSE_S
) -> float:
    """Time during which all joints stand still [s].

    Args:
        positions: at equal times, shape (n, joints) [rad; m for carriages].
        period_s: time between two of them [s].
        still: speeds below which a joint stands still, shape (joints,) [rad/s; m/s].
        shortest_s: what is shorter does not count [s].
    """
    if len(positions) < 2:
        return 0.0
    resting = (np.abs(np.diff(positions, axis=0)) < still * period_s).all(axis=1)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], resting.astype(np.int8), [0]])))
    lengths = (edges[1::2] - edges[::2]) * period_s
    return float(lengths[lengths >= shortest_s - 1e-9].sum())


def jump(command: Array, velocity: Array, elapsed_s: float, target: Array) -> float:
    """How far a new chunk begins from where the arms would be without it [rad].

    Args:
        command: last command before, shape (joints,) [rad].
        velocity: of the commands then, shape (joints,) [rad/s].
        elapsed_s: since that command [s].
        target: what the new chunk wants now, shape (joints,) [rad].
    """
    return float(np.max(np.abs(target - command - velocity * elapsed_s)))


def row_at(positions: Array, elapsed_s: float, period_s: float) -> Array:
    """A chunk between its rows, shape (joints,): linear, ends held.

    Args:
        positions: shape (rows, joints) [rad; m].
        elapsed_s: since row 0 was due [s].
        period_s: between two rows [s].
    """
    place = float(np.clip(elapsed_s / period_s, 0.0, len(positions) - 1))
    row = min(int(place), len(positions) - 1)
    following = min(row + 1, len(positions) - 1)
    return positions[row] + (place - row) * (positions[following] - positions[row])


def finite_mean(values: Iterable[float]) -> float:
    """Mean of those that are finite; NaN without any."""
    finite = _finite(values)
    return float(np.mean(finite)) if finite else math.nan


def finite_median(values: Iterable[float]) -> float:
    """Median of those that are finite; NaN without any."""
    finite = _finite(values)
    return float(np.median(finite)) if finite else math.nan


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if math.isfinite(value)]


def number_text(value: float, digits: int) -> str:
    """A number, or a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def success_text(successes: int, trials: int) -> str:
    """``19/20 (76 % to 99 %)``, with Wilson's interval."""
    low, high = wilson(successes, trials)
    return f"{successes}/{trials} ({100 * low:.0f} % to {100 * high:.0f} %)"


def wilson(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of a success rate, by default for 95 %; (0, 1) without a trial."""
    if trials == 0:
        return 0.0, 1.0
    rate = successes / trials
    scale = 1.0 / (1.0 + z * z / trials)
    centre = scale * (rate + z * z / (2 * trials))
    half = scale * z * math.sqrt(rate * (1 - rate) / trials + z * z / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)
