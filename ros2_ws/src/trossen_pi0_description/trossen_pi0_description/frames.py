"""The frames of a URDF: each joint's own transform, from its parent link to its child link."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from trossen_pi0_description.model import DescriptionError

Triple = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]
"""Its parts x, y, z, w."""

_TURNING, _SLIDING, _STILL = ("revolute", "continuous"), ("prismatic",), ("fixed",)


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
    """A joint that turns about or slides along an axis; it may follow another joint.

    Attributes:
        name: of the joint.
        at_zero: transform at position 0.
        turns: about its axis; else it slides along it.
        axis: unit vector in the child's frame.
        leader: joint whose position counts, which is the joint's own name for most.
        multiplier: of the leader's position.
        offset: added to it [rad; m].
    """

    name: str
    at_zero: Transform
    turns: bool
    axis: Triple
    leader: str
    multiplier: float = 1.0
    offset: float = 0.0

    def at(self, positions: Mapping[str, float]) -> Transform:
        """The transform at these positions by joint name [rad; m]."""
        zero, value = self.at_zero, self.multiplier * positions[self.leader] + self.offset
        (x, y, z), (a, b, c) = zero.position, self.axis
        if self.turns:
            sine = math.sin(value / 2)
            turn = (a * sine, b * sine, c * sine, math.cos(value / 2))
            turned = _multiplied(zero.quaternion, turn)
            return Transform(zero.parent, zero.child, zero.position, turned)
        a, b, c = _rotated(zero.quaternion, (a * value, b * value, c * value))
        return Transform(zero.parent, zero.child, (x + a, y + b, z + c), zero.quaternion)


class FrameTree:
    """The frames of a robot.

    Attributes:
        root: link that has no parent.
        joints: those that move, in the order of the file.
        fixed: transforms of the others.
    """

    def __init__(self, urdf: str) -> None:
        """Reads the text of a URDF file.

        Raises:
            DescriptionError: it is not XML, not a URDF, not one tree, or has joints of other kinds.
        """
        try:
            robot = ET.fromstring(urdf)
        except ET.ParseError as error:
            raise DescriptionError(f"the description is not XML: {error}") from error
        if robot.tag != "robot":
            raise DescriptionError(f"a URDF's outermost element is <robot>, got <{robot.tag}>")
        links = [_attribute(link, "name") for link in robot.findall("link")]
        joints: list[MovingJoint] = []
        fixed: list[Transform] = []
        for element in robot.findall("joint"):
            joint = _read_joint(element)
            joints += [joint] if isinstance(joint, MovingJoint) else []
            fixed += [joint] if isinstance(joint, Transform) else []
        self.joints, self.fixed = tuple(joints), tuple(fixed)
        self.root = _root(links, [*(joint.at_zero for joint in joints), *fixed])
        self._check_leaders()

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Joints whose positions must be known; those that follow another one are left out."""
        return tuple(joint.name for joint in self.joints if joint.leader == joint.name)

    def moved(self, positions: Mapping[str, float]) -> list[Transform]:
        """Transforms of all joints that move, at these positions by joint name [rad; m]."""
        return [joint.at(positions) for joint in self.joints]

    def _check_leaders(self) -> None:
        known = set(self.joint_names)
        for joint in self.joints:
            if joint.leader not in known:
                raise DescriptionError(
                    f"joint {joint.name!r} follows {joint.leader!r}, which is none of the joints "
                    f"that move by themselves: {sorted(known)}"
                )


def require_joints(tree: FrameTree, names: Iterable[str]) -> None:
    """Raises DescriptionError if one of the named joints is not there or follows another one."""
    missing = [name for name in names if name not in tree.joint_names]
    if missing:
        raise DescriptionError(f"joints missing: {missing}; there are {list(tree.joint_names)}")


