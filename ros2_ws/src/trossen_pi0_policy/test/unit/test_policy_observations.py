"""Inputs, why they are refused, and which changes are logged."""

from __future__ import annotations

import numpy as np
import pytest

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.errors import ObservationError
from trossen_pi0_core.sync import SyncTolerances
from trossen_pi0_policy.changes import ChangeLog
from trossen_pi0_policy.observations import ObservationBuffer
from trossen_pi0_policy.state import PolicyState

S = NANOSECONDS
NOW = 50 * S
PICTURE = np.zeros((4, 4, 3), np.uint8)


def buffer():
    tolerances = SyncTolerances(S // 20, S // 2)
    return ObservationBuffer(("a", "b"), ("cam_high", "cam_low"), tolerances)


def fill(inputs, stamp=NOW):
    inputs.add_joints(stamp, ("b", "x", "a"), (2.0, 9.0, 1.0))
    inputs.add_image("cam_high", stamp, PICTURE)
    inputs.add_image("cam_low", stamp, PICTURE)


def test_complete_inputs_make_an_observation():
    inputs = buffer()
    fill(inputs)
    observation = inputs.assemble(NOW, "pick")
    assert observation.state.tolist() == [1.0, 2.0]
    assert observation.images["cam_low"] is PICTURE
    assert observation.prompt == "pick"
    assert inputs.missing(NOW) == []
    assert inputs.images_received == 2
    assert inputs.newest_joints_age_ns(NOW + 5) == 5


def test_what_is_missing_is_named():
    inputs = buffer()
    assert inputs.newest_joints_age_ns(NOW) is None
    inputs.add_image("cam_low", NOW - S, PICTURE)
    assert inputs.missing(NOW) == [
        "joint states: none received",
        "cam_high: no picture received",
        "cam_low: newest picture is 1.00 s old",
    ]
    with pytest.raises(ObservationError, match="cam_high: no picture received"):
        inputs.assemble(NOW, "")


def test_why_an_input_is_refused_is_told_until_a_good_one_comes():
    inputs = buffer()
    inputs.refuse("cam_high", "encoding 'mono8' is not one of [...]")
    inputs.add_image("cam_low", NOW, np.zeros((4, 4), np.uint8))
    inputs.add_joints(NOW, ("a", "c"), (1.0, 2.0))
    joints, high, low = inputs.missing(NOW)
    assert joints.startswith("joint states: none received; refused: joints missing: ['b']")
    assert high == "cam_high: no picture received; refused: encoding 'mono8' is not one of [...]"
    assert "must be uint8 of shape (height, width, 3)" in low
    assert inputs.images_received == 0
    fill(inputs)
    assert inputs.missing(NOW) == []
    assert inputs.missing(NOW + S)[1] == "cam_high: newest picture is 1.00 s old"


def test_not_finite_joints_are_refused():
    inputs = buffer()
    inputs.add_joints(NOW, ("a", "b"), (1.0, float("nan")))
    assert "not finite: ['b']" in inputs.missing(NOW)[0]


def test_cleared_inputs_are_gone():
    inputs = buffer()
    fill(inputs)
    inputs.clear()
    assert len(inputs.missing(NOW)) == 3
    assert inputs.images_received == 0


def test_new_tolerances_count_at_once():
    inputs = buffer()
    fill(inputs, NOW - S)
    assert inputs.missing(NOW)
    inputs.set_tolerances(SyncTolerances(S // 20, 2 * S))
    assert inputs.missing(NOW) == []


@pytest.mark.parametrize(
    ("off", "says"), [(-10, "10.00 s in the past"), (3600, "3600.00 s in the future")]
)
def test_a_bad_stamp_is_refused_and_the_good_inputs_stay(off, says):
    inputs = buffer()
    fill(inputs)
    inputs.add_image("cam_high", NOW + off * S, PICTURE, NOW)
    inputs.add_joints(NOW + off * S, ("a", "b"), (7.0, 7.0), NOW)
    assert inputs.missing(NOW) == []
    assert inputs.assemble(NOW, "").state.tolist() == [1.0, 2.0]
    assert inputs.missing(NOW + S)[1] == (
        f"cam_high: newest picture is 1.00 s old; refused: stamped {says}"
    )


def test_a_stamp_within_the_age_limit_is_taken():
    inputs = buffer()
    inputs.add_image("cam_high", NOW - S // 2, PICTURE, NOW)
    inputs.add_image("cam_low", NOW + S // 2, PICTURE, NOW)
    assert inputs.images_received == 2


def test_forgotten_inputs_are_gone_and_stay_counted():
    inputs = buffer()
    fill(inputs)
    inputs.forget()
    assert len(inputs.missing(NOW)) == 3
    assert inputs.images_received == 2
    fill(inputs, NOW - 10 * S)
    assert inputs.missing(NOW - 10 * S) == []


def test_only_changes_are_logged():
    log = ChangeLog()
    assert log.lines(PolicyState.IDLE, "", [], 0) == []
    running = log.lines(PolicyState.RUNNING, "", [], 1)
    assert running == [(False, "RUNNING")]
    assert log.lines(PolicyState.RUNNING, "", [], 2) == []
    stalled = log.lines(PolicyState.STALLED, "no server", [], 3)
    assert stalled == [(True, "STALLED: no server")]
    assert log.lines(PolicyState.STALLED, "no server", [], 4) == []


def test_ages_of_missing_inputs_make_no_lines():
    log = ChangeLog()
    lines = []
    for k in range(100):
        missing = [f"cam_high: newest picture is {k}.00 s old"]
        lines += log.lines(PolicyState.STALLED, missing[0], missing, k * S // 10)
    assert lines == [
        (True, "STALLED: cam_high: newest picture is 0.00 s old"),
        (True, "inputs are missing: cam_high: newest picture is 10.00 s old"),
    ]
    back = [line for k in range(100, 130) for line in log.lines(PolicyState.RUNNING, "", [], k * S)]
    assert back == [(False, "RUNNING"), (False, "all inputs are there")]


def test_missing_inputs_are_bad_news_only_during_a_run():
    log = ChangeLog()
    log.lines(PolicyState.IDLE, "", ["cam_high: none"], 0)
    idle = log.lines(PolicyState.IDLE, "", ["cam_high: none"], S)
    assert idle == [(False, "inputs are missing: cam_high: none")]


def test_inputs_that_are_missing_for_a_moment_make_no_lines():
    log = ChangeLog()
    assert log.lines(PolicyState.IDLE, "", ["cam_high: none"], 0) == []
    assert log.lines(PolicyState.IDLE, "", [], S // 2) == []
    assert log.lines(PolicyState.IDLE, "", [], 5 * S) == []
