"""One policy run, tested with integers: questions, answers, stalls and its end."""

from __future__ import annotations

import numpy as np
import pytest

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.errors import InvalidChunkError
from trossen_pi0_core.execution import State
from trossen_pi0_policy.backends import Inference
from trossen_pi0_policy.state import Outcome, PolicyState, RunSettings

S = NANOSECONDS
PERIOD = S // 10
START = 1000 * S


# Inference --------------------------------------------------------------------------------------


def test_nothing_is_asked_before_the_arms_are_there(kit):
    run = kit.new_run()
    assert not run.wants_inference(START)
    assert run.due_ns() is None
    assert run.state == PolicyState.STARTING
    run.release(START)
    assert run.wants_inference(START)


def test_the_chunk_of_an_answer(kit):
    chunk = kit.infer(kit.released(), START, kit.rows(30, first_due_ns=7), took=S)
    assert (chunk.run_id, chunk.chunk_id, chunk.last) == ("run", 1, False)
    assert chunk.observation_stamp_ns == START
    assert chunk.t_first_ns == START + S + 7
    assert chunk.period_ns == PERIOD
    assert chunk.joint_names == ("a", "b")
    assert chunk.horizon == 30


def test_asks_every_rate_of_inference_rows(kit):
    run = kit.released()
    kit.infer(run, START)
    assert not run.wants_inference(START + S - 1)
    assert run.due_ns() == START + S
    chunk = kit.infer(run, START + S)
    assert chunk.chunk_id == 2
    assert run.chunks == 2


