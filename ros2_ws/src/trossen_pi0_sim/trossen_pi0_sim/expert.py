"""The scripted handover: the right arm picks the object, the left arm takes it and places it.

The plan is open loop from one look at the object: joint way points by inverse kinematics, joined by
a smooth trajectory. It knows the kit's geometry and not the live world.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trossen_pi0_core.errors import BackendError
from trossen_pi0_core.joints import JOINTS_PER_ARM
from trossen_pi0_core.limits import WXAI_VELOCITY
from trossen_pi0_sim.kinematics import ArmKinematics
from trossen_pi0_sim.scene import ARMS, build_model
from trossen_pi0_sim.tasks import GOAL_XY, TABLE_TOP_Z
from trossen_pi0_sim.trajectory import Trajectory, WayPoint

Array = NDArray[np.float64]

STAGED_ARM = (0.0, math.pi / 3, math.pi / 6, math.pi / 5, 0.0, 0.0, 0.0)
"""Where an arm begins and ends [rad; carriage m]."""

STAGED = np.array(STAGED_ARM * 2)
"""Both arms staged, shape (14,)."""

SPEED_FRACTION = 0.55
"""Part of the arm's speed limits that a plan uses [1]."""

HANDOVER_POINT = (0.0, 0.0, 0.22)
"""Where the object passes from hand to hand, world frame [m]."""

OPEN_M = 0.038
"""Carriage position of an open gripper [m]."""

SQUEEZE_M = 0.02
"""How far inside the object's surface a closing gripper is told to go [m]."""

MAX_HELD_HALF_M = 0.034
"""Largest half width that fits between the open fingers [m]."""

# Heights above the object to wait at and to lift to; the highest within reach is taken.
_HOVER_M = (0.10, 0.085, 0.07, 0.055, 0.04)
_LIFT_M = (0.12, *_HOVER_M)
_NEAR_M = 0.03
_RETREAT_M = 0.10
_POINTS_DOWN = math.cos(math.radians(20))
_RELEASE_M = 0.002  # the object is let go this far above the table
_GRIP_S = 0.45
_SETTLE_S = 0.25
_LEFT, _RIGHT = (slice(JOINTS_PER_ARM * i, JOINTS_PER_ARM * i + 6) for i in range(2))
_LEFT_GRIP, _RIGHT_GRIP = JOINTS_PER_ARM - 1, 2 * JOINTS_PER_ARM - 1
_X, _Y, _Z = np.eye(3)


@dataclass(frozen=True)
class Plan:
    """A handover from start to end.

    Attributes:
        trajectory: positions of the 14 joints over time.
        grasp_time_s: when the right gripper begins to close [s]. Before it the object may be looked
            at again and the handover planned anew.
        descent_time_s: when the right gripper leaves the hover above the object [s].
        object_pose: the pose planned for, shape (7,).
    """

    trajectory: Trajectory
    grasp_time_s: float
    descent_time_s: float
    object_pose: Array

    @property
    def duration_s(self) -> float:
        """Time from start to end [s]."""
        return self.trajectory.duration_s

    def sample(self, t_s: ArrayLike) -> Array:
        """Joint targets at times since the start [s]: shape (n, 14) [rad; m for carriages].

        Left arm's seven joints, then the right arm's. Before the start and after the end the first
        and last targets hold.
        """
        return self.trajectory.sample(t_s)

    def velocity(self, t_s: ArrayLike) -> Array:
        """Speeds at times since the start [s]: shape (n, 14) [rad/s; m/s]."""
        return self.trajectory.velocity(t_s)


