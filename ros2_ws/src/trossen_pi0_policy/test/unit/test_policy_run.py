"""One policy run, tested with integers."""

from __future__ import annotations

import numpy as np
import pytest

from trossen_pi0_core.contract import NANOSECONDS, Observation
from trossen_pi0_core.errors import InvalidChunkError
from trossen_pi0_core.execution import State
from trossen_pi0_policy.backends import Inference
from trossen_pi0_policy.run import PolicyRun
from trossen_pi0_policy.state import (
    ControllerReport,
    Outcome,
    PolicyState,
    RunRequest,
    RunSettings,
)

S = NANOSECONDS
PERIOD = S // 10
NAMES = ("a", "b")
SETTINGS = RunSettings("default", PERIOD, 10, 60 * S, 5 * S)
START = 1000 * S


def observation(stamp):
    return Observation(stamp, NAMES, np.zeros(2), {})


def rows(count=20, **fields):
    return Inference(np.ones((count, 2)), **fields)


def new_run(settings=SETTINGS, **request):
    return PolicyRun("run", RunRequest(**request), settings, NAMES)


def released(**kwargs):
    run = new_run(**kwargs)
    run.release(START)
    return run


def infer(run, now, inference=None, took=0):
    """One inference from an observation stamped now."""
    assert run.wants_inference(now)
    run.began(now)
    chunk = run.answered(observation(now), inference or rows(), now + took)
    assert chunk is not None
    return chunk


def result(run):
    assert run.result is not None
    return run.result


def stopped(run, now):
    """The chunk with which a look at the time ends the run."""
    chunk = run.check(now, preparing=False)
    assert chunk is not None
    return chunk


def report(now, state, run_id="run", **fields):
    return ControllerReport(now, state, run_id=run_id, **fields)


# Inference --------------------------------------------------------------------------------------


def test_nothing_is_asked_before_the_arms_are_there():
    run = new_run()
    assert not run.wants_inference(START)
    assert run.due_ns() is None
    assert run.state == PolicyState.STARTING
    run.release(START)
    assert run.wants_inference(START)


def test_the_chunk_of_an_answer():
    chunk = infer(released(), START, rows(3, first_due_ns=7), took=S)
    assert (chunk.run_id, chunk.chunk_id, chunk.last) == ("run", 1, False)
    assert chunk.observation_stamp_ns == START
    assert chunk.t_first_ns == START + 7
    assert chunk.period_ns == PERIOD
    assert chunk.joint_names == NAMES
    assert chunk.horizon == 3


def test_asks_every_rate_of_inference_rows():
    run = released()
    infer(run, START)
    assert not run.wants_inference(START + S - 1)
    assert run.due_ns() == START + S
    chunk = infer(run, START + S)
    assert chunk.chunk_id == 2
    assert run.chunks == 2


