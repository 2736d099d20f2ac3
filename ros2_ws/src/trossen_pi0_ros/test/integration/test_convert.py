"""Messages to the contract's types and back."""

from __future__ import annotations

import array
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Duration, Time
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import Image, JointState

from trossen_pi0_core.contract import ActionChunk, Execution
from trossen_pi0_core.errors import ImageError, InvalidChunkError
from trossen_pi0_msgs.msg import ActionChunk as ActionChunkMsg
from trossen_pi0_ros.convert import (
    chunk_from_msg,
    chunk_to_msg,
    duration_msg,
    image_to_rgb,
    joint_state_msg,
    time_msg,
    time_ns,
)

T0 = 1_700_000_000_123_456_789
MS = 1_000_000


@pytest.mark.parametrize(
    ("stamp_ns", "sec", "nanosec"),
    [(0, 0, 0), (T0, 1_700_000_000, 123_456_789), (-1, -1, 999_999_999), (10**9, 1, 0)],
)
def test_times_go_there_and_back(stamp_ns: int, sec: int, nanosec: int) -> None:
    assert time_msg(stamp_ns) == Time(sec=sec, nanosec=nanosec)
    assert duration_msg(stamp_ns) == Duration(sec=sec, nanosec=nanosec)
    assert time_ns(time_msg(stamp_ns)) == stamp_ns
    assert time_ns(duration_msg(stamp_ns)) == stamp_ns


# Pictures ----------------------------------------------------------------------------------------

# Two rows of three pixels: red, green, blue; white, black, (1, 2, 3).
RGB = np.array(
    [[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[255, 255, 255], [0, 0, 0], [1, 2, 3]]], np.uint8
)


def image(pixels: NDArray[np.uint8], encoding: str, padding: int = 0, **changes: Any) -> Image:
    """A message of pixels in the encoding's own order, each row followed by padding."""
    height, width, channels = pixels.shape
    rows = np.full((height, width * channels + padding), 77, np.uint8)
    rows[:, : width * channels] = pixels.reshape(height, -1)
    message = Image(
        height=height,
        width=width,
        encoding=encoding,
        step=width * channels + padding,
        data=array.array("B", rows.tobytes()),
    )
    for name, value in changes.items():
        setattr(message, name, value)
    return message


ALPHA = np.full((2, 3, 1), 9, np.uint8)
ENCODED = {
    "rgb8": RGB,
    "bgr8": RGB[..., ::-1],
    "rgba8": np.concatenate([RGB, ALPHA], axis=-1),
    "bgra8": np.concatenate([RGB[..., ::-1], ALPHA], axis=-1),
}


@pytest.mark.parametrize("big_endian", [0, 1])
@pytest.mark.parametrize("padding", [0, 1, 3, 64])
@pytest.mark.parametrize("encoding", list(ENCODED))
def test_each_colour_encoding_becomes_rgb(encoding: str, padding: int, big_endian: int) -> None:
    message = image(ENCODED[encoding], encoding, padding, is_bigendian=big_endian)
    result = image_to_rgb(message)
    np.testing.assert_array_equal(result, RGB)
    assert result.dtype == np.uint8
    assert result.flags.c_contiguous


def test_a_picture_that_has_been_sent_is_the_same() -> None:
    sent = deserialize_message(serialize_message(image(RGB, "rgb8")), Image)
    np.testing.assert_array_equal(image_to_rgb(sent), RGB)


def test_rgb_without_padding_is_not_copied() -> None:
    message = image(RGB, "rgb8")
    result = image_to_rgb(message)
    assert np.shares_memory(result, np.frombuffer(message.data, np.uint8))


@pytest.mark.parametrize("encoding", ["mono8", "16UC1", "yuv422_yuy2", "", "RGB8"])
def test_other_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(ImageError) as caught:
        image_to_rgb(image(RGB, encoding))
    assert str(caught.value) == (
        f"encoding {encoding!r} is not one of ['rgb8', 'bgr8', 'rgba8', 'bgra8']; "
        "is this the colour topic?"
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"data": array.array("B", [])},
        {"data": array.array("B", [0] * 17)},
        {"data": array.array("B", [0] * 19)},
        {"step": 8},
        {"step": 0, "data": array.array("B", [])},
        {"height": 0, "data": array.array("B", [])},
        {"width": 0},
        {"width": 4},
        {"height": 3},
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ImageError, match=r"picture in rgb8 has pixels, a step of at least \d+ and"):
        image_to_rgb(image(RGB, "rgb8", **changes))


