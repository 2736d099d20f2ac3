"""The frames of a URDF: each joint's own transform, from its parent link to its child link."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import DescriptionError
from trossen_pi0_core.kinematics import FIXED, PRISMATIC, KinematicTree, Mimic, TreeJoint

Triple = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
"""Its parts x, y, z, w."""


@dataclass(frozen=True)
class Transform:
    """Where a frame lies in its parent.

    Attributes:
        parent: its parent frame.
        child: the frame.
        position: of its origin [m].
        quaternion: how it is turned: x, y, z, w.
    """

    parent: str
    child: str
    position: Triple
    quaternion: Quaternion


@dataclass(frozen=True)
class MovingJoint:
    """A joint that turns about or slides along an axis, in plain numbers, which is fastest here.

    Attributes:
        at_zero: transform at position 0.
        turns: about its axis; else it slides along it.
        axis: unit vector, of a turn in the child's frame, of a slide in the parent's.
        follows: whose position counts, and how.
    """

    at_zero: Transform
    turns: bool
    axis: Triple
    follows: Mimic

    def at(self, positions: Mapping[str, float]) -> Transform:
        """The transform at these positions by joint name [rad; m]."""
        zero, follows = self.at_zero, self.follows
        value = follows.multiplier * positions[follows.joint] + follows.offset
        (x, y, z), (a, b, c) = zero.position, self.axis
        if self.turns:
            sine = math.sin(value / 2)
            turn = (a * sine, b * sine, c * sine, math.cos(value / 2))
            turned = _multiplied(zero.quaternion, turn)
            return Transform(zero.parent, zero.child, zero.position, turned)
        moved = (x + a * value, y + b * value, z + c * value)
        return Transform(zero.parent, zero.child, moved, zero.quaternion)


class FrameTree:
    """The frames of a robot.

    Attributes:
        root: link that has no parent.
        joint_names: joints whose positions must be known; those that follow another one are left
            out.
        joints: those that move, in the order of the file.
        fixed: transforms of the others.
    """

    def __init__(self, urdf: str) -> None:
        """Reads the text of a URDF file.

        Raises:
            DescriptionError: it is not XML, not a URDF, not one tree, or has joints of other kinds.
        """
        tree = KinematicTree.from_urdf(urdf)
        self.root, self.joint_names = tree.root, tree.joint_names
        joints = tree.joints.items()
        self.joints = tuple(_moving(child, j) for child, j in joints if j.kind != FIXED)
        self.fixed = tuple(_at_zero(child, j) for child, j in joints if j.kind == FIXED)

    def moved(self, positions: Mapping[str, float]) -> list[Transform]:
        """Transforms of all joints that move, at these positions by joint name [rad; m]."""
        return [joint.at(positions) for joint in self.joints]


def require_joints(tree: FrameTree, names: Iterable[str]) -> None:
    """Raises DescriptionError if one of the named joints is not there or follows another one."""
    missing = [name for name in names if name not in tree.joint_names]
    if missing:
        raise DescriptionError(f"joints missing: {missing}; there are {list(tree.joint_names)}")


def _moving(child: str, joint: TreeJoint) -> MovingJoint:
    turns = joint.kind != PRISMATIC
    axis = joint.axis if turns else joint.origin[:3, :3] @ joint.axis
    return MovingJoint(_at_zero(child, joint), turns, _triple(axis), joint.follows)


def _at_zero(child: str, joint: TreeJoint) -> Transform:
    pose = joint.origin
    return Transform(joint.parent, child, _triple(pose[:3, 3]), _quaternion(pose[:3, :3]))


def _triple(vector: NDArray[np.float64]) -> Triple:
    x, y, z = vector.tolist()
    return x, y, z


def _quaternion(turn: NDArray[np.float64]) -> Quaternion:
    """Of a rotation matrix, by the greatest of its four parts (Shepperd, 1978)."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = turn.tolist()
    # Each row: the quaternion times four of its parts x, y, z, w.
    rows = (
        (1.0 + xx - yy - zz, xy + yx, xz + zx, zy - yz),
        (xy + yx, 1.0 - xx + yy - zz, yz + zy, xz - zx),
        (xz + zx, yz + zy, 1.0 - xx - yy + zz, yx - xy),
        (zy - yz, xz - zx, yx - xy, 1.0 + xx + yy + zz),
    )
    row = max(enumerate(rows), key=lambda each: each[1][each[0]])[1]
    length = math.hypot(*row)
    x, y, z, w = (part / length for part in row)
    return x, y, z, w


def _multiplied(outer: Quaternion, inner: Quaternion) -> Quaternion:
    """The outer rotation, followed by the inner one in its frame."""
    x, y, z, w = outer
    a, b, c, d = inner
    return (
        w * a + x * d + y * c - z * b,
        w * b - x * c + y * d + z * a,
        w * c + x * b - y * a + z * d,
        w * d - x * a - y * b - z * c,
    )
