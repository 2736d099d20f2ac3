"""Forward kinematics of a robot that a URDF describes. Units: m, rad."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trossen_pi0_core.errors import DescriptionError
from trossen_pi0_core.joints import select_joints

Array = NDArray[np.float64]

FIXED, PRISMATIC = "fixed", "prismatic"
TURNING = ("revolute", "continuous")
KINDS = (FIXED, PRISMATIC, *TURNING)
"""Kinds of joints that are understood; a URDF also knows ``floating`` and ``planar``."""


class Mimic(NamedTuple):
    """A joint whose position is ``multiplier * position of the other joint + offset``."""

    joint: str
    multiplier: float
    offset: float


@dataclass(frozen=True)
class TreeJoint:
    """How a link hangs on its parent.

    Attributes:
        name: of the joint.
        kind: one of ``KINDS``.
        parent: link that it hangs on.
        origin: pose of the child's frame in the parent's at position 0, shape (4, 4).
        axis: unit vector in the child's frame, shape (3,); unused by a fixed joint.
        mimic: whose position it follows; None: it has its own.
    """

    name: str
    kind: str
    parent: str
    origin: Array
    axis: Array
    mimic: Mimic | None = None

    @property
    def follows(self) -> Mimic:
        """Whose position counts, and how: its own as it is, unless it mimics another."""
        return self.mimic or Mimic(self.name, 1.0, 0.0)


class KinematicTree:
    """Poses of the links at given joint positions.

    Attributes:
        links: names of all links.
        joints: by child link, in the order of the URDF.
        root: the link that is no child.
    """

    def __init__(self, links: Sequence[str], joints: Mapping[str, TreeJoint]) -> None:
        """Args:
        links: names of all links.
        joints: by child link; all links but one are a child.

        Raises:
            DescriptionError: the links are no tree, or a mimic joint follows none that moves.
        """
        self.joints = joints
        self._moving = {j.name: j for j in joints.values() if j.kind != FIXED}
        self.links = tuple(links)
        roots = [link for link in links if link not in joints]
        if len(roots) != 1:
            given = roots or ("a loop" if links else "no links")
            raise DescriptionError(f"the links need one root, got {given}")
        self.root = roots[0]
        self._chains = {link: self._chain_of(link) for link in links}
        for joint in self._moving.values():
            followed = joint.mimic and self._moving.get(joint.mimic.joint)
            if joint.mimic and (followed is None or followed.mimic):
                raise DescriptionError(
                    f"joint {joint.name!r} mimics {joint.mimic.joint!r}, which is no joint with a "
                    f"position of its own; those are {list(self.joint_names)}"
                )

    @classmethod
    def from_urdf(cls, text: str) -> KinematicTree:
        """Reads a URDF.

        Raises:
            DescriptionError: no URDF, or one that is not understood.
        """
        try:
            robot = ET.fromstring(text)
        except ET.ParseError as error:
            raise DescriptionError(f"the robot description is no XML: {error}") from error
        if robot.tag != "robot":
            raise DescriptionError(f"a URDF begins with <robot>, got <{robot.tag}>")
        links = [_attribute(link, "name", "a link") for link in robot.findall("link")]
        names: list[str] = []
        joints: dict[str, TreeJoint] = {}
        for element in robot.findall("joint"):
            name = _attribute(element, "name", "a joint")
            joint, child = _joint(element, name)
            unknown = [link for link in (joint.parent, child) if link not in links]
            if unknown:
                raise DescriptionError(
                    f"joint {name!r} needs links that there are, got {unknown}; there are {links}"
                )
            if child in joints:
                raise DescriptionError(
                    f"link {child!r} hangs on two joints, {joints[child].name!r} and {name!r}"
                )
            joints[child] = joint
            names.append(name)
        for kind, given in (("links", links), ("joints", names)):
            repeated = sorted({name for name in given if given.count(name) > 1})
            if repeated:
                raise DescriptionError(f"{kind} named more than once: {repeated}")
        return cls(links, joints)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Joints with a position of their own, in the order of the URDF."""
        return tuple(name for name, joint in self._moving.items() if not joint.mimic)

    def joints_to(self, link: str) -> tuple[str, ...]:
        """Joints whose positions decide the link's pose, from the root on.

        Raises:
            DescriptionError: unknown link.
        """
        moving = [j for j in self._chain(link) if j.kind != FIXED]
        return tuple(dict.fromkeys(j.follows.joint for j in moving))

    def poses(self, link: str, names: Sequence[str], positions: ArrayLike) -> Array:
        """Poses of a link in the root's frame, shape (n, 4, 4).

        Args:
            link: its name.
            names: of the joints in ``positions``; those that do not move the link are ignored.
            positions: shape (n, joints) [rad; m].

        Raises:
            DescriptionError: unknown link.
            JointError: a joint that moves the link is not among the names, or the shapes differ.
        """
        chain = self._chain(link)
        wanted = self.joints_to(link)
        values = np.atleast_2d(select_joints(names, positions, wanted))
        column = {name: values[:, i] for i, name in enumerate(wanted)}
        pose = np.broadcast_to(np.eye(4), (len(values), 4, 4))
        for joint in chain:
            pose = pose @ joint.origin
            if joint.kind == FIXED:
                continue
            follows = joint.follows
            moved = follows.multiplier * column[follows.joint] + follows.offset
            pose = pose @ _moved(joint, moved)
        return np.array(pose)

    def _chain(self, link: str) -> tuple[TreeJoint, ...]:
        if link not in self._chains:
            raise DescriptionError(f"unknown link {link!r}, the robot has {list(self.links)}")
        return self._chains[link]

    def _chain_of(self, link: str) -> tuple[TreeJoint, ...]:
        chain: list[TreeJoint] = []
        while link in self.joints:
            chain.append(self.joints[link])
            link = chain[-1].parent
            if len(chain) > len(self.joints):
                raise DescriptionError(f"link {link!r} hangs on itself")
        return tuple(reversed(chain))


