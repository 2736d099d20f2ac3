"""Joint names and their order are written down here once more, in full."""

from __future__ import annotations

import numpy as np
import pytest

from trossen_pi0_core.errors import JointError
from trossen_pi0_core.joints import ARM_JOINTS, JOINTS_PER_ARM, JointMap, select_joints

URDF_NAMES = (
    "follower_left_joint_0",
    "follower_left_joint_1",
    "follower_left_joint_2",
    "follower_left_joint_3",
    "follower_left_joint_4",
    "follower_left_joint_5",
    "follower_left_left_carriage_joint",
    "follower_right_joint_0",
    "follower_right_joint_1",
    "follower_right_joint_2",
    "follower_right_joint_3",
    "follower_right_joint_4",
    "follower_right_joint_5",
    "follower_right_left_carriage_joint",
)

DATASET_NAMES = (
    "left_joint_0.pos",
    "left_joint_1.pos",
    "left_joint_2.pos",
    "left_joint_3.pos",
    "left_joint_4.pos",
    "left_joint_5.pos",
    "left_left_carriage_joint.pos",
    "right_joint_0.pos",
    "right_joint_1.pos",
    "right_joint_2.pos",
    "right_joint_3.pos",
    "right_joint_4.pos",
    "right_joint_5.pos",
    "right_left_carriage_joint.pos",
)


def test_one_arm_has_six_revolute_joints_and_a_carriage() -> None:
    assert ARM_JOINTS == (
        "joint_0",
        "joint_1",
        "joint_2",
        "joint_3",
        "joint_4",
        "joint_5",
        "left_carriage_joint",
    )
    assert JOINTS_PER_ARM == 7


def test_names_of_the_kit_are_those_of_the_urdf_and_of_the_data_sets() -> None:
    joints = JointMap()
    assert joints.size == 14
    assert joints.urdf_names == URDF_NAMES
    assert joints.dataset_names == DATASET_NAMES


def test_one_arm_may_have_names_without_a_prefix() -> None:
    joints = JointMap(("only",), ("",))
    assert joints.size == 7
    assert joints.urdf_names == ARM_JOINTS
    assert joints.dataset_names[6] == "only_left_carriage_joint.pos"


def test_each_arm_has_its_place_in_a_vector_of_all_joints() -> None:
    joints = JointMap()
    assert joints.arm_slice("left") == slice(0, 7)
    assert joints.arm_slice("right") == slice(7, 14)
    with pytest.raises(JointError, match=r"unknown arm 'middle', the arms are \['left', 'right'\]"):
        joints.arm_slice("middle")


@pytest.mark.parametrize(
    ("arms", "prefixes", "message"),
    [
        ((), (), "needs at least one arm"),
        (("left", "left"), ("a_", "b_"), r"each arm must be named once, got \['left', 'left'\]"),
        (("left", "right"), ("a_", "a_"), r"each URDF prefix must be named once, got \['a_', 'a_'"),
        (("left", "right"), ("a_",), r"one URDF prefix for each of the arms \['left', 'right'\]"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(
    arms: tuple[str, ...], prefixes: tuple[str, ...], message: str
) -> None:
    with pytest.raises(JointError, match=message):
        JointMap(arms, prefixes)


def test_values_go_from_urdf_order_to_data_set_order_and_back() -> None:
    joints = JointMap()
    values = np.arange(14.0)
    shuffled = np.random.default_rng(0).permutation(14)
    names = [joints.urdf_names[i] for i in shuffled]
    ordered = select_joints(names, values[shuffled], joints.urdf_names)
    np.testing.assert_array_equal(ordered, values)
    back = select_joints(joints.urdf_names, ordered, names)
    np.testing.assert_array_equal(back, values[shuffled])


def test_selection_ignores_further_joints_and_keeps_leading_axes() -> None:
    names = ("b", "mimic", "a")
    rows = [[2, 0, 1], [20, 0, 10]]
    picked = select_joints(names, rows, ("a", "b"))
    np.testing.assert_array_equal(picked, [[1.0, 2.0], [10.0, 20.0]])
    assert picked.dtype == np.float64


@pytest.mark.parametrize(
    ("names", "values", "message"),
    [
        (("a",), [1.0], r"joints missing: \['b'\]; given: \['a'\]"),
        (("a", "b", "a"), [1.0, 2.0, 3.0], r"joints named more than once: \['a'\]"),
        (("a", "b"), [1.0], r"2 joint names but values of shape \(1,\)"),
        (("a", "b"), 1.0, r"2 joint names but values of shape \(\)"),
        (("a", "b"), [], r"2 joint names but values of shape \(0,\)"),
    ],
)
def test_selection_says_what_does_not_fit(
    names: tuple[str, ...], values: object, message: str
) -> None:
    with pytest.raises(JointError, match=message):
        select_joints(names, values, ("a", "b"))  # pyright: ignore[reportArgumentType]