def test_new_rate_and_period_take_effect_at_once(kit):
    run = kit.released()
    kit.infer(run, START)
    run.settings = RunSettings("other", PERIOD // 2, 4, 60 * S, 5 * S)
    assert run.wants_inference(START + 4 * PERIOD // 2)
    assert kit.infer(run, START + 4 * PERIOD // 2).period_ns == PERIOD // 2
    assert run.prompt == "other"


def test_asks_again_when_the_rows_are_over_however_large_the_rate(kit):
    run = kit.released(settings=RunSettings("", PERIOD, 1000, 60 * S, 5 * S))
    kit.infer(run, START, kit.rows(20))
    assert not run.wants_inference(START + 2 * S - 1)
    assert run.wants_inference(START + 2 * S)


def test_a_prompt_of_its_own_stays(kit):
    run = kit.released(prompt="mine")
    run.settings = RunSettings("other", PERIOD, 4, 60 * S, 5 * S)
    assert run.prompt == "mine"


def test_only_newer_observations_are_taken(kit):
    run = kit.released()
    assert not run.takes(kit.observation(START - 1), START)
    assert run.takes(kit.observation(START), START)
    kit.infer(run, START)
    assert not run.takes(kit.observation(START), START + S)
    assert run.takes(kit.observation(START + 1), START + S)


def test_when_there_is_time_the_next_pictures_are_waited_for(kit):
    run = kit.released()
    kit.infer(run, START)
    due = START + S
    assert run.wants_inference(due)
    assert not run.takes(kit.observation(due - S // 30), due)
    assert run.takes(kit.observation(due + 1), due + S // 50)


def test_the_next_pictures_are_not_waited_for_long(kit):
    run = kit.released()
    kit.infer(run, START)
    due = START + S
    assert not run.takes(kit.observation(due - S // 30), due)
    assert not run.takes(kit.observation(due - S // 30), due + S // 10 - 1)
    assert run.takes(kit.observation(due - S // 30), due + S // 10)


def test_an_answer_that_makes_no_chunk_is_an_error_and_asked_again(kit):
    run = kit.released()
    run.began(START)
    with pytest.raises(InvalidChunkError, match="finite"):
        run.answered(kit.observation(START), Inference(np.full((2, 2), np.nan)), START)
    run.failed("it was not finite")
    assert (run.state, run.reason) == (PolicyState.STALLED, "it was not finite")
    assert run.chunks == 0
    assert kit.infer(run, START + 1).chunk_id == 1
    assert (run.state, run.reason) == (PolicyState.RUNNING, "")


def test_an_answer_after_the_end_is_not_published(kit):
    run = kit.released()
    run.began(START)
    run.end(Outcome.STOPPED, "enough", START)
    assert run.answered(kit.observation(START), kit.rows(), START) is None


# Stalls -----------------------------------------------------------------------------------------


def test_missing_inputs_stall_after_a_moment(kit):
    run = kit.released()
    assert run.wants_inference(START)
    run.blocked(["cam_high: none"], START)
    assert run.state == PolicyState.STARTING
    run.blocked(["cam_high: none", "cam_low: none"], START + S // 5)
    assert run.state == PolicyState.STALLED
    assert run.reason == "cam_high: none; cam_low: none"
    assert run.missing == ("cam_high: none", "cam_low: none")
    kit.infer(run, START + S)
    assert (run.state, run.missing) == (PolicyState.RUNNING, ())


def test_a_long_stall_fails_the_run_and_tells_the_controller(kit):
    run = kit.released()
    kit.infer(run, START)
    now = START + S
    assert run.check(now, preparing=False) is None
    run.blocked(["cam_low: gone"], now + S)
    assert run.check(now + 5 * S - 1, preparing=False) is None
    stop = kit.stopped(run, now + 5 * S)
    assert (stop.horizon, stop.last, stop.chunk_id) == (0, True, 2)
    assert kit.result(run).outcome == Outcome.FAILED
    assert kit.result(run).message == "no chunk for 5 s: cam_low: gone"
    assert (run.state, run.reason) == (PolicyState.ERROR, kit.result(run).message)


def test_a_slow_answer_counts_as_stall(kit):
    run = kit.released()
    kit.infer(run, START)
    assert run.wants_inference(START + S)
    run.began(START + S)
    assert run.check(START + 6 * S - 1, preparing=False) is None
    assert run.check(START + 6 * S, preparing=False) is not None
    assert kit.result(run).outcome == Outcome.FAILED


def test_time_between_inferences_is_no_stall(kit):
    run = kit.released(settings=RunSettings("", PERIOD, 100, 600 * S, 5 * S))
    kit.infer(run, START, kit.rows(100))
    assert run.check(START + 9 * S, preparing=False) is None
    assert run.result is None


def test_the_first_preparation_is_no_stall(kit):
    run = kit.released()
    for second in range(20):
        run.check(START + second * S, preparing=True)
    run.check(START + 20 * S, preparing=False)
    assert run.result is None
    run.check(START + 25 * S, preparing=False)
    assert kit.result(run).outcome == Outcome.FAILED
    assert kit.result(run).message == "no chunk for 5 s: no answer and no new observation"


def test_nothing_is_waited_for_before_ros_time_begins(kit):
    run = kit.new_run()
    run.release(0)
    assert not run.wants_inference(0)
    run.check(0, preparing=False)
    run.check(START, preparing=False)
    assert run.result is None
    assert run.wants_inference(START)


def test_no_stop_chunk_for_a_run_that_published_none(kit):
    assert kit.released().end(Outcome.STOPPED, "enough", START) is None


# Time limit and end -----------------------------------------------------------------------------


def test_the_time_limit_counts_from_the_first_observation(kit):
    run = kit.released(max_duration_ns=3 * S)
    kit.infer(run, START + 10 * S)
    assert run.elapsed_ns(START + 11 * S) == S
    assert run.check(START + 13 * S - 1, preparing=False) is None
    stop = kit.stopped(run, START + 13 * S)
    assert (stop.horizon, stop.last) == (0, True)
    assert kit.result(run).outcome == Outcome.TIMEOUT
    assert kit.result(run).message == "the time limit of 3 s is over"
    assert kit.result(run).duration_ns == 3 * S
    assert run.state == PolicyState.IDLE


def test_the_default_time_limit_is_that_of_the_settings(kit):
    run = kit.released()
    kit.infer(run, START)
    run.settings = RunSettings("", PERIOD, 10, 2 * S, 50 * S)
    run.check(START + 2 * S, preparing=False)
    assert kit.result(run).outcome == Outcome.TIMEOUT


def test_a_run_ends_once(kit):
    run = kit.released()
    kit.infer(run, START)
    assert run.end(Outcome.STOPPED, "first", START) is not None
    assert run.end(Outcome.FAILED, "second", START) is None
    assert kit.result(run).message == "first"
    assert run.check(START + 999 * S, preparing=False) is None


def test_done_lets_the_rows_finish(kit):
    run = kit.released()
    kit.infer(run, START)
    last = kit.infer(run, START + S, kit.rows(5, done=True))
    assert last.last
    assert run.due_ns() is None
    assert run.check(START + S + 5 * PERIOD - 1, preparing=False) is None
    assert run.result is None
    assert run.check(START + S + 5 * PERIOD, preparing=False) is None  # it was told already
    assert kit.result(run).outcome == Outcome.DONE
    assert kit.result(run).chunks == 2


def test_done_waits_for_the_controllers_word_when_it_speaks(kit):
    run = kit.released()
    run.controller(kit.report(START, State.HOLDING, ""), START)
    kit.infer(run, START)
    kit.infer(run, START + S, kit.rows(2, done=True))
    assert run.check(START + S + 2 * PERIOD, preparing=False) is None
    assert run.result is None
    run.controller(kit.report(START + S + 2 * PERIOD, State.EXECUTING), START + S + 2 * PERIOD)
    run.check(START + S + 2 * PERIOD, preparing=False)
    assert kit.result(run).outcome == Outcome.DONE


def test_a_first_chunk_that_is_also_the_last_may_still_need_a_ramp(kit):
    run = kit.released()
    run.controller(kit.report(START, State.HOLDING, ""), START)
    only = kit.infer(run, START, kit.rows(5, done=True))
    assert not only.last
    run.controller(kit.report(START + S // 10, State.RAMPING), START + S // 10)
    assert run.check(START + 2 * S, preparing=False) is None
    assert run.result is None
    run.controller(kit.report(START + 3 * S, State.HOLDING), START + 3 * S)
    assert kit.infer(run, START + 3 * S, kit.rows(5, done=True)).last
    run.controller(kit.report(START + 4 * S, State.HOLDING, ""), START + 4 * S)
    run.check(START + 4 * S, preparing=False)
    assert kit.result(run).outcome == Outcome.DONE


def test_the_controller_is_told_when_the_only_chunk_was_the_last(kit):
    run = kit.released()
    kit.infer(run, START, kit.rows(5, done=True))
    stop = kit.stopped(run, START + S)
    assert (stop.horizon, stop.last, stop.chunk_id) == (0, True, 2)
    assert kit.result(run).outcome == Outcome.DONE
