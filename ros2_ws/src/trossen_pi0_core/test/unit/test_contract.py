"""What an observation and an action chunk must be."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from trossen_pi0_core.contract import CAMERAS, ActionChunk, ActionPrefix, Observation, check_image
from trossen_pi0_core.errors import ImageError, InvalidChunkError, ObservationError

PICTURE: NDArray[np.uint8] = np.zeros((4, 6, 3), np.uint8)


def make_chunk(**changes: Any) -> ActionChunk:
    values: dict[str, Any] = {
        "run_id": "run",
        "chunk_id": 1,
        "observation_stamp_ns": 0,
        "t_first_ns": 1000,
        "period_ns": 100,
        "joint_names": ("a", "b"),
        "positions": np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]),
    }
    return ActionChunk(**{**values, **changes})


def test_cameras_are_those_of_the_kit() -> None:
    assert CAMERAS == ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")


def test_a_chunk_knows_its_times() -> None:
    chunk = make_chunk()
    assert chunk.horizon == 3
    assert chunk.t_end_ns == 1300
    assert [chunk.covers(t) for t in (999, 1000, 1299, 1300)] == [False, True, True, False]


def test_a_chunk_keeps_its_own_read_only_copy() -> None:
    rows = np.array([[0, 1]], dtype=np.float32)
    chunk = make_chunk(positions=rows)
    rows[0, 0] = 9
    assert chunk.positions.dtype == np.float64
    np.testing.assert_array_equal(chunk.positions, [[0.0, 1.0]])
    with pytest.raises(ValueError, match="read-only"):
        chunk.positions[0, 0] = 1.0


def test_joint_names_may_be_given_as_a_list() -> None:
    assert make_chunk(joint_names=["a", "b"]).joint_names == ("a", "b")


@pytest.mark.parametrize("last", [True, False])
def test_a_chunk_may_be_without_rows(last: bool) -> None:
    chunk = make_chunk(positions=np.empty((0, 2)), last=last, reason="no picture")
    assert chunk.horizon == 0
    assert chunk.t_hold_ns == chunk.t_first_ns


def test_the_arms_hold_after_the_rows_that_shall_be_executed() -> None:
    chunk = make_chunk(execute_rows=2)
    assert chunk.t_hold_ns == chunk.t_first_ns + 2 * chunk.period_ns
    assert make_chunk().t_hold_ns == make_chunk().t_end_ns


def test_a_prefix_keeps_its_own_rows() -> None:
    rows = np.zeros((3, 2))
    prefix = ActionPrefix(rows, 2)
    rows[0] = 1.0
    assert prefix.positions[0, 0] == 0.0


@pytest.mark.parametrize(
    ("positions", "frozen", "message"),
    [
        (np.zeros((3, 2)), 4, r"frozen must lie in 0\.\.3, the rows of the prefix, got 4"),
        (np.zeros((3, 2)), -1, r"frozen must lie in 0\.\.3"),
        (np.zeros((0, 2)), 0, r"shape \(rows >= 1, joints\), got \(0, 2\)"),
        (np.full((3, 2), math.nan), 0, "a prefix must be finite"),
    ],
)
def test_a_malformed_prefix_is_refused(positions: Any, frozen: int, message: str) -> None:
    with pytest.raises(ObservationError, match=message):
        ActionPrefix(positions, frozen)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run_id": ""}, "needs the id of its run, got an empty one"),
        ({"period_ns": 0}, "period must be greater than 0 ns, got 0"),
        ({"period_ns": -5}, "period must be greater than 0 ns, got -5"),
        ({"joint_names": ("a", "a")}, r"joints must be named once each, got \['a', 'a'\]"),
        ({"joint_names": ()}, r"joints must be named once each, got \[\]"),
        ({"positions": np.zeros((3, 3))}, r"shape \(horizon, 2\), got \(3, 3\)"),
        ({"positions": np.zeros(2)}, r"shape \(horizon, 2\), got \(2,\)"),
        ({"positions": np.zeros((1, 1, 2))}, r"shape \(horizon, 2\), got \(1, 1, 2\)"),
        ({"execute_rows": 4}, r"execute_rows must lie in 0\.\.3, the rows of the chunk, got 4"),
        ({"committed_rows": -1}, r"committed_rows must lie in 0\.\.3"),
        ({"positions": [[1.0, 2.0], [3.0]]}, "positions must be rows of numbers"),
        ({"positions": [["x", "y"]]}, "positions must be rows of numbers"),
        ({"positions": [[0.0, 0.0], [0.0, math.nan]]}, "got nan for b in row 1"),
        ({"positions": [[-math.inf, 0.0]]}, "got -inf for a in row 0"),
        ({"positions": [[0.0, 1e308]]}, r"within \+-1e\+06, got 1e\+308 for b in row 0"),
    ],
)
def test_a_malformed_chunk_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidChunkError, match=message):
        make_chunk(**changes)


def test_an_observation_names_joints_that_are_not_finite() -> None:
    with pytest.raises(ObservationError, match=r"not finite: \['b'\]"):
        Observation(0, ("a", "b"), np.array([0.0, math.nan]), {})


def test_an_observation_has_one_value_a_joint() -> None:
    with pytest.raises(ObservationError, match=r"state has shape \(3,\), 2 joints are named"):
        Observation(0, ("a", "b"), np.zeros(3), {})


def test_an_observation_takes_any_size_of_picture() -> None:
    observation = Observation(5, ("a",), np.zeros(1), {"cam_high": PICTURE}, {"cam_high": 4}, "go")
    assert observation.images["cam_high"] is PICTURE
    assert observation.prompt == "go"


@pytest.mark.parametrize(
    ("image", "given"),
    [
        (np.zeros((4, 6, 3), np.float32), r"float32 \(4, 6, 3\)"),
        (np.zeros((3, 4, 6), np.uint8), r"uint8 \(3, 4, 6\)"),
        (np.zeros((4, 6), np.uint8), r"uint8 \(4, 6\)"),
        (np.zeros((4, 6, 4), np.uint8), r"uint8 \(4, 6, 4\)"),
        (np.zeros((0, 6, 3), np.uint8), r"uint8 \(0, 6, 3\)"),
    ],
)
def test_a_picture_must_be_rgb8(image: Any, given: str) -> None:
    message = rf"cam_low: a picture must be uint8 of shape \(height, width, 3\), got {given}"
    with pytest.raises(ImageError, match=message):
        check_image(image, "cam_low")
    with pytest.raises(ImageError, match=message):
        Observation(0, ("a",), np.zeros(1), {"cam_low": image})