def test_new_rate_and_period_take_effect_at_once():
    run = released()
    infer(run, START)
    run.settings = RunSettings("other", PERIOD // 2, 4, 60 * S, 5 * S)
    assert run.wants_inference(START + 4 * PERIOD // 2)
    assert infer(run, START + 4 * PERIOD // 2).period_ns == PERIOD // 2
    assert run.prompt == "other"


def test_asks_again_when_the_rows_are_over_however_large_the_rate():
    run = released(settings=RunSettings("", PERIOD, 1000, 60 * S, 5 * S))
    infer(run, START, rows(20))
    assert not run.wants_inference(START + 2 * S - 1)
    assert run.wants_inference(START + 2 * S)


def test_a_prompt_of_its_own_stays():
    run = released(prompt="mine")
    run.settings = RunSettings("other", PERIOD, 4, 60 * S, 5 * S)
    assert run.prompt == "mine"


def test_only_newer_observations_are_taken():
    run = released()
    assert not run.takes(observation(START - 1), START)
    assert run.takes(observation(START), START)
    infer(run, START)
    assert not run.takes(observation(START), START + S)
    assert run.takes(observation(START + 1), START + S)


def test_when_there_is_time_the_next_pictures_are_waited_for():
    run = released()
    infer(run, START)
    due = START + S
    assert run.wants_inference(due)
    assert not run.takes(observation(due - S // 30), due)
    assert run.takes(observation(due + 1), due + S // 50)


def test_the_next_pictures_are_not_waited_for_long():
    run = released()
    infer(run, START)
    due = START + S
    assert not run.takes(observation(due - S // 30), due)
    assert not run.takes(observation(due - S // 30), due + S // 10 - 1)
    assert run.takes(observation(due - S // 30), due + S // 10)


def test_an_answer_that_makes_no_chunk_is_an_error_and_asked_again():
    run = released()
    run.began(START)
    with pytest.raises(InvalidChunkError, match="finite"):
        run.answered(observation(START), Inference(np.full((2, 2), np.nan)), START)
    run.failed("it was not finite")
    assert (run.state, run.reason) == (PolicyState.STALLED, "it was not finite")
    assert run.chunks == 0
    assert infer(run, START + 1).chunk_id == 1
    assert (run.state, run.reason) == (PolicyState.RUNNING, "")


def test_an_answer_after_the_end_is_not_published():
    run = released()
    run.began(START)
    run.end(Outcome.STOPPED, "enough", START)
    assert run.answered(observation(START), rows(), START) is None


# Stalls -----------------------------------------------------------------------------------------


def test_missing_inputs_stall_after_a_moment():
    run = released()
    assert run.wants_inference(START)
    run.blocked(["cam_high: none"], START)
    assert run.state == PolicyState.STARTING
    run.blocked(["cam_high: none", "cam_low: none"], START + S // 5)
    assert run.state == PolicyState.STALLED
    assert run.reason == "cam_high: none; cam_low: none"
    assert run.missing == ("cam_high: none", "cam_low: none")
    infer(run, START + S)
    assert (run.state, run.missing) == (PolicyState.RUNNING, ())


def test_a_long_stall_fails_the_run_and_tells_the_controller():
    run = released()
    infer(run, START)
    now = START + S
    assert run.check(now, preparing=False) is None
    run.blocked(["cam_low: gone"], now + S)
    assert run.check(now + 5 * S - 1, preparing=False) is None
    stop = stopped(run, now + 5 * S)
    assert (stop.horizon, stop.last, stop.chunk_id) == (0, True, 2)
    assert result(run).outcome == Outcome.FAILED
    assert result(run).message == "no chunk for 5 s: cam_low: gone"
    assert (run.state, run.reason) == (PolicyState.ERROR, result(run).message)


def test_a_slow_answer_counts_as_stall():
    run = released()
    infer(run, START)
    assert run.wants_inference(START + S)
    run.began(START + S)
    assert run.check(START + 6 * S - 1, preparing=False) is None
    assert run.check(START + 6 * S, preparing=False) is not None
    assert result(run).outcome == Outcome.FAILED


def test_time_between_inferences_is_no_stall():
    run = released(settings=RunSettings("", PERIOD, 100, 600 * S, 5 * S))
    infer(run, START, rows(100))
    assert run.check(START + 9 * S, preparing=False) is None
    assert run.result is None


def test_the_first_preparation_is_no_stall():
    run = released()
    for second in range(20):
        run.check(START + second * S, preparing=True)
    run.check(START + 20 * S, preparing=False)
    assert run.result is None
    run.check(START + 25 * S, preparing=False)
    assert result(run).outcome == Outcome.FAILED
    assert result(run).message == "no chunk for 5 s: no answer and no new observation"


def test_no_stop_chunk_for_a_run_that_published_none():
    assert released().end(Outcome.STOPPED, "enough", START) is None


# Time limit and end -----------------------------------------------------------------------------


def test_the_time_limit_counts_from_the_first_observation():
    run = released(max_duration_ns=3 * S)
    infer(run, START + 10 * S)
    assert run.elapsed_ns(START + 11 * S) == S
    assert run.check(START + 13 * S - 1, preparing=False) is None
    stop = stopped(run, START + 13 * S)
    assert (stop.horizon, stop.last) == (0, True)
    assert result(run).outcome == Outcome.TIMEOUT
    assert result(run).message == "the time limit of 3 s is over"
    assert result(run).duration_ns == 3 * S
    assert run.state == PolicyState.IDLE


def test_the_default_time_limit_is_that_of_the_settings():
    run = released()
    infer(run, START)
    run.settings = RunSettings("", PERIOD, 10, 2 * S, 50 * S)
    run.check(START + 2 * S, preparing=False)
    assert result(run).outcome == Outcome.TIMEOUT


def test_a_run_ends_once():
    run = released()
    infer(run, START)
    assert run.end(Outcome.STOPPED, "first", START) is not None
    assert run.end(Outcome.FAILED, "second", START) is None
    assert result(run).message == "first"
    assert run.check(START + 999 * S, preparing=False) is None


def test_done_lets_the_rows_finish():
    run = released()
    infer(run, START)
    last = infer(run, START + S, rows(5, done=True))
    assert last.last
    assert run.due_ns() is None
    assert run.check(START + S + 5 * PERIOD - 1, preparing=False) is None
    assert run.result is None
    assert run.check(START + S + 5 * PERIOD, preparing=False) is None  # it was told already
    assert result(run).outcome == Outcome.DONE
    assert result(run).chunks == 2


def test_done_waits_for_the_controllers_word_when_it_speaks():
    run = released()
    run.controller(report(START, State.HOLDING, ""), START)
    infer(run, START)
    infer(run, START + S, rows(2, done=True))
    assert run.check(START + S + 2 * PERIOD, preparing=False) is None
    assert run.result is None
    run.controller(report(START + S + 2 * PERIOD, State.EXECUTING), START + S + 2 * PERIOD)
    run.check(START + S + 2 * PERIOD, preparing=False)
    assert result(run).outcome == Outcome.DONE


def test_a_first_chunk_that_is_also_the_last_may_still_need_a_ramp():
    run = released()
    run.controller(report(START, State.HOLDING, ""), START)
    only = infer(run, START, rows(5, done=True))
    assert not only.last
    run.controller(report(START + S // 10, State.RAMPING), START + S // 10)
    assert run.check(START + 2 * S, preparing=False) is None
    assert run.result is None
    run.controller(report(START + 3 * S, State.HOLDING), START + 3 * S)
    assert infer(run, START + 3 * S, rows(5, done=True)).last
    run.controller(report(START + 4 * S, State.HOLDING, ""), START + 4 * S)
    run.check(START + 4 * S, preparing=False)
    assert result(run).outcome == Outcome.DONE


def test_the_controller_is_told_when_the_only_chunk_was_the_last():
    run = released()
    infer(run, START, rows(5, done=True))
    stop = stopped(run, START + S)
    assert (stop.horizon, stop.last, stop.chunk_id) == (0, True, 2)
    assert result(run).outcome == Outcome.DONE


# Arm controller ---------------------------------------------------------------------------------


def test_nothing_is_asked_during_a_ramp_and_afresh_after_it():
    run = released()
    infer(run, START)
    run.controller(report(START + 1, State.RAMPING, reason="moving"), START + 1)
    assert not run.wants_inference(START + 5 * S)
    assert (run.state, run.reason) == (PolicyState.RUNNING, "moving")
    assert run.check(START + 30 * S, preparing=False) is None
    end = START + 30 * S
    run.controller(report(end, State.HOLDING), end + 1)
    assert run.wants_inference(end + 1)
    assert not run.takes(observation(end - 1), end + 1)
    assert run.takes(observation(end), end + 1)


def test_an_answer_that_comes_during_a_ramp_is_dropped():
    run = released()
    infer(run, START)
    run.began(START + S)
    run.controller(report(START + S, State.RAMPING), START + S)
    assert run.answered(observation(START + S), rows(), START + S) is None
    assert run.chunks == 1


def test_a_ramp_too_short_to_be_seen_asks_afresh_too():
    run = released()
    infer(run, START)
    run.controller(report(START + 5, State.HOLDING), START + 5)
    assert run.wants_inference(START + 6)
    assert not run.takes(observation(START + 4), START + 6)
    assert run.takes(observation(START + 5), START + 6)


def test_a_starved_controller_is_helped_at_once():
    run = released()
    infer(run, START)
    run.controller(report(START + 5, State.STARVED), START + 5)
    assert run.wants_inference(START + 6)


@pytest.mark.parametrize("stamp", [START - 1, START])
def test_words_from_before_the_chunk_say_nothing_of_it(stamp):
    run = released()
    infer(run, START)
    run.controller(report(stamp, State.STARVED), START + 5)
    assert not run.wants_inference(START + 6)


def test_no_second_inference_is_asked_for_while_one_is_under_way():
    run = released()
    infer(run, START)
    run.wants_inference(START + S)
    run.began(START + S)
    run.controller(report(START + S + 1, State.STARVED), START + S + 1)
    run.answered(observation(START + S), rows(), START + S + 2)
    assert run.due_ns() == START + 2 * S


@pytest.mark.parametrize("state", [State.FAULT, State.ESTOP])
def test_a_fault_fails_the_run(state):
    run = released()
    infer(run, START)
    stop = run.controller(report(START + 1, state, "", reason="joint 3 is hot"), START + 1)
    assert stop is not None
    assert stop.last
    assert result(run).outcome == Outcome.FAILED
    assert result(run).message == f"arm controller: {state.name}: joint 3 is hot"


def test_refused_chunks_stall_and_fail_the_run():
    run = released()
    run.controller(report(START, State.HOLDING, "", rejections=4), START)
    now = START
    while run.result is None:
        assert now < START + 20 * S
        if run.wants_inference(now):
            infer(run, now)
        refused = 4 + run.chunks
        run.controller(
            report(now + 1, State.HOLDING, "", rejections=refused, last_rejection="wrong joints"),
            now + 1,
        )
        assert run.state in (PolicyState.STALLED, PolicyState.ERROR)
        now += S // 10
        run.check(now, preparing=False)
    assert now >= START + 5 * S
    assert result(run).outcome == Outcome.FAILED
    assert "the arm controller refused a chunk: wrong joints" in result(run).message


def test_one_refused_chunk_is_made_up_for():
    run = released()
    run.controller(report(START, State.HOLDING, "", rejections=4), START)
    infer(run, START)
    late = report(START + 1, State.HOLDING, "", rejections=5, last_rejection="too old")
    run.controller(late, START + 1)
    assert (run.state, run.reason) == (
        PolicyState.STALLED,
        "the arm controller refused a chunk: too old",
    )
    infer(run, START + 2)
    run.controller(report(START + 3, State.EXECUTING, rejections=5), START + 3)
    assert (run.state, run.reason) == (PolicyState.RUNNING, "")
    assert run.check(START + S, preparing=False) is None
    assert run.result is None
