"""The control loop's watchdogs over programmable arms: what holds, what faults, what is counted."""

import re
import threading
import time

import numpy as np
import pytest

from trossen_pi0_control.moves import MoveRequest
from trossen_pi0_control.parking import park
from trossen_pi0_core.errors import ChunkRejectedError
from trossen_pi0_core.execution import State
from trossen_pi0_core.parameters import replaced

STAGED = np.array([0.0, np.pi / 3, np.pi / 6, np.pi / 5, 0.0, 0.0, 0.02])
MS = 1_000_000
SECOND = 1000 * MS


def steps(arm, since=0):
    """Largest change of any joint from each command to the next [rad; m]."""
    return np.abs(np.diff(arm.commands[since:], axis=0)).max(axis=1)


# Clock -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump_ns", [3600 * SECOND, -3600 * SECOND, 150 * MS, -150 * MS])
def test_a_clock_jump_stops_a_run_which_goes_on_with_a_fresh_chunk(rig, jump_ns):
    rig.loop.submit(rig.swing())
    rig.until(State.EXECUTING)
    rig.ticks(10)
    old = rig.swing()
    rig.clock_offset_ns = jump_ns
    snapshot = rig.until(State.STARVED)
    assert snapshot.reason.startswith(f"the clock jumped by {'+' if jump_ns > 0 else '-'}")
    assert snapshot.counters.clock_jumps == 1
    rig.ticks(10)
    assert steps(rig.left).max() < 0.02
    assert steps(rig.left)[-3:].max() == 0.0
    if jump_ns > 0:
        with pytest.raises(ChunkRejectedError, match="its observation is "):
            rig.loop.submit(old)
    fresh = rig.chunk(np.tile(rig.left.positions, (50, 2)))
    rig.loop.submit(fresh)
    assert rig.until(State.EXECUTING).counters.clock_jumps == 1


def test_a_clock_jump_ends_a_move(rig, until):
    move = rig.loop.start_move(MoveRequest("home"))
    rig.ticks(20)
    rig.clock_offset_ns = -SECOND
    outcome = until(lambda: move.outcome, "the end of the move")
    assert not outcome.success
    assert outcome.message.startswith("the clock jumped by -1.0")
    rig.ticks(20)
    assert rig.state == State.HOLDING
    assert steps(rig.left).max() < 0.02


def test_simulated_time_may_stand_still(rig):
    rig.simulated = True
    stopped_ns = rig.now_ns()
    rig.loop._now_ns = lambda: stopped_ns
    rig.ticks(20)
    rig.loop._now_ns = rig.now_ns
    rig.ticks(5)
    assert rig.snapshot.counters.clock_jumps == 0


# Driver round trip -------------------------------------------------------------------------------


def driver_time_s(reason):
    """How long the driver took, as a reason tells it [s]; a busy machine adds to it."""
    found = re.match(r"the driver took ([0-9.]+) s", reason)
    assert found is not None, reason
    return float(found[1])


def test_a_slow_driver_holds_and_then_faults(make_rig):
    rig = make_rig(round_trip_limit_s=0.02, driver_stale_s=0.3).start()
    rig.loop.submit(rig.swing(rows=200))
    rig.until(State.EXECUTING)
    rig.right.slow_s = 0.04
    snapshot = rig.until(State.STARVED)
    assert driver_time_s(snapshot.reason) >= 0.04
    assert "allowed are 0.020 s; 3 cycles in a row were late" in snapshot.reason
    assert snapshot.counters.faults == 0
    snapshot = rig.until(State.FAULT)
    assert driver_time_s(snapshot.reason) >= 0.04
    assert snapshot.counters.round_trip_events >= 8
    assert snapshot.counters.faults == 1
    rig.right.slow_s = 0.0
    rig.ticks()
    assert rig.state == State.FAULT  # until it is cleared
    assert rig.loop.clear_fault() == "cleared"
    rig.ticks()
    assert rig.state == State.HOLDING


