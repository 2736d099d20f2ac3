"""Hands out a known trajectory as chunks, in step with the arms."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.joints import ARM_JOINTS, JointMap
from trossen_pi0_policy.backends.base import Inference

_STEP_S = 0.02
_FINAL_S = 0.5


def revolute_joints(joints: JointMap) -> NDArray[np.intp]:
    """Indices of all joints but the gripper carriages."""
    count = len(ARM_JOINTS)
    return np.array([i for i in range(joints.size) if i % count != count - 1], dtype=np.intp)


class Trajectory(Protocol):
    """Joint positions over time, from 0 to ``duration_s``."""

    @property
    def duration_s(self) -> float:
        """Time from start to end [s]."""
        ...

    def sample(self, t_s: ArrayLike, /) -> NDArray[np.float64]:
        """Positions at the times [s], clamped at both ends, shape (n, joints) [rad; m]."""
        ...


class TrajectoryFollower:
    """The time along a trajectory that belongs to an observation.

    It passes like the clock while the arms follow. It neither passes beyond the rows that were
    handed out, nor while the arms stay behind, as in a ramp or when chunks are lost: then it is
    the time at which the trajectory is nearest to the arms. It never goes back.
    """

    def __init__(
        self,
        trajectory: Trajectory,
        start_ns: int,
        compared: NDArray[np.intp],
        *,
        tolerance: float = 0.1,
        lag_s: float = 0.25,
    ) -> None:
        """Args:
        trajectory: what is followed.
        start_ns: stamp of the observation at which it begins, ROS time [ns].
        compared: joints by which the arms are found on it; gripper carriages stop at what they
            hold and tell nothing.
        tolerance: distance of a joint that still counts as on time [rad].
        lag_s: how far arms in motion may lag behind their targets [s].
        """
        self.trajectory = trajectory
        self._zero_ns = start_ns
        self._compared = compared
        self._tolerance = tolerance
        self._lag_s = lag_s
        self._last_s = 0.0
        self._handed_out_s = 0.0

    def locate(self, stamp_ns: int, state: NDArray[np.float64]) -> float:
        """The time along the trajectory [s].

        Args:
            stamp_ns: stamp of the observation, ROS time [ns].
            state: measured positions, shape (joints,) [rad; m for carriages].
        """
        clock_s = (stamp_ns - self._zero_ns) / NANOSECONDS
        expected_s = max(self._last_s, min(clock_s, self._handed_out_s))
        at_s = self._nearest(expected_s, state)
        if (
            self._distance(np.array([expected_s]), state)[0] <= self._tolerance
            or expected_s - at_s <= self._lag_s
        ):
            at_s = expected_s
        self._zero_ns = stamp_ns - round(at_s * NANOSECONDS)
        self._last_s = at_s
        return at_s

    def next_rows(self, at_s: float, horizon: int, period_ns: int) -> Inference:
        """The next rows, the first at ``at_s``; done when the trajectory has been followed.

        Args:
            at_s: time along the trajectory, from ``locate`` [s].
            horizon: rows to hand out.
            period_ns: time between two rows [ns].
        """
        period_s = period_ns / NANOSECONDS
        done = at_s >= self.trajectory.duration_s
        if done:  # the arms have arrived; a few rows outlast the way to the controller
            horizon = min(horizon, math.ceil(_FINAL_S / period_s) + 1)
        self._handed_out_s = at_s + horizon * period_s
        times = at_s + np.arange(horizon) * period_s
        return Inference(np.asarray(self.trajectory.sample(times)), done=done)

    def _nearest(self, latest_s: float, state: NDArray[np.float64]) -> float:
        """The earliest time since the last observation at which the trajectory is nearest."""
        times = np.append(np.arange(self._last_s, latest_s, _STEP_S), latest_s)
        distances = self._distance(times, state)
        near = distances <= distances.min() + 0.1 * self._tolerance
        return float(times[np.argmax(near)])

    def _distance(
        self, times: NDArray[np.float64], state: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        rows = np.asarray(self.trajectory.sample(times))[:, self._compared]
        return np.max(np.abs(rows - state[self._compared]), axis=1, initial=0.0)
