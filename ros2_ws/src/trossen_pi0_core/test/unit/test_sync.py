"""Observations whose parts lie together, and what is said when they do not."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from trossen_pi0_core.errors import ImageError, JointError, ObservationError
from trossen_pi0_core.sync import ObservationAssembler, SyncTolerances

T0 = 1_700_000_000_000_000_000
MS = 1_000_000
CAMERAS = ("cam_high", "cam_low")
TOLERANCES = SyncTolerances(sync_ns=20 * MS, max_age_ns=300 * MS)


def picture(value: int = 0) -> NDArray[np.uint8]:
    return np.full((2, 2, 3), value, np.uint8)


class Streams:
    """An assembler that is fed in milliseconds from T0; a picture's value tells which it is."""

    def __init__(self, cameras: Sequence[str] = CAMERAS) -> None:
        self.assembler = ObservationAssembler(("a", "b"), cameras, TOLERANCES)

    def images(self, camera: str, *stamps_ms: float) -> None:
        for i, stamp in enumerate(stamps_ms):
            self.assembler.add_image(camera, T0 + round(stamp * MS), picture(i))

    def joints(self, *stamps_ms: float) -> None:
        for stamp in stamps_ms:
            self.assembler.add_joints(T0 + round(stamp * MS), ("b", "a"), (2.0, stamp))

    def missing(self, at_ms: float) -> list[str]:
        return self.assembler.missing(T0 + round(at_ms * MS))

    def stamps(self, at_ms: float) -> tuple[float, dict[str, float]]:
        """Of the observation [ms]: the joint state's and those of the pictures."""
        observation = self.assembler.assemble(T0 + round(at_ms * MS), "go")
        images = {c: (t - T0) / MS for c, t in observation.image_stamps_ns.items()}
        return (observation.stamp_ns - T0) / MS, images


def test_an_observation_has_named_joints_pictures_and_the_prompt() -> None:
    streams = Streams()
    streams.joints(10)
    streams.images("cam_high", 12)
    streams.images("cam_low", 9)
    observation = streams.assembler.assemble(T0 + 20 * MS, "grab the cube")
    assert observation.stamp_ns == T0 + 10 * MS
    assert observation.joint_names == ("a", "b")
    np.testing.assert_array_equal(observation.state, [10.0, 2.0])
    assert set(observation.images) == set(CAMERAS)
    assert observation.image_stamps_ns == {"cam_high": T0 + 12 * MS, "cam_low": T0 + 9 * MS}
    assert observation.prompt == "grab the cube"


def test_it_is_of_the_newest_instant_that_every_camera_has_reached() -> None:
    streams = Streams()
    streams.joints(*range(0, 101, 10))
    streams.images("cam_high", 0, 33, 66, 99)
    streams.images("cam_low", 2, 35, 68)
    # cam_low has reached 68; the joints nearest to it are of 70.
    assert streams.stamps(105) == (70.0, {"cam_high": 66.0, "cam_low": 68.0})


def test_the_picture_nearest_to_the_joint_state_is_taken_with_its_own_stamp() -> None:
    streams = Streams()
    streams.joints(50)
    streams.images("cam_high", 32, 49, 66)
    streams.images("cam_low", 34, 53, 68)
    observation = streams.assembler.assemble(T0 + 70 * MS, "")
    assert observation.images["cam_high"][0, 0, 0] == 1
    assert observation.images["cam_low"][0, 0, 0] == 1


def test_of_two_pictures_equally_near_the_older_is_taken() -> None:
    streams = Streams(("cam_high",))
    streams.joints(50)
    streams.images("cam_high", 40, 60)
    assert streams.stamps(60) == (50.0, {"cam_high": 40.0})


def test_without_cameras_it_is_of_the_newest_joint_state() -> None:
    streams = Streams(())
    streams.joints(10, 20, 30)
    assert streams.stamps(35) == (30.0, {})


def test_a_picture_beyond_the_tolerance_is_named_with_both_figures() -> None:
    streams = Streams()
    streams.joints(50)
    streams.images("cam_high", 30)
    streams.images("cam_low", 29)
    with pytest.raises(ObservationError) as caught:
        streams.stamps(60)
    assert str(caught.value) == (
        "cam_low: nearest picture lies 0.021 s from the joint state, allowed are 0.020 s"
    )


def test_everything_that_is_missing_is_named() -> None:
    streams = Streams()
    nothing = [
        "joint states: none received",
        "cam_high: no picture received",
        "cam_low: no picture received",
    ]
    assert streams.missing(0) == nothing
    assert streams.assembler.newest_joints() is None
    with pytest.raises(ObservationError) as caught:
        streams.stamps(0)
    assert str(caught.value) == "; ".join(nothing)
    streams.joints(0)
    streams.images("cam_high", 0)
    assert streams.missing(0) == ["cam_low: no picture received"]


