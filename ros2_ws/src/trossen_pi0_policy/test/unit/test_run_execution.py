"""The ways of execution of a run: asynchronous, blocking, real-time chunking."""

from __future__ import annotations

import numpy as np
import pytest

from trossen_pi0_core.contract import NANOSECONDS, Execution
from trossen_pi0_core.curves import ChunkCurve
from trossen_pi0_core.execution import State
from trossen_pi0_policy.backends.base import Inference, PrefixSupport
from trossen_pi0_policy.state import PolicyState, in_force

S = NANOSECONDS
PERIOD = S // 10
START = 1000 * S


# Asynchronous -----------------------------------------------------------------------------------


def test_the_first_chunk_begins_on_arrival_for_the_arms_have_stood_still(kit):
    chunk = kit.infer(kit.released(), START, took=S)
    assert (chunk.observation_stamp_ns, chunk.t_first_ns) == (START, START + S)


def test_async_chunks_begin_at_their_observation_and_keep_all_rows(kit):
    run = kit.released()
    kit.infer(run, START)
    chunk = kit.infer(run, START + S, took=S)
    assert chunk.execution == Execution.ASYNC
    assert (chunk.t_first_ns, chunk.horizon, chunk.execute_rows) == (START + S, 20, 0)


def test_after_a_starvation_the_chunk_of_arms_at_rest_begins_on_arrival(kit):
    run = kit.released()
    kit.infer(run, START)
    run.controller(kit.report(START + 3 * S, State.STARVED, chunk_id=1), START + 3 * S)
    chunk = kit.infer(run, START + 3 * S, took=S)
    assert chunk.t_first_ns == START + 4 * S


