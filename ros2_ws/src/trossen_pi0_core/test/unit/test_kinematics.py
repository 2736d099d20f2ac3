"""Forward kinematics of small robots whose poses can be worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trossen_pi0_core.errors import DescriptionError, JointError
from trossen_pi0_core.kinematics import KinematicTree

ARM = """<?xml version="1.0"?>
<robot name="arm">
  <link name="world"/><link name="base"/><link name="upper"/><link name="finger"/>
  <link name="other_finger"/><link name="tip"/>
  <joint name="mount" type="fixed">
    <origin xyz="1 0 0" rpy="0 0 1.5707963267948966"/>
    <parent link="world"/><child link="base"/>
  </joint>
  <joint name="shoulder" type="revolute">
    <origin xyz="0 0 0.5"/><axis xyz="0 2 0"/>
    <parent link="base"/><child link="upper"/>
    <limit lower="-1" upper="1" velocity="1" effort="1"/>
  </joint>
  <joint name="hand" type="fixed">
    <origin xyz="0.3 0 0"/><parent link="upper"/><child link="tip"/>
  </joint>
  <joint name="grip" type="prismatic">
    <axis xyz="0 1 0"/><parent link="tip"/><child link="finger"/>
  </joint>
  <joint name="other_grip" type="prismatic">
    <axis xyz="0 1 0"/><parent link="tip"/><child link="other_finger"/>
    <mimic joint="grip" multiplier="-1" offset="0.01"/>
  </joint>
</robot>"""


def test_poses_of_many_positions_at_once() -> None:
    tree = KinematicTree.from_urdf(ARM)
    poses = tree.poses("tip", ["grip", "shoulder"], [[0.0, 0.0], [0.0, math.pi / 2]])
    assert poses.shape == (2, 4, 4)
    # The mount turns x to y; a quarter turn about y then lets x point down.
    np.testing.assert_allclose(
        poses[0], [[0, -1, 0, 1], [1, 0, 0, 0.3], [0, 0, 1, 0.5], [0, 0, 0, 1]], atol=1e-12
    )
    np.testing.assert_allclose(
        poses[1], [[0, -1, 0, 1], [0, 0, 1, 0], [-1, 0, 0, 0.2], [0, 0, 0, 1]], atol=1e-12
    )


def test_fixed_angles_turn_about_x_then_y_then_z() -> None:
    urdf = ARM.replace('rpy="0 0 1.5707963267948966"', 'rpy="1.5707963267948966 0 1.57079632679"')
    pose = KinematicTree.from_urdf(urdf).poses("base", [], np.zeros((1, 0)))[0]
    np.testing.assert_allclose(pose[:3, :3], [[0, 0, 1], [1, 0, 0], [0, 1, 0]], atol=1e-9)


def test_mimic_joints_follow() -> None:
    tree = KinematicTree.from_urdf(ARM)
    assert tree.joint_names == ("shoulder", "grip")
    assert tree.joints_to("other_finger") == ("shoulder", "grip")
    names = ("shoulder", "grip")
    tip, one, other = (
        tree.poses(link, names, [[0.0, 0.03]])[0, :3, 3]
        for link in ("tip", "finger", "other_finger")
    )
    np.testing.assert_allclose(one - tip, [-0.03, 0, 0], atol=1e-12)
    np.testing.assert_allclose(other - tip, [0.02, 0, 0], atol=1e-12)


def test_one_row_of_positions_is_one_pose() -> None:
    tree = KinematicTree.from_urdf(ARM)
    assert tree.root == "world"
    assert tree.joints_to("tip") == ("shoulder",)
    assert tree.poses("tip", ["shoulder"], [0.1]).shape == (1, 4, 4)
    assert tree.poses("tip", ["shoulder"], np.zeros((0, 1))).shape == (0, 4, 4)


def test_what_is_not_there_is_named() -> None:
    tree = KinematicTree.from_urdf(ARM)
    with pytest.raises(DescriptionError, match=r"unknown link 'toe', the robot has \['world'"):
        tree.poses("toe", ["shoulder"], [0.0])
    with pytest.raises(JointError, match=r"joints missing: \['shoulder'\]; given: \['grip'\]"):
        tree.poses("tip", ["grip"], [0.0])


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</robot>", "", "no XML"),
        ("robot", "sdf", "begins with <robot>, got <sdf>"),
        ('type="revolute"', 'type="planar"', "'shoulder': type 'planar' is not one of"),
        ('<child link="tip"/>', "", "'hand' has no <child>"),
        ('<child link="tip"/>', '<child link="toe"/>', r"got \['toe'\]; there are \['world'"),
        ('<child link="tip"/>', '<child link="upper"/>', "'upper' hangs on two joints"),
        (
            '<link name="tip"/>',
            '<link name="tip"/><link name="x"/>',
            r"one root, got \['world', 'x'",
        ),
        ('<parent link="world"/>', '<parent link="tip"/>', "'base' hangs on itself|one root"),
        (
            '<link name="base"/>',
            '<link name="base"/><link name="base"/>',
            "more than once: .'base'",
        ),
        ('name="hand"', 'name="grip"', r"joints named more than once: \['grip'\]"),
        ('name="hand"', "", "a joint has no 'name'"),
        ('xyz="0 0 0.5"', 'xyz="0 0"', "'shoulder': 'xyz' needs 3 finite numbers, got '0 0'"),
        ('xyz="0 0 0.5"', 'xyz="0 0 nan"', "'xyz' needs 3 finite numbers, got '0 0 nan'"),
        ('xyz="0 0 0.5"', 'xyz="0 0 a"', "'xyz' needs 3 finite numbers, got '0 0 a'"),
        ('xyz="0 2 0"', 'xyz="0 0 0"', "'shoulder': the axis has no direction"),
        ('mimic joint="grip"', 'mimic joint="mount"', "mimics 'mount', which is no joint with"),
        ('multiplier="-1"', 'multiplier=""', "'multiplier' needs 1 finite numbers, got ''"),
    ],
)
def test_malformed_descriptions_are_refused(old: str, new: str, message: str) -> None:
    assert old in ARM
    with pytest.raises(DescriptionError, match=message):
        KinematicTree.from_urdf(ARM.replace(old, new))
