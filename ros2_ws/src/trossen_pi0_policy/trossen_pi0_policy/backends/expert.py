"""The scripted handover of the simulated kit, handed out as chunks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from trossen_pi0_core.contract import NANOSECONDS, Observation
from trossen_pi0_core.errors import BackendUnavailableError, ParameterError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_policy.backends.base import (
    BackendContext,
    GroundTruth,
    Inference,
    InferenceRequest,
    PolicyBackend,
)
from trossen_pi0_policy.backends.following import TrajectoryFollower, revolute_joints
from trossen_pi0_sim.expert import HandoverExpert, Plan

MOVED_M = 0.005
"""The handover is planned anew when the object has moved further than this before the grasp [m]."""

_REPLAN_LEAD_S = 0.1
_MAX_TRUTH_AGE_NS = NANOSECONDS


class ExpertBackend(PolicyBackend):
    """Plans once from the true pose of the object, and again if it moves before the grasp."""

    needs_ground_truth = True

    def __init__(self, context: BackendContext) -> None:
        """Raises:
        ParameterError: the arms are not those of the simulated kit.
        """
        parameters = context.parameters
        joints = parameters.joint_map
        if joints.arms != JointMap().arms:
            raise ParameterError(
                f"backend 'expert' needs the arms {list(JointMap().arms)}, "
                f"the node has {list(joints.arms)}"
            )
        self._truth = context.ground_truth
        self._horizon = parameters.expert_horizon
        self._compared = revolute_joints(joints)
        self._expert: HandoverExpert | None = None
        self._plan: Plan | None = None
        self._follower: TrajectoryFollower | None = None

    @override
    def prepare(self) -> None:
        if self._expert is None:
            self._expert = HandoverExpert()

    @override
    def begin_run(self, prompt: str, seed: int) -> None:
        self._plan = self._follower = None

    @override
    def infer(self, request: InferenceRequest) -> Inference:
        observation = request.observation
        truth = self._fresh_truth(observation)
        if self._plan is None or self._follower is None:
            self._follow(self._planned(observation.state, truth), observation.stamp_ns)
            at_s = 0.0
        else:
            at_s = self._follower.locate(observation.stamp_ns, observation.state)
            if at_s < self._plan.grasp_time_s - _REPLAN_LEAD_S and self._moved(self._plan, truth):
                position, velocity = self._plan.sample(at_s)[0], self._plan.velocity(at_s)[0]
                self._follow(self._planned(position, truth, velocity), observation.stamp_ns)
                at_s = 0.0
        assert self._follower is not None
        return self._follower.next_rows(at_s, self._horizon, request.period_ns)

    @override
    def interrupt(self) -> None:
        """Nothing here takes long."""

    @override
    def close(self) -> None:
        self._expert = self._plan = self._follower = None

    def _fresh_truth(self, observation: Observation) -> GroundTruth:
        truth = self._truth.get()
        if truth is None:
            raise BackendUnavailableError(
                "backend 'expert' has received no ground truth; it works in simulation only"
            )
        age_ns = observation.stamp_ns - truth.stamp_ns
        if age_ns > _MAX_TRUTH_AGE_NS:
            raise BackendUnavailableError(
                f"the ground truth is {age_ns / NANOSECONDS:.1f} s older than the observation"
            )
        return truth

    def _planned(
        self,
        positions: NDArray[np.float64],
        truth: GroundTruth,
        velocities: NDArray[np.float64] | None = None,
    ) -> Plan:
        assert self._expert is not None, "prepare comes first"
        half_size = truth.object_half_size.tolist()
        return self._expert.plan(positions, truth.object_pose, half_size, velocities)

    def _follow(self, plan: Plan, start_ns: int) -> None:
        self._plan = plan
        self._follower = TrajectoryFollower(plan, start_ns, self._compared)

    def _moved(self, plan: Plan, truth: GroundTruth) -> bool:
        offset = truth.object_pose[:3] - plan.object_pose[:3]
        return float(np.linalg.norm(offset)) > MOVED_M