def test_an_answer_from_the_motion_before_a_starvation_stays_where_it_was(kit):
    run = kit.released()
    kit.infer(run, START)
    request = kit.ask(run, START + S)
    run.controller(kit.report(START + 2 * S, State.STARVED, chunk_id=1), START + 2 * S)
    chunk = run.answered(request.observation, kit.rows(), START + 2 * S + S // 2)
    assert chunk is not None
    assert chunk.t_first_ns == START + S


def test_an_answer_whose_rows_are_all_past_is_not_published_but_counted(kit):
    run = kit.released()
    kit.infer(run, START)
    kit.ask(run, START + S)
    assert run.answered(kit.observation(START + S), kit.rows(20), START + 3 * S) is None
    assert (run.chunks, run.late_answers) == (1, 1)
    assert run.state == PolicyState.STALLED
    assert run.reason == "the answer took 2.00 s, all its 20 rows were past"
    assert run.wants_inference(START + 3 * S)
    assert kit.infer(run, START + 3 * S, took=2 * S - 1).chunk_id == 2
    assert (run.state, run.reason) == (PolicyState.RUNNING, "")


def test_answers_that_always_come_too_late_fail_the_run(kit):
    run = kit.released()
    kit.infer(run, START)
    now = START + S
    while run.result is None:
        assert now < START + 10 * S
        kit.ask(run, now)
        assert run.answered(kit.observation(now), kit.rows(5), now + S) is None
        now += S
        run.check(now, preparing=False)
    assert kit.result(run).message.startswith("no chunk for 5 s: the answer took 1.00 s")


def test_delays_are_from_the_observation_to_its_publication(kit):
    run = kit.released()
    kit.infer(run, START, took=S // 4)
    assert run.delays.expected_ns == S // 4 + S // 100
    kit.infer(run, START + S, took=S // 2)
    assert len(run.delays) == 2


def test_the_quantile_of_the_settings_is_that_of_the_estimate(kit):
    run = kit.released(settings=kit.settings(delay_quantile=0.5))
    assert run.delays.quantile == 0.5
    run.settings = kit.settings(delay_quantile=1.0)
    assert run.delays.quantile == 1.0


# Blocking ---------------------------------------------------------------------------------------


@pytest.fixture
def blocking(kit):
    return kit.released(settings=kit.settings(execution=Execution.BLOCKING))


def test_blocking_chunks_begin_when_published_and_are_played_for_the_rate(kit, blocking):
    chunk = kit.infer(blocking, START, took=S)
    assert chunk.execution == Execution.BLOCKING
    assert (chunk.t_first_ns, chunk.observation_stamp_ns) == (START + S, START)
    assert (chunk.horizon, chunk.execute_rows) == (20, 10)
    assert chunk.t_hold_ns == START + 2 * S


@pytest.mark.parametrize("horizon", [9, 10])
def test_a_blocking_chunk_with_no_rows_to_spare_is_played_to_its_end(kit, blocking, horizon):
    assert kit.infer(blocking, START, kit.rows(horizon)).execute_rows == 0


def test_the_last_blocking_chunk_is_played_to_its_end(kit, blocking):
    kit.infer(blocking, START)
    blocking.controller(kit.report(START + S, State.STARVED, chunk_id=1), START + S)
    last = kit.infer(blocking, START + S, kit.rows(15, done=True))
    assert (last.last, last.execute_rows) == (True, 0)


def test_blocking_waits_until_the_arms_are_at_rest(kit, blocking):
    kit.infer(blocking, START)  # its rows are over at START + S
    blocking.controller(kit.report(START + S - 1, State.EXECUTING, chunk_id=1), START + S - 1)
    assert not blocking.wants_inference(START + S)
    blocking.controller(kit.report(START + S + 5, State.STARVED, chunk_id=1), START + S + 5)
    assert blocking.wants_inference(START + S + 6)
    assert not blocking.takes(kit.observation(START + S + 4), START + S + 6)
    assert blocking.takes(kit.observation(START + S + 5), START + S + 6)


def test_without_a_word_of_the_controller_blocking_waits_a_moment(kit, blocking):
    kit.infer(blocking, START)
    settled = START + S + 3 * S // 10
    assert blocking.due_ns() == settled
    assert not blocking.wants_inference(settled - 1)
    assert blocking.wants_inference(settled)
    assert not blocking.takes(kit.observation(START + S - 1), settled)
    assert blocking.takes(kit.observation(START + S), settled)


def test_blocking_waits_for_arms_that_limits_slow_down_but_not_for_ever(kit, blocking):
    kit.infer(blocking, START)
    for tenths in range(10, 40):
        now = START + tenths * S // 10
        blocking.controller(kit.report(now, State.EXECUTING, chunk_id=1), now)
        assert blocking.wants_inference(now) == (tenths >= 33)


def test_what_was_said_before_the_chunk_arrived_begins_no_inference(kit, blocking):
    kit.infer(blocking, START)
    blocking.controller(kit.report(START + S, State.STARVED, chunk_id=1), START + S)
    kit.infer(blocking, START + S)
    on_its_way = START + S + S // 100
    blocking.controller(kit.report(on_its_way, State.STARVED, chunk_id=1), on_its_way)
    assert not blocking.wants_inference(on_its_way)
    lost = START + S + S // 5
    blocking.controller(kit.report(lost, State.STARVED, chunk_id=1), lost)
    assert blocking.wants_inference(lost)


def test_execution_changes_during_a_run(kit):
    run = kit.released()
    kit.infer(run, START)
    run.settings = kit.settings(execution=Execution.BLOCKING)
    assert not run.wants_inference(START + 2 * S)  # the old chunk has rows until then
    chunk = kit.infer(run, START + 2 * S + 3 * S // 10)
    assert chunk.execution == Execution.BLOCKING
    run.settings = kit.settings()
    assert kit.infer(run, chunk.t_first_ns + S).execution == Execution.ASYNC


# Real-time chunking -----------------------------------------------------------------------------


@pytest.fixture
def rtc(kit):
    return kit.released(settings=kit.settings(execution=Execution.RTC))


def test_the_first_question_has_no_prefix(kit, rtc):
    request = kit.ask(rtc, START)
    assert request.prefix is None
    chunk = rtc.answered(request.observation, kit.rows(), START + 1)
    assert chunk is not None
    assert (chunk.execution, chunk.committed_rows) == (Execution.RTC, 0)


def test_the_prefix_is_what_the_arms_follow(kit, rtc):
    kit.infer(rtc, START, took=3 * S // 10)
    request = kit.ask(rtc, START + S)
    assert request.prefix is not None
    # It began 0.3 s later: 13 rows of 20 are left; 0.3 s and 10 ms of transport are 3.1 rows.
    np.testing.assert_allclose(request.prefix.positions[:, 0], np.arange(7, 20))
    assert request.prefix.frozen == 4
    chunk = rtc.answered(
        request.observation, Inference(np.zeros((20, 2)), committed_rows=4), START + S + S // 4
    )
    assert chunk is not None
    assert (chunk.execution, chunk.committed_rows) == (Execution.RTC, 4)
    assert chunk.t_first_ns == START + S


def test_the_prefix_of_arms_that_are_slowed_down_is_late(kit, rtc):
    kit.infer(rtc, START)
    slowed = kit.report(START + S // 2, State.EXECUTING, chunk_id=1, chunk_delay_ns=2 * S // 10)
    rtc.controller(slowed, START + S // 2)
    prefix = kit.ask(rtc, START + S).prefix
    assert prefix is not None
    np.testing.assert_allclose(prefix.positions[:, 0], np.arange(8, 20))


def test_a_slow_down_of_the_chunk_before_does_not_count(kit, rtc):
    kit.infer(rtc, START)
    kit.infer(rtc, START + S)
    late = kit.report(START + S, State.EXECUTING, chunk_id=1, chunk_delay_ns=S // 2)
    rtc.controller(late, START + S)
    prefix = kit.ask(rtc, START + 2 * S).prefix
    assert prefix is not None
    np.testing.assert_allclose(prefix.positions[:, 0], np.arange(10, 20))


def test_between_rows_the_prefix_is_on_the_controller_s_curve(kit, rtc):
    wave = np.stack([np.sin(np.arange(20)), np.cos(np.arange(20))], axis=1)
    first = kit.infer(rtc, START, Inference(wave), took=S // 10)
    at = START + S + S // 30
    prefix = kit.ask(rtc, at).prefix
    assert prefix is not None
    curve = ChunkCurve(first, START)
    expected = [curve.sample(at + i * PERIOD)[0] for i in range(11)]
    np.testing.assert_allclose(prefix.positions, expected, rtol=1e-12)


def test_a_delay_longer_than_the_overlap_freezes_all_of_it(kit, rtc):
    kit.infer(rtc, START, took=19 * S // 10)
    prefix = kit.ask(rtc, START + 38 * S // 10).prefix
    assert prefix is not None
    assert (len(prefix.positions), prefix.frozen) == (1, 1)


def test_a_chunk_that_is_over_is_no_prefix(kit, rtc):
    kit.infer(rtc, START)
    assert kit.ask(rtc, START + 2 * S).prefix is None


def test_a_chunk_that_ended_since_the_observation_is_no_prefix(kit, rtc):
    kit.infer(rtc, START)
    seen = kit.observation(START + 2 * S - 1)
    assert rtc.question(seen, START + 2 * S - 1, PrefixSupport.GUIDED).prefix is not None
    assert rtc.question(seen, START + 2 * S, PrefixSupport.GUIDED).prefix is None


def test_rows_that_are_not_executed_are_no_prefix(kit):
    run = kit.released(settings=kit.settings(execution=Execution.BLOCKING))
    kit.infer(run, START)  # 10 of 20 rows
    run.settings = kit.settings(execution=Execution.RTC, rate_of_inference=5)
    prefix = kit.ask(run, START + S // 2).prefix
    assert prefix is not None
    assert len(prefix.positions) == 5


@pytest.mark.parametrize("state", [State.STARVED, State.HOLDING])
def test_after_starvation_there_is_no_prefix(kit, rtc, state):
    kit.infer(rtc, START)
    rtc.controller(kit.report(START + 5, state, chunk_id=1), START + 5)
    assert kit.ask(rtc, START + S).prefix is None


def test_after_a_ramp_there_is_no_prefix(kit, rtc):
    kit.infer(rtc, START)
    rtc.controller(kit.report(START + 1, State.RAMPING), START + 1)
    rtc.controller(kit.report(START + S // 2, State.HOLDING), START + S // 2)
    assert kit.ask(rtc, START + S // 2).prefix is None


def test_rows_that_are_due_later_do_not_agree(kit, rtc):
    kit.infer(rtc, START)
    late = kit.infer(rtc, START + S, kit.rows(first_due_ns=7, committed_rows=3))
    assert late.committed_rows == 0


def test_without_support_rtc_goes_as_async(kit, rtc):
    kit.infer(rtc, START, support=PrefixSupport.NONE)
    request = kit.ask(rtc, START + S, PrefixSupport.NONE)
    assert request.prefix is None
    chunk = rtc.answered(request.observation, kit.rows(), START + S)
    assert chunk is not None
    assert chunk.execution == Execution.ASYNC


def test_what_is_in_force():
    assert in_force(Execution.RTC, PrefixSupport.NONE) == Execution.ASYNC
    assert in_force(Execution.RTC, PrefixSupport.CONDITIONED) == Execution.RTC
    assert in_force(Execution.BLOCKING, PrefixSupport.NONE) == Execution.BLOCKING
