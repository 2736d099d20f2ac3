"""Runs that pause because an input fails, and clocks that are set during a run."""

from __future__ import annotations

import pytest

from trossen_pi0_core.contract import NANOSECONDS, Execution
from trossen_pi0_core.execution import State
from trossen_pi0_policy.state import Outcome, PolicyState

S = NANOSECONDS
START = 1000 * S
GONE = "cam_low: newest picture is 0.31 s old"


# Inputs -----------------------------------------------------------------------------------------


def test_an_input_that_fails_brings_the_arms_to_rest_at_once(kit):
    run = kit.released()
    kit.infer(run, START)
    assert run.check(START + S // 2, preparing=False) is None
    pause = run.check(START + S // 2, preparing=False, missing=[GONE, "joint states: 1 s old"])
    assert pause is not None
    assert (pause.horizon, pause.last, pause.chunk_id) == (0, False, 2)
    assert pause.reason == f"{GONE}; joint states: 1 s old"
    assert pause.t_first_ns == START + S // 2
    assert (run.state, run.reason) == (PolicyState.STALLED, pause.reason)
    assert run.missing == (GONE, "joint states: 1 s old")
    assert (run.pauses, run.result) == (1, None)


def test_a_run_is_paused_once_until_it_moves_again(kit):
    run = kit.released()
    kit.infer(run, START)
    now = START + S // 2
    assert run.check(now, preparing=False, missing=[GONE]) is not None
    for tick in range(1, 50):
        assert run.check(now + tick * S // 50, preparing=False, missing=[GONE]) is None
    kit.infer(run, START + 2 * S)
    assert run.state == PolicyState.RUNNING
    assert run.check(START + 2 * S, preparing=False, missing=[GONE]) is not None
    assert run.pauses == 2


def test_after_a_pause_it_goes_on_at_once_without_a_prefix(kit):
    run = kit.released(settings=kit.settings(execution=Execution.RTC))
    kit.infer(run, START)
    run.check(START + S // 2, preparing=False, missing=[GONE])
    back = START + S // 2 + S // 10
    assert run.due_ns() == 0
    request = kit.ask(run, back)
    assert request.prefix is None
    chunk = run.answered(request.observation, kit.rows(), back + 1)
    assert chunk is not None
    assert chunk.chunk_id == 3
    assert (run.state, run.reason) == (PolicyState.RUNNING, "")
    assert kit.ask(run, back + S).prefix is not None


def test_an_answer_from_before_the_pause_is_not_used(kit):
    run = kit.released()
    kit.infer(run, START)
    kit.ask(run, START + S)
    assert run.check(START + S + 1, preparing=False, missing=[GONE]) is not None
    assert run.answered(kit.observation(START + S), kit.rows(), START + S + 2) is None
    assert run.chunks == 2
    assert kit.infer(run, START + S + 3).chunk_id == 3


def test_an_answer_is_not_used_when_inputs_have_failed_meanwhile(kit):
    run = kit.released(settings=kit.settings(execution=Execution.BLOCKING))
    kit.ask(run, START)
    assert run.check(START + 1, preparing=False, missing=[GONE]) is None  # nothing moves yet
    assert run.answered(kit.observation(START), kit.rows(), START + 2) is None
    assert kit.infer(run, START + 3).chunk_id == 1


@pytest.mark.parametrize("execution", list(Execution))
def test_arms_that_are_at_rest_need_no_pause(kit, execution):
    run = kit.released(settings=kit.settings(execution=execution))
    assert run.check(START, preparing=False, missing=[GONE]) is None
    chunk = kit.infer(run, START)
    assert run.check(chunk.t_hold_ns, preparing=False, missing=[GONE]) is None
    assert run.pauses == 0
    assert run.check(chunk.t_hold_ns - 1, preparing=False, missing=[GONE]) is not None


def test_a_ramp_goes_on_since_nothing_follows_it_without_a_fresh_chunk(kit):
    run = kit.released()
    kit.infer(run, START)
    run.controller(kit.report(START + 1, State.RAMPING), START + 1)
    assert run.check(START + 2, preparing=False, missing=[GONE]) is None


def test_the_last_rows_of_a_task_need_no_inputs(kit):
    run = kit.released()
    kit.infer(run, START)
    kit.infer(run, START + S, kit.rows(done=True))
    assert run.check(START + S + 1, preparing=False, missing=[GONE]) is None


def test_inputs_that_do_not_lie_together_pause_after_the_age_limit(kit):
    run = kit.released()
    kit.infer(run, START)
    apart = "cam_low: nearest picture lies 0.200 s from the joint state, allowed are 0.050 s"
    assert run.wants_inference(START + S)
    run.blocked([apart], START + S)
    limit = START + S + 3 * S // 10
    assert run.check(limit - 1, preparing=False) is None
    pause = run.check(limit, preparing=False)
    assert pause is not None
    assert pause.reason == apart


def test_an_observation_in_between_ends_the_wait(kit):
    run = kit.released()
    kit.infer(run, START)
    run.wants_inference(START + S)
    run.blocked(["apart"], START + S)
    run.takes(kit.observation(START + S), START + S + S // 10)
    assert run.check(START + S + S // 2, preparing=False) is None


def test_a_pause_that_lasts_fails_the_run(kit):
    run = kit.released()
    kit.infer(run, START)
    assert run.check(START + 1, preparing=False, missing=[GONE]) is not None
    assert run.check(START + 2, preparing=False, missing=[GONE]) is None
    stop = run.check(START + 2 + 5 * S, preparing=False, missing=[GONE])
    assert stop is not None
    assert stop.last
    assert kit.result(run).message == f"no chunk for 5 s: {GONE}"


def test_a_slow_answer_is_no_pause(kit):
    run = kit.released()
    kit.infer(run, START)
    kit.ask(run, START + S)
    for tenth in range(40):  # the chunk runs out after the first ten
        assert run.check(START + S + tenth * S // 10, preparing=False) is None
    run.controller(kit.report(START + 4 * S, State.STARVED, chunk_id=1), START + 4 * S)
    chunk = run.answered(kit.observation(START + S), kit.rows(50), START + 5 * S)
    assert chunk is not None
    assert (run.pauses, run.state) == (0, PolicyState.RUNNING)


# Clocks -----------------------------------------------------------------------------------------

JUMPS = [-10 * S, -S, S, 10 * S]


@pytest.mark.parametrize("jump", JUMPS)
def test_after_a_jump_the_run_pauses_and_goes_on_with_new_inputs(kit, jump):
    run = kit.released()
    kit.infer(run, START)
    now = START + S // 2 + jump
    pause = run.clock_jumped(jump, now)
    assert pause is not None
    assert pause.reason == f"ROS time was set by {jump / S:+.2f} s"
    assert (pause.horizon, pause.last, run.pauses) == (0, False, 1)
    assert run.wants_inference(now + 1)
    assert not run.takes(kit.observation(now - 1), now + 1)
    assert run.takes(kit.observation(now + 1), now + 1)
    assert kit.infer(run, now + 1).chunk_id == 3
    assert run.due_ns() == now + 1 + S


@pytest.mark.parametrize("jump", JUMPS)
def test_time_limits_do_not_jump(kit, jump):
    run = kit.released(max_duration_ns=3 * S)
    kit.infer(run, START)
    run.clock_jumped(jump, START + S + jump)
    assert run.elapsed_ns(START + S + jump) == S
    run.check(START + 3 * S - 1 + jump, preparing=False)
    assert run.result is None
    run.check(START + 3 * S + jump, preparing=False)
    assert kit.result(run).outcome == Outcome.TIMEOUT


@pytest.mark.parametrize("jump", JUMPS)
def test_a_stall_lasts_as_long_as_without_the_jump(kit, jump):
    run = kit.released()
    run.check(START, preparing=False, missing=[GONE])
    run.clock_jumped(jump, START + 2 * S + jump)
    run.check(START + 5 * S - 1 + jump, preparing=False)
    assert run.result is None
    run.check(START + 5 * S + jump, preparing=False)
    assert kit.result(run).outcome == Outcome.FAILED


@pytest.mark.parametrize("jump", JUMPS)
def test_the_controller_is_heard_after_a_jump(kit, jump):
    run = kit.released()
    kit.infer(run, START)
    now = START + S // 2 + jump
    run.clock_jumped(jump, now)
    kit.infer(run, now + 1)
    run.controller(kit.report(now + 2, State.STARVED, chunk_id=3), now + 2)
    assert run.wants_inference(now + 3)


def test_refusals_are_heard_after_a_jump_during_a_pause(kit):
    run = kit.released()
    kit.infer(run, START)
    run.check(START + 1, preparing=False, missing=[GONE])
    run.controller(kit.report(START + 2, State.STARVED), START + 2)
    assert run.clock_jumped(-10 * S, START - 9 * S) is None
    now = START - 8 * S
    run.controller(kit.report(now, State.STARVED, rejections=1, last_rejection="no"), now)
    assert run.reason == "the arm controller refused a chunk: no"


def test_an_answer_that_was_under_way_at_a_jump_is_not_used(kit):
    run = kit.released()
    kit.infer(run, START)
    kit.ask(run, START + S)
    run.clock_jumped(-10 * S, START - 9 * S)
    assert run.answered(kit.observation(START + S), kit.rows(), START - 9 * S) is None
    assert kit.infer(run, START - 9 * S + 1).chunk_id == 3


def test_a_jump_during_a_ramp_lets_it_end(kit):
    run = kit.released()
    kit.infer(run, START)
    run.controller(kit.report(START + 1, State.RAMPING), START + 1)
    assert run.clock_jumped(-10 * S, START - 9 * S) is None
    run.controller(kit.report(START - 8 * S, State.HOLDING), START - 8 * S)
    assert kit.infer(run, START - 8 * S).chunk_id == 2


def test_a_jump_during_the_last_rows_fails_the_run(kit):
    run = kit.released()
    kit.infer(run, START)
    kit.infer(run, START + S, kit.rows(done=True))
    stop = run.clock_jumped(-10 * S, START - 8 * S)
    assert stop is not None
    assert stop.last
    assert kit.result(run).message == "ROS time was set by -10.00 s during the last rows"


def test_a_jump_before_the_first_chunk_changes_nothing(kit):
    run = kit.released()
    assert run.clock_jumped(10 * S, START + 10 * S) is None
    assert kit.infer(run, START + 10 * S).chunk_id == 1