class HandoverExpert:
    """Plans handovers. Not thread-safe; planning takes some 20 ms."""

    def __init__(self) -> None:
        model = build_model(visuals=False)
        self._left, self._right = (ArmKinematics(model, mount) for mount in ARMS)
        self._limits = np.tile(np.array(WXAI_VELOCITY) * SPEED_FRACTION, 2)

    def plan(
        self,
        joint_positions: ArrayLike,
        object_pose: ArrayLike,
        half_size: Sequence[float],
        joint_velocities: ArrayLike | None = None,
    ) -> Plan:
        """Plans from where the arms are.

        Args:
            joint_positions: shape (14,), left then right arm [rad; m for carriages].
            object_pose: shape (7,): position [m] and quaternion w x y z in the world frame.
            half_size: half edge lengths of the object along its own axes [m].
            joint_velocities: shape (14,) [rad/s; m/s], for planning anew on the way; none for
                standing still.

        Raises:
            BackendError: malformed input, or the object cannot be reached or held.
        """
        joints = _vector(joint_positions, 14, "joint_positions")
        pose = _vector(object_pose, 7, "object_pose")
        half = _vector(half_size, 3, "half_size")
        velocity = None if joint_velocities is None else _vector(joint_velocities, 14, "velocities")
        hold = self._choose_hold(pose, half, joints)
        points = self._way_points(joints, pose[:3], hold)
        trajectory = Trajectory(joints, points, self._limits, velocity)
        return Plan(trajectory, trajectory.time_of("at object"), trajectory.time_of("hover"), pose)

    def _choose_hold(self, pose: Array, half: Array, joints: Array) -> _Hold:
        """The pair of side faces that the right gripper reaches with the least roll.

        A hand that points down already is turned as little as it can be: so a plan that is made
        anew above the object goes on with the hold of the one before.
        """
        axes = _rotation(pose[3:])
        upright = int(np.argmax(np.abs(axes[2])))
        if abs(axes[2, upright]) < math.cos(math.radians(15)):
            raise BackendError(
                "the object is tilted, it must lie on one of its faces; its quaternion is "
                f"{pose[3:].round(3).tolist()}"
            )
        holds: list[_Hold] = []
        sides = [axis for axis in range(3) if axis != upright]
        for opening, lateral in (sides, sides[::-1]):
            if max(half[opening], half[lateral]) > MAX_HELD_HALF_M:
                raise BackendError(
                    f"the object is {2 * half.max():.3f} m wide, "
                    f"at most {2 * MAX_HELD_HALF_M} m fit between the fingers"
                )
            for sign in (1.0, -1.0):
                direction = sign * axes[:, opening] * [1.0, 1.0, 0.0]
                direction /= np.linalg.norm(direction)
                grasp = np.column_stack([-_Z, direction, np.cross(-_Z, direction)])
                holds.append(
                    _Hold(grasp, float(half[opening]), float(half[lateral]), float(half[upright]))
                )
        azimuth = math.atan2(pose[1] - ARMS[1].position[1], pose[0] - ARMS[1].position[0])
        neutral = np.array([-math.sin(azimuth), math.cos(azimuth), 0.0])
        _, hand = self._right.forward(joints[_RIGHT])
        if -hand[2, 0] > _POINTS_DOWN:
            neutral = hand[:, 1]

        def effort(hold: _Hold) -> float:
            wide = 10.0 if hold.opening > hold.lateral + 1e-6 else 0.0
            return wide + math.acos(np.clip(hold.rotation[:, 1] @ neutral, -1.0, 1.0))

        return min(holds, key=effort)

    def _way_points(self, start: Array, at: Array, hold: _Hold) -> list[WayPoint]:
        path = _Path(start)
        right_closed = max(hold.opening - SQUEEZE_M, 0.001)
        left_closed = max(hold.lateral - SQUEEZE_M, 0.001)
        self._add_pick(path, at, hold, right_closed)
        self._add_handover(path, at, hold, left_closed)
        self._add_place(path, hold)
        return path.points

    def _add_pick(self, path: _Path, at: Array, hold: _Hold, closed: float) -> None:
        hand, turned = self._right.forward(path.joints[_RIGHT])
        if hand[2] < at[2] + _HOVER_M[-1]:
            raised = _above(self._right, hand, turned, _HOVER_M, [path.joints[_RIGHT]])
            path.add("clear", 0.6, right=raised, right_grip=OPEN_M)
        seeds = list(_downward_seeds(ARMS[1].position, at, 1.0))
        hover = _above(self._right, at, hold.rotation, _HOVER_M, seeds)
        near = self._right.solve(at + _NEAR_M * _Z, hold.rotation, [hover])
        grasp = self._right.solve(at, hold.rotation, [near])
        path.add("hover", 1.2, right=hover, right_grip=OPEN_M, left=STAGED[_LEFT], left_grip=OPEN_M)
        path.add("near object", 0.6, right=near)
        path.add("at object", 0.5, right=grasp)
        path.add("grasped", _GRIP_S, right_grip=closed)

    def _add_handover(self, path: _Path, at: Array, hold: _Hold, left_closed: float) -> None:
        meet = np.array(HANDOVER_POINT)
        level = np.column_stack([_Y, -_X, _Z])
        take = np.column_stack([-_Y, _Z, -_X])
        lift = _above(self._right, at, hold.rotation, _LIFT_M, [path.joints[_RIGHT]])
        offer = self._right.solve(meet, level, _level_seeds())
        ready = self._left.solve(meet + 0.12 * _Y, take, _level_seeds())
        receive = self._left.solve(meet, take, [ready])
        back = self._right.solve(meet - _RETREAT_M * _Y, level, [offer])
        path.add("lifted", 0.8, right=lift, left=ready)
        path.add("offered", 1.2, right=offer)
        path.add("steady", _SETTLE_S)
        path.add("at offer", 0.9, left=receive)
        path.add("taken", _GRIP_S, left_grip=left_closed)
        path.add("let go", _GRIP_S, right_grip=OPEN_M)
        path.add("clear of offer", 0.8, right=back)

    def _add_place(self, path: _Path, hold: _Hold) -> None:
        goal = np.array([*GOAL_XY, TABLE_TOP_Z + hold.upright + _RELEASE_M])
        down = np.column_stack([-_Z, _X, np.cross(-_Z, _X)])
        seeds = list(_downward_seeds(ARMS[0].position, goal, -1.0))
        above = _above(self._left, goal, down, _HOVER_M, seeds)
        near = self._left.solve(goal + _NEAR_M * _Z, down, [above])
        place = self._left.solve(goal, down, [near])
        path.add("above goal", 1.4, left=above, right=STAGED[_RIGHT])
        path.add("near goal", 0.6, left=near, right_grip=0.0)
        path.add("at goal", 0.6, left=place)
        path.add("placed", _SETTLE_S)
        path.add("released", _GRIP_S, left_grip=OPEN_M)
        path.add("risen", 0.6, left=above)
        path.add("retreated", 1.2, left=STAGED[_LEFT], left_grip=0.0)