def test_a_slow_cycle_now_and_then_is_only_counted(make_rig):
    rig = make_rig(round_trip_limit_s=0.02, round_trip_strikes=100).start()
    rig.loop.submit(rig.swing(rows=200))
    rig.until(State.EXECUTING)
    rig.left.slow_s = 0.03
    rig.ticks(3)
    rig.left.slow_s = 0.0
    rig.ticks(3)
    assert rig.state == State.EXECUTING
    assert rig.snapshot.counters.round_trip_events >= 2


def test_a_command_that_is_handed_over_late_makes_no_double_step(rig):
    rig.loop.submit(rig.swing(rows=200, speed=2.0))
    rig.until(State.EXECUTING)
    rig.ticks(30)
    handed_over = []
    command = rig.left.command

    def held_up(positions):
        if len(handed_over) == 5:
            time.sleep(0.1)  # this thread was not scheduled
        command(positions)
        handed_over.append((time.monotonic(), positions[0]))

    rig.left.command = held_up
    rig.ticks(20)
    times, places = np.array(handed_over).T
    # The step before was 100 ms late, so the next comes at once and must be small.
    speeds = np.diff(places) / np.maximum(np.diff(times), 0.01)
    assert np.diff(places)[4] <= 0.041
    assert np.diff(places)[5] < 2.0 * np.diff(times)[5] + 0.012
    # At 2 rad/s a double step would be 4; a tick and its hand-over are some ms apart.
    assert speeds.max() < 3.0


def test_a_driver_call_that_does_not_return_is_a_fault(rig, until):
    rig.ticks()
    rig.loop.watch_driver()
    assert rig.state == State.HOLDING
    rig.left.slow_s = 0.5
    deadline = time.monotonic() + 0.4
    while rig.state != State.FAULT and time.monotonic() < deadline:
        rig.loop.watch_driver()
        time.sleep(0.02)
    assert rig.snapshot.reason.startswith("the driver has not returned for 0.1")
    rig.left.slow_s = 0.0
    until(lambda: rig.heard.states[-1][0] == State.FAULT, "the end of the call")
    assert rig.loop.clear_fault() == "cleared"
    rig.ticks()
    rig.loop.watch_driver()
    assert rig.state == State.HOLDING


# Efforts -----------------------------------------------------------------------------------------


def test_an_overloaded_joint_is_a_fault_and_the_arms_give_way(make_rig):
    rig = make_rig(effort_time_s=0.05).start()
    rig.loop.submit(rig.swing(rows=200))
    rig.until(State.EXECUTING)
    rig.right.noise[1] = 0.1  # it is kept 0.1 rad from where it shall be
    rig.right.efforts[1] = -21.7
    snapshot = rig.until(State.FAULT)
    reason = "follower_right_joint_1: effort -21.7 is beyond its limit of +-21.6 for 0.0"
    assert snapshot.reason.startswith(reason)
    assert (snapshot.counters.effort_events, snapshot.counters.faults) == (1, 1)
    blocked = STAGED[1] + 0.1
    rig.right.noise[1] = 0.0
    rig.ticks(80)
    np.testing.assert_allclose(rig.right.positions[1], blocked, atol=0.002)
    assert steps(rig.right).max() < 0.03
    assert rig.state == State.FAULT
    assert rig.snapshot.counters.effort_events == 1
    rig.right.efforts[:] = 0.0
    rig.loop.clear_fault()
    rig.loop.submit(rig.chunk(np.tile(rig.left.positions, (50, 2)), run_id="next"))
    rig.until(State.EXECUTING)


def test_an_effort_for_a_moment_is_allowed(make_rig):
    rig = make_rig(effort_time_s=5.0).start()
    rig.left.efforts[:] = 1000.0
    rig.ticks(10)
    rig.left.efforts[:] = 0.0
    rig.ticks(5)
    assert (rig.state, rig.snapshot.counters.effort_events) == (State.HOLDING, 0)


def test_efforts_do_not_change_an_estop(make_rig):
    rig = make_rig(effort_time_s=0.02).start()
    rig.loop.estop("e-stop")
    rig.left.efforts[:] = 1000.0
    rig.ticks(10)
    snapshot = rig.snapshot
    assert (snapshot.state, snapshot.reason) == (State.ESTOP, "e-stop")
    assert snapshot.counters.effort_events == 0


