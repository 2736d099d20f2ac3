"""Pushes the object aside once, while the gripper approaches."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_sim.tasks import START_X, START_Y, episode_rng

PUSH_S = 0.5
"""How long the push takes [s]."""

_FAR_M = 0.26
_TRIGGER_M = (0.14, 0.22)
_PUSH_M = (0.04, 0.08)
_TURN_RAD = 0.6


class Disturbance:
    """One push, drawn from the episode's seed.

    It begins when the right gripper, having been far away, comes closer to the object than a drawn
    distance. From the staged pose every object is far away. So the push comes at another time in
    each episode and always before the grasp, however long the robot waits before it starts.
    """

    def __init__(self, seed: int) -> None:
        """Draws the push of an episode."""
        self._rng = episode_rng(seed, stream=1)
        self._trigger_m = self._rng.uniform(*_TRIGGER_M)
        self._was_far = False
        self._begun_s: float | None = None
        self._from = np.zeros(3)
        self._to = np.zeros(3)
        self._over = False

    def target(
        self, time_s: float, gripper_distance: float, at: NDArray[np.float64], *, touched: bool
    ) -> NDArray[np.float64] | None:
        """Where the object shall be, or None while it is left alone.

        Args:
            time_s: since the episode began [s].
            gripper_distance: from the right gripper's grasp point to the object's centre [m].
            at: where it is, shape (3,): x [m], y [m], yaw [rad].
            touched: a finger touches the object, which ends the push.

        Returns:
            Array like ``at``.
        """
        if self._over:
            return None
        if touched:
            self._over = True
            return None
        if self._begun_s is None:
            self._was_far |= gripper_distance > _FAR_M
            if not self._was_far or gripper_distance > self._trigger_m:
                return None
            self._begun_s = time_s
            self._from = at.copy()
            self._to = self._draw_goal(at)
        part = (time_s - self._begun_s) / PUSH_S
        if part >= 1.0:
            self._over = True
            return None
        smooth = part**3 * (10 - 15 * part + 6 * part**2)
        return self._from + smooth * (self._to - self._from)

    def _draw_goal(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        """A place within the start range; towards its middle if chance finds none."""
        turn = self._rng.uniform(-_TURN_RAD, _TURN_RAD)
        length = self._rng.uniform(*_PUSH_M)
        for angle in self._rng.uniform(-math.pi, math.pi, size=32):
            x, y = at[0] + length * math.cos(angle), at[1] + length * math.sin(angle)
            if START_X[0] <= x <= START_X[1] and START_Y[0] <= y <= START_Y[1]:
                return np.array([x, y, at[2] + turn])
        middle = np.array([sum(START_X) / 2, sum(START_Y) / 2])
        step = middle - at[:2]
        x, y = at[:2] + step * min(1.0, length / max(float(np.linalg.norm(step)), 1e-9))
        return np.array([x, y, at[2] + turn])
