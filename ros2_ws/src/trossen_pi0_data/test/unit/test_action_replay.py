"""A replay of actions against the real motion executor, in virtual time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.errors import ChunkRejectedError, EpisodeError
from trossen_pi0_core.execution import ExecutorConfig, State
from trossen_pi0_core.executor import MotionExecutor
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.parameters import ArmControllerParameters
from trossen_pi0_core.timeline import ChunkTimeline
from trossen_pi0_data.action_replay import ActionReplay, ActionSettings, ControllerWord, Phase
from trossen_pi0_data.commands import CommandTrack

MS = 1_000_000
S = 1000 * MS
T0 = 1_700_000_000 * S
NAMES = JointMap().urdf_names
LIMITS = ArmControllerParameters().limits
REST = np.tile([0.0, 1.0, 0.5, 0.5, 0.0, 0.0, 0.02], 2)
AWAY = REST + 0.3 * np.tile([1, 0, 0, 0, 1, 0, 0], 2)
SETTINGS = ActionSettings(1.0, 10 * MS, 1 * S, 500 * MS, 60 * S, 1 * S)


def track(seconds=3.0, speed=1.0):
    """A motion from rest to rest; the first stamp is from years ago."""
    at = np.arange(round(seconds * 30) + 1) / 30
    phase = np.pi * at / seconds
    shape = np.linspace(0.2, 0.6, 14) * np.tile([1, 1, 1, 1, 1, 1, 0.02], 2) * speed
    positions = REST + shape * np.sin(phase)[:, None] ** 2
    stamps = 1_600_000_000 * S + np.round(at * S).astype(np.int64)
    return CommandTrack(NAMES, stamps, np.asarray(positions, np.float64))


class Bench:
    """An executor, a replay, and the messages between them; 100 ticks and 50 polls a second."""

    def __init__(self, commands: CommandTrack, *, start=REST, settings=SETTINGS, blend_ms=100):
        self.now = T0
        config = ExecutorConfig(LIMITS.slowed(0.7), LIMITS.slowed(0.3), 0.1, 2500 * MS, 20 * MS)
        self.executor = MotionExecutor(config, ChunkTimeline(blend_ns=blend_ms * MS), start, T0)
        self.replay = ActionReplay("replayed", commands, LIMITS, settings)
        self.sent: list[ActionChunk] = []
        self.states: list[State] = []
        self.executed: list[tuple[int, np.ndarray]] = []
        self.deaf = False
        self.told = (self.executor.state, self.executor.reason)

    def word(self, **changes) -> ControllerWord:
        executor, counters = self.executor, self.executor.counters
        said = ControllerWord(
            stamp_ns=self.now,
            state=executor.state,
            reason=executor.reason,
            run_id=executor.run_id,
            chunk_id=executor.chunk.chunk_id if executor.chunk else 0,
            chunk_delay_ns=executor.timeline.delay_ns,
            rejections=counters.chunks_rejected,
            last_rejection=counters.last_rejection,
        )
        return dataclasses.replace(said, **changes)

    def take(self, chunk: ActionChunk | None) -> None:
        if chunk is None:
            return
        self.sent.append(chunk)
        try:
            self.executor.submit(chunk, self.now)
        except ChunkRejectedError:
            assert self.executor.counters.last_rejection

    def begin(self) -> Bench:
        self.take(self.replay.begin(self.word(), self.now))
        return self

    def run(self, until: Callable[[], bool], seconds: float = 30.0) -> Bench:
        end = self.now + round(seconds * S)
        while not until():
            assert self.now < end, (self.replay.phase, self.executor.state)
            self.now += 10 * MS
            command = self.executor.tick(self.now)
            self.executed.append((self.now, command.positions.copy()))
            state = (self.executor.state, self.executor.reason)
            if not self.states or self.states[-1] != self.executor.state:
                self.states.append(self.executor.state)
            tick = (self.now - T0) // (10 * MS)
            if not self.deaf and (state != self.told or tick % 10 == 0):
                self.told = state
                self.take(self.replay.heard(self.word(), self.now))
            if tick % 2 == 0:
                self.take(self.replay.poll(self.now))
        return self

    def error(self) -> float:
        """Largest distance of executed from recorded positions over the whole motion."""
        replay = self.replay
        times = np.array([now for now, _ in self.executed]) - replay.began_ns - replay.delay_ns
        inside = (times >= 0) & (times <= replay.duration_ns)
        rows = np.array([row for _, row in self.executed])[inside]
        assert len(rows) > 100 * replay.duration_ns / S - 3
        commands = replay._track.sample(times[inside] * SETTINGS.rate)
        return float(np.abs(rows - commands).max())


def test_the_arms_ramp_to_the_first_pose_and_then_follow_in_time():
    bench = Bench(track(), start=AWAY).begin()
    bench.run(lambda: bench.replay.over)
    assert bench.replay.phase == Phase.DONE
    assert bench.states[:3] == [State.RAMPING, State.HOLDING, State.EXECUTING]
    assert bench.states[-1] == State.HOLDING
    assert State.STARVED not in bench.states
    counters = bench.executor.counters
    assert counters.chunks_rejected == counters.starvations == 0
    assert bench.error() < 5e-4
    np.testing.assert_allclose(bench.executor.command, track().positions[-1], atol=1e-6)


def test_while_the_arms_ramp_nothing_is_sent_and_a_fresh_chunk_follows():
    bench = Bench(track(), start=AWAY).begin()
    bench.run(lambda: bench.replay.phase == Phase.PLAYING)
    arrived = bench.now
    assert bench.states == [State.RAMPING, State.HOLDING]
    assert [chunk.chunk_id for chunk in bench.sent] == [1, 2]
    assert bench.sent[1].observation_stamp_ns == arrived
    np.testing.assert_allclose(bench.sent[0].positions, np.tile(REST, (100, 1)))
    assert bench.replay.began_ns >= arrived + SETTINGS.rest_ns


def test_arms_that_are_there_need_no_ramp():
    bench = Bench(track()).begin()
    bench.run(lambda: bench.replay.over)
    assert bench.replay.phase == Phase.DONE
    assert State.RAMPING not in bench.states
    assert bench.error() < 5e-4


def test_only_the_last_chunk_says_that_it_is_the_last():
    bench = Bench(track()).begin()
    bench.run(lambda: bench.replay.over)
    flags = [chunk.last for chunk in bench.sent]
    assert flags == [False] * (len(flags) - 1) + [True]
    assert len(bench.sent) > 10


def test_half_the_rate_takes_twice_as_long():
    slow = dataclasses.replace(SETTINGS, rate=0.5)
    bench = Bench(track(), settings=slow).begin()
    bench.run(lambda: bench.replay.phase == Phase.PLAYING)
    bench.run(lambda: bench.replay.over)
    assert bench.replay.phase == Phase.DONE
    assert bench.replay.duration_ns == 6 * S
    lasted = bench.now - bench.replay.began_ns
    assert 6 * S < lasted < 6.6 * S


def test_a_stop_brings_the_arms_to_rest():
    bench = Bench(track()).begin()
    bench.run(lambda: bench.replay.position_ns(bench.now) > 1 * S)
    bench.take(bench.replay.stop("stopped by the operator", bench.now))
    assert bench.sent[-1].last
    assert bench.sent[-1].horizon == 0
    assert bench.executor.state == State.HOLDING
    end = bench.now + 1 * S
    bench.run(lambda: bench.now >= end)
    assert not np.any(bench.executed[-1][1] - bench.executed[-20][1])
    assert bench.replay.phase == Phase.STOPPED
    assert bench.replay.poll(bench.now) is None
    assert bench.replay.stop("again", bench.now) is None


def test_a_stop_in_the_ramp_ends_it():
    bench = Bench(track(), start=AWAY).begin()
    bench.run(lambda: bench.executor.state == State.RAMPING)
    bench.take(bench.replay.stop("stopped", bench.now))
    assert bench.executor.state == State.HOLDING
    assert bench.executor.run_id == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"run_id": "other"}, "policy run other is under way; stop it first"),
        ({"state": State.ESTOP, "reason": "e-stop"}, "arm controller is in ESTOP: e-stop"),
        ({"state": State.MOVING, "reason": "MoveTo"}, "arm controller is in MOVING: MoveTo"),
    ],
)
def test_it_does_not_begin_when_the_controller_is_not_free(changes, message):
    bench = Bench(track())
    with pytest.raises(ChunkRejectedError, match=message):
        bench.replay.begin(bench.word(**changes), bench.now)
    assert bench.replay.phase == Phase.READY
    assert bench.replay.chunks == 0


def test_commands_that_do_not_fit_are_refused_before_anything_is_sent():
    with pytest.raises(EpisodeError, match="lies outside"):
        Bench(track(speed=4.0))
    narrow = dataclasses.replace(LIMITS, upper=LIMITS.upper - 1.2 * np.tile([0, 1] + [0] * 5, 2))
    narrow.names  # noqa: B018 - it is a valid set of limits
    ActionReplay("fits", track(), narrow, SETTINGS)


def test_a_fault_ends_it():
    bench = Bench(track()).begin()
    bench.run(lambda: bench.replay.phase == Phase.PLAYING)
    bench.executor.fault("overheated")
    bench.run(lambda: bench.replay.over)
    assert bench.replay.phase == Phase.FAILED
    assert bench.replay.reason == "arm controller: FAULT: overheated"


def test_a_silent_controller_ends_it():
    bench = Bench(track()).begin()
    bench.run(lambda: bench.replay.phase == Phase.PLAYING)
    bench.deaf = True
    bench.run(lambda: bench.replay.over, 3.0)
    assert bench.replay.phase == Phase.FAILED
    assert "the arm controller is silent for 1.0" in bench.replay.reason
    assert bench.sent[-1].last


def test_arms_that_had_to_stop_end_it():
    bench = Bench(track()).begin()
    bench.run(lambda: bench.replay.position_ns(bench.now) > 500 * MS)
    bench.executor.interrupt("the ROS clock jumped", bench.now)
    bench.run(lambda: bench.replay.over)
    assert bench.replay.phase == Phase.FAILED
    assert bench.replay.reason == "the arms have stopped: the ROS clock jumped"
    assert bench.executor.run_id == ""


def test_a_controller_that_holds_ends_it():
    bench = Bench(track()).begin()
    bench.run(lambda: bench.replay.position_ns(bench.now) > 500 * MS)
    bench.executor.hold("the driver was late")
    bench.run(lambda: bench.replay.over)
    assert bench.replay.phase == Phase.FAILED
    assert "the driver was late" in bench.replay.reason


def test_a_run_that_is_not_taken_ends_it():
    bench = Bench(track(), start=AWAY)
    bench.replay.begin(bench.word(), bench.now)  # the chunk is lost
    bench.run(lambda: bench.replay.over)
    assert bench.replay.phase == Phase.FAILED
    assert "has not taken the run after 2.0 s" in bench.replay.reason


def test_limits_that_slow_the_arms_delay_the_rest_instead_of_cutting_it():
    commands = track(seconds=1.2, speed=1.3)
    bench = Bench(commands).begin()
    slow = bench.executor.config.limits.slowed(0.35)
    bench.executor.config = dataclasses.replace(bench.executor.config, limits=slow)
    bench.run(lambda: bench.replay.over)
    assert bench.replay.phase == Phase.DONE, bench.replay.reason
    assert bench.replay.delay_ns > 200 * MS
    np.testing.assert_allclose(bench.executor.command, commands.positions[-1], atol=1e-4)
    highest = np.array([row for _, row in bench.executed]).max(axis=0)
    np.testing.assert_allclose(highest, commands.positions.max(axis=0), atol=5e-3)