def _read_joint(element: ET.Element) -> MovingJoint | Transform:
    name, kind = _attribute(element, "name"), _attribute(element, "type")
    parent, child = (_attribute(_child(element, tag), "link") for tag in ("parent", "child"))
    origin = element.find("origin")
    attributes = {} if origin is None else origin.attrib
    angles = _triple(name, attributes.get("rpy", "0 0 0"))
    position = _triple(name, attributes.get("xyz", "0 0 0"))
    at_zero = Transform(parent, child, position, _quaternion(*angles))
    if kind in _STILL:
        return at_zero
    if kind not in (*_TURNING, *_SLIDING):
        allowed = [*_TURNING, *_SLIDING, *_STILL]
        raise DescriptionError(f"joint {name!r}: type {kind!r} is not one of {allowed}")
    given = element.find("axis")
    axis = _triple(name, "1 0 0" if given is None else _attribute(given, "xyz"))
    length = math.hypot(*axis)
    if length == 0.0:
        raise DescriptionError(f"joint {name!r}: its axis has no direction")
    axis = (axis[0] / length, axis[1] / length, axis[2] / length)
    mimic = element.find("mimic")
    follow = {} if mimic is None else mimic.attrib
    multiplier, offset = (
        _number(name, follow.get(key, default))
        for key, default in (("multiplier", "1"), ("offset", "0"))
    )
    leader = name if mimic is None else _attribute(mimic, "joint")
    return MovingJoint(name, at_zero, kind in _TURNING, axis, leader, multiplier, offset)


def _root(links: list[str], transforms: list[Transform]) -> str:
    """The one link without a parent, from which all others can be reached."""
    if len(set(links)) != len(links):
        raise DescriptionError("links named more than once")
    parents: dict[str, str] = {}
    for transform in transforms:
        for link in (transform.parent, transform.child):
            if link not in links:
                raise DescriptionError(f"a joint names the link {link!r}, which there is not")
        if transform.child in parents:
            raise DescriptionError(f"link {transform.child!r} hangs on two joints")
        parents[transform.child] = transform.parent
    roots = [link for link in links if link not in parents]
    if len(roots) != 1:
        raise DescriptionError(f"a robot has one link without a parent, got {roots}")
    reached = {roots[0]}
    while more := {child for child, parent in parents.items() if parent in reached} - reached:
        reached |= more
    if len(reached) != len(links):
        raise DescriptionError(f"links in a circle: {sorted(set(links) - reached)}")
    return roots[0]


def _quaternion(roll: float, pitch: float, yaw: float) -> Quaternion:
    """Turned about the fixed axes x, then y, then z [rad]."""
    turns = [
        (math.sin(roll / 2), 0.0, 0.0, math.cos(roll / 2)),
        (0.0, math.sin(pitch / 2), 0.0, math.cos(pitch / 2)),
        (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2)),
    ]
    return _multiplied(turns[2], _multiplied(turns[1], turns[0]))


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


def _rotated(quaternion: Quaternion, vector: Triple) -> Triple:
    x, y, z, w = quaternion
    turned = _multiplied(_multiplied(quaternion, (*vector, 0.0)), (-x, -y, -z, w))
    return turned[0], turned[1], turned[2]


def _child(element: ET.Element, tag: str) -> ET.Element:
    found = element.find(tag)
    if found is None:
        raise DescriptionError(f"<{element.tag} {element.attrib}> has no <{tag}>")
    return found


def _attribute(element: ET.Element, name: str) -> str:
    value = element.get(name)
    if not value:
        raise DescriptionError(f"<{element.tag} {element.attrib}> has no {name!r}")
    return value


def _triple(joint: str, text: str) -> Triple:
    values = [_number(joint, word) for word in text.split()]
    if len(values) != 3:
        raise DescriptionError(f"joint {joint!r}: need three numbers, got {text!r}")
    return values[0], values[1], values[2]


def _number(joint: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise DescriptionError(f"joint {joint!r}: {text!r} is not a number") from error
    if not math.isfinite(value):
        raise DescriptionError(f"joint {joint!r}: need a finite number, got {text!r}")
    return value