def _joint(element: ET.Element, name: str) -> tuple[TreeJoint, str]:
    """The joint and its child link."""
    said = f"joint {name!r}"
    kind = _attribute(element, "type", said)
    if kind not in KINDS:
        raise DescriptionError(f"{said}: type {kind!r} is not one of {list(KINDS)}")
    ends: list[str] = []
    for end in ("parent", "child"):
        part = element.find(end)
        if part is None:
            raise DescriptionError(f"{said} has no <{end}>")
        ends.append(_attribute(part, "link", f"<{end}> of {said}"))
    origin = np.eye(4)
    place = element.find("origin")
    if place is not None:
        origin[:3, :3] = _rotation_rpy(_vector(place, "rpy", (0.0, 0.0, 0.0), said))
        origin[:3, 3] = _vector(place, "xyz", (0.0, 0.0, 0.0), said)
    axis = _vector(element.find("axis"), "xyz", (1.0, 0.0, 0.0), said)
    length = float(np.linalg.norm(axis))
    if kind != FIXED and length < 1e-9:
        raise DescriptionError(f"{said}: the axis has no direction, got {axis.tolist()}")
    axis = axis / max(length, 1e-9)
    return TreeJoint(name, kind, ends[0], origin, axis, _mimic(element, said)), ends[1]


def _mimic(element: ET.Element, said: str) -> Mimic | None:
    part = element.find("mimic")
    if part is None:
        return None
    numbers = [_numbers(part.get(key, value), key, 1, said) for key, value in _MIMIC.items()]
    return Mimic(_attribute(part, "joint", f"<mimic> of {said}"), *(float(n[0]) for n in numbers))


_MIMIC = {"multiplier": "1", "offset": "0"}


def _attribute(element: ET.Element, name: str, said: str) -> str:
    value = element.get(name, "").strip()
    if not value:
        raise DescriptionError(f"{said} has no {name!r}")
    return value


def _vector(
    element: ET.Element | None, name: str, default: tuple[float, float, float], said: str
) -> Array:
    text = None if element is None else element.get(name)
    return np.array(default) if text is None else _numbers(text, name, 3, said)


def _numbers(text: str, name: str, count: int, said: str) -> Array:
    try:
        values = np.array([float(word) for word in text.split()])
    except ValueError:
        values = np.array([np.nan])
    if values.shape != (count,) or not np.isfinite(values).all():
        raise DescriptionError(f"{said}: {name!r} needs {count} finite numbers, got {text!r}")
    return values


def _rotation_rpy(rpy: Array) -> Array:
    """URDF's angles: turned about the fixed axes x, then y, then z."""
    x, y, z = (_rotations(axis, angle) for axis, angle in zip(np.eye(3), rpy, strict=True))
    return z @ y @ x


def _moved(joint: TreeJoint, positions: Array) -> Array:
    """What a joint does to its child's frame, shape (n, 4, 4)."""
    pose = np.tile(np.eye(4), (len(positions), 1, 1))
    if joint.kind == PRISMATIC:
        pose[:, :3, 3] = positions[:, None] * joint.axis
    else:
        pose[:, :3, :3] = _rotations(joint.axis, positions)
    return pose


def _rotations(axis: Array, angles: ArrayLike) -> Array:
    """Rotations about a unit axis, the shape of the angles and (3, 3)."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turned = np.asarray(angles)[..., None, None]
    return np.eye(3) + np.sin(turned) * cross + (1.0 - np.cos(turned)) * (cross @ cross)
