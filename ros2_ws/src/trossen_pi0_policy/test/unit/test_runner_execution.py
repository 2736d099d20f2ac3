"""Pauses, clocks, ways of execution and figures of the inference thread, in real time."""

from __future__ import annotations

import dataclasses
import math
import time

import numpy as np
import pytest

from trossen_pi0_core.contract import NANOSECONDS, Execution
from trossen_pi0_policy.backends import Inference
from trossen_pi0_policy.backends.base import PrefixSupport
from trossen_pi0_policy.state import (
    Outcome,
    RunRequest,
    RunSettings,
)

PERIOD_NS = NANOSECONDS // 100
SETTINGS = RunSettings("pick", PERIOD_NS, 5, 60 * NANOSECONDS, 2 * NANOSECONDS)
DEADLINE_S = 5.0


def test_a_missing_camera_pauses_a_run_that_moves(rig):
    rig.backend.on_infer = lambda _: Inference(np.zeros((1000, 2)))
    rig.start()
    rig.wait_for_chunks(1)
    rig.camera = False
    rig.wait_until(lambda: not rig.chunks[-1][0].horizon, "the pause")
    pause, paused_ns = rig.chunks[-1]
    assert not pause.last
    assert pause.reason.startswith("cam_high: newest picture is 0.5")
    seen_ns = max(r.observation.image_stamps_ns["cam_high"] for r in rig.backend.requests)
    assert paused_ns - seen_ns < 0.7 * NANOSECONDS  # the age limit is 0.5 s
    assert rig.runner.status().pauses == 1
    rig.camera = True
    rig.wait_until(lambda: rig.chunks[-1][0].horizon, "the next rows")


def test_status_has_execution_delay_and_advice(rig):
    before = rig.runner.status()
    assert (before.execution, before.advice) == (Execution.ASYNC, ())
    assert math.isnan(before.expected_delay_s)
    assert rig.runner.horizon == 0
    rig.runner.apply(dataclasses.replace(SETTINGS, execution=Execution.RTC, rate_of_inference=20))
    rig.start()
    rig.wait_for_chunks(2)
    status = rig.runner.status()
    assert status.execution == Execution.ASYNC
    assert rig.chunks[0][0].execution == Execution.ASYNC
    assert [text.split(":")[0].split(" has")[0] for text in status.advice] == [
        "execution rtc",
        "rtc",
    ]
    assert 0.01 <= status.expected_delay_s < 1.0
    assert rig.runner.horizon == 20


def test_a_policy_that_takes_prefixes_gets_them(rig):
    rig.backend.prefix_support = PrefixSupport.CONDITIONED
    rig.runner.apply(dataclasses.replace(SETTINGS, execution=Execution.RTC))
    rig.start()
    rig.wait_until(lambda: any(r.prefix for r in list(rig.backend.requests)), "a prefix")
    assert rig.backend.requests[0].prefix is None
    assert rig.runner.status().execution == Execution.RTC


def test_late_answers_are_counted(rig):
    rig.backend.on_infer = lambda _: time.sleep(0.05) or Inference(np.zeros((2, 2)))
    rig.start()
    rig.wait_until(lambda: rig.runner.status().late_answers >= 2, "late answers")
    assert len(rig.chunks) == 1  # the first one, for which the arms stood still


def test_the_delays_of_one_run_are_known_in_the_next(rig):
    rig.start()
    rig.wait_for_chunks(2)
    rig.runner.end(Outcome.STOPPED, "enough")
    expected_s = rig.runner.status().expected_delay_s
    rig.runner.begin(RunRequest())
    assert rig.runner.status().expected_delay_s == pytest.approx(expected_s, abs=0.05)


def test_a_clock_that_is_set_back_pauses_the_run_and_drops_the_inputs(make_rig):
    rig = make_rig()
    try:
        rig.backend.on_infer = lambda _: Inference(np.zeros((1000, 2)))
        rig.start()
        rig.wait_for_chunks(1)
        rig.offset_ns = -10 * NANOSECONDS
        rig.wait_until(lambda: any(not chunk.horizon for chunk, _ in list(rig.chunks)), "the pause")
        pause = next(chunk for chunk, _ in rig.chunks if not chunk.horizon)
        assert pause.reason.startswith(("ROS time was set by -10.0", "ROS time was set by -9.9"))
        rig.wait_until(lambda: rig.chunks[-1][0].chunk_id > pause.chunk_id, "the next chunk")
        after = rig.chunks[-1][0]
        assert after.observation_stamp_ns < pause.observation_stamp_ns - 9 * NANOSECONDS
        assert after.horizon == 1000
    finally:
        rig.close()


def test_inputs_from_before_a_small_step_back_are_not_used(rig):
    rig.start()
    rig.wait_for_chunks(1)
    rig.camera = False
    rig.offset_ns = -NANOSECONDS // 5  # less than the age limit
    rig.wait_until(lambda: any(not chunk.horizon for chunk, _ in list(rig.chunks)), "the pause")
    gone = ("cam_high: no picture received",)  # the joint states soon come anew
    rig.wait_until(lambda: rig.runner.status().missing == gone, "only new inputs")
