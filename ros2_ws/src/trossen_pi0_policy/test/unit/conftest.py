"""A policy run on a bench, with integers for times, and a runner with a programmable backend."""

from __future__ import annotations

import dataclasses
import threading
import time

import numpy as np
import pytest

from trossen_pi0_core.contract import NANOSECONDS, ActionChunk, Observation
from trossen_pi0_core.sync import SyncTolerances
from trossen_pi0_policy.backends import Inference
from trossen_pi0_policy.backends.base import PrefixSupport
from trossen_pi0_policy.observations import ObservationBuffer
from trossen_pi0_policy.run import PolicyRun
from trossen_pi0_policy.runner import PolicyRunner
from trossen_pi0_policy.state import ControllerReport, RunRequest, RunSettings

S = NANOSECONDS
NAMES = ("a", "b")
PERIOD_NS = NANOSECONDS // 100
RUNNER_SETTINGS = RunSettings("pick", PERIOD_NS, 5, 60 * NANOSECONDS, 2 * NANOSECONDS)
DEADLINE_S = 5.0


class RunKit:
    """Makes runs of two joints with rows of 10 Hz and 10 rows between two inferences."""

    START = 1000 * S
    PERIOD = S // 10
    SETTINGS = RunSettings("default", PERIOD, 10, 60 * S, 5 * S, max_observation_age_ns=3 * S // 10)

    def settings(self, **changes) -> RunSettings:
        return dataclasses.replace(self.SETTINGS, **changes)

    def observation(self, stamp) -> Observation:
        return Observation(stamp, NAMES, np.zeros(2), {})

    def rows(self, count=20, **fields) -> Inference:
        """An answer: joint a counts the rows, joint b is at rest."""
        positions = np.zeros((count, 2))
        positions[:, 0] = np.arange(count)
        return Inference(positions, **fields)

    def new_run(self, settings=None, **request) -> PolicyRun:
        return PolicyRun("run", RunRequest(**request), settings or self.SETTINGS, NAMES)

    def released(self, **kwargs) -> PolicyRun:
        run = self.new_run(**kwargs)
        run.release(self.START)
        return run

    def ask(self, run, now, support=PrefixSupport.GUIDED):
        """Begins an inference from an observation stamped now; returns the question."""
        assert run.wants_inference(now)
        request = run.question(self.observation(now), now, support)
        run.began(now)
        return request

    def infer(self, run, now, inference=None, took=0, support=PrefixSupport.GUIDED) -> ActionChunk:
        """One inference from an observation stamped now, and its chunk."""
        request = self.ask(run, now, support)
        chunk = run.answered(request.observation, inference or self.rows(), now + took)
        assert chunk is not None
        return chunk

    def report(self, now, state, run_id="run", **fields) -> ControllerReport:
        return ControllerReport(now, state, run_id=run_id, **fields)

    def result(self, run):
        assert run.result is not None
        return run.result

    def stopped(self, run, now) -> ActionChunk:
        """The chunk with which a look at the time ends or pauses the run."""
        chunk = run.check(now, preparing=False)
        assert chunk is not None
        return chunk


@pytest.fixture
def kit() -> RunKit:
    return RunKit()


def wait_until(condition, what):
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"waited {DEADLINE_S} s for {what}"
        time.sleep(0.002)


class ProgrammedBackend:
    """Answers what it is told to; counts the calls."""

    needs_ground_truth = False
    prefix_support = PrefixSupport.NONE

    def __init__(self):
        self.metadata = {}
        self.on_prepare = lambda: None
        self.on_infer = lambda _: Inference(np.zeros((20, 2)))
        self.calls = []
        self.requests = []
        self.threads = set()
        self.interrupted = threading.Event()
        self.metadata: dict[str, object] = {}

    def _called(self, name):
        self.calls.append(name)
        self.threads.add(threading.current_thread().name)

    def prepare(self):
        self._called("prepare")
        self.on_prepare()

    def begin_run(self, prompt, seed):
        self._called(f"begin {prompt} {seed}")

    def infer(self, request):
        self._called("infer")
        self.requests.append(request)
        return self.on_infer(request)

    def interrupt(self):
        self.interrupted.set()

    def close(self):
        self._called("close")


class RunnerRig:
    """A runner whose joints and camera are fed."""

    wait_until = staticmethod(wait_until)

    def __init__(self, settings=RUNNER_SETTINGS):
        tolerances = SyncTolerances(NANOSECONDS // 10, NANOSECONDS // 2)
        self.buffer = ObservationBuffer(NAMES, ("cam_high",), tolerances)
        self.backend = ProgrammedBackend()
        self.chunks = []
        self.camera = True
        self.offset_ns = 0
        self.runner = PolicyRunner(
            self.backend,
            self.buffer,
            settings,
            NAMES,
            now_ns=self.now_ns,
            publish=lambda chunk, stamp: self.chunks.append((chunk, stamp)),
        )
        self._over = threading.Event()
        self._feeder = threading.Thread(target=self._feed)
        self._feeder.start()

    def now_ns(self):
        return time.monotonic_ns() + self.offset_ns

    def _feed(self):
        image = np.zeros((4, 4, 3), np.uint8)
        while not self._over.wait(0.005):
            now = self.now_ns()
            self.buffer.add_joints(now, NAMES, (0.1, 0.2))
            if self.camera:
                self.buffer.add_image("cam_high", now, image)
            self.runner.poll()

    def close(self):
        self._over.set()
        self._feeder.join()
        self.runner.close()

    def start(self, **request):
        self.runner.enable()
        run_id = self.runner.begin(RunRequest(**request))
        self.runner.release(run_id)
        return run_id

    def wait_for_chunks(self, count):
        wait_until(lambda: len(self.chunks) >= count, f"{count} chunks")

    def wait_for_result(self, run_id):
        wait_until(lambda: self.runner.result(run_id), "the end of the run")
        result = self.runner.result(run_id)
        assert result is not None
        return result

    def wait_for_state(self, state):
        wait_until(lambda: self.runner.status().state == state, state.name)


@pytest.fixture
def make_rig():
    """Makes a rig with settings of its own, which the test closes."""
    return RunnerRig


@pytest.fixture
def rig():
    made = RunnerRig()
    yield made
    made.close()
