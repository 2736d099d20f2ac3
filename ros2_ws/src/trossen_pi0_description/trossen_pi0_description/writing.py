"""Writes a robot as URDF."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable

from trossen_pi0_description.model import (
    Box,
    Cylinder,
    Inertial,
    Joint,
    Link,
    Part,
    Pose,
    Robot,
    Shape,
    Sphere,
)


def to_urdf(robot: Robot) -> str:
    """The robot as the text of a URDF file; meshes are named by ``file://`` and absolute path."""
    root = ET.Element("robot", name=robot.name)
    for link in robot.links:
        add_link(root, link)
    for joint in robot.joints:
        add_joint(root, joint)
    ET.indent(root)
    return '<?xml version="1.0"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def add_link(root: ET.Element, link: Link) -> None:
    """Adds a link to a ``<robot>``."""
    element = ET.SubElement(root, "link", name=link.name)
    if link.inertial is not None:
        _add_inertial(element, link.inertial)
    for kind, parts in (("visual", link.visuals), ("collision", link.collisions)):
        for part in parts:
            _add_part(element, kind, part)


def _add_inertial(link: ET.Element, inertial: Inertial) -> None:
    element = ET.SubElement(link, "inertial")
    _add_origin(element, Pose.of(inertial.centre))
    ET.SubElement(element, "mass", value=_number(inertial.mass))
    moments = {
        f"i{a}{b}": _number(inertial.inertia[i, j])
        for i, a in enumerate("xyz")
        for j, b in enumerate("xyz")
        if i <= j
    }
    ET.SubElement(element, "inertia", moments)


def _add_part(link: ET.Element, kind: str, part: Part) -> None:
    element = ET.SubElement(link, kind)
    _add_origin(element, part.pose)
    _add_shape(ET.SubElement(element, "geometry"), part.shape)
    if kind == "visual" and part.rgba is not None:
        colour = _numbers(part.rgba)
        # A material is known to the whole robot by its name.
        material = ET.SubElement(element, "material", name=f"rgba_{colour.replace(' ', '_')}")
        ET.SubElement(material, "color", rgba=colour)


def _add_shape(geometry: ET.Element, shape: Shape) -> None:
    if isinstance(shape, Box):
        ET.SubElement(geometry, "box", size=_numbers(shape.size))
    elif isinstance(shape, Cylinder):
        radius, length = _number(shape.radius), _number(shape.length)
        ET.SubElement(geometry, "cylinder", radius=radius, length=length)
    elif isinstance(shape, Sphere):
        ET.SubElement(geometry, "sphere", radius=_number(shape.radius))
    else:
        mesh = ET.SubElement(geometry, "mesh", filename=shape.file.as_uri())
        if shape.scale != (1.0, 1.0, 1.0):
            mesh.set("scale", _numbers(shape.scale))


def add_joint(root: ET.Element, joint: Joint) -> None:
    """Adds a joint to a ``<robot>``."""
    element = ET.SubElement(root, "joint", name=joint.name, type=joint.kind)
    _add_origin(element, joint.origin)
    ET.SubElement(element, "parent", link=joint.parent)
    ET.SubElement(element, "child", link=joint.child)
    if joint.axis is not None:
        ET.SubElement(element, "axis", xyz=_numbers(joint.axis))
    if joint.limits is not None:
        values = {name: _number(value) for name, value in vars(joint.limits).items()}
        ET.SubElement(element, "limit", values)
    if joint.mimic:
        ET.SubElement(element, "mimic", joint=joint.mimic)


def _add_origin(element: ET.Element, pose: Pose) -> None:
    ET.SubElement(element, "origin", xyz=_numbers(pose.position), rpy=_numbers(pose.rpy))


def _numbers(values: Iterable[float]) -> str:
    return " ".join(_number(value) for value in values)


def _number(value: float) -> str:
    """Twelve digits, without a sign before 0."""
    return f"{0.0 if abs(value) < 1e-15 else float(value):.12g}"
