"""The scripted handover's plans."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from trossen_pi0_core.errors import BackendError
from trossen_pi0_core.limits import WXAI_LOWER, WXAI_UPPER, WXAI_VELOCITY
from trossen_pi0_sim.expert import STAGED, HandoverExpert
from trossen_pi0_sim.kinematics import ArmKinematics
from trossen_pi0_sim.scene import ARMS, build_model
from trossen_pi0_sim.tasks import VARIANTS, find_variant, start_pose

CUBE = find_variant("red_cube")
POSE = start_pose(0, CUBE)
FAR_POSE = [0.1, 1.5, 0.04, 1.0, 0.0, 0.0, 0.0]


@pytest.fixture(scope="module")
def expert() -> HandoverExpert:
    return HandoverExpert()


@pytest.mark.parametrize("name", VARIANTS)
def test_every_start_can_be_planned_within_the_limits(expert: HandoverExpert, name: str) -> None:
    variant = find_variant(name)
    speed_limit = 0.6 * np.tile(WXAI_VELOCITY, 2)
    for seed in range(60):
        plan = expert.plan(STAGED, start_pose(seed, variant), variant.half_size)
        times = np.arange(0.0, plan.duration_s, 0.01)
        rows = plan.sample(times)
        assert rows.shape == (len(times), 14)
        assert plan.duration_s < 14.0
        assert (np.abs(plan.velocity(times)) <= speed_limit).all()
        assert (np.abs(np.diff(rows, axis=0)) / 0.01 <= speed_limit).all()
        assert (rows >= np.tile(WXAI_LOWER, 2) - 1e-9).all()
        assert (rows <= np.tile(WXAI_UPPER, 2) + 1e-9).all()


@pytest.mark.parametrize(
    "start",
    [STAGED, np.zeros(14), STAGED + 0.1 * np.cos(np.arange(14)) ** 2],
    ids=["staged", "folded", "elsewhere"],
)
def test_begins_at_rest_where_the_arms_are_and_ends_staged(
    expert: HandoverExpert, start: np.ndarray
) -> None:
    start = start.copy()
    start[[6, 13]] = 0.0
    plan = expert.plan(start, POSE, CUBE.half_size)
    np.testing.assert_allclose(plan.sample(0.0)[0], start, atol=1e-12)
    np.testing.assert_allclose(plan.velocity(0.0)[0], 0.0, atol=1e-12)
    np.testing.assert_allclose(plan.sample(plan.duration_s)[0], STAGED, atol=1e-12)
    np.testing.assert_allclose(plan.velocity(plan.duration_s)[0], 0.0, atol=1e-12)


def test_a_hand_above_the_object_turns_as_little_as_it_can(expert: HandoverExpert) -> None:
    right = ArmKinematics(build_model(visuals=False), ARMS[1])
    first = expert.plan(STAGED, POSE, CUBE.half_size)
    above = first.sample(first.descent_time_s)[0]
    _, before = right.forward(above[7:13])
    yaw = 2 * np.arctan2(POSE[6], POSE[3])
    for turn in np.linspace(-np.pi, np.pi, 25):
        turned = POSE.copy()
        turned[3:] = np.cos((yaw + turn) / 2), 0.0, 0.0, np.sin((yaw + turn) / 2)
        plan = expert.plan(above, turned, CUBE.half_size)
        _, after = right.forward(plan.sample(plan.grasp_time_s)[0][7:13])
        assert before[:, 1] @ after[:, 1] > np.cos(np.pi / 4) - 0.02


def test_holds_before_the_start_and_after_the_end(expert: HandoverExpert) -> None:
    plan = expert.plan(STAGED, POSE, CUBE.half_size)
    np.testing.assert_array_equal(plan.sample([-1.0, 0.0])[0], plan.sample(0.0)[0])
    np.testing.assert_array_equal(plan.sample(plan.duration_s + 9.0), plan.sample(plan.duration_s))
    np.testing.assert_array_equal(plan.velocity([-1.0, plan.duration_s + 1.0]), np.zeros((2, 14)))


def test_gripper_is_around_the_object_and_open_when_it_begins_to_close(
    expert: HandoverExpert,
) -> None:
    right = ArmKinematics(build_model(visuals=False), ARMS[1])
    for seed in range(20):
        pose = start_pose(seed, CUBE)
        plan = expert.plan(STAGED, pose, CUBE.half_size)
        row = plan.sample(plan.grasp_time_s)[0]
        at, axes = right.forward(row[7:13])
        np.testing.assert_allclose(at, pose[:3], atol=1e-3)
        np.testing.assert_allclose(axes[:, 0], [0.0, 0.0, -1.0], atol=0.01)
        assert row[13] == pytest.approx(0.038)
        assert plan.sample(plan.grasp_time_s + 0.5)[0, 13] < 0.02
        assert plan.descent_time_s < plan.grasp_time_s


def test_right_gripper_takes_the_narrow_sides(expert: HandoverExpert) -> None:
    right = ArmKinematics(build_model(visuals=False), ARMS[1])
    brick = find_variant("blue_brick")
    for seed in range(20):
        pose = start_pose(seed, brick)
        plan = expert.plan(STAGED, pose, brick.half_size)
        _, axes = right.forward(plan.sample(plan.grasp_time_s)[0, 7:13])
        yaw = 2 * np.arctan2(pose[6], pose[3])
        across = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
        assert abs(axes[:, 1] @ across) == pytest.approx(1.0, abs=1e-3)


def test_plans_anew_on_the_way_without_a_jump(expert: HandoverExpert) -> None:
    old = expert.plan(STAGED, POSE, CUBE.half_size)
    row, speed = old.sample(1.0)[0], old.velocity(1.0)[0]
    assert np.abs(speed).max() > 0.1
    moved = POSE.copy()
    moved[0] += 0.05
    plan = expert.plan(row, moved, CUBE.half_size, speed)
    np.testing.assert_allclose(plan.sample(0.0)[0], row, atol=1e-12)
    np.testing.assert_allclose(plan.velocity(0.0)[0], speed, atol=1e-12)
    assert plan.grasp_time_s > 1.0


def test_low_gripper_is_raised_before_it_moves_sideways(expert: HandoverExpert) -> None:
    right = ArmKinematics(build_model(visuals=False), ARMS[1])
    old = expert.plan(STAGED, POSE, CUBE.half_size)
    low = old.sample(old.grasp_time_s - 0.05)[0]
    moved = POSE.copy()
    moved[:2] += [0.08, 0.0]
    plan = expert.plan(low, moved, CUBE.half_size)
    for row in plan.sample(np.arange(0.0, plan.descent_time_s, 0.02)):
        at, _ = right.forward(row[7:13])
        sideways = np.linalg.norm(at[:2] - POSE[:2])
        assert sideways < 0.01 or at[2] > POSE[2] + 0.03


@pytest.mark.parametrize(
    ("joints", "pose", "half", "message"),
    [
        (STAGED[:13], POSE, CUBE.half_size, "joint_positions: need 14 finite numbers"),
        (STAGED * np.nan, POSE, CUBE.half_size, "joint_positions: need 14 finite numbers"),
        (STAGED, POSE[:3], CUBE.half_size, "object_pose: need 7 finite numbers"),
        (STAGED, FAR_POSE, CUBE.half_size, "right arm cannot reach x"),
        (STAGED, POSE, (0.02, 0.05, 0.02), r"0\.100 m wide, at most 0\.068 m"),
        (STAGED, [0.1, -0.2, 0.04, 0.9, 0.43, 0, 0], CUBE.half_size, "the object is tilted"),
    ],
    ids=["short", "nan", "no orientation", "out of reach", "too wide", "tilted"],
)
def test_bad_input_is_refused(
    expert: HandoverExpert, joints: np.ndarray, pose: np.ndarray, half: tuple, message: str
) -> None:
    with pytest.raises(BackendError, match=message):
        expert.plan(joints, pose, half)


def test_needs_no_ros() -> None:
    code = (
        "import sys, trossen_pi0_sim.rollout, trossen_pi0_sim.simulation;"
        "sys.exit(any(name.split('.')[0] in ('rclpy', 'jax') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
