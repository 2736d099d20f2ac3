"""Policy runs and the arm controller's motion executor together, without ROS and in no time."""

from __future__ import annotations

import numpy as np
import pytest

from trossen_pi0_core.contract import NANOSECONDS, Execution, Observation
from trossen_pi0_core.executor import ExecutorConfig, MotionExecutor, State
from trossen_pi0_core.limits import JointLimits
from trossen_pi0_core.timeline import ChunkTimeline
from trossen_pi0_policy.backends.base import Inference, PrefixSupport
from trossen_pi0_policy.run import PolicyRun
from trossen_pi0_policy.state import ControllerReport, RunRequest, RunSettings

S = NANOSECONDS
TICK = S // 100
PERIOD = S // 25
START = 1000 * S
NAMES = ("a", "b")


class Loop:
    """A policy that draws slow waves with a given delay, and arms that follow."""

    def __init__(self, execution, delay):
        limits = JointLimits(
            NAMES, -4 * np.ones(2), 4 * np.ones(2), 3 * np.ones(2), 30 * np.ones(2)
        )
        config = ExecutorConfig(
            limits=limits,
            move_limits=limits.slowed(0.5),
            start_tolerance_s=0.5,
            max_chunk_age_ns=4 * S,
            max_tick_ns=2 * TICK,
        )
        self.arms = MotionExecutor(config, ChunkTimeline(), np.zeros(2), START)
        settings = RunSettings("go", PERIOD, 20, 600 * S, 5 * S, execution)
        self.run = PolicyRun("run", RunRequest(), settings, NAMES)
        self.run.release(START)
        self.delay = delay
        self.now = START
        self.commands = {}
        self.requests = []
        self.chunks = []
        self._answer = None

    def go(self, seconds, missing=()):
        end = self.now + round(seconds * S)
        while self.now < end:
            self.now += TICK
            self._tick(missing)

    def _tick(self, missing):
        arms, run, now = self.arms, self.run, self.now
        command = arms.tick(now)
        self.commands[now] = command.positions
        chunk_id = arms.chunk.chunk_id if arms.chunk else 0
        rejected = arms.counters.chunks_rejected
        report = ControllerReport(
            now, command.state, arms.reason, arms.run_id, rejected, chunk_id=chunk_id
        )
        self._submit(run.controller(report, now))
        self._submit(run.check(now, preparing=False, missing=missing))
        if self._answer and now >= self._answer[0]:
            request, self._answer = self._answer[1], None
            self._submit(run.answered(request.observation, self._infer(request), now))
        observation = Observation(now, NAMES, command.positions.copy(), {})
        idle = self._answer is None and not missing and run.wants_inference(now)
        if idle and run.takes(observation, now):
            self.requests.append(run.question(observation, now, PrefixSupport.GUIDED))
            run.began(now)
            self._answer = (now + self.delay, self.requests[-1])

    def _infer(self, request):
        """A wave from where the arms are; each answer is another one."""
        times = np.arange(50) * PERIOD / S
        wave = 0.2 * np.sin(times + len(self.requests)) - 0.2 * np.sin(len(self.requests))
        rows = request.observation.state + np.stack([wave, -wave], axis=1)
        prefix = request.prefix
        if prefix is not None:
            rows += prefix.positions[prefix.frozen - 1] - rows[prefix.frozen - 1]
            rows[: prefix.frozen] = prefix.positions[: prefix.frozen]
        return Inference(rows, committed_rows=prefix.frozen if prefix else 0)

    def _submit(self, chunk):
        if chunk is not None:
            self.chunks.append((self.now, chunk))
            self.arms.submit(chunk, self.now)


def test_a_prefix_is_what_the_arms_then_do():
    loop = Loop(Execution.RTC, 15 * TICK)
    loop.go(8.0)
    assert loop.requests[0].prefix is None
    assert len(loop.requests) >= 8
    for request in loop.requests[1:-1]:
        assert request.prefix is not None
        assert request.prefix.frozen in (4, 5)  # 0.15 s and 10 ms are four rows and a bit
        begun = request.observation.stamp_ns
        for i in range(request.prefix.frozen):
            done = loop.commands[begun + i * PERIOD]
            np.testing.assert_allclose(done, request.prefix.positions[i], atol=2e-3)
    assert loop.arms.counters.starvations == 0
    assert all(chunk.committed_rows for _, chunk in loop.chunks[1:])


@pytest.mark.parametrize("delay", [0, 10 * TICK, 50 * TICK])
def test_blocking_stands_still_for_each_inference_and_plays_its_rows(delay):
    loop = Loop(Execution.BLOCKING, delay)
    loop.go(6.0)
    assert len(loop.chunks) >= 4
    for (_, chunk), (_, following) in zip(loop.chunks, loop.chunks[1:], strict=False):
        assert chunk.execute_rows == 20
        assert following.observation_stamp_ns >= chunk.t_hold_ns
        waited = following.t_first_ns - chunk.t_hold_ns
        assert delay <= waited <= delay + 3 * TICK
    assert loop.arms.counters.starvations == 0
    assert loop.arms.counters.chunks_rejected == 0


@pytest.mark.parametrize("execution", list(Execution))
def test_a_pause_stops_the_arms_and_a_fresh_chunk_moves_them(execution):
    loop = Loop(execution, 10 * TICK)
    loop.go(1.5)
    assert loop.arms.state == State.EXECUTING
    loop.go(1.0, missing=["cam_low: gone"])
    assert (loop.arms.state, loop.arms.reason) == (
        State.STARVED,
        "the policy pauses: cam_low: gone",
    )
    still = [loop.commands[loop.now - i * TICK] for i in range(80)]
    np.testing.assert_array_equal(still[0], still[-1])
    asked = len(loop.requests)
    loop.go(0.5)
    assert loop.requests[asked].prefix is None
    assert loop.arms.state == State.EXECUTING
    assert (loop.run.pauses, loop.arms.counters.pauses) == (1, 1)
    assert loop.arms.counters.chunks_rejected == 0
