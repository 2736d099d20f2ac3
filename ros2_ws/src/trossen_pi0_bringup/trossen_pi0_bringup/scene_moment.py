"""The moment of an episode that a picture of the scene shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_bringup.recording import EpisodeRecording
from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.joints import JointMap, select_joints
from trossen_pi0_msgs.msg import ActionChunk, ControllerStatus, GroundTruth, PolicyStatus
from trossen_pi0_ros.convert import time_ns

Array = NDArray[np.float64]

TRAIL_SAMPLES = 300
"""Newest measured positions that are kept with a moment: three seconds at 100 Hz."""


@dataclass(frozen=True)
class Moment:
    """What the picture is made of.

    Attributes:
        now_ns: ROS time [ns].
        plans: the newest chunks, the oldest first.
        joint_names: of the measured positions.
        stamps_ns: when they were measured, the oldest first [ns].
        positions: each of shape (joints,) [rad; m for carriages].
        policy: status of the policy.
        controller: status of the arm controller.
        truth: where the object is.
        motion: how much is seen of it; of two moments the one with more is shown.
    """

    now_ns: int
    plans: tuple[ActionChunk, ...]
    joint_names: tuple[str, ...]
    stamps_ns: tuple[int, ...]
    positions: tuple[Array, ...]
    policy: PolicyStatus
    controller: ControllerStatus
    truth: GroundTruth
    motion: float

    def elapsed_s(self, recording: EpisodeRecording) -> float:
        """Since the beginning of its episode [s]."""
        return (self.now_ns - recording.begun_ns) / NANOSECONDS


class MomentKeeper:
    """Looks at an episode now and then and keeps the moment with most motion of both arms.

    Attributes:
        best: that moment; None: no chunk has followed another yet.
    """

    def __init__(self, joint_map: JointMap | None = None) -> None:
        self.best: Moment | None = None
        self._joint_map = joint_map or JointMap()

    def look(self, recording: EpisodeRecording, now_ns: int) -> None:
        """Takes the present if it shows more than the best moment so far; costs next to nothing.

        Args:
            recording: of the episode under way.
            now_ns: ROS time [ns].
        """
        with recording.changed:
            policy, controller, truth = recording.policy, recording.controller, recording.truth
            plans, measured = tuple(recording.plans), recording.measured
            stamps_ns = tuple(measured.stamps_ns[-TRAIL_SAMPLES:])
            positions = tuple(measured.values[-TRAIL_SAMPLES:])
        if policy is None or controller is None or truth is None or not positions:
            return
        executing = controller.state == ControllerStatus.EXECUTING
        followed = [plan for plan in plans if plan.run_id == controller.run_id]
        if not executing or len(followed) < 2:
            return
        motion = self._motion(followed[-1]) * _telling(followed[-1], now_ns)
        if self.best is None or motion > self.best.motion:
            self.best = Moment(
                now_ns,
                tuple(followed),
                measured.names,
                stamps_ns,
                positions,
                policy,
                controller,
                truth,
                motion,
            )

    def _motion(self, chunk: ActionChunk) -> float:
        """Higher when both arms move than when one moves twice as much."""
        rows = np.asarray(chunk.positions).reshape(chunk.horizon, -1)
        names = self._joint_map.urdf_names
        steps = np.abs(np.diff(select_joints(list(chunk.joint_names), rows, names), axis=0))
        arms = [self._joint_map.arm_slice(arm) for arm in self._joint_map.arms]
        return float(sum(np.sqrt(steps[:, arm].sum()) for arm in arms))


def _telling(chunk: ActionChunk, now_ns: int) -> float:
    """Largest when a third of a chunk is executed: both parts of its path are seen then."""
    share = (now_ns - time_ns(chunk.t_first)) / max(time_ns(chunk.period) * chunk.horizon, 1)
    return 1.0 - min(abs(share - 1 / 3), 1.0)
