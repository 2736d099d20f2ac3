"""MoveTo: from what is asked for to a goal, and from a motion to its outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.errors import MoveRejectedError
from trossen_pi0_core.motion import PointToPoint

# After the last set-point the arms lag behind by their controllers' delay, some 60 ms. A goal that
# they do not reach, such as a gripper closed on an object, is not waited for longer than this.
_SETTLE_NS = NANOSECONDS // 2
_SETTLED = 0.005
"""As near as counts as reached [rad; m for carriages]."""


@dataclass(frozen=True)
class MoveRequest:
    """Where the arms shall go.

    Attributes:
        pose: name of a pose; empty to use the positions.
        joint_names: URDF names of the joints that move.
        positions: one per name [rad; m for carriages].
        velocity_scale: fraction of the move speed, in (0, 1]; 0 means 1.
    """

    pose: str = ""
    joint_names: Sequence[str] = ()
    positions: Sequence[float] = ()
    velocity_scale: float = 0.0

    def goal(
        self,
        names: Sequence[str],
        present: NDArray[np.float64],
        poses: Mapping[str, NDArray[np.float64]],
    ) -> NDArray[np.float64]:
        """Positions of all joints at the end, shape (joints,) [rad; m for carriages].

        Args:
            names: URDF names of all joints.
            present: commanded positions, shape (joints,); joints not named stay there.
            poses: the poses that have a name, each of shape (joints,).

        Raises:
            MoveRejectedError: an unknown pose or joint, or counts that do not fit.
        """
        if self.pose:
            if self.joint_names or self.positions:
                raise MoveRejectedError(f"give either pose {self.pose!r} or positions, not both")
            if self.pose not in poses:
                raise MoveRejectedError(f"pose {self.pose!r} is not one of {sorted(poses)}")
            return poses[self.pose].copy()
        if not self.joint_names:
            raise MoveRejectedError(
                f"give the name of a pose, one of {sorted(poses)}, or joint_names and positions"
            )
        if len(self.joint_names) != len(self.positions):
            raise MoveRejectedError(
                f"{len(self.joint_names)} joint names but {len(self.positions)} positions"
            )
        unknown = [name for name in self.joint_names if name not in names]
        if unknown:
            raise MoveRejectedError(f"unknown joints {unknown}, the joints are {list(names)}")
        if len(set(self.joint_names)) != len(self.joint_names):
            raise MoveRejectedError(f"name each joint once, got {list(self.joint_names)}")
        goal = present.copy()
        for name, position in zip(self.joint_names, self.positions, strict=True):
            goal[list(names).index(name)] = position
        return goal

    @property
    def scale(self) -> float:
        """Fraction of the move speed."""
        return self.velocity_scale or 1.0


@dataclass(frozen=True)
class MoveOutcome:
    """How a move has ended.

    Attributes:
        success: the arms were led to the goal.
        message: why it ended.
        error: largest distance of a measured joint from the goal [rad or m]; NaN when unknown.
    """

    success: bool
    message: str
    error: float


class Move:
    """A MoveTo motion under way. The control loop updates it; one other thread may read it."""

    def __init__(self, goal: NDArray[np.float64], motion: PointToPoint, *, sent: bool) -> None:
        """Begins with the plan.

        Args:
            goal: shape (joints,) [rad; m for carriages].
            motion: the planned motion.
            sent: whether the arms are commanded; otherwise they will not get there.
        """
        self.goal = goal
        self._sent = sent
        self.motion = motion
        self.outcome: MoveOutcome | None = None
        self._settle_until_ns: int | None = None
        self._fraction = 0.0

    def follow(self, motion: PointToPoint) -> None:
        """Takes the motion as it is planned now; a late tick shifts it in time."""
        self.motion = motion

    def settle(self, measured: NDArray[np.float64] | None, now_ns: int) -> bool:
        """After the motion: waits a little for the arms; returns whether the move is over.

        Args:
            measured: positions, shape (joints,) [rad; m for carriages]; None when some are not
                known.
            now_ns: present time of a clock that is never set [ns].
        """
        if self._settle_until_ns is None:
            self._settle_until_ns = now_ns + _SETTLE_NS
        far = self._sent and self.error(measured) > _SETTLED
        if far and now_ns < self._settle_until_ns:
            return False
        self.conclude(measured)
        return True

    @property
    def settling(self) -> bool:
        """Whether the motion is done and the arms are waited for."""
        return self._settle_until_ns is not None and self.outcome is None

    def conclude(self, measured: NDArray[np.float64] | None) -> None:
        """The motion is done, and the arms are not waited for any longer."""
        message = "the motion is done" if self._sent else "planned only: the mode is test"
        self.outcome = MoveOutcome(True, message, self.error(measured))

    def abandon(self, measured: NDArray[np.float64] | None, reason: str) -> None:
        """The motion was ended before the goal."""
        self.outcome = MoveOutcome(False, reason, self.error(measured))

    def error(self, measured: NDArray[np.float64] | None) -> float:
        """Largest distance from the goal [rad or m]; NaN when not all joints are known."""
        return float("nan") if measured is None else float(np.max(np.abs(measured - self.goal)))

    def fraction(self, now_ns: int) -> float:
        """Part of the planned time that is over, 0..1; never less than it was."""
        # A stall shows when the next tick shifts the motion: until then it seemed further on.
        self._fraction = max(self._fraction, self.motion.fraction(now_ns))
        return self._fraction

    def remaining_s(self, now_ns: int) -> float:
        """Planned time left [s]."""
        return max(0, self.motion.t_end_ns - now_ns) / NANOSECONDS
