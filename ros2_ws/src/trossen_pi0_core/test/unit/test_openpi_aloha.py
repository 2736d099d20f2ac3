"""The ALOHA layout of requests and answers, by literal pixels and names."""

from __future__ import annotations

import numpy as np
import pytest

from trossen_pi0_core.contract import ActionPrefix, Observation
from trossen_pi0_core.errors import BackendError, JointError, ObservationError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.openpi import AlohaLayout

JOINTS = JointMap()
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def observation(joints=JOINTS, **images):
    state = np.arange(14.0) / 10
    return Observation(1, joints.urdf_names, state, images, prompt="grab the red cube")


def test_wide_picture_is_padded_above_and_below_and_stays_rgb():
    # 64x32: left half red, right half blue. In 64x64 it fills rows 16..47.
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, :32], picture[:, 32:] = RED, BLUE
    request = AlohaLayout(JOINTS, 64).request(observation(cam_high=picture))
    image = request["images"]["cam_high"]
    assert image.shape == (3, 64, 64)
    assert image.dtype == np.uint8
    assert image.flags["C_CONTIGUOUS"]
    assert not image[:, :16].any()
    assert not image[:, 48:].any()
    assert image[:, 16, 0].tolist() == list(RED)
    assert image[:, 47, 31].tolist() == list(RED)
    assert image[:, 32, 32].tolist() == list(BLUE)
    assert image[:, 32, 63].tolist() == list(BLUE)


def test_tall_picture_is_padded_left_and_right():
    picture = np.full((40, 20, 3), GREEN, np.uint8)
    image = AlohaLayout(JOINTS, 32).request(observation(cam_low=picture))["images"]["cam_low"]
    assert not image[:, :, :8].any()
    assert not image[:, :, 24:].any()
    assert image[:, 0, 8].tolist() == list(GREEN)
    assert image[:, 31, 23].tolist() == list(GREEN)


def test_camera_size_of_the_kit():
    picture = np.full((480, 640, 3), GREEN, np.uint8)
    image = AlohaLayout(JOINTS, 224).request(observation(cam_high=picture))["images"]["cam_high"]
    covered = np.flatnonzero(image[1].all(axis=1))
    assert (covered[0], covered[-1]) == (28, 195)


def test_pictures_may_stay_as_they_are():
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[5, 7] = RED
    image = AlohaLayout(JOINTS, None).request(observation(cam_high=picture))["images"]["cam_high"]
    assert image.shape == (3, 32, 64)
    assert image[:, 5, 7].tolist() == list(RED)
    assert np.shares_memory(image, picture)


def test_state_and_prompt():
    request = AlohaLayout(JOINTS, 32).request(observation())
    assert request["state"].dtype == np.float32
    np.testing.assert_allclose(request["state"], np.arange(14) / 10, rtol=1e-6)
    assert request["prompt"] == "grab the red cube"
    assert request["images"] == {}


def test_left_arm_comes_first_on_the_wire_and_answers_come_back_in_the_suites_order():
    joints = JointMap(("right", "left"), ("follower_right_", "follower_left_"))
    layout = AlohaLayout(joints, 32)
    state = layout.request(observation(joints))["state"]
    np.testing.assert_allclose(state[:7], np.arange(7, 14) / 10, rtol=1e-6)
    rows = layout.actions({"actions": np.arange(14.0)[None]})
    assert rows[0].tolist() == [7, 8, 9, 10, 11, 12, 13, 0, 1, 2, 3, 4, 5, 6]


def test_unknown_camera_is_refused():
    picture = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ObservationError, match=r"unknown cameras \['cam_top'\].*cam_high"):
        AlohaLayout(JOINTS, 32).request(observation(cam_top=picture))


def test_actions_become_float64_rows():
    rows = AlohaLayout(JOINTS, 32).actions({"actions": np.ones((50, 14), np.float32)})
    assert rows.dtype == np.float64
    assert rows.shape == (50, 14)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ({}, "'actions', got NoneType; its keys are \\[\\]"),
        ({"actions": [[0.0] * 14]}, "got list; its keys are \\['actions'\\]"),
        ({"actions": np.array([["a"] * 14])}, "numeric"),
        ({"actions": np.zeros(14)}, r"shape \(horizon >= 1, 14\), got \(14,\)"),
        ({"actions": np.zeros((0, 14))}, r"got \(0, 14\)"),
        ({"actions": np.zeros((50, 32))}, r"got \(50, 32\): is the server's policy"),
        ({"actions": np.zeros((50, 7))}, r"got \(50, 7\)"),
        ({"actions": np.zeros((1, 50, 14))}, r"got \(1, 50, 14\)"),
        (
            {"actions": np.array([[0.0] * 14, [0.0] * 13 + [np.nan]])},
            "finite, got nan for follower_right_left_carriage_joint in row 1",
        ),
        ({"actions": np.full((1, 14), np.inf)}, "got inf for follower_left_joint_0 in row 0"),
    ],
)
def test_answers_that_make_no_sense_are_refused(answer, says):
    with pytest.raises(BackendError, match=says):
        AlohaLayout(JOINTS, 32).actions(answer)


def test_a_prefix_is_sent_left_arm_first():
    other = JointMap(arms=("right", "left"), urdf_prefixes=("right_", "left_"))
    rows = np.arange(28, dtype=np.float64).reshape(2, 14)
    found = AlohaLayout(other, None).prefix(ActionPrefix(rows, 1), other.urdf_names)
    assert found["prefix"].tolist() == [
        [*range(7, 14), *range(7)],
        [*range(21, 28), *range(14, 21)],
    ]
    assert found["frozen"] == 1
    with pytest.raises(JointError, match="joints missing"):
        AlohaLayout(other, None).prefix(ActionPrefix(rows[:, :7], 1), other.urdf_names[:7])


def test_committed_rows_are_those_of_the_answer():
    layout, actions = AlohaLayout(JOINTS, None), np.zeros((5, 14), np.float32)
    assert layout.committed_rows({"actions": actions}) == 0
    assert layout.committed_rows({"actions": actions, "committed_rows": np.int64(5)}) == 5
    for wrong in (6, -1, 2.0, True, None, "2"):
        with pytest.raises(BackendError, match="must be a whole number from 0 to 5, its rows"):
            layout.committed_rows({"actions": actions, "committed_rows": wrong})
