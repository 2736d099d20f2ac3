"""The kit's URDF against the model it is made from, through another reader of URDF."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import mujoco
import numpy as np
import pytest
import trimesh
import yourdfpy
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from trossen_arm_sim import ARM_MODEL_PATH

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.joints import ARM_JOINTS, JointMap
from trossen_pi0_core.limits import WXAI_LOWER, WXAI_UPPER, WXAI_VELOCITY
from trossen_pi0_description.kit import describe_kit
from trossen_pi0_description.model import DescriptionError, Mesh, Robot
from trossen_pi0_description.writing import to_urdf
from trossen_pi0_sim.meshes import decimated
from trossen_pi0_sim.scene import ARMS, JOINT_NAMES, build_model

TOLERANCE = 1e-6  # m, and of rotation matrices, where it is rad

PREFIXES = dict(zip([arm.prefix for arm in ARMS], JointMap().urdf_prefixes, strict=True))


@pytest.fixture(scope="module")
def kit(robot: Robot) -> yourdfpy.URDF:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it reads meshes as old trimesh did
        return yourdfpy.URDF.load(io.StringIO(to_urdf(robot)))


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return build_model()


def urdf_name(name: str) -> str:
    prefix = next(p for p in PREFIXES if name.startswith(p))
    return PREFIXES[prefix] + name.removeprefix(prefix)


def random_configuration(
    model: mujoco.MjModel, seed: int
) -> tuple[mujoco.MjData, dict[str, float]]:
    """A state of the simulation and the same positions by URDF joint name."""
    rng = np.random.default_rng(seed)
    data, positions = mujoco.MjData(model), {}
    for name in JOINT_NAMES:
        joint = model.joint(name)
        value = float(rng.uniform(*joint.range))
        data.qpos[joint.qposadr[0]] = value
        positions[urdf_name(name)] = value
        if name.endswith("left_carriage_joint"):
            right = name.replace("left_carriage_joint", "right_carriage_joint")
            data.qpos[model.joint(right).qposadr[0]] = value
    mujoco.mj_forward(model, data)
    return data, positions


def matrix(position: NDArray[np.float64], rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    result = np.eye(4)
    result[:3, :3], result[:3, 3] = np.reshape(rotation, (3, 3)), position
    return result


@pytest.mark.parametrize("seed", range(4))
def test_every_link_and_camera_lies_where_the_simulation_has_it(kit, model, seed):
    data, positions = random_configuration(model, seed)
    kit.update_cfg(positions)
    expected = {
        urdf_name(model.body(i).name): matrix(data.xpos[i], data.xmat[i])
        for i in range(1, model.nbody)
        if model.body(i).name.startswith(tuple(PREFIXES))
    }
    assert len(expected) == 18
    for prefix, renamed in PREFIXES.items():
        site = data.site(f"{prefix}ee_site")
        expected[f"{renamed}ee_gripper_link"] = matrix(site.xpos, site.xmat)
    for camera in CAMERAS:
        seen = data.camera(camera)
        # MuJoCo looks along -z with y up, an optical frame along z with y down.
        axes = np.reshape(seen.xmat, (3, 3)) * [1, -1, -1]
        expected[f"{camera}_color_optical_frame"] = matrix(seen.xpos, axes)
        # A body frame looks along x with z up.
        expected[f"{camera}_link"] = matrix(
            seen.xpos, np.stack([axes[:, 2], -axes[:, 0], -axes[:, 1]], axis=1)
        )
    expected["world"] = np.eye(4)
    # As stationary_ai of trossen_arm_description has them: on the table's top.
    table_top = model.geom("table_top")
    above = table_top.pos * [1, 1, 2]  # it stands on the world's origin
    for link in ("tabletop_link", "frame_link"):
        expected[link] = matrix(above, np.eye(3))
    for name, pose in expected.items():
        np.testing.assert_allclose(kit.get_transform(name), pose, atol=TOLERANCE, err_msg=name)
    colour = {f"{camera}_color_frame" for camera in CAMERAS}
    assert {*expected, *colour} == set(kit.link_map)


def test_the_optical_frame_is_turned_as_realsense2_camera_turns_it(kit):
    optical = kit.get_transform("cam_high_color_optical_frame", "cam_high_link")
    np.testing.assert_allclose(
        optical, [[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], atol=1e-9
    )


def test_the_wrist_cameras_hang_on_the_wrists(kit):
    parents = {joint.child: joint.parent for joint in kit.robot.joints}
    assert parents["cam_left_wrist_link"] == "follower_left_link_6"
    assert parents["cam_right_wrist_link"] == "follower_right_link_6"
    assert parents["cam_high_link"] == parents["cam_low_link"] == "frame_link"


def test_joints_have_the_suite_s_names_and_the_arm_controller_s_limits(kit):
    names = set(JointMap().urdf_names)
    moving = {name for name, joint in kit.joint_map.items() if joint.type != "fixed"}
    mimics = {"follower_left_right_carriage_joint", "follower_right_right_carriage_joint"}
    assert moving == names | mimics
    assert set(kit.actuated_joint_names) == names
    efforts = (27.0, 27.0, 27.0, 7.0, 7.0, 7.0, 400.0)
    for prefix in PREFIXES.values():
        for i, name in enumerate(ARM_JOINTS):
            limit = kit.joint_map[f"{prefix}{name}"].limit
            assert (limit.lower, limit.upper) == (WXAI_LOWER[i], WXAI_UPPER[i])
            assert (limit.velocity, limit.effort) == (WXAI_VELOCITY[i], efforts[i])
        right = kit.joint_map[f"{prefix}right_carriage_joint"]
        assert right.mimic.joint == f"{prefix}left_carriage_joint"
        assert vars(right.limit) == vars(kit.joint_map[right.mimic.joint].limit)


def test_every_mesh_is_a_packaged_one_and_is_read(kit):
    folder = Path(ARM_MODEL_PATH).parent.resolve()
    files = [
        visual.geometry.mesh.filename
        for link in kit.robot.links
        for visual in link.visuals
        if visual.geometry.mesh
    ]
    assert len(files) == 24
    assert {Path(file.removeprefix("file://")).parent for file in files} == {folder}
    faces = [len(shape.faces) for shape in kit.scene.geometry.values()]
    assert sum(faces) > 80_000


def test_meshes_lie_where_the_simulation_draws_them(robot, model):
    """MuJoCo's vertices, moved to each mesh's centre, against those of the file."""
    data, _ = random_configuration(model, 0)
    visuals = {
        link.name: {v.shape.file.stem: v for v in link.visuals if isinstance(v.shape, Mesh)}
        for link in robot.links
    }
    compared = 0
    for geom in range(model.ngeom):
        mesh = model.geom_dataid[geom]
        if mesh < 0:
            continue
        body = int(model.geom_bodyid[geom])
        stem = model.mesh(mesh).name.partition("_")[2]
        part = visuals[urdf_name(model.body(body).name)][stem]
        assert isinstance(part.shape, Mesh)
        start, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
        drawn = model.mesh_vert[start : start + count] @ data.geom_xmat[geom].reshape(3, 3).T
        drawn = drawn + data.geom_xpos[geom]
        # The simulation draws a copy with fewer faces, in the frame of the packaged file.
        copy = trimesh.load_mesh(decimated({stem: part.shape.file})[stem])
        own = copy.vertices @ part.pose.rotation.T + part.pose.position
        described = own @ data.xmat[body].reshape(3, 3).T + data.xpos[body]
        for reach in (np.min, np.max):
            np.testing.assert_allclose(
                reach(described, axis=0), reach(drawn, axis=0), atol=TOLERANCE, err_msg=stem
            )
        compared += 1
    assert compared == 24


def test_inertias_are_those_of_the_simulation(kit, model):
    for i in range(1, model.nbody):
        name = model.body(i).name
        if not name.startswith(tuple(PREFIXES)):
            continue
        inertial = kit.link_map[urdf_name(name)].inertial
        assert inertial.mass == pytest.approx(model.body_mass[i])
        np.testing.assert_allclose(inertial.origin[:3, 3], model.body_ipos[i], atol=1e-9)
        w, x, y, z = model.body_iquat[i]
        axes = Rotation.from_quat([x, y, z, w]).as_matrix()
        tensor = sum(
            moment * np.outer(axis, axis)
            for moment, axis in zip(model.body_inertia[i], axes.T, strict=True)
        )
        np.testing.assert_allclose(inertial.inertia, tensor, atol=1e-12)
    assert kit.link_map["world"].inertial is None


def test_table_and_frame_can_be_touched_and_the_room_is_left_out(kit):
    table = kit.link_map["tabletop_link"].collisions
    np.testing.assert_allclose(table[0].origin[:3, 3], [0, 0, -0.01], atol=1e-9)
    assert len(table) == 5  # the top and four legs
    assert len(kit.link_map["frame_link"].visuals) == 7
    assert len(kit.link_map["cam_high_link"].visuals) == 1
    assert len(kit.link_map["follower_left_link_2"].collisions) == 4  # a capsule is three shapes


def test_a_real_kit_s_description_ends_where_realsense2_camera_begins():
    links = {link.name for link in describe_kit(optical_frames=False).links}
    assert {f"{camera}_link" for camera in CAMERAS} <= links
    assert not [name for name in links if "color" in name]


def test_one_arm_alone():
    kit = describe_kit(JointMap(("right",), ("arm_",)))
    moving = [joint.name for joint in kit.joints if joint.limits and not joint.mimic]
    assert set(moving) == {f"arm_{joint}" for joint in ARM_JOINTS}
    links = {link.name for link in kit.links}
    assert "cam_right_wrist_link" in links
    assert "cam_left_wrist_link" not in links


def test_an_unknown_arm_is_refused():
    with pytest.raises(DescriptionError, match=r"unknown arms \['middle'\], the kit has \['left'"):
        describe_kit(JointMap(("middle",), ("m_",)))
