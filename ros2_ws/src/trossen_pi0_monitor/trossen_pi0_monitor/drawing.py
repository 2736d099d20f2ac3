"""Plans and trails as lines in space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_monitor.plans import Plan

Array = NDArray[np.float64]
Rgba = tuple[float, float, float, float]

NEWEST: Rgba = (0.05, 0.80, 0.25, 1.0)
OLDEST: Rgba = (1.00, 0.45, 0.05, 1.0)
"""Colours of the newest chunk and of the oldest that is kept."""

GONE: Rgba = (0.15, 0.45, 1.00, 0.9)
"""Colour of the path really gone."""

OPENING: Rgba = (0.95, 0.95, 0.95, 0.5)
"""Colour of the planned openings."""

_PLANNED_ALPHA = 0.35
_THIN = 0.5  # width of what is secondary, of the executed part's
_OPENING_EVERY = 5  # rows
_RAISED_M = 0.0005  # a newer path lies above an older one where they coincide


@dataclass(frozen=True)
class Stroke:
    """A line through points, or one between each two of them.

    Attributes:
        group: what it shows and of which arm, such as "plan/left".
        number: within the group; the same for the same thing at all times.
        points: shape (n, 3), world frame [m].
        rgba: colour, each 0..1.
        width: [m].
        pairs: points 0 and 1 are joined, 2 and 3, and so on.
    """

    group: str
    number: int
    points: Array
    rgba: Rgba
    width: float
    pairs: bool = False


def plan_strokes(plans: Sequence[Plan], keep: int, width: float) -> list[Stroke]:
    """The paths of the chunks, the newest first.

    Args:
        plans: the newest first.
        keep: how many chunks are kept before the newest; the last of them has the oldest colour.
        width: of the executed part [m].
    """
    strokes: list[Stroke] = []
    for age, plan in enumerate(plans):
        rgba = age_colour(age, keep)
        faint = (*rgba[:3], _PLANNED_ALPHA)
        for arm, path in plan.paths.items():
            strokes.append(Stroke(f"plan/{arm}", age, path.points, faint, _THIN * width))
            opening = path.fingers[::_OPENING_EVERY].reshape(-1, 3)
            if age == 0:
                thin = 0.5 * _THIN * width
                strokes.append(Stroke(f"opening/{arm}", age, opening, OPENING, thin, pairs=True))
            if plan.executed is not None:
                done = between_rows(path.points, *plan.executed)
                done[:, 2] += _RAISED_M * (keep - age)
                strokes.append(Stroke(f"executed/{arm}", age, done, rgba, width))
    return [stroke for stroke in strokes if len(stroke.points) > 1]


def trail_strokes(trail: Mapping[str, Array], width: float) -> list[Stroke]:
    """The path really gone, of each arm; shape (n, 3) [m]."""
    return [
        Stroke(f"gone/{arm}", 0, points, GONE, _THIN * width)
        for arm, points in trail.items()
        if len(points) > 1
    ]


def age_colour(age: int, keep: int) -> Rgba:
    """From the newest chunk, of age 0, to the oldest that is kept."""
    share = min(age / max(keep, 1), 1.0)
    red, green, blue, alpha = ((1 - share) * new + share * old for new, old in _PALETTE)
    return red, green, blue, alpha


_PALETTE = tuple(zip(NEWEST, OLDEST, strict=True))


def between_rows(points: Array, first: float, last: float) -> Array:
    """The part of a path between two rows, which may be fractions; shape (n, 3)."""
    inner = np.arange(np.floor(first) + 1, np.ceil(last))
    rows = np.array([first, *inner, last])
    grid = np.arange(len(points))
    return np.stack([np.interp(rows, grid, points[:, axis]) for axis in range(3)], axis=1)