def test_the_refusal_gives_the_figures() -> None:
    with pytest.raises(ImageError) as caught:
        image_to_rgb(image(RGB, "rgb8", step=8))
    assert str(caught.value) == (
        "a 3x2 picture in rgb8 has pixels, a step of at least 9 and 2 steps of data, "
        "got step 8 and 18 bytes"
    )


# Chunks ------------------------------------------------------------------------------------------


def chunk(**changes: Any) -> ActionChunk:
    values: dict[str, Any] = {
        "run_id": "run",
        "chunk_id": 2**40,
        "observation_stamp_ns": T0,
        "t_first_ns": T0 + 50 * MS,
        "period_ns": 33_333_333,
        "joint_names": ("a", "b"),
        "positions": np.array([[0.1, -0.2], [0.3, 1e-17], [0.5, 3.0]]),
    }
    return ActionChunk(**{**values, **changes})


@pytest.mark.parametrize(
    "original",
    [
        chunk(),
        chunk(last=True),
        chunk(positions=np.empty((0, 2)), reason="no picture"),
        chunk(execution=Execution.BLOCKING, execute_rows=2),
        chunk(execution=Execution.RTC, committed_rows=3),
    ],
    ids=["rows", "last", "no rows", "blocking", "rtc"],
)
def test_a_chunk_goes_over_the_wire_and_back(original: ActionChunk) -> None:
    message = chunk_to_msg(original, T0 + 99 * MS)
    wired = deserialize_message(serialize_message(message), ActionChunkMsg)
    assert time_ns(wired.header.stamp) == T0 + 99 * MS
    result = chunk_from_msg(wired)
    np.testing.assert_array_equal(result.positions, original.positions)
    assert result.positions.shape == original.positions.shape
    for name in (
        "run_id",
        "chunk_id",
        "observation_stamp_ns",
        "t_first_ns",
        "period_ns",
        "joint_names",
        "last",
        "execution",
        "execute_rows",
        "committed_rows",
        "reason",
    ):
        assert getattr(result, name) == getattr(original, name), name


def test_positions_are_row_major() -> None:
    message = chunk_to_msg(chunk(positions=[[1.0, 2.0], [3.0, 4.0]]), T0)
    assert list(message.positions) == [1.0, 2.0, 3.0, 4.0]
    assert message.horizon == 2


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"horizon": 4}, "4 rows of 2 joints need 8 positions, got 6"),
        ({"positions": array.array("d", [1.0])}, "3 rows of 2 joints need 6 positions, got 1"),
        ({"joint_names": ["a", "a"]}, "joints must be named once each"),
        (
            {"joint_names": [], "positions": array.array("d")},
            r"joints must be named once each, got \[\]",
        ),
        ({"run_id": ""}, "needs the id of its run"),
        ({"period": Duration()}, "period must be greater than 0 ns, got 0"),
        ({"period": Duration(sec=-1)}, "period must be greater than 0 ns, got -1000000000"),
        ({"execution": 3}, r"execution must be one of \[0, 1, 2\], got 3"),
        ({"execute_rows": 4}, r"execute_rows must lie in 0\.\.3"),
        (
            {"positions": array.array("d", [0.0, 0.0, 0.0, float("nan"), 0.0, 0.0])},
            "got nan for b in row 1",
        ),
    ],
)
def test_a_malformed_message_is_refused(changes: dict[str, Any], text: str) -> None:
    message = chunk_to_msg(chunk(), T0)
    for name, value in changes.items():
        setattr(message, name, value)
    with pytest.raises(InvalidChunkError, match=text):
        chunk_from_msg(message)


# Joint states ------------------------------------------------------------------------------------


def test_a_joint_state_has_names_stamp_and_what_is_known() -> None:
    state = joint_state_msg(T0, ("a", "b"), np.array([1.0, 2.0]), np.array([3.0, 4.0]))
    wired = deserialize_message(serialize_message(state), JointState)
    assert time_ns(wired.header.stamp) == T0
    assert list(wired.name) == ["a", "b"]
    assert list(wired.position) == [1.0, 2.0]
    assert list(wired.velocity) == [3.0, 4.0]
    assert list(wired.effort) == []
    full = joint_state_msg(T0, ("a",), np.ones(1), np.ones(1), np.array([5.0]))
    assert list(full.effort) == [5.0]


def test_a_joint_state_of_a_slice_is_of_its_values() -> None:
    positions = np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])[:, 1]
    assert list(joint_state_msg(T0, "abc", positions).position) == [1.0, 3.0, 5.0]
