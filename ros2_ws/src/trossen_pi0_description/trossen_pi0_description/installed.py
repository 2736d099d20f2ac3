"""The vendor's description of the kit, where it is installed, with the frames of our cameras."""

from __future__ import annotations

import importlib
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.kinematics import KinematicTree
from trossen_pi0_core.parameters.description import INSTALLED
from trossen_pi0_description.kit import TABLE, TABLE_IN_WORLD, WORLD, describe_kit
from trossen_pi0_description.model import FIXED, DescriptionError, Joint, Link
from trossen_pi0_description.writing import add_joint, add_link

XACRO_FILE = Path("urdf") / "stationary_ai.urdf.xacro"
"""In the package's share folder."""


def installed_urdf(*, optical_frames: bool) -> str:
    """``stationary_ai`` below ``world``, with ``<camera>_link`` for each of our cameras.

    What it has below a ``<camera>_link`` is left out: nominal frames, which realsense2_camera
    publishes as the camera itself reports them.

    Args:
        optical_frames: with the colour frames of our own model below each ``<camera>_link``.

    Raises:
        DescriptionError: the package or xacro is not installed, or it is not as it is known.
    """
    root = _expanded()
    tree = KinematicTree.from_urdf(ET.tostring(root, encoding="unicode"))
    if tree.root != WORLD:
        if tree.root != TABLE:
            raise DescriptionError(
                f"{INSTALLED}: its outermost link is expected to be {TABLE!r}, got {tree.root!r}"
            )
        add_link(root, Link(WORLD))
        add_joint(root, Joint("world_joint", FIXED, WORLD, TABLE, TABLE_IN_WORLD))
    own = describe_kit(optical_frames=optical_frames)
    links = {element.get("name") for element in root.findall("link")}
    for camera in CAMERAS:
        link = f"{camera}_link"
        wanted = {f"{camera}_color_frame", f"{camera}_color_optical_frame"}
        if link in links:
            _prune_below(root, link)
        else:
            wanted.add(link)
        for joint in own.joints:
            if joint.child in wanted:
                add_link(root, Link(joint.child))
                add_joint(root, joint)
    ET.indent(root)
    return '<?xml version="1.0"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _expanded() -> ET.Element:
    """The ``<robot>`` that xacro makes of it."""
    try:
        file = Path(get_package_share_directory(INSTALLED)) / XACRO_FILE
    except PackageNotFoundError as error:
        raise DescriptionError(f"the ROS package {INSTALLED!r} is not installed") from error
    if not file.is_file():
        raise DescriptionError(f"{INSTALLED} has no file {file}")
    try:
        xacro: Any = importlib.import_module("xacro")
    except ImportError as error:
        raise DescriptionError(
            f"{INSTALLED} needs xacro, which cannot be imported: {error}"
        ) from error
    try:
        return ET.fromstring(xacro.process_file(str(file)).toxml())
    except xacro.XacroException as error:
        raise DescriptionError(f"xacro cannot read {file}: {error}") from error


def _prune_below(root: ET.Element, link: str) -> None:
    """Removes the joints and links that hang on a link, and what hangs on those."""
    for joint in root.findall("joint"):
        parent, child = joint.find("parent"), joint.find("child")
        if parent is None or child is None or parent.get("link") != link:
            continue
        name = child.get("link", "")
        _prune_below(root, name)
        root.remove(joint)
        for element in root.findall("link"):
            if element.get("name") == name:
                root.remove(element)
