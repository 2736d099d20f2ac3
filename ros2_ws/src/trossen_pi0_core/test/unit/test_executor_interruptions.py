"""Pauses, interruptions, holds by plan, chunks that get too old, and faults with a way to rest."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from trossen_pi0_core.contract import Execution
from trossen_pi0_core.executor import State

if TYPE_CHECKING:
    from .conftest import Rig

MS = 1_000_000
SECOND = 1000 * MS
NO_ROWS = np.empty((0, 2))
MOVING = [[0.01 * i, 0.0] for i in range(40)]  # 0.5 rad/s


# Pauses ------------------------------------------------------------------------------------------


def test_a_pause_brings_the_arms_to_rest_and_the_run_goes_on_with_the_next_chunk(
    gentle_rig: Rig,
) -> None:
    rig = gentle_rig
    rig.submit(MOVING)
    moving = rig.tick(20)
    assert moving.velocities[0] > 0.4
    rig.submit(NO_ROWS, reason="cam_high: no picture for 0.3 s")
    assert (rig.state, rig.executor.run_id) == (State.STARVED, "run")
    assert rig.executor.reason == "the policy pauses: cam_high: no picture for 0.3 s"
    rest = rig.tick(8)
    np.testing.assert_array_equal(rest.velocities, [0.0, 0.0])
    assert rest.positions[0] - moving.positions[0] == pytest.approx(0.5**2 / 20, abs=3e-3)
    assert rig.state == State.STARVED
    counters = rig.executor.counters
    assert (counters.pauses, counters.starvations) == (1, 0)
    rig.submit(np.repeat([rest.positions], 10, axis=0))
    assert (rig.state, rig.executor.reason) == (State.EXECUTING, "")


def test_a_pause_ends_the_way_to_the_first_row_which_is_begun_anew_afterwards(rig: Rig) -> None:
    rig.submit([[0.5, 0.0]] * 10)
    rig.tick(30)
    rig.submit(NO_ROWS)
    assert rig.executor.reason == "the policy pauses"
    rest = rig.tick(50)
    assert 0.05 < rest.positions[0] < 0.45
    rig.submit([[0.5, 0.0]] * 10)
    assert rig.state == State.RAMPING
    rig.until(State.HOLDING)
    np.testing.assert_allclose(rig.executor.command, [0.5, 0.0])


def test_a_pause_of_no_run_is_refused(rig: Rig) -> None:
    rig.refused("it has no rows, and its run is not under way", NO_ROWS)
    rig.submit()
    rig.refused("it has no rows, and its run is not under way", NO_ROWS, run_id="other")
    rig.refused("ids must increase", NO_ROWS, chunk_id=1)
    assert rig.state == State.EXECUTING


# Holds by plan -----------------------------------------------------------------------------------


def test_after_the_rows_to_be_executed_the_arms_hold_on_the_path_by_plan(gentle_rig: Rig) -> None:
    rig = gentle_rig
    begin = rig.now
    rig.submit(MOVING, execution=Execution.BLOCKING, execute_rows=10)
    rig.until(State.HOLDING)
    in_time = rig.now - rig.executor.counters.slowdown_ns
    assert in_time == pytest.approx(begin + 200 * MS, abs=20 * MS)
    assert rig.executor.reason == "waiting for the next chunk"
    assert rig.executor.command[0] == pytest.approx(0.09, abs=1e-3)  # row 9
    rest = rig.tick(50)
    assert rest.positions[0] == pytest.approx(0.09, abs=1e-3)
    assert rig.executor.counters.starvations == 0
    rig.refused("policy run run is under way", run_id="other", chunk_id=1)
    rig.submit(np.add(MOVING, [0.09, 0.0]), execution=Execution.BLOCKING, execute_rows=10)
    assert rig.state == State.EXECUTING
    rig.until(State.HOLDING)
    assert rig.executor.command[0] == pytest.approx(0.18, abs=2e-3)


def test_a_hold_by_plan_that_lasts_too_long_is_starvation(rig: Rig) -> None:
    rig.submit(MOVING, execution=Execution.BLOCKING, execute_rows=10)
    rig.until(State.HOLDING)
    rig.tick(100)
    assert rig.state == State.HOLDING
    rig.tick(2)
    assert rig.state == State.STARVED
    assert rig.executor.counters.starvations == 1
    rig.submit([[0.1, 0.0]] * 10)
    assert rig.state == State.EXECUTING


def test_a_run_whose_last_chunk_is_not_played_to_its_end_ends_where_it_holds(rig: Rig) -> None:
    rig.submit(MOVING, execute_rows=10, last=True)
    rig.until(State.HOLDING)
    assert (rig.executor.run_id, rig.executor.reason) == ("", "the run has ended")


@pytest.mark.parametrize("coefficient", [math.nan, 0.0])
def test_an_ensemble_stands_still_while_the_arms_hold(
    make_rig: type[Rig], coefficient: float
) -> None:
    # The old chunk goes on to 0.4, the new one stays: their mean moves on, the new one alone not.
    rig = make_rig(coefficient=coefficient)
    rig.submit(MOVING, execute_rows=10)
    rig.until(State.HOLDING)
    rig.tick(30)
    rig.submit([[0.1, 0.0]] * 40, execute_rows=20)
    rig.until(State.HOLDING)
    expected = 0.1 if math.isnan(coefficient) else 0.2
    assert rig.executor.command[0] == pytest.approx(expected, abs=0.01)


# Chunks that get too old -------------------------------------------------------------------------


def test_the_arms_hold_when_the_chunk_in_force_gets_too_old(gentle_rig: Rig) -> None:
    rig = gentle_rig
    rig.submit([[0.005 * i, 0.0] for i in range(80)])  # 1.6 s; allowed is 1 s
    rig.tick(100)
    assert rig.state == State.EXECUTING
    moving = rig.tick()
    assert rig.state == State.STARVED
    assert rig.executor.reason == "its observation is 1.01 s old, allowed are 1.00 s"
    assert rig.executor.counters.chunk_timeouts == 1
    assert rig.executor.counters.starvations == 0
    np.testing.assert_array_equal(rig.tick(5).velocities, [0.0, 0.0])
    assert rig.executor.command[0] == pytest.approx(moving.positions[0], abs=5e-3)
    rig.submit(np.repeat([rig.executor.command], 10, axis=0))
    assert rig.state == State.EXECUTING


# Interruptions -----------------------------------------------------------------------------------


def test_an_interruption_brings_a_run_to_rest_until_a_fresh_chunk(gentle_rig: Rig) -> None:
    rig = gentle_rig
    rig.submit(MOVING)
    rig.tick(20)
    rig.executor.interrupt("the clock jumped", rig.now)
    assert (rig.state, rig.executor.reason) == (State.STARVED, "the clock jumped")
    np.testing.assert_array_equal(rig.tick(8).velocities, [0.0, 0.0])
    stale = rig.now - 81 * MS
    rig.refused("its observation is from before the interruption", observation_stamp_ns=stale)
    rig.submit(np.repeat([rig.executor.command], 10, axis=0))
    assert rig.state == State.EXECUTING


def test_an_interruption_ends_a_move(rig: Rig) -> None:
    rig.move()
    rig.tick(20)
    rig.executor.interrupt("the clock jumped", rig.now)
    assert (rig.state, rig.executor.reason) == (State.HOLDING, "the clock jumped")
    assert rig.executor.move is None
    np.testing.assert_array_equal(rig.tick(50).velocities, [0.0, 0.0])


@pytest.mark.parametrize("kind", ["fault", "estop"])
def test_an_interruption_does_not_release_a_fault(rig: Rig, kind: str) -> None:
    getattr(rig.executor, kind)("broken")
    state = rig.state
    rig.executor.interrupt("the clock jumped", rig.now)
    assert (rig.state, rig.executor.reason) == (state, "broken")


# Faults with a way to rest -----------------------------------------------------------------------


def test_a_fault_can_go_to_a_pose_first_and_then_sends_nothing(gentle_rig: Rig) -> None:
    rig = gentle_rig
    rig.submit(MOVING)
    before = rig.tick(30)
    pose = before.positions - [0.05, 0.0]
    rig.executor.fault("left_joint_0 pushes too hard", rest_at=pose)
    command = rig.tick()
    assert command.state == State.FAULT
    assert command.active
    assert abs(command.velocities[0] - before.velocities[0]) <= 0.1 + 1e-9
    rig.refused("the controller is in FAULT: left_joint_0 pushes too hard")
    last = rig.tick(60)
    assert not last.active
    np.testing.assert_allclose(last.positions, pose, atol=1e-9)
    assert rig.executor.counters.faults == 1
    rig.executor.clear(pose, rig.now)
    assert rig.state == State.HOLDING


def test_another_fault_or_an_estop_ends_the_way_to_rest_at_once(rig: Rig) -> None:
    rig.executor.fault("left_joint_0 pushes too hard", rest_at=np.array([-0.2, 0.0]))
    assert rig.tick(10).active
    rig.executor.estop("button")
    command = rig.tick()
    assert (command.state, command.active) == (State.ESTOP, False)
    frozen = command.positions
    np.testing.assert_array_equal(rig.tick(50).positions, frozen)
    counters = rig.executor.counters
    assert (counters.faults, counters.estops) == (1, 1)


def test_the_pose_to_rest_at_is_inside_the_limits(rig: Rig) -> None:
    rig.executor.fault("pushed", rest_at=np.array([0.0, 7.0]))
    rig.tick(400)
    np.testing.assert_allclose(rig.executor.command, [0.0, 1.0])


# Commands that arrive late -----------------------------------------------------------------------


def test_after_a_command_that_was_sent_late_the_next_step_is_short(rig: Rig) -> None:
    rig.submit(MOVING)
    rig.tick(10)
    before = rig.executor.command
    rig.now += 10 * MS
    late = rig.executor.tick(rig.now, sent_ns=rig.now - 1 * MS)
    assert late.positions[0] - before[0] == pytest.approx(0.5 * 0.006, rel=0.05)
    rig.now += 10 * MS
    usual = rig.executor.tick(rig.now, sent_ns=rig.now - 8 * MS)
    assert usual.positions[0] - late.positions[0] == pytest.approx(0.5 * 0.010, rel=0.05)


def test_while_the_arms_are_not_heard_what_is_planned_waits(gentle_rig: Rig) -> None:
    rig = gentle_rig
    rig.submit(MOVING)
    before = rig.tick(20)
    for _ in range(10):
        rig.now += 10 * MS
        waiting = rig.executor.tick(rig.now, heard=False)
        np.testing.assert_array_equal(waiting.positions, before.positions)
    after = rig.tick()
    assert after.positions[0] - before.positions[0] == pytest.approx(0.5 * 0.010, rel=0.05)
    assert rig.timeline.delay_ns >= 100 * MS


def test_a_command_that_is_said_to_be_sent_in_the_future_is_no_harm(rig: Rig) -> None:
    rig.submit(MOVING)
    rig.tick(10)
    before = rig.executor.command
    rig.now += 10 * MS
    after = rig.executor.tick(rig.now, sent_ns=rig.now + SECOND)
    assert 0.0 <= after.positions[0] - before[0] <= 0.5 * 0.005 * 1.05
