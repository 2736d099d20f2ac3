"""A robot as links and joints, in the terms of a URDF. Units: m, kg, rad; frames right-handed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trossen_pi0_core.errors import DescriptionError

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

Rgba = tuple[float, float, float, float]

FIXED, REVOLUTE, PRISMATIC = "fixed", "revolute", "prismatic"

_GIMBAL_LOCK = 1e-9


@dataclass(frozen=True)
class Pose:
    """Where a frame lies in another one.

    Attributes:
        position: of its origin, shape (3,) [m].
        rotation: its axes as columns, shape (3, 3).
    """

    position: Vector
    rotation: Matrix

    @classmethod
    def of(cls, position: ArrayLike = (0.0, 0.0, 0.0), rotation: ArrayLike | None = None) -> Pose:
        """A pose from plain numbers; not turned if no rotation is given."""
        turned = np.eye(3) if rotation is None else np.asarray(rotation, dtype=np.float64)
        return cls(np.asarray(position, dtype=np.float64), turned.reshape(3, 3))

    def __matmul__(self, other: Pose) -> Pose:
        """The other pose, which is given in this frame, in the frame of this pose."""
        return Pose(self.position + self.rotation @ other.position, self.rotation @ other.rotation)

    def inverse(self) -> Pose:
        """The outer frame as seen from this one."""
        back = self.rotation.T
        return Pose(-back @ self.position, back)

    @property
    def rpy(self) -> tuple[float, float, float]:
        """URDF's angles [rad]: turned about the fixed axes x, then y, then z."""
        turned = self.rotation
        level = math.hypot(turned[0, 0], turned[1, 0])
        pitch = math.atan2(-turned[2, 0], level)
        if level < _GIMBAL_LOCK:  # x and z turn about the same axis: all is said to be about x
            return math.atan2(-turned[1, 2], turned[1, 1]), pitch, 0.0
        roll = math.atan2(turned[2, 1], turned[2, 2])
        return roll, pitch, math.atan2(turned[1, 0], turned[0, 0])


@dataclass(frozen=True)
class Box:
    """A box around its origin; ``size`` are the lengths of its edges [m]."""

    size: tuple[float, float, float]


@dataclass(frozen=True)
class Cylinder:
    """A cylinder around its origin, along z [m]."""

    radius: float
    length: float


@dataclass(frozen=True)
class Sphere:
    """A ball around its origin [m]."""

    radius: float


@dataclass(frozen=True)
class Mesh:
    """A mesh in the frame of its file; ``scale`` makes its units metres."""

    file: Path
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)


Shape = Box | Cylinder | Sphere | Mesh


@dataclass(frozen=True)
class Part:
    """What is seen or touched of a link: a shape at a pose in the link's frame."""

    pose: Pose
    shape: Shape
    rgba: Rgba | None = None


@dataclass(frozen=True)
class Inertial:
    """Mass [kg], its centre [m], and the inertia about it along the link's axes [kg m^2]."""

    mass: float
    centre: Vector
    inertia: Matrix


@dataclass(frozen=True)
class Link:
    """A rigid body with its frame."""

    name: str
    visuals: tuple[Part, ...] = ()
    collisions: tuple[Part, ...] = ()
    inertial: Inertial | None = None


@dataclass(frozen=True)
class Limits:
    """Of a joint: positions [rad; m], speed [rad/s; m/s], effort [N m; N]."""

    lower: float
    upper: float
    velocity: float
    effort: float


@dataclass(frozen=True)
class Joint:
    """How a link hangs on another.

    Attributes:
        name: of the joint.
        kind: ``FIXED``, ``REVOLUTE`` or ``PRISMATIC``.
        parent: link that it hangs on.
        child: link that hangs on it.
        origin: of the child in the parent's frame, at position 0.
        axis: unit vector that it turns about or slides along, in the child's frame; shape (3,).
        limits: of a joint that moves.
        mimic: joint whose position this one has.
    """

    name: str
    kind: str
    parent: str
    child: str
    origin: Pose
    axis: Vector | None = None
    limits: Limits | None = None
    mimic: str = ""


@dataclass(frozen=True)
class Robot:
    """Links and joints; the first link is the root."""

    name: str
    links: tuple[Link, ...]
    joints: tuple[Joint, ...]

    def __post_init__(self) -> None:
        _refuse_repeated("links", [link.name for link in self.links])
        _refuse_repeated("joints", [joint.name for joint in self.joints])
        _refuse_repeated("children", [joint.child for joint in self.joints])


def _refuse_repeated(kind: str, names: Sequence[str]) -> None:
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DescriptionError(f"{kind} named more than once: {repeated}")
