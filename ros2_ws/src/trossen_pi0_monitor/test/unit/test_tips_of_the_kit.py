"""Gripper tips of the kit's own description against the simulation's model."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest

from trossen_pi0_core.joints import JOINTS_PER_ARM, JointMap
from trossen_pi0_core.kinematics import KinematicTree
from trossen_pi0_description.kit import describe_kit
from trossen_pi0_description.writing import to_urdf
from trossen_pi0_monitor.tips import Tips
from trossen_pi0_monitor.view import TIP_LINK
from trossen_pi0_sim.scene import ARMS, JOINT_NAMES, build_model

TOLERANCE = 1e-6  # m, and of rotation matrices, where it is rad
NAMES = JointMap().urdf_names


@pytest.fixture(scope="module")
def tree() -> KinematicTree:
    return KinematicTree.from_urdf(to_urdf(describe_kit()))


@pytest.fixture(scope="module")
def model() -> mujoco.MjModel:
    return build_model(visuals=False)


def some_positions() -> np.ndarray:
    rng = np.random.default_rng(7)
    positions = rng.uniform(-1.4, 1.4, (20, 14))
    positions[:, [6, 13]] = rng.uniform(0.0, 0.04, (20, 2))
    return positions


def placed(model: mujoco.MjModel, positions: np.ndarray) -> mujoco.MjData:
    data = mujoco.MjData(model)
    for name, position in zip(JOINT_NAMES, positions, strict=True):
        data.joint(name).qpos[0] = position
    for arm, carriage in zip(ARMS, positions[JOINTS_PER_ARM - 1 :: JOINTS_PER_ARM], strict=True):
        data.joint(f"{arm.prefix}right_carriage_joint").qpos[0] = carriage
    mujoco.mj_kinematics(model, data)
    return data


def test_links_are_where_the_simulation_has_them(
    tree: KinematicTree, model: mujoco.MjModel
) -> None:
    positions = some_positions()
    for arm, prefix in zip(ARMS, JointMap().urdf_prefixes, strict=True):
        for link in ("link_1", "link_6", "carriage_left", "carriage_right"):
            poses = tree.poses(f"{prefix}{link}", NAMES, positions)
            for pose, row in zip(poses, positions, strict=True):
                body = placed(model, row).body(f"{arm.prefix}{link}")
                np.testing.assert_allclose(pose[:3, 3], body.xpos, atol=TOLERANCE)
                np.testing.assert_allclose(pose[:3, :3].ravel(), body.xmat, atol=TOLERANCE)


def test_tips_and_fingers_are_where_the_simulation_has_them(
    tree: KinematicTree, model: mujoco.MjModel
) -> None:
    positions = some_positions()
    paths = Tips(tree, JointMap(), TIP_LINK).paths(NAMES, positions)
    for arm in ARMS:
        path = paths[arm.name]
        for i, row in enumerate(positions):
            data = placed(model, row)
            np.testing.assert_allclose(
                path.points[i], data.site(f"{arm.prefix}ee_site").xpos, atol=TOLERANCE
            )
            fingers = [data.body(f"{arm.prefix}carriage_{side}") for side in ("left", "right")]
            apart = fingers[0].xpos - fingers[1].xpos
            shut = [placed(model, row * _SHUT).body(f.name).xpos for f in fingers]
            opening = apart - (shut[0] - shut[1])
            drawn = path.fingers[i, 1] - path.fingers[i, 0]
            np.testing.assert_allclose(drawn, opening, atol=TOLERANCE)


_SHUT = np.tile([1, 1, 1, 1, 1, 1, 0], 2)
