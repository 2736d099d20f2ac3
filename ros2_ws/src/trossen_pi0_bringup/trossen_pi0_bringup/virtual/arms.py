"""Both arms of the simulated kit behind what driver and arm controller make of a command."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from trossen_arm_sim.protocol import Mode

from trossen_pi0_core.joints import JOINTS_PER_ARM
from trossen_pi0_core.limits import JointLimits
from trossen_pi0_sim.arm_adapter import POSITION_LIMITS, VELOCITY_LIMITS, ArmAdapter
from trossen_pi0_sim.scene import ARMS
from trossen_pi0_sim.world import TICK_S, World

Array = NDArray[np.float64]

GOAL_PERIODS = 1.5
"""Control periods that the driver takes to a set-point, as in ``trossen_pi0_control.trossen``."""

_POSITION_MODE = (Mode.POSITION,) * JOINTS_PER_ARM


class VirtualArms:
    """Goes to each command on a straight line, checks as the arms' controllers do, and steps.

    Not thread-safe. Time is counted from its making, so that an episode repeats exactly.
    """

    def __init__(self, world: World, control_rate: float) -> None:
        """Takes a world whose arms are at rest.

        Args:
            world: stepped by this object alone.
            control_rate: how often ``command`` will be called [Hz].
        """
        self._world = world
        self._adapters = [ArmAdapter(world, arm) for arm in range(len(ARMS))]
        self._goal_s = GOAL_PERIODS / control_rate
        self._from = self._to = world.snapshot.positions.copy()
        self._ticks = self._since = 0

    @staticmethod
    def tightened(limits: JointLimits) -> JointLimits:
        """The tighter of the given limits and those of the arms' controllers."""
        low, high = np.tile(np.array(POSITION_LIMITS), (len(ARMS), 1)).T
        return limits.tightened(low, high, np.tile(VELOCITY_LIMITS, len(ARMS)))

    def command(self, positions: Array) -> None:
        """Sets the goal of both arms, shape (14,) [rad; m for carriages]."""
        self._from, self._to, self._since = self._set_point(), positions.copy(), self._ticks

    def step(self) -> None:
        """Advances by one tick of the world.

        Raises:
            ControllerFaultError: an arm's controller refuses the set-point and would brake.
        """
        self._ticks += 1
        targets, now_s = self._set_point(), self._ticks * TICK_S
        for arm, adapter in enumerate(self._adapters):
            part = targets[arm * JOINTS_PER_ARM : (arm + 1) * JOINTS_PER_ARM]
            adapter.apply_joint_commands(_POSITION_MODE, part.tolist(), now_s)
        self._world.step()

    def _set_point(self) -> Array:
        """Where the driver's line is now, shape (14,)."""
        part = min((self._ticks - self._since) * TICK_S / self._goal_s, 1.0)
        return self._from + part * (self._to - self._from)
