"""What a policy run makes of what the arm controller says, tested with integers."""

from __future__ import annotations

import pytest

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.execution import State
from trossen_pi0_policy.state import Outcome, PolicyState

S = NANOSECONDS
START = 1000 * S


def test_nothing_is_asked_during_a_ramp_and_afresh_after_it(kit):
    run = kit.released()
    kit.infer(run, START)
    run.controller(kit.report(START + 1, State.RAMPING, reason="moving"), START + 1)
    assert not run.wants_inference(START + 5 * S)
    assert (run.state, run.reason) == (PolicyState.RUNNING, "moving")
    assert run.check(START + 30 * S, preparing=False) is None
    end = START + 30 * S
    run.controller(kit.report(end, State.HOLDING), end + 1)
    assert run.wants_inference(end + 1)
    assert not run.takes(kit.observation(end - 1), end + 1)
    assert run.takes(kit.observation(end), end + 1)


def test_an_answer_that_comes_during_a_ramp_is_dropped(kit):
    run = kit.released()
    kit.infer(run, START)
    run.began(START + S)
    run.controller(kit.report(START + S, State.RAMPING), START + S)
    assert run.answered(kit.observation(START + S), kit.rows(), START + S) is None
    assert run.chunks == 1


def test_a_ramp_too_short_to_be_seen_asks_afresh_too(kit):
    run = kit.released()
    kit.infer(run, START)
    run.controller(kit.report(START + 5, State.HOLDING), START + 5)
    assert run.wants_inference(START + 6)
    assert not run.takes(kit.observation(START + 4), START + 6)
    assert run.takes(kit.observation(START + 5), START + 6)


def test_a_starved_controller_is_helped_at_once(kit):
    run = kit.released()
    kit.infer(run, START)
    run.controller(kit.report(START + 5, State.STARVED), START + 5)
    assert run.wants_inference(START + 6)


@pytest.mark.parametrize("stamp", [START - 1, START])
def test_words_from_before_the_chunk_say_nothing_of_it(kit, stamp):
    run = kit.released()
    kit.infer(run, START)
    run.controller(kit.report(stamp, State.STARVED), START + 5)
    assert not run.wants_inference(START + 6)


def test_no_second_inference_is_asked_for_while_one_is_under_way(kit):
    run = kit.released()
    kit.infer(run, START)
    run.wants_inference(START + S)
    run.began(START + S)
    run.controller(kit.report(START + S + 1, State.STARVED), START + S + 1)
    run.answered(kit.observation(START + S), kit.rows(), START + S + 2)
    assert run.due_ns() == START + 2 * S


@pytest.mark.parametrize("state", [State.FAULT, State.ESTOP])
def test_a_fault_fails_the_run(kit, state):
    run = kit.released()
    kit.infer(run, START)
    stop = run.controller(kit.report(START + 1, state, "", reason="joint 3 is hot"), START + 1)
    assert stop is not None
    assert stop.last
    assert kit.result(run).outcome == Outcome.FAILED
    assert kit.result(run).message == f"arm controller: {state.name}: joint 3 is hot"


def test_refused_chunks_stall_and_fail_the_run(kit):
    run = kit.released()
    run.controller(kit.report(START, State.HOLDING, "", rejections=4), START)
    now = START
    while run.result is None:
        assert now < START + 20 * S
        if run.wants_inference(now):
            kit.infer(run, now)
        refused = 4 + run.chunks
        run.controller(
            kit.report(
                now + 1, State.HOLDING, "", rejections=refused, last_rejection="wrong joints"
            ),
            now + 1,
        )
        assert run.state in (PolicyState.STALLED, PolicyState.ERROR)
        now += S // 10
        run.check(now, preparing=False)
    assert now >= START + 5 * S
    assert kit.result(run).outcome == Outcome.FAILED
    assert "the arm controller refused a chunk: wrong joints" in kit.result(run).message


def test_one_refused_chunk_is_made_up_for(kit):
    run = kit.released()
    run.controller(kit.report(START, State.HOLDING, "", rejections=4), START)
    kit.infer(run, START)
    late = kit.report(START + 1, State.HOLDING, "", rejections=5, last_rejection="too old")
    run.controller(late, START + 1)
    assert (run.state, run.reason) == (
        PolicyState.STALLED,
        "the arm controller refused a chunk: too old",
    )
    kit.infer(run, START + 2)
    run.controller(kit.report(START + 3, State.EXECUTING, rejections=5), START + 3)
    assert (run.state, run.reason) == (PolicyState.RUNNING, "")
    assert run.check(START + S, preparing=False) is None
    assert run.result is None
