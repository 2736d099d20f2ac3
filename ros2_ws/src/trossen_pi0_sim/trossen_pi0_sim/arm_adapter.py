"""One arm of the shared world as its controller sees it: limits, commands, feedback."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from trossen_arm_sim.protocol import ErrorState, JointOutput, Mode

from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_core.joints import ARM_JOINTS, JOINTS_PER_ARM
from trossen_pi0_sim.scene import ARMS
from trossen_pi0_sim.world import World

POSITION_LIMITS = (
    (-math.pi, math.pi),
    (0.0, math.pi),
    (0.0, 2.356),
    (-math.pi / 2, math.pi / 2),
    (-math.pi / 2, math.pi / 2),
    (-math.pi, math.pi),
    (0.0, 0.04),
)
"""Limits that a wxai_v0 controller is delivered with [rad; m for the carriage]."""

VELOCITY_LIMITS = (6.283, 6.283, 6.283, 9.425, 9.425, 9.425, 0.25)
"""Likewise of speed [rad/s; m/s]."""

EFFORT_LIMITS = (27.0, 27.0, 27.0, 7.0, 7.0, 7.0, 400.0)
"""Likewise of effort [N m; N]."""

# An arm at rest against a stop measures a little beyond it, and a driver that enters position mode
# begins by commanding what it measures [rad; m for the carriage].
_AT_STOP = (*(0.005,) * 6, 0.001)
# A set-point may be this late or early without counting as too fast.
_JITTER_S = 0.02
_TOLD_STEPS = 6


class ControllerFaultError(TrossenPi0Error):
    """The arm controller goes into an error state.

    Attributes:
        state: the controller's error state.
    """

    def __init__(self, state: ErrorState, reason: str) -> None:
        super().__init__(reason)
        self.state = state


class ArmAdapter:
    """Checks commands as the real controller does and hands them to the world.

    Has the members that ``trossen_arm_sim``'s server wants of its arm. ``apply_joint_commands`` and
    ``stop`` belong to one thread; reading is free.
    """

    def __init__(self, world: World, arm: int) -> None:
        """Makes the adapter of one arm.

        Args:
            world: shared by both adapters.
            arm: 0 for the left arm, 1 for the right one.
        """
        self.num_joints = JOINTS_PER_ARM
        self._world = world
        self._arm = arm
        self._slice = slice(arm * JOINTS_PER_ARM, (arm + 1) * JOINTS_PER_ARM)
        self._speed = SpeedCheck(np.array(VELOCITY_LIMITS))
        self._driven = False

    @property
    def name(self) -> str:
        """Name of the arm."""
        return ARMS[self._arm].name

    @property
    def joint_limits(self) -> list[tuple[float, float]]:
        """Smallest and largest position of each joint [rad; m for the carriage]."""
        return list(POSITION_LIMITS)

    def positions(self) -> NDArray[np.float64]:
        """Measured positions, shape (7,) [rad; m for the carriage]."""
        return self._world.snapshot.positions[self._slice]

    def apply_joint_commands(
        self, modes: Sequence[Mode], positions: Sequence[float], now_s: float
    ) -> None:
        """Takes one set of commands.

        Args:
            modes: of each joint: all in position mode, or all idle.
            positions: targets of joints in position mode [rad; m for the carriage].
            now_s: time of arrival on a monotonic clock [s].

        Raises:
            ControllerFaultError: other modes, or positions that are not finite, lie outside the
                limits or ask for too high a speed. The world is not commanded.
        """
        wanted = set(modes)
        if wanted == {Mode.IDLE}:
            self.stop()
            return
        if wanted != {Mode.POSITION}:
            names = sorted(mode.name.lower() for mode in wanted)
            raise ControllerFaultError(
                ErrorState.INVALID_MODE,
                f"joint modes {names}: the simulated arm can be all idle or all in position mode",
            )
        targets = np.asarray(positions, dtype=np.float64)
        self._check_positions(targets)
        if not self._driven:
            self._speed.start(self.positions(), now_s)
            self._driven = True
        self._check_speed(targets, now_s)
        self._world.command(self._arm, targets)

    def stop(self) -> None:
        """Brakes: the arm stays where it is."""
        if self._driven:
            self._driven = False
            self._world.command(self._arm, None)

    def read_joint_outputs(self) -> list[JointOutput]:
        """Feedback of the newest tick; the simulated arms carry no weight of their own, so that all
        of an effort is external.
        """
        snapshot = self._world.snapshot
        return [
            JointOutput(position=position, velocity=velocity, effort=effort, external_effort=effort)
            for position, velocity, effort in zip(
                snapshot.positions[self._slice].tolist(),
                snapshot.velocities[self._slice].tolist(),
                snapshot.efforts[self._slice].tolist(),
                strict=True,
            )
        ]

    def _check_positions(self, targets: NDArray[np.float64]) -> None:
        for joint, target, (low, high), slack in zip(
            ARM_JOINTS, targets.tolist(), POSITION_LIMITS, _AT_STOP, strict=True
        ):
            if not math.isfinite(target):
                raise ControllerFaultError(
                    ErrorState.ROBOT_INPUT_INFINITE, f"{joint}: commanded position is {target}"
                )
            if not low - slack <= target <= high + slack:
                raise ControllerFaultError(
                    ErrorState.JOINT_LIMIT_EXCEEDED,
                    f"{joint}: commanded position {target:.4f} lies outside "
                    f"[{low:.4f}, {high:.4f}]",
                )

    def _check_speed(self, targets: NDArray[np.float64], now_s: float) -> None:
        joint = self._speed.exceeded(targets, now_s)
        if joint is not None:
            raise ControllerFaultError(
                ErrorState.JOINT_LIMIT_EXCEEDED,
                f"{ARM_JOINTS[joint]}: commanded speed is above {VELOCITY_LIMITS[joint]}: "
                f"{self._speed.recent(joint)}",
            )


class SpeedCheck:
    """Tells whether successive set-points ask for more than the allowed speeds.

    Each joint earns way with time, at its speed limit and up to ``_JITTER_S`` worth of it, and
    spends it with each set-point. So a steady speed at the limit passes though set-points arrive
    unevenly, and a jump does not.
    """

    def __init__(self, limits: NDArray[np.float64]) -> None:
        """Takes the speed limits, shape (joints,) [rad/s; m/s]."""
        self._limits = limits
        self._last = np.zeros_like(limits)
        self._last_s = 0.0
        self._credit = np.zeros_like(limits)
        self._recent: deque[tuple[float, NDArray[np.float64]]] = deque(maxlen=_TOLD_STEPS)

    def recent(self, joint: int) -> str:
        """The last steps of a joint, in thousandths, and their times in ms."""
        return ", ".join(f"{1e3 * d[joint]:+.1f} in {1e3 * s:.1f}" for s, d in self._recent)

    def start(self, positions: NDArray[np.float64], now_s: float) -> None:
        """Begins at positions, shape (joints,), at a time [s]."""
        self._last = positions.copy()
        self._last_s = now_s
        self._credit = self._limits * _JITTER_S

    def exceeded(self, targets: NDArray[np.float64], now_s: float) -> int | None:
        """Takes the next set-point and returns the index of a joint that is too fast, if any."""
        earned = self._limits * max(now_s - self._last_s, 0.0)
        credit = np.maximum(self._limits * _JITTER_S, earned)
        self._credit = np.minimum(self._credit + earned, credit) - np.abs(targets - self._last)
        self._recent.append((now_s - self._last_s, targets - self._last))
        self._last = targets.copy()
        self._last_s = now_s
        worst = int(np.argmin(self._credit / self._limits))
        return worst if self._credit[worst] < -1e-9 else None
