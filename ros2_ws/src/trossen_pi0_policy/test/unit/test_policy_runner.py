"""The inference thread, with a programmable backend and real time."""

from __future__ import annotations

import math
import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.errors import BackendError, BackendUnavailableError
from trossen_pi0_core.execution import State
from trossen_pi0_policy.backends import Inference
from trossen_pi0_policy.state import (
    ControllerReport,
    Outcome,
    PolicyState,
    RunRequest,
    RunSettings,
)

PERIOD_NS = NANOSECONDS // 100
SETTINGS = RunSettings("pick", PERIOD_NS, 5, 60 * NANOSECONDS, 2 * NANOSECONDS)
IMPATIENT = replace(SETTINGS, stall_timeout_ns=NANOSECONDS // 4)
DEADLINE_S = 5.0


def test_a_run_publishes_chunks_with_rising_ids_from_one_thread(rig):
    run_id = rig.start(seed=7)
    rig.wait_for_chunks(3)
    chunks = [chunk for chunk, _ in rig.chunks[:3]]
    assert [chunk.chunk_id for chunk in chunks] == [1, 2, 3]
    assert {chunk.run_id for chunk in chunks} == {run_id}
    assert chunks[0].t_first_ns > chunks[0].observation_stamp_ns  # the arms stood still
    assert all(chunk.t_first_ns == chunk.observation_stamp_ns for chunk in chunks[1:])
    assert all(stamp >= chunk.observation_stamp_ns for chunk, stamp in rig.chunks[:3])
    assert rig.backend.calls[:3] == ["prepare", "begin pick 7", "infer"]
    assert rig.backend.threads == {"policy-inference"}
    observation = rig.backend.requests[0].observation
    assert observation.prompt == "pick"
    assert observation.state.tolist() == [0.1, 0.2]
    assert rig.backend.requests[0].period_ns == PERIOD_NS


def test_inferences_keep_their_distance(rig):
    rig.start()
    rig.wait_for_chunks(6)
    stamps = [stamp for _, stamp in rig.chunks[:6]]
    assert (stamps[5] - stamps[0]) / 5 >= 0.9 * 5 * PERIOD_NS


def test_status_of_a_run(rig):
    before = rig.runner.status()
    assert (before.state, before.run_id, before.prompt) == (PolicyState.IDLE, "", "pick")
    assert math.isnan(before.latency.inference_s)
    assert math.isnan(before.latency_p50_s)
    run_id = rig.start(prompt="place")
    rig.wait_for_chunks(2)
    status = rig.runner.status()
    assert (status.state, status.reason) == (PolicyState.RUNNING, "")
    assert (status.run_id, status.prompt) == (run_id, "place")
    assert status.chunks_published >= 2
    assert status.chunk_id >= 2
    assert status.inference_failures == 0
    assert status.missing == ()


def test_latency_is_split_into_the_policys_and_our_own(rig):
    def slow(request):
        time.sleep(0.3)
        return Inference(np.zeros((80, 2)), preparation_ns=250_000_000)

    rig.backend.on_infer = slow
    rig.start()
    rig.wait_for_chunks(2)
    latency = rig.runner.status().latency
    assert 0.05 <= latency.inference_s < 0.25
    assert latency.overhead_s >= 0.25
    assert latency.chunk_s == pytest.approx(latency.inference_s + latency.overhead_s)


def test_one_run_at_a_time(rig):
    rig.runner.enable()
    run_id = rig.runner.begin(RunRequest())
    with pytest.raises(BackendError, match=f"run {run_id} is under way"):
        rig.runner.begin(RunRequest())
    assert rig.runner.end(Outcome.STOPPED, "enough")
    assert not rig.runner.end(Outcome.STOPPED, "again")
    other = rig.runner.begin(RunRequest())
    assert other != run_id
    assert rig.wait_for_result(run_id).message == "enough"
    assert rig.runner.result(other) is None
    assert not rig.runner.end(Outcome.STOPPED, "late", run_id)
    assert rig.runner.busy


def test_no_run_while_disabled(rig):
    with pytest.raises(BackendError, match="not active"):
        rig.runner.begin(RunRequest())
    assert rig.backend.calls == []


def test_stopping_ends_with_an_empty_last_chunk_and_nothing_after(rig):
    run_id = rig.start()
    rig.wait_for_chunks(2)
    rig.runner.end(Outcome.STOPPED, "cancelled")
    last = rig.chunks[-1][0]
    assert (last.last, last.horizon) == (True, 0)
    assert last.chunk_id == len(rig.chunks)
    result = rig.wait_for_result(run_id)
    assert (result.outcome, result.message) == (Outcome.STOPPED, "cancelled")
    assert result.chunks == len(rig.chunks)
    asked = len(rig.backend.requests)
    time.sleep(0.15)
    assert len(rig.backend.requests) <= asked + 1
    assert rig.chunks[-1][0] is last


def test_stopping_does_not_wait_for_a_slow_backend_whose_answer_is_dropped(rig):
    inside, go_on = threading.Event(), threading.Event()

    def slow(request):
        inside.set()
        assert go_on.wait(DEADLINE_S)
        return Inference(np.zeros((20, 2)))

    run_id = rig.start()
    rig.wait_for_chunks(1)
    rig.backend.on_infer = slow
    assert inside.wait(DEADLINE_S)
    rig.runner.end(Outcome.STOPPED, "cancelled")
    assert rig.runner.result(run_id)
    count = len(rig.chunks)
    assert rig.chunks[-1][0].last
    go_on.set()
    rig.backend.on_infer = lambda _: Inference(np.ones((20, 2)))
    other = rig.start()
    rig.wait_until(lambda: rig.chunks[-1][0].run_id == other, "a chunk of the next run")
    assert rig.chunks[count][0].run_id == other
    assert rig.chunks[count][0].positions[0, 0] == 1.0


def test_the_time_limit_ends_a_run(rig):
    run_id = rig.start(max_duration_ns=NANOSECONDS // 5)
    result = rig.wait_for_result(run_id)
    assert result.outcome == Outcome.TIMEOUT
    assert 0.2 <= result.duration_ns / NANOSECONDS < 2.0
    assert rig.chunks[-1][0].horizon == 0


def test_done_ends_a_run(rig):
    rig.backend.on_infer = lambda _: Inference(
        np.zeros((8, 2)), done=len(rig.backend.requests) == 3
    )
    run_id = rig.start()
    result = rig.wait_for_result(run_id)
    assert (result.outcome, result.chunks) == (Outcome.DONE, 3)
    assert [chunk.last for chunk, _ in rig.chunks] == [False, False, True]
    assert rig.chunks[-1][0].horizon == 8


def test_a_missing_camera_stalls_the_run_until_it_is_back(rig):
    rig.start()
    rig.wait_for_chunks(1)
    rig.camera = False
    rig.wait_for_state(PolicyState.STALLED)
    why = "cam_high: newest picture is"  # and again after a chunk that was under way

    def told() -> bool:
        status = rig.runner.status()
        return [t.startswith(why) for t in (*status.missing[:1], status.reason)] == [True, True]

    rig.wait_until(told, "the reason")
    count = len(rig.chunks)
    rig.camera = True
    rig.wait_for_chunks(count + 1)
    rig.wait_for_state(PolicyState.RUNNING)


def test_a_camera_that_stays_away_fails_the_run(make_rig):
    rig = make_rig(RunSettings("", PERIOD_NS, 5, 60 * NANOSECONDS, NANOSECONDS // 2))
    try:
        rig.camera = False
        run_id = rig.start()
        result = rig.wait_for_result(run_id)
        assert result.outcome == Outcome.FAILED
        assert result.message == "no chunk for 0.5 s: cam_high: no picture received"
        assert rig.chunks == []
        assert rig.runner.status().state == PolicyState.ERROR
    finally:
        rig.close()


def test_a_failing_backend_is_prepared_and_asked_again(rig):
    failures = iter([BackendUnavailableError("gone"), BackendError("rubbish")])

    def shaky(request):
        for error in failures:
            raise error
        return Inference(np.zeros((20, 2)))

    rig.backend.on_infer = shaky
    rig.start()
    rig.wait_for_state(PolicyState.STALLED)
    assert rig.runner.status().reason in ("gone", "rubbish")
    rig.wait_for_chunks(1)
    assert rig.backend.calls[:7] == [
        "prepare",
        "begin pick 0",
        "infer",
        "prepare",
        "infer",
        "prepare",
        "infer",
    ]
    assert rig.runner.status().inference_failures == 2
    assert rig.runner.status().state == PolicyState.RUNNING


def test_a_backend_that_is_not_ready_says_why_without_a_run(rig):
    allowed = threading.Event()

    def prepare():
        if not allowed.is_set():
            raise BackendUnavailableError("no server")

    rig.backend.on_prepare = prepare
    rig.runner.enable()
    rig.wait_until(lambda: rig.runner.status().reason == "no server", "the reason")
    assert rig.runner.status().state == PolicyState.IDLE
    assert rig.runner.status().inference_failures == 0
    run_id = rig.start()
    rig.wait_for_state(PolicyState.STALLED)
    allowed.set()
    rig.wait_for_chunks(1)
    assert rig.runner.status().reason == ""
    assert rig.runner.result(run_id) is None


def test_a_run_that_begins_between_two_attempts_knows_of_the_failure(rig):
    attempts = []

    def prepare():
        attempts.append(1)
        if len(attempts) > 1:
            rig.backend.interrupted.wait(DEADLINE_S)
        raise BackendError("no checkpoint")

    rig.backend.on_prepare = prepare
    rig.runner.apply(IMPATIENT)
    rig.runner.enable()
    rig.wait_until(lambda: len(attempts) > 1, "the second attempt")
    result = rig.wait_for_result(rig.start())
    assert result.outcome == Outcome.FAILED
    assert result.message == "no chunk for 0.25 s: no checkpoint"
    rig.backend.interrupted.set()


def test_a_bug_in_a_backend_is_shown_and_logged_once(rig, caplog):
    def broken(request):
        raise ZeroDivisionError("oh")

    rig.backend.on_infer = broken
    rig.runner.apply(IMPATIENT)
    run_id = rig.start()
    result = rig.wait_for_result(run_id)
    assert "the backend failed: ZeroDivisionError: oh" in result.message
    assert sum("ZeroDivisionError" in record.message for record in caplog.records) == 1


def test_an_answer_of_the_wrong_width_is_a_failure(rig):
    rig.backend.on_infer = lambda _: Inference(np.zeros((5, 3)))
    rig.start()
    rig.wait_for_state(PolicyState.STALLED)
    assert "positions must have shape (horizon, 2), got (5, 3)" in rig.runner.status().reason
    assert rig.chunks == []


def test_live_settings_reach_the_run_under_way(rig):
    rig.start()
    rig.wait_for_chunks(1)
    settings = RunSettings("place", PERIOD_NS // 2, 3, 60 * NANOSECONDS, 2 * NANOSECONDS)
    rig.runner.apply(settings)
    rig.wait_until(lambda: rig.chunks[-1][0].period_ns == PERIOD_NS // 2, "the new period")
    assert rig.backend.requests[-1].observation.prompt == "place"


def test_a_fault_that_is_still_there_fails_the_next_run_at_once(rig):
    rig.runner.enable()
    rig.runner.controller(ControllerReport(1, State.ESTOP, "pressed"))
    run_id = rig.runner.begin(RunRequest())
    assert rig.wait_for_result(run_id).message == "arm controller: ESTOP: pressed"
    rig.runner.controller(ControllerReport(2, State.HOLDING))
    assert rig.runner.begin(RunRequest())
    assert rig.runner.busy


def test_a_ramp_pauses_the_questions(rig):
    run_id = rig.start()
    rig.wait_for_chunks(1)
    now = time.monotonic_ns()
    rig.runner.controller(ControllerReport(now, State.RAMPING, "moving", run_id))
    asked = len(rig.backend.requests)
    time.sleep(0.15)
    assert len(rig.backend.requests) <= asked + 1
    asked, end = len(rig.backend.requests), time.monotonic_ns()
    rig.runner.controller(ControllerReport(end, State.HOLDING, "", run_id))
    rig.wait_until(lambda: len(rig.backend.requests) > asked, "a fresh inference")
    assert rig.backend.requests[asked].observation.stamp_ns >= end


def test_closing_interrupts_the_backend_and_closes_it_on_its_thread(make_rig):
    rig = make_rig()

    def until_interrupted(_):
        assert rig.backend.interrupted.wait(DEADLINE_S)
        return Inference(np.zeros((5, 2)))

    rig.backend.on_infer = until_interrupted
    run_id = rig.start()
    rig.wait_until(lambda: rig.backend.requests, "an inference")
    began = time.monotonic()
    rig.close()
    assert time.monotonic() - began < DEADLINE_S
    assert rig.backend.calls[-1] == "close"
    assert rig.backend.threads == {"policy-inference"}
    assert rig.wait_for_result(run_id).outcome == Outcome.STOPPED
    assert "policy-inference" not in {thread.name for thread in threading.enumerate()}