# Settings ----------------------------------------------------------------------------------------


def submit_in_a_row(rig, count, every):
    """Chunks of 10 rows of 20 ms, one each ``every`` rows."""
    begun_ns = rig.now_ns()
    for i in range(count):
        rows = np.tile(STAGED, (10, 2))
        rig.loop.submit(rig.chunk(rows, t_first_ns=begun_ns + i * every * 20 * MS))


def test_ensembling_without_overlap_is_warned_about_once(make_rig, caplog):
    rig = make_rig(temporal_ensemble_coefficient=0.01).start()
    submit_in_a_row(rig, 8, every=10)
    texts = [r.message for r in caplog.records if "nothing to average" in r.message]
    assert len(texts) == 1


def test_a_setting_that_is_changed_is_judged_anew(rig, caplog):
    submit_in_a_row(rig, 5, every=10)
    assert "blend_s is" not in caplog.text
    rig.loop.apply(replaced(rig.params, {"blend_s": 0.1}))
    submit_in_a_row(rig, 5, every=10)
    assert caplog.text.count("blend_s is 0.1 s, but a chunk begins") == 1


# The end -----------------------------------------------------------------------------------------


def test_the_arms_are_parked_before_they_brake(rig):
    rig.loop.submit(rig.swing(speed=1.0))
    rig.until(State.EXECUTING)
    rig.ticks(20)
    park(rig.loop, "staged", 5.0, threading.Event())
    rig.loop.stop(1.0)
    for arm in rig.arms:
        np.testing.assert_allclose(arm.positions[:6], STAGED[:6], atol=1e-6)
        assert arm.positions[6] == pytest.approx(0.0, abs=1e-6)
        assert steps(arm).max() < 0.02
        assert arm.calls[-1] == "disable"


def test_parking_ends_in_time_and_can_be_left_out(rig, caplog):
    begun = time.monotonic()
    park(rig.loop, "home", 0.2, threading.Event())
    assert time.monotonic() - begun < 1.0
    assert "the arms have not reached pose 'home'" in caplog.text
    skip = threading.Event()
    threading.Timer(0.1, skip.set).start()
    begun = time.monotonic()
    park(rig.loop, "home", 20.0, skip)
    assert time.monotonic() - begun < 1.0
    rig.loop.stop(1.0)
    speeds = steps(rig.left)
    assert speeds[-1] == 0.0
    assert np.diff(speeds).min() > -0.004  # within its acceleration
    assert rig.left.positions[1] > 0.1


@pytest.mark.parametrize("halt", ["estop", "fault"])
def test_halted_arms_are_not_parked(rig, halt, caplog):
    if halt == "estop":
        rig.loop.estop("e-stop")
    else:
        rig.left.failing["read"] = "gone"
        rig.until(State.FAULT)
    count = len(rig.right.commands)
    park(rig.loop, "home", 1.0, threading.Event())
    rig.loop.stop(1.0)
    assert len(rig.right.commands) <= count + 1
    assert "the arms do not move to pose 'home': the controller is in" in caplog.text


def test_while_an_arm_is_not_heard_the_arms_wait_and_then_go_on(rig, until):
    rig.loop.submit(rig.swing(rows=200))
    rig.until(State.EXECUTING)
    until(lambda: rig.left.positions[0] > 0.02, "the arms to move")
    rig.right.frozen = True
    begin = len(rig.left.commands)
    until(lambda: len(rig.left.commands) >= begin + 7, "commands")
    told = [command.positions[0] for _, command in list(rig.heard.commands)[-3:]]
    rig.right.frozen = False
    assert (np.diff(told) != 0.0).all()  # what stands still is not told as a command
    steps = np.abs(np.diff([command[0] for command in rig.left.commands[begin : begin + 7]]))
    assert (steps[-3:] == 0.0).all()
    assert rig.snapshot.counters.round_trip_events >= 3
    at = rig.left.positions[0]
    until(lambda: rig.left.positions[0] > at + 0.02, "the arms to go on")
    assert rig.state == State.EXECUTING