@dataclass(frozen=True)
class _Hold:
    """How the right gripper holds the object.

    Attributes:
        rotation: the grasp site's rotation when it picks, world frame.
        opening: half width of the object between the right fingers [m].
        lateral: half width between the left fingers [m].
        upright: half height of the object [m].
    """

    rotation: Array
    opening: float
    lateral: float
    upright: float


class _Path:
    """Way points of both arms; what is not named stays where it was."""

    def __init__(self, start: Array) -> None:
        self.joints = start.copy()
        self.points: list[WayPoint] = []

    def add(
        self,
        label: str,
        duration_s: float,
        *,
        left: Array | None = None,
        right: Array | None = None,
        left_grip: float | None = None,
        right_grip: float | None = None,
    ) -> None:
        joints = self.joints.copy()
        for where, value in (
            (_LEFT, left),
            (_RIGHT, right),
            (_LEFT_GRIP, left_grip),
            (_RIGHT_GRIP, right_grip),
        ):
            if value is not None:
                joints[where] = value
        self.joints = joints
        self.points.append(WayPoint(joints, duration_s, label))


def _above(
    arm: ArmKinematics,
    at: Array,
    rotation: Array,
    heights: Sequence[float],
    seeds: Sequence[Array],
) -> Array:
    """Joint angles for the first of the heights [m] above a point that is within reach."""
    for height in heights[:-1]:
        with contextlib.suppress(BackendError):
            return arm.solve(at + height * _Z, rotation, seeds)
    return arm.solve(at + heights[-1] * _Z, rotation, seeds)


def _downward_seeds(base: Sequence[float], at: Array, side: float) -> Iterator[Array]:
    """Arm poses with the gripper pointing down towards a point; ``side`` is +1 for the right arm,
    whose base looks along +y, and -1 for the left one.
    """
    azimuth = math.atan2(-side * (at[0] - base[0]), side * (at[1] - base[1]))
    for roll in (0.0, 1.5, -1.5, 3.0, -3.0):
        for shoulder, elbow in ((1.5, 1.1), (2.0, 1.4), (1.1, 0.9), (2.4, 1.9)):
            yield np.array([azimuth, shoulder, elbow, shoulder - elbow - math.pi / 2, 0.0, roll])


def _level_seeds() -> Iterator[Array]:
    """Arm poses with the gripper pointing straight ahead."""
    for roll in (0.0, 1.5, -1.5):
        for shoulder, elbow in ((1.6, 1.2), (2.0, 1.6), (1.3, 0.8)):
            yield np.array([0.0, shoulder, elbow, shoulder - elbow, 0.0, roll])


def _rotation(quaternion: Array) -> Array:
    """Rotation matrix of a quaternion w x y z."""
    w, x, y, z = quaternion / np.linalg.norm(quaternion)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def _vector(values: ArrayLike, size: int, label: str) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (size,) or not np.isfinite(array).all():
        raise BackendError(f"{label}: need {size} finite numbers, got {array.tolist()}")
    return array
