"""Serves a simulated leader arm, which a hand moves, by the arm controllers' wire protocol."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from trossen_arm_sim.protocol import ErrorState, JointOutput, Mode, parse_robot_input
from typing_extensions import override

from trossen_pi0_core.errors import JointError
from trossen_pi0_core.joints import ARM_JOINTS, JOINTS_PER_ARM
from trossen_pi0_sim.arm_adapter import EFFORT_LIMITS, POSITION_LIMITS, ControllerFaultError
from trossen_pi0_sim.arm_server import ArmServer
from trossen_pi0_sim.hand import Motion, Rest

_Array = NDArray[np.float64]


class HeldArm:
    """A leader arm in a hand: braked it stands still, freed it goes where the hand leads it.

    It has no dynamics: the hand is taken to be stronger than what the arm is told to push with.
    Each method may be called by any thread.
    """

    def __init__(
        self, name: str, positions: ArrayLike, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Makes a braked arm.

        Args:
            name: of the arm.
            positions: shape (7,) [rad; m for the carriage].
            clock: of the hand's motions [s].

        Raises:
            JointError: wrong count, or values that are not finite.
        """
        self.num_joints = JOINTS_PER_ARM
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._motion: Motion = Rest(_checked(positions))
        self._free = False
        self._efforts = np.zeros(JOINTS_PER_ARM)

    @property
    def name(self) -> str:
        """Name of the arm."""
        return self._name

    @property
    def joint_limits(self) -> list[tuple[float, float]]:
        """Smallest and largest position of each joint [rad; m for the carriage]."""
        return list(POSITION_LIMITS)

    @property
    def free(self) -> bool:
        """Whether the hand can move it."""
        return self._free

    @property
    def efforts(self) -> _Array:
        """What it pushes the hand with, shape (7,) [N m; N for the carriage]."""
        with self._lock:
            return self._efforts.copy()

    def positions(self) -> _Array:
        """Where it is, shape (7,) [rad; m for the carriage]."""
        return self._sample()[0]

    def lead(self, motion: Callable[[_Array, float], Motion]) -> None:
        """The hand begins another motion; a braked arm does not follow it.

        Args:
            motion: made from the present positions, shape (7,), and the present time [s].
        """
        with self._lock:
            if self._free:
                self._motion = motion(self._present()[0], self._clock())

    def apply_joint_commands(
        self, modes: Sequence[Mode], efforts: Sequence[float], now_s: float, /
    ) -> None:
        """Takes one set of commands.

        Args:
            modes: of each joint: all in external-effort mode, or all idle.
            efforts: external efforts [N m; N for the carriage].
            now_s: time of arrival [s].

        Raises:
            ControllerFaultError: other modes, or efforts that are not finite or too large.
        """
        del now_s
        wanted = set(modes)
        if wanted == {Mode.IDLE}:
            self.stop()
            return
        if wanted != {Mode.EXTERNAL_EFFORT}:
            names = sorted(mode.name.lower() for mode in wanted)
            raise ControllerFaultError(
                ErrorState.INVALID_MODE,
                f"joint modes {names}: the simulated leader can be all idle or all in external "
                "effort mode",
            )
        for joint, effort, limit in zip(ARM_JOINTS, efforts, EFFORT_LIMITS, strict=True):
            if not math.isfinite(effort):
                raise ControllerFaultError(
                    ErrorState.ROBOT_INPUT_INFINITE, f"{joint}: commanded effort is {effort}"
                )
            if abs(effort) > limit:
                raise ControllerFaultError(
                    ErrorState.JOINT_LIMIT_EXCEEDED,
                    f"{joint}: commanded effort {effort:.2f} is above {limit:.2f}",
                )
        with self._lock:
            self._efforts = np.array(efforts)
            self._free = True

    def stop(self) -> None:
        """Brakes: the arm stays where it is."""
        with self._lock:
            self._motion = Rest(self._present()[0])
            self._efforts = np.zeros(JOINTS_PER_ARM)
            self._free = False

    def read_joint_outputs(self) -> list[JointOutput]:
        """Feedback of the present."""
        positions, velocities = self._sample()
        return [
            JointOutput(position=position, velocity=velocity, effort=effort)
            for position, velocity, effort in zip(
                positions.tolist(), velocities.tolist(), self.efforts.tolist(), strict=True
            )
        ]

    def _sample(self) -> tuple[_Array, _Array]:
        with self._lock:
            return self._present()

    def _present(self) -> tuple[_Array, _Array]:
        """The hand cannot move a joint beyond its stops."""
        wanted, velocities = self._motion.sample(self._clock())
        positions = np.clip(wanted, *np.transpose(POSITION_LIMITS))
        return positions, np.where(positions == wanted, velocities, 0.0)


class LeaderServer(ArmServer):
    """The controller of one leader arm on one address; fails for tests as ``ArmServer`` does."""

    def __init__(self, arm: HeldArm, host: str) -> None:
        """Takes the arm and the address to serve it on; nothing is opened yet."""
        super().__init__(arm, host)
        self.arm = arm

    @override
    def _take_commands(self, payload: bytes) -> None:
        try:
            inputs = parse_robot_input(payload, len(ARM_JOINTS))
        except (AssertionError, ValueError) as error:
            self.fault(ErrorState.INVALID_ROBOT_COMMAND, f"malformed robot input: {error}")
            return
        modes = [joint.mode for joint in inputs]
        if modes != self.modes:
            return  # sent before the modes were changed
        try:
            self.arm.apply_joint_commands(modes, [j.effort for j in inputs], self._arrived_s)
        except ControllerFaultError as fault:
            self.fault(fault.state, str(fault))


def _checked(positions: ArrayLike) -> _Array:
    array = np.array(positions, dtype=np.float64)
    if array.shape != (JOINTS_PER_ARM,) or not np.isfinite(array).all():
        raise JointError(f"need {JOINTS_PER_ARM} finite joint positions, got {array.tolist()}")
    return array
