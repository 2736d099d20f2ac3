"""Several ways to do the same handover: the expert's plan, and detours in its free stretches."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trossen_pi0_core.joints import JOINTS_PER_ARM
from trossen_pi0_sim.expert import Plan

Array = NDArray[np.float64]

# A detour half-way through a free stretch: the base turns, elbow and wrist go along [rad]. The hand
# swings out by some 10 cm.
_SWING = np.array([0.25, 0.0, 0.08, 0.0, 0.12, 0.0, 0.0])
_LEFT, _RIGHT = 0, 1
# Where nothing is near the hand that moves: from one way point of the plan to another.
_FREE = (
    ("", "hover", _RIGHT),
    ("lifted", "offered", _RIGHT),
    ("clear of offer", "above goal", _LEFT),
)


class Ways:
    """A plan with its detours; all times are along the plan [s].

    The ways agree at the grasps and differ in between: way ``c`` is the plan plus ``c`` detours.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._stretches = [
            (plan.trajectory.time_of(begin) if begin else 0.0, plan.trajectory.time_of(end), arm)
            for begin, end, arm in _FREE
        ]

    def straight(self, t_s: ArrayLike) -> Array:
        """The plan itself, shape (n, 14) [rad; m for carriages]."""
        return self.plan.sample(t_s)

    def detour(self, t_s: ArrayLike) -> Array:
        """One detour: what way 1 adds to the plan, shape (n, 14) [rad]."""
        times = np.atleast_1d(np.asarray(t_s, dtype=np.float64))
        swing = np.zeros((times.size, 2 * JOINTS_PER_ARM))
        for begin_s, end_s, arm in self._stretches:
            part = slice(arm * JOINTS_PER_ARM, (arm + 1) * JOINTS_PER_ARM)
            swing[:, part] += _bump(times, begin_s, end_s)[:, None] * _SWING
        return swing

    def freedom(self, t_s: ArrayLike) -> Array:
        """1 in the middle of a free stretch, 0 where the hands are at the object, shape (n,)."""
        times = np.atleast_1d(np.asarray(t_s, dtype=np.float64))
        return sum((_bump(times, b, e) for b, e, _ in self._stretches), np.zeros(times.size))


def _bump(times: Array, begin_s: float, end_s: float) -> Array:
    """Rises from 0 to 1 and falls back, with no kink at either end."""
    part = np.clip((times - begin_s) / (end_s - begin_s), 0.0, 1.0)
    return np.sin(np.pi * part) ** 2