def test_what_is_too_old_is_named_with_its_age() -> None:
    streams = Streams()
    streams.joints(100)
    streams.images("cam_high", 0)
    streams.images("cam_low", 100)
    assert streams.missing(300) == []
    assert streams.missing(301) == ["cam_high: newest picture is 0.30 s old"]
    assert streams.missing(430) == [
        "joint states: 0.33 s old",
        "cam_high: newest picture is 0.43 s old",
        "cam_low: newest picture is 0.33 s old",
    ]


def test_what_is_stamped_in_the_future_is_named() -> None:
    streams = Streams(("cam_high",))
    streams.joints(1000)
    streams.images("cam_high", 1000)
    assert streams.missing(600) == [
        "joint states: stamped 0.40 s in the future",
        "cam_high: newest picture is stamped 0.40 s in the future",
    ]
    assert streams.missing(700) == []


def test_repeats_and_latecomers_add_nothing() -> None:
    streams = Streams(("cam_high",))
    streams.joints(100, 100, 60)
    streams.images("cam_high", 100, 100, 60)
    newest = streams.assembler.newest_joints()
    assert newest is not None
    assert newest[0] == T0 + 100 * MS
    np.testing.assert_array_equal(newest[1], [100.0, 2.0])
    observation = streams.assembler.assemble(T0 + 100 * MS, "")
    assert observation.images["cam_high"][0, 0, 0] == 0


def test_a_clock_that_is_set_back_begins_anew() -> None:
    streams = Streams(("cam_high",))
    streams.joints(0, 10_000)
    streams.images("cam_high", 0, 10_000)
    streams.joints(5_000)
    streams.images("cam_high", 5_000)
    assert streams.missing(5_001) == []
    assert streams.stamps(5_001) == (5_000.0, {"cam_high": 5_000.0})


def test_a_single_stamp_far_in_the_future_does_no_harm() -> None:
    streams = Streams(("cam_high",))
    streams.joints(3_600_000, 10)
    streams.images("cam_high", 3_600_000, 10)
    assert streams.stamps(20) == (10.0, {"cam_high": 10.0})


def test_bad_input_is_refused_and_changes_nothing() -> None:
    streams = Streams()
    assembler = streams.assembler
    with pytest.raises(ObservationError, match=r"unknown camera 'top', expected one of \('cam_hi"):
        assembler.add_image("top", T0, picture())
    with pytest.raises(ImageError, match="cam_high: a picture must be uint8 of shape"):
        assembler.add_image("cam_high", T0, np.zeros((2, 2), np.uint8))
    with pytest.raises(JointError, match=r"joints missing: \['b'\]"):
        assembler.add_joints(T0, ("a",), (1.0,))
    with pytest.raises(JointError, match="2 joint names but values of shape"):
        assembler.add_joints(T0, ("a", "b"), ())
    with pytest.raises(ObservationError, match=r"joint positions are not finite: \['a'\]"):
        assembler.add_joints(T0, ("a", "b"), (math.nan, 0.0))
    assert len(streams.missing(0)) == 3


def test_the_camera_that_is_behind_is_named_and_not_the_others() -> None:
    streams = Streams()
    streams.joints(*range(0, 301, 10))
    streams.images("cam_low", 0)
    streams.images("cam_high", *range(0, 301, 30))  # the first ones are no longer kept
    with pytest.raises(ObservationError) as caught:
        streams.stamps(300)
    assert str(caught.value) == "cam_low: newest picture lies 0.300 s behind the others'"


def test_joint_states_that_are_behind_are_named_and_not_the_cameras() -> None:
    streams = Streams()
    streams.joints(0)
    streams.images("cam_high", 0, 30)
    streams.images("cam_low", 0, 30)
    with pytest.raises(ObservationError) as caught:
        streams.stamps(40)
    assert str(caught.value) == (
        "joint states: the newest lies 0.030 s behind the pictures, allowed are 0.020 s"
    )


@pytest.mark.parametrize(
    ("off_ms", "says"),
    [(-301, "stamped 0.30 s in the past"), (400, "stamped 0.40 s in the future")],
)
def test_a_stamp_far_from_the_present_is_refused(off_ms: int, says: str) -> None:
    assembler = Streams().assembler
    stamp = T0 + off_ms * MS
    with pytest.raises(ObservationError, match=says):
        assembler.add_image("cam_low", stamp, picture(), T0)
    with pytest.raises(ObservationError, match=says):
        assembler.add_joints(stamp, ("a", "b"), (1.0, 2.0), T0)
    assert assembler.newest_joints() is None
    assembler.add_joints(T0 + 300 * MS, ("a", "b"), (1.0, 2.0), T0)
    assert assembler.newest_joints() is not None
