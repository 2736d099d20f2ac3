"""When followers follow leaders: every start, refusal and end, with times as arguments."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from trossen_pi0_control.leader_chunks import LeaderReading
from trossen_pi0_control.teleop import FollowerWord, Teleop, TeleopState
from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.errors import TeleopError
from trossen_pi0_core.execution import State
from trossen_pi0_core.parameters import LeaderArmsParameters

MS = 1_000_000
STEP = 10 * MS
POSE = np.tile([0.0, 1.0, 0.5, 0.6, 0.0, 0.0, 0.02], 2)


class Scene:
    """Leaders, their state machine, and an arm controller that does as the test says."""

    def __init__(self, **parameters: object) -> None:
        numbers = itertools.count(1)
        self.teleop = Teleop(
            LeaderArmsParameters(**parameters),  # pyright: ignore[reportArgumentType]
            lambda: f"teleop-{next(numbers)}",
        )
        self.now = 1_000_000 * MS
        self.leaders = POSE.copy()
        self.followers = POSE.copy()
        self.state, self.reason, self.run = State.HOLDING, "", ""
        self.rejection = ""
        self.speaks = True
        self.tick(1)

    def tick(self, count: int = 1) -> list[ActionChunk]:
        chunks = []
        for _ in range(count):
            self.now += STEP
            if self.speaks:
                word = FollowerWord(self.now, self.state, self.reason, self.run, self.rejection)
                self.teleop.hear_controller(word)
                self.teleop.hear_followers(self.followers.copy(), self.now)
            reading = LeaderReading(self.now, self.leaders.copy(), np.zeros(14))
            chunk = self.teleop.read(reading, self.now)
            if chunk is not None:
                chunks.append(chunk)
        return chunks

    def follow(self) -> None:
        self.run = self.teleop.start(self.now).run_id
        self.state = State.EXECUTING
        self.tick()
        assert self.teleop.state == TeleopState.FOLLOWING

    def refusal(self) -> str:
        with pytest.raises(TeleopError) as caught:
            self.teleop.start(self.now)
        return str(caught.value)


def test_following_sends_every_second_reading() -> None:
    scene = Scene()
    assert scene.tick(5) == []
    scene.follow()
    chunks = scene.tick(100)
    assert 49 <= len(chunks) <= 51
    assert [c.chunk_id for c in chunks] == list(range(chunks[0].chunk_id, chunks[0].chunk_id + 50))
    assert {c.run_id for c in chunks} == {"teleop-1"}
    assert chunks[0].joint_names[0] == "follower_left_joint_0"
    assert scene.teleop.counters.sessions == 1


def test_stop_ends_the_run_and_another_start_has_another() -> None:
    scene = Scene()
    scene.follow()
    chunk = scene.teleop.stop("stopped by the operator", scene.now)
    assert chunk is not None
    assert (chunk.last, chunk.horizon, chunk.run_id) == (True, 0, "teleop-1")
    assert scene.teleop.state == TeleopState.FREE
    assert scene.teleop.counters.interruptions == 0
    assert scene.teleop.stop("again", scene.now) is None
    scene.state, scene.run = State.HOLDING, ""
    scene.tick()
    scene.follow()
    assert scene.teleop.run_id == "teleop-2"


def test_apart_is_refused_with_the_worst_joints_first() -> None:
    scene = Scene()
    scene.leaders[3] += 0.2
    scene.leaders[13] -= 0.015
    scene.leaders[8] += 0.9
    scene.tick()
    assert scene.refusal() == (
        "leaders and followers stand apart: follower_right_joint_1 by +0.9 rad (allowed: 0.1 rad), "
        "follower_left_joint_3 by +0.2 rad (allowed: 0.1 rad), follower_right_left_carriage_joint "
        "by -0.015 m (allowed: 0.01 m); bring the leaders to the followers, or set the parameter "
        "alignment to 'ramp'"
    )
    assert scene.teleop.state == TeleopState.FREE


def test_ramp_waits_for_the_followers_and_sends_nothing_meanwhile() -> None:
    scene = Scene(alignment="ramp")
    scene.leaders[0] += 0.5
    scene.tick()
    scene.run = scene.teleop.start(scene.now).run_id
    scene.state = State.RAMPING
    assert scene.tick(100) == []
    assert scene.teleop.state == TeleopState.ALIGNING
    scene.followers[0] += 0.5
    scene.state = State.HOLDING
    assert len(scene.tick()) == 1
    assert scene.teleop.state == TeleopState.FOLLOWING


def test_leaders_that_move_away_during_the_ramp_end_it() -> None:
    scene = Scene(alignment="ramp")
    scene.leaders[0] += 0.5
    scene.tick()
    scene.run = scene.teleop.start(scene.now).run_id
    scene.state = State.RAMPING
    scene.tick(10)
    scene.followers[0] += 0.5
    scene.leaders[0] += 0.3
    scene.state = State.HOLDING
    (chunk,) = scene.tick()
    assert chunk.last
    assert "the leaders moved while the followers came: follower_left_joint_0" in chunk.reason
    assert scene.teleop.state == TeleopState.FREE


def test_ramp_has_an_end() -> None:
    scene = Scene(alignment="ramp", ramp_timeout_s=2.0)
    scene.leaders[0] += 0.5
    scene.tick()
    scene.run = scene.teleop.start(scene.now).run_id
    scene.state = State.RAMPING
    (chunk,) = scene.tick(210)
    assert chunk.reason == "the followers took longer than 2 s"


@pytest.mark.parametrize(
    ("state", "run", "told"),
    [
        (State.ESTOP, "", "the arm controller is in ESTOP: pressed"),
        (State.FAULT, "", "the arm controller is in FAULT: pressed"),
        (State.MOVING, "", "the arm controller is in MOVING: pressed"),
        (State.EXECUTING, "policy-7", "the arm controller is in EXECUTING"),
        (State.HOLDING, "policy-7", "policy run policy-7 is under way; stop it first"),
    ],
)
def test_an_arm_controller_that_is_not_free_is_left_alone(state, run, told) -> None:
    scene = Scene()
    scene.state, scene.run, scene.reason = state, run, "pressed"
    scene.tick()
    assert told in scene.refusal()


@pytest.mark.parametrize("state", [State.ESTOP, State.FAULT, State.MOVING])
def test_the_arm_controllers_own_end_ends_the_coupling(state) -> None:
    scene = Scene()
    scene.follow()
    scene.state, scene.reason, scene.run = state, "because", ""
    (chunk,) = scene.tick()
    assert chunk.last
    assert scene.teleop.reason == f"the arm controller is in {state.name}: because"
    scene.state = State.HOLDING
    assert scene.tick(100) == []  # nothing begins by itself
    assert scene.teleop.counters.interruptions == 1


def test_a_run_that_was_ended_is_not_taken_up_again() -> None:
    scene = Scene()
    scene.follow()
    scene.state, scene.run = State.HOLDING, ""
    (chunk,) = scene.tick()
    assert chunk.reason == "the arm controller has ended the run"


def test_starved_goes_on() -> None:
    scene = Scene()
    scene.follow()
    scene.state = State.STARVED
    assert len(scene.tick(4)) == 2
    assert scene.teleop.state == TeleopState.FOLLOWING


def test_a_silent_arm_controller_ends_the_coupling_and_refuses_a_start() -> None:
    scene = Scene()
    scene.follow()
    scene.speaks = False
    chunks = scene.tick(60)
    assert chunks[-1].last
    assert "the arm controller's status: not heard for 0.51 s" in chunks[-1].reason
    assert "allowed are 0.5 s" in scene.refusal()


def test_a_controller_that_does_not_take_the_run_is_asked_no_longer() -> None:
    scene = Scene()
    scene.teleop.start(scene.now)
    scene.rejection = "chunk 1: it is for other joints"
    (chunk,) = scene.tick(110)
    assert chunk.last
    assert "did not take the run: chunk 1: it is for other joints" in chunk.reason


def test_leaders_that_were_not_read_for_long_are_not_followed() -> None:
    scene = Scene()
    scene.now += 200 * MS
    assert scene.refusal() == "the leaders have not been read"


def test_a_fault_holds_until_it_is_cleared() -> None:
    scene = Scene()
    scene.follow()
    chunk = scene.teleop.fault("arm leader left: gone", scene.now)
    assert chunk is not None
    assert chunk.last
    assert scene.tick(10) == []
    assert "a leader has failed: arm leader left: gone" in scene.refusal()
    scene.teleop.clear()
    assert scene.teleop.state == TeleopState.FREE
    assert scene.refusal() == "the leaders have not been read"
    scene.state, scene.run = State.HOLDING, ""
    scene.tick()
    scene.follow()


def test_start_twice_is_refused() -> None:
    scene = Scene()
    scene.follow()
    assert "under way already, run teleop-1" in scene.refusal()
