"""Each joint's own transform, chained, against another reader of URDF; and what is refused."""

from __future__ import annotations

import io

import numpy as np
import pytest
import yourdfpy
from scipy.spatial.transform import Rotation

from trossen_pi0_core.errors import DescriptionError, JointError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_description.frames import FrameTree, Transform, require_joints
from trossen_pi0_description.positions import read_positions
from trossen_pi0_description.writing import to_urdf

ODD = """
<robot name="odd">
  <link name="a"/><link name="b"/><link name="c"/><link name="d"/>
  <joint name="turn" type="continuous">
    <origin xyz="0.1 0.2 0.3" rpy="0.4 -0.5 0.6"/>
    <parent link="a"/><child link="b"/><axis xyz="1 2 -2"/>
  </joint>
  <joint name="slide" type="prismatic">
    <origin xyz="0 0 1" rpy="1 2 3"/>
    <parent link="b"/><child link="c"/><axis xyz="0 2 0"/>
    <limit lower="-1" upper="1" velocity="1" effort="1"/>
    <mimic joint="turn" multiplier="-0.5" offset="0.25"/>
  </joint>
  <joint name="stuck" type="fixed"><parent link="c"/><child link="d"/></joint>
</robot>
"""


def matrix(transform: Transform) -> np.ndarray:
    result = np.eye(4)
    result[:3, :3] = Rotation.from_quat(transform.quaternion).as_matrix()
    result[:3, 3] = transform.position
    return result


def poses(tree: FrameTree, positions: dict[str, float]) -> dict[str, np.ndarray]:
    """Each frame in the root's, by following parents."""
    by_child = {t.child: t for t in (*tree.fixed, *tree.moved(positions))}

    def pose(frame: str) -> np.ndarray:
        if frame == tree.root:
            return np.eye(4)
        return pose(by_child[frame].parent) @ matrix(by_child[frame])

    return {frame: pose(frame) for frame in (tree.root, *by_child)}


@pytest.mark.parametrize("seed", range(3))
def test_the_kit_s_frames(robot, seed):
    text = to_urdf(robot)
    tree = FrameTree(text)
    assert tree.root == "world"
    assert set(tree.joint_names) == set(JointMap().urdf_names)
    values = np.random.default_rng(seed).uniform(0.0, 0.04, len(tree.joint_names)) * 40
    positions = dict(zip(tree.joint_names, values.tolist(), strict=True))
    kit = yourdfpy.URDF.load(io.StringIO(text), load_meshes=False)
    kit.update_cfg(positions)
    found = poses(tree, positions)
    assert set(found) == set(kit.link_map)
    for frame, pose in found.items():
        np.testing.assert_allclose(pose, kit.get_transform(frame), atol=1e-9, err_msg=frame)


def test_any_axis_any_origin_and_a_scaled_mimic():
    tree = FrameTree(ODD)
    assert tree.joint_names == ("turn",)
    found = poses(tree, {"turn": 0.7})
    turned = Rotation.from_euler("xyz", [0.4, -0.5, 0.6]) * Rotation.from_rotvec(
        0.7 * np.array([1, 2, -2]) / 3
    )
    np.testing.assert_allclose(found["b"][:3, :3], turned.as_matrix(), atol=1e-12)
    slid = Rotation.from_euler("xyz", [1, 2, 3]).apply([0, -0.35 + 0.25, 0])
    slid[2] += 1.0
    np.testing.assert_allclose(
        found["c"][:3, 3], turned.apply(slid) + np.array([0.1, 0.2, 0.3]), atol=1e-12
    )
    np.testing.assert_allclose(found["d"], found["c"])


def test_what_is_no_description_is_refused():
    with pytest.raises(DescriptionError, match="type 'planar' is not one of"):
        FrameTree(ODD.replace("continuous", "planar"))


def test_wanted_joints_must_move_by_themselves():
    tree = FrameTree(ODD)
    require_joints(tree, ["turn"])
    with pytest.raises(DescriptionError, match=r"joints missing: \['slide'\]; there are \['turn'"):
        require_joints(tree, ["turn", "slide"])


def test_positions_are_read_by_name():
    assert read_positions(["b", "x", "a"], [1.0, 9.0, 2.0], ["a", "b"]) == {"a": 2.0, "b": 1.0}
    with pytest.raises(JointError, match=r"joints missing: \['a'\]"):
        read_positions(["b"], [1.0], ["a", "b"])
    with pytest.raises(JointError, match=r"not finite: \['b'\]"):
        read_positions(["a", "b"], [1.0, float("nan")], ["a", "b"])
