"""Where a description comes from: our model, a file, or the vendor's package."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
import yourdfpy

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.parameters import DescriptionParameters
from trossen_pi0_description import urdf
from trossen_pi0_description.model import DescriptionError
from trossen_pi0_description.packages import has_vendors_description
from trossen_pi0_description.sources import load_description
from trossen_pi0_description.writing import to_urdf

# In the manner of the vendor's: macros in a file of their own, arms by prefix, nominal frames below
# the cameras.
KIT = """
<robot name="stationary_ai" xmlns:xacro="http://ros.org/wiki/xacro">
  <xacro:include filename="$(find trossen_arm_description)/urdf/macros/parts.xacro"/>
  <link name="tabletop_link"/>
  <xacro:hung name="frame_link" parent="tabletop_link" xyz="0 0 0"/>
  <xacro:hung name="cam_high_link" parent="frame_link" xyz="-0.3 0.009 1.02"/>
  <xacro:hung name="cam_high_color_frame" parent="cam_high_link" xyz="0 0.5 0"/>
  <xacro:hung name="cam_high_color_optical_frame" parent="cam_high_color_frame" xyz="0 0 0"/>
  <xacro:hung name="cam_high_infra2_frame" parent="cam_high_link" xyz="0 -0.018 0"/>
  <xacro:arm prefix="follower_left_" y="0.4575"/>
  <xacro:arm prefix="follower_right_" y="-0.4575"/>
</robot>
"""
PARTS = """
<robot xmlns:xacro="http://ros.org/wiki/xacro">
  <xacro:macro name="hung" params="name parent xyz">
    <link name="${name}"/>
    <joint name="${name}_joint" type="fixed">
      <origin xyz="${xyz}"/><parent link="${parent}"/><child link="${name}"/>
    </joint>
  </xacro:macro>
  <xacro:macro name="moving" params="name parent child kind">
    <link name="${child}"/>
    <joint name="${name}" type="${kind}">
      <parent link="${parent}"/><child link="${child}"/><axis xyz="0 1 0"/>
      <limit lower="0" upper="${pi / 100}" velocity="1" effort="1"/>
    </joint>
  </xacro:macro>
  <xacro:macro name="turning" params="prefix at to">
    <xacro:moving name="${prefix}joint_${at}" parent="${prefix}link_${at}"
      child="${prefix}link_${to}" kind="revolute"/>
  </xacro:macro>
  <xacro:macro name="arm" params="prefix y">
    <xacro:hung name="${prefix}link_0" parent="frame_link" xyz="-0.02 ${y} 0.019"/>
    <xacro:turning prefix="${prefix}" at="0" to="1"/>
    <xacro:turning prefix="${prefix}" at="1" to="2"/>
    <xacro:turning prefix="${prefix}" at="2" to="3"/>
    <xacro:turning prefix="${prefix}" at="3" to="4"/>
    <xacro:turning prefix="${prefix}" at="4" to="5"/>
    <xacro:turning prefix="${prefix}" at="5" to="6"/>
    <xacro:moving name="${prefix}left_carriage_joint" parent="${prefix}link_6"
      child="${prefix}carriage_left" kind="prismatic"/>
  </xacro:macro>
</robot>
"""


@pytest.fixture
def vendors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An imitation of the vendor's package, installed; returns its main file."""
    name = "trossen_arm_description"
    marker = tmp_path / "share" / "ament_index" / "resource_index" / "packages" / name
    macros = tmp_path / "share" / name / "urdf" / "macros"
    for folder in (marker.parent, macros):
        folder.mkdir(parents=True)
    marker.touch()
    (macros / "parts.xacro").write_text(PARTS)
    file = macros.parent / "stationary_ai.urdf.xacro"
    file.write_text(KIT)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path}:{os.environ['AMENT_PREFIX_PATH']}")
    return file


def vendors_kit(*, optical_frames: bool = True) -> yourdfpy.URDF:
    parameters = DescriptionParameters(
        source="trossen_arm_description", optical_frames=optical_frames
    )
    text = load_description(parameters)
    return yourdfpy.URDF.load(io.StringIO(text), load_meshes=False)


def test_our_model_is_the_default(robot):
    assert load_description(DescriptionParameters()) == to_urdf(robot)


