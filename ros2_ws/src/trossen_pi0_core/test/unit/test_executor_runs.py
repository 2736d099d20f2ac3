"""Runs of the motion executor: start, execution, starvation and end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import ArrayLike

from trossen_pi0_core.errors import JointError
from trossen_pi0_core.executor import State

if TYPE_CHECKING:
    from .conftest import Rig

T0 = 1_700_000_000_000_000_000
MS = 1_000_000
SECOND = 1000 * MS


# Beginning ---------------------------------------------------------------------------------------


def test_it_begins_holding_at_the_measured_pose(make_rig: type[Rig]) -> None:
    rig = make_rig((0.3, -0.2))
    command = rig.tick(5)
    np.testing.assert_array_equal(command.positions, [0.3, -0.2])
    np.testing.assert_array_equal(command.velocities, [0.0, 0.0])
    assert command.state == State.HOLDING
    assert command.active
    assert (rig.executor.run_id, rig.executor.chunk, rig.executor.move) == ("", None, None)


def test_a_pose_barely_outside_the_limits_is_held_at_the_limit(make_rig: type[Rig]) -> None:
    assert make_rig((1.03, 0.0)).tick().positions[0] == 1.0


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        ((math.nan, 0.0), "need 2 finite measured positions"),
        ((0.0,), "need 2 finite measured positions"),
        # One tick of 20 ms at 2 rad/s is 0.04 rad.
        ((0.0, -1.05), r"measured b: -1.0500 lies outside \[-1.0000, 1.0000\]; move it by hand"),
    ],
)
def test_a_pose_that_cannot_be_held_is_refused(
    make_rig: type[Rig], measured: ArrayLike, message: str
) -> None:
    with pytest.raises(JointError, match=message):
        make_rig(measured)


# Start of a run ----------------------------------------------------------------------------------


def test_a_run_that_begins_nearby_is_executed_at_once(rig: Rig) -> None:
    rig.submit([[0.05, 0.0]] * 10)
    assert rig.state == State.EXECUTING
    assert rig.executor.run_id == "run"
    assert rig.executor.chunk is not None
    assert rig.tick(15).positions[0] == pytest.approx(0.05)


def test_a_run_that_begins_far_away_ramps_and_then_waits_for_a_fresh_chunk(rig: Rig) -> None:
    rig.submit([[0.5, 0.0]] * 10)
    assert rig.state == State.RAMPING
    assert rig.executor.reason == "moving to the first row of the run"
    rig.refused("the arms are moving to the start of the run")
    rig.until(State.HOLDING)
    # 0.5 rad at 1 rad/s with the quintic's peak take 0.9375 s.
    assert rig.now - T0 == 940 * MS
    np.testing.assert_allclose(rig.executor.command, [0.5, 0.0])
    assert "waiting for a fresh chunk" in rig.executor.reason
    assert rig.executor.chunk is None
    arrived = rig.now
    rig.tick(5)
    np.testing.assert_allclose(rig.executor.command, [0.5, 0.0])
    rig.refused(
        "its observation is from before the start of the motion",
        observation_stamp_ns=arrived - 1,
    )
    rig.submit([[0.52, 0.0]] * 10, observation_stamp_ns=arrived)
    assert rig.state == State.EXECUTING
    assert rig.tick(15).positions[0] == pytest.approx(0.52)


def test_the_ramp_goes_to_the_row_that_is_in_force_inside_the_limits(rig: Rig) -> None:
    rows = [[0.0, 0.0], [0.5, 0.0], [-3.0, 0.0], [0.9, 0.0]]
    rig.submit(rows, t_first_ns=rig.now - 50 * MS)
    assert rig.state == State.RAMPING
    rig.until(State.HOLDING)
    np.testing.assert_allclose(rig.executor.command, [-1.0, 0.0])


def test_a_first_row_beyond_a_limit_counts_as_being_at_the_limit(make_rig: type[Rig]) -> None:
    rig = make_rig((0.95, 0.0))
    rig.submit([[5.0, 0.0]] * 10)
    assert rig.state == State.EXECUTING


def test_a_run_ramps_only_once(rig: Rig) -> None:
    rig.submit([[0.5, 0.0]] * 10)
    rig.until(State.HOLDING)
    rig.submit([[0.7, 0.0]] * 10)
    assert rig.state == State.EXECUTING


def test_a_run_whose_first_chunk_begins_later_waits_for_it(rig: Rig) -> None:
    rig.submit([[0.05, 0.0]] * 10, t_first_ns=rig.now + 30 * MS)
    assert rig.tick(2).positions[0] == 0.0
    assert rig.state == State.EXECUTING
    assert rig.tick(15).positions[0] == pytest.approx(0.05)
    assert rig.executor.counters.starvations == 0


def test_a_run_whose_policy_falls_silent_after_the_ramp_is_starved(rig: Rig) -> None:
    rig.submit([[0.5, 0.0]] * 10)
    rig.until(State.HOLDING)
    rig.tick(100)
    assert rig.state == State.HOLDING
    rig.tick(2)
    assert rig.state == State.STARVED
    assert rig.executor.counters.starvations == 1
    rig.submit([[0.5, 0.0]] * 10)
    assert rig.state == State.EXECUTING


# Execution ---------------------------------------------------------------------------------------


def test_rows_are_commanded_at_their_times(rig: Rig) -> None:
    rig.submit([[0.0, 0.0], [0.02, -0.01], [0.04, -0.02], [0.06, -0.03]])
    rig.tick(3)
    command = rig.tick()
    np.testing.assert_allclose(command.positions, [0.04, -0.02], atol=1e-12)
    np.testing.assert_allclose(command.velocities, [1.0, -0.5], atol=1e-9)


def test_a_newer_chunk_takes_over_across_the_blend(make_rig: type[Rig]) -> None:
    rig = make_rig(blend_ms=40)
    rig.submit([[0.0, 0.0]] * 20)
    rig.tick()
    rig.submit([[0.02, 0.0]] * 20)
    assert rig.tick(2).positions[0] == pytest.approx(0.01)
    assert rig.tick(2).positions[0] == pytest.approx(0.02)
    assert rig.executor.counters.chunks_accepted == 2


def test_ids_must_increase_within_a_run(rig: Rig) -> None:
    rig.submit(chunk_id=5)
    rig.refused("ids must increase within a run, the last was 5", chunk_id=5)
    rig.refused("ids must increase within a run, the last was 5", chunk_id=4)
    rig.submit(chunk_id=9)
    rig.refused("ids must increase within a run, the last was 9", chunk_id=8)


def test_a_chunk_for_other_joints_is_refused(rig: Rig) -> None:
    rig.refused(
        r"it is for the joints \['b', 'a'\], this controller has \['a', 'b'\]",
        joint_names=("b", "a"),
    )
    assert rig.state == State.HOLDING
    assert rig.executor.run_id == ""


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ({"observation_stamp_ns": -1001}, r"its observation is 1.00 s old, allowed are 1.00 s"),
        (
            {"observation_stamp_ns": 101},
            "its observation is stamped 0.10 s in the future, allowed are 0.10 s",
        ),
        ({"t_first_ns": -200}, r"all its rows are past, by 0.000 s"),
        ({"t_first_ns": -250}, r"all its rows are past, by 0.050 s"),
        ({"t_first_ns": 1500}, "it begins 1.50 s in the future"),
    ],
)
def test_a_chunk_out_of_time_is_refused(rig: Rig, times: dict[str, int], message: str) -> None:
    rig.refused(message, **{name: T0 + value * MS for name, value in times.items()})
    assert rig.executor.run_id == ""


def test_starved_arms_hold_and_go_on_with_the_next_chunk(rig: Rig) -> None:
    rig.submit([[0.0, 0.0], [0.02, 0.0]])
    rig.tick(3)
    assert rig.state == State.EXECUTING
    command = rig.tick()
    assert command.state == State.STARVED
    assert rig.executor.reason == "no chunk covers the present"
    assert rig.executor.run_id == "run"
    np.testing.assert_allclose(rig.tick(50).positions, [0.02, 0.0])
    assert rig.executor.counters.starvations == 1
    rig.submit([[0.03, 0.0]] * 2)
    assert rig.state == State.EXECUTING
    assert rig.executor.reason == ""
    rig.tick(4)
    assert rig.state == State.STARVED
    assert rig.executor.counters.starvations == 2
    np.testing.assert_allclose(rig.executor.command, [0.03, 0.0])


def test_a_starved_run_is_resumed_without_a_ramp(rig: Rig) -> None:
    rig.submit([[0.0, 0.0]] * 2)
    rig.until(State.STARVED)
    rig.submit([[0.5, 0.0]] * 10)
    assert rig.state == State.EXECUTING
    assert rig.tick().positions[0] == pytest.approx(0.02)  # 2 rad/s


def test_another_run_is_refused_while_one_is_under_way(rig: Rig) -> None:
    rig.submit()
    rig.tick()
    rig.refused("policy run run is under way", run_id="next")
    assert (rig.state, rig.executor.run_id) == (State.EXECUTING, "run")


def test_another_run_takes_the_place_of_a_starved_one(rig: Rig) -> None:
    rig.submit()
    rig.until(State.STARVED)
    rig.submit(run_id="next", chunk_id=1)
    assert rig.state == State.EXECUTING
    assert rig.executor.run_id == "next"
    rig.refused("run run has ended")


def test_another_run_takes_the_place_of_one_that_is_played_out(rig: Rig) -> None:
    rig.submit(last=True)
    rig.tick()
    rig.submit([[0.9, 0.0]] * 10, run_id="next", chunk_id=1)
    assert rig.state == State.RAMPING
    assert rig.executor.run_id == "next"


# End of a run ------------------------------------------------------------------------------------


def test_the_last_chunk_is_played_out(rig: Rig) -> None:
    rig.submit([[0.0, 0.0], [0.02, 0.0]], last=True)
    rig.tick(3)
    assert rig.state == State.EXECUTING
    command = rig.tick()
    assert command.state == State.HOLDING
    assert rig.executor.reason == "the run has ended"
    assert rig.executor.run_id == ""
    assert rig.executor.counters.starvations == 0
    np.testing.assert_allclose(rig.tick(5).positions, [0.02, 0.0])
    rig.refused("run run has ended")


def test_nothing_but_a_stop_comes_after_the_last_chunk(rig: Rig) -> None:
    rig.submit(last=True)
    rig.refused("chunk 1 was the last of its run")
    rig.last()
    assert rig.state == State.HOLDING


def test_a_last_chunk_without_rows_stops_the_run(gentle_rig: Rig) -> None:
    rig = gentle_rig
    rig.submit([[0.02 * i, 0.0] for i in range(10)])
    moving = rig.tick(5)
    rig.last()
    assert rig.state == State.HOLDING
    assert rig.executor.run_id == ""
    rest = rig.tick(30)
    np.testing.assert_array_equal(rest.velocities, [0.0, 0.0])
    way = moving.velocities[0] ** 2 / 20.0  # v^2 / 2a
    assert way > 0.01
    assert rest.positions[0] == pytest.approx(moving.positions[0] + way, abs=1e-9)
    rig.refused("run run has ended")


def test_a_stop_is_taken_however_old_it_is(rig: Rig) -> None:
    rig.submit()
    rig.last(observation_stamp_ns=0, t_first_ns=0)
    assert rig.executor.run_id == ""


def test_a_stop_is_taken_during_the_ramp(rig: Rig) -> None:
    rig.submit([[0.5, 0.0]] * 10)
    rig.tick(30)
    rig.last()
    assert rig.state == State.HOLDING
    assert rig.executor.run_id == ""
    rest = rig.tick(50).positions
    assert 0.0 < rest[0] < 0.3
    rig.move()


def test_a_stop_of_another_run_leaves_the_run_in_force(rig: Rig) -> None:
    rig.submit()
    rig.last(run_id="never begun")
    assert rig.state == State.EXECUTING
    assert rig.executor.run_id == "run"
    rig.refused("run never begun has ended", run_id="never begun", chunk_id=99)


def test_a_run_that_is_over_before_its_ramp_ends_with_the_ramp(rig: Rig) -> None:
    rig.submit([[0.5, 0.0]] * 10, last=True)
    rig.until(State.HOLDING)
    rig.tick()
    assert rig.executor.run_id == ""
    assert rig.executor.reason == "the run has ended"


def test_a_last_chunk_that_comes_during_the_ramp_ends_the_run_after_it(rig: Rig) -> None:
    rig.submit([[0.5, 0.0]] * 10)
    rig.refused("the arms are moving to the start of the run", last=True)
    rig.until(State.HOLDING)
    rig.tick()
    assert rig.executor.run_id == ""


@pytest.mark.parametrize("starved", [False, True])
def test_a_last_chunk_that_comes_too_late_ends_the_run_all_the_same(
    rig: Rig, starved: bool
) -> None:
    rig.submit([[0.0, 0.0]] * 3)
    if starved:
        rig.until(State.STARVED)
    rig.refused("all its rows are past", last=True, t_first_ns=rig.now - SECOND)
    rig.tick(7)
    assert rig.state == State.HOLDING
    assert rig.executor.run_id == ""
    assert rig.executor.counters.starvations == int(starved)
