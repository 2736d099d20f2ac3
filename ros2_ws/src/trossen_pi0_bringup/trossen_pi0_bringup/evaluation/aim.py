"""Where the first chunk of an episode aims: what a policy makes of its first look."""

from __future__ import annotations

import math

import numpy as np

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.errors import BackendError
from trossen_pi0_core.joints import JOINTS_PER_ARM
from trossen_pi0_policy.backends import Inference
from trossen_pi0_sim.expert import HandoverExpert
from trossen_pi0_sim.kinematics import ArmKinematics
from trossen_pi0_sim.scene import ARMS
from trossen_pi0_sim.world import Snapshot, World

_RIGHT = slice(JOINTS_PER_ARM, JOINTS_PER_ARM + 6)


class Aim:
    """Compares chunks with the expert's plan of the same moment. Not thread-safe."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._expert = HandoverExpert()
        (right,) = (mount for mount in ARMS if mount.name == "right")
        self._arm = ArmKinematics(world.model, right)

    def miss(self, inference: Inference, sight: Snapshot, rate_hz: float) -> float:
        """Distance between where the right gripper is to be at a chunk's last row and where the
        expert would have it then [m]; NaN where the expert has no plan.

        Args:
            inference: the chunk, in the kit's order of joints.
            sight: the moment that it is of.
            rate_hz: of its rows [Hz].
        """
        half_size = self._world.variant.half_size
        try:
            plan = self._expert.plan(sight.positions, sight.object_pose, half_size)
        except BackendError:
            return math.nan
        last_s = inference.first_due_ns / NANOSECONDS + (len(inference.positions) - 1) / rate_hz
        aimed, wanted = (
            self._arm.forward(row[_RIGHT])[0]
            for row in (inference.positions[-1], plan.sample(last_s)[0])
        )
        return float(np.linalg.norm(aimed - wanted))