def test_the_vendor_s_kit_gets_the_world_and_our_cameras(vendors, robot):
    assert has_vendors_description()
    kit = vendors_kit(optical_frames=False)
    assert kit.base_link == "world"
    # The arms stand where our own description has them, to the vendor's micrometres.
    ours = yourdfpy.URDF.load(io.StringIO(to_urdf(robot)), load_meshes=False)
    for arm, base in (("left", "follower_left_link_0"), ("right", "follower_right_link_0")):
        np.testing.assert_allclose(
            kit.get_transform(base)[:3, 3],
            ours.get_transform(f"follower_{arm}_base_link")[:3, 3],
            atol=1e-4,
        )
    assert kit.get_transform("cam_high_link")[2, 3] == pytest.approx(1.04)
    parents = {joint.child: joint.parent for joint in kit.robot.joints}
    assert parents["cam_left_wrist_link"] == "follower_left_link_6"
    assert parents["cam_low_link"] == "frame_link"
    np.testing.assert_allclose(
        kit.get_transform("cam_left_wrist_link", "follower_left_link_6")[:3, 3],
        [0.05864, 0.009, 0.05427],
        atol=1e-9,
    )
    # realsense2_camera publishes these.
    assert not [name for name in kit.link_map if "color" in name or "infra" in name]


def test_the_vendor_s_kit_with_simulated_cameras(vendors):
    kit = vendors_kit()
    for camera in CAMERAS:
        optical = kit.get_transform(f"{camera}_color_optical_frame", f"{camera}_link")
        np.testing.assert_allclose(optical[:3, 3], 0.0, atol=1e-9)
        np.testing.assert_allclose(optical[:3, 2], [1, 0, 0], atol=1e-9)  # it looks along x
    assert "cam_high_infra2_frame" not in kit.link_map


def test_what_is_wrong_with_the_vendor_s_package_is_said(vendors, monkeypatch):
    vendors.write_text(KIT.replace("tabletop_link", "desk"))
    with pytest.raises(DescriptionError, match="expected to be 'tabletop_link', got 'desk'"):
        vendors_kit()
    vendors.write_text(KIT.replace('y="0.4575"', ""))
    with pytest.raises(DescriptionError, match=f"xacro cannot read {vendors}"):
        vendors_kit()
    vendors.write_text(KIT.replace('prefix="follower_right_"', 'prefix="right_"'))
    with pytest.raises(DescriptionError, match="follower_right_"):
        vendors_kit()
    vendors.unlink()
    with pytest.raises(DescriptionError, match=f"has no file {vendors}"):
        vendors_kit()


def test_without_the_vendor_s_package():
    assert not has_vendors_description()
    with pytest.raises(DescriptionError, match="'trossen_arm_description' is not installed"):
        vendors_kit()


def test_a_file_of_one_s_own(tmp_path, robot):
    file = tmp_path / "mine.urdf"
    text = to_urdf(robot).replace("stationary_ai", "mine")
    file.write_text(text)
    assert load_description(DescriptionParameters(urdf_file=str(file))) == text
    file.write_text(text.replace("follower_left_joint_3", "elbow"))
    with pytest.raises(DescriptionError, match=r"joints missing: \['follower_left_joint_3'\]"):
        load_description(DescriptionParameters(urdf_file=str(file)))
    with pytest.raises(DescriptionError, match=r"urdf_file: cannot read /nowhere/x\.urdf"):
        load_description(DescriptionParameters(urdf_file="/nowhere/x.urdf"))


def test_the_vendor_s_arms_have_the_vendor_s_prefixes():
    with pytest.raises(ParameterError, match="has the arms and prefixes of stationary_ai"):
        DescriptionParameters(source="trossen_arm_description", urdf_prefixes=("l_", "r_"))
    assert DescriptionParameters().joint_map == JointMap()


def test_the_command_prints_it(capsys, robot):
    assert urdf.main([]) == 0
    assert capsys.readouterr().out == to_urdf(robot)
    assert urdf.main(["--no-optical-frames"]) == 0
    assert "optical" not in capsys.readouterr().out
    assert urdf.main(["--source", "trossen_arm_description"]) == 2
    assert "is not installed" in capsys.readouterr().err
