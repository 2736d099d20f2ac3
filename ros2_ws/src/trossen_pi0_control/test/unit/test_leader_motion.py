"""What leaders lead the followers to, through the real executor; jumps; pushing back."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from trossen_pi0_control.force_feedback import ForceFeedback
from trossen_pi0_control.leader_checks import JumpWatch
from trossen_pi0_control.leader_chunks import LeaderReading, following_chunk, travel_s
from trossen_pi0_control.settings import apply_live, executor_config
from trossen_pi0_core.execution import State
from trossen_pi0_core.executor import MotionExecutor
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.parameters import ArmControllerParameters
from trossen_pi0_core.timeline import ChunkTimeline

MS = 1_000_000
STEP = 10 * MS
POSE = np.tile([0.0, 1.0, 0.5, 0.6, 0.0, 0.0, 0.02], 2)
NAMES = JointMap().urdf_names
LEADERS = JointMap(urdf_prefixes=("leader_left_", "leader_right_")).urdf_names


def hand(t: float, amplitude: float, frequency: float) -> tuple[NDArray, NDArray]:
    """A swing of two joints that begins at rest."""
    w, grown = 2.0 * np.pi * frequency, (1.0 - np.exp(-2.0 * t)) ** 2
    growing = 4.0 * (1.0 - np.exp(-2.0 * t)) * np.exp(-2.0 * t)
    q, v = POSE.copy(), np.zeros(14)
    q[[0, 10]] += amplitude * grown * np.sin(w * t)
    v[[0, 10]] = amplitude * (growing * np.sin(w * t) + grown * w * np.cos(w * t))
    return q, v


class Followers:
    """The executor as the arm controller's defaults make it, told by leaders of a hand."""

    def __init__(self) -> None:
        params = ArmControllerParameters()
        timeline = ChunkTimeline()
        apply_live(timeline, params)
        self.begun = self.now = 1_000_000 * MS
        config = executor_config(params, params.limits)
        self.executor = MotionExecutor(config, timeline, POSE, self.now)
        self.chunks = 0
        self.commands: list[NDArray] = []

    def lead(self, seconds: float, amplitude: float, frequency: float) -> None:
        for tick in range(int(seconds * 100)):
            self.now += STEP
            if tick % 2 == 0:
                read_ns = self.now - 4 * MS
                q, v = hand((read_ns - self.begun) * 1e-9, amplitude, frequency)
                self.chunks += 1
                chunk = following_chunk(
                    LeaderReading(read_ns, q, v),
                    0.03,
                    run_id="teleop",
                    chunk_id=self.chunks,
                    joint_names=NAMES,
                )
                self.executor.submit(chunk, self.now)
            self.commands.append(self.executor.tick(self.now).positions)

    def errors(self, amplitude: float, frequency: float, late_s: float = 0.0) -> NDArray:
        times = (np.arange(len(self.commands)) + 1) * 0.01 - late_s
        wanted = np.array([hand(max(t, 0.0), amplitude, frequency)[0] for t in times])
        return np.abs(np.array(self.commands) - wanted)


def test_followers_are_where_the_leaders_are() -> None:
    followers = Followers()
    followers.lead(6.0, 0.3, 0.5)  # up to 0.94 rad/s
    counters = followers.executor.counters
    assert followers.errors(0.3, 0.5).max() < 0.015  # 16 ms at full speed
    assert counters.chunks_rejected == 0
    assert counters.speed_limit_events == 0
    assert counters.acceleration_limit_events <= 5
    speeds = np.diff(followers.commands, axis=0) / 0.01
    assert np.abs(np.diff(speeds, axis=0) / 0.01).max() < 10.0  # of 15 rad/s^2


def test_a_hand_too_fast_is_followed_within_the_limits() -> None:
    followers = Followers()
    followers.lead(4.0, 0.6, 1.2)  # up to 4.5 rad/s
    speeds = np.abs(np.diff(followers.commands, axis=0) / 0.01)
    limits = followers.executor.config.limits
    assert (speeds <= limits.velocity + 1e-9).all()
    assert speeds.max() > 2.0
    assert followers.executor.counters.speed_limit_events > 0


def test_without_further_chunks_the_followers_come_to_rest() -> None:
    followers = Followers()
    followers.lead(2.0, 0.3, 0.5)
    states, rest = [], []
    for _ in range(40):
        followers.now += STEP
        command = followers.executor.tick(followers.now)
        states.append(command.state)
        rest.append(np.abs(command.velocities).max())
    assert states[-1] == State.STARVED
    assert rest[27] < 0.02
    assert rest[-1] == 0.0


def test_the_way_ahead_goes_on_and_then_brakes() -> None:
    np.testing.assert_allclose(
        travel_s(np.array([-0.02, 0.0, 0.03, 0.13, 0.23, 1.0]), 0.03),
        [-0.02, 0.0, 0.03, 0.105, 0.13, 0.13],
    )


def test_a_jump_names_joint_way_and_time() -> None:
    watch = JumpWatch(LEADERS, np.full(14, 6.0), np.array(([0.1] * 6 + [0.01]) * 2))
    assert watch.check(LeaderReading(0, POSE, POSE)) == ""
    fast = POSE + 0.0
    fast[0] += 0.15  # 0.06 by its speed, and 0.1
    assert watch.check(LeaderReading(STEP, fast, POSE)) == ""
    fast = fast.copy()
    fast[13] += 0.08
    assert watch.check(LeaderReading(2 * STEP, fast, POSE)) == (
        "leader_right_left_carriage_joint jumped by +0.08 m in 10.0 ms, allowed are 0.07 m"
    )
    watch.forget()
    assert watch.check(LeaderReading(3 * STEP, POSE, POSE)) == ""


def test_forces_fade_in_against_the_efforts_and_stay_in_their_limits() -> None:
    forces = ForceFeedback(np.full(14, 2.0), 1000 * MS)
    external = np.zeros(14)
    external[[0, 1]] = 1.0, -50.0
    forces.hear(external, 0)
    assert not forces.efforts(0.5, 0, following=True).any()
    forces.hear(external, 500 * MS)
    half = forces.efforts(0.5, 500 * MS, following=True)
    assert (half[0], half[1], forces.share) == pytest.approx((-0.25, 1.0, 0.5))
    forces.hear(external, 2000 * MS)
    assert forces.efforts(0.5, 2000 * MS, following=True)[1] == 2.0
    assert not forces.efforts(0.0, 2000 * MS, following=True).any()
    forces.efforts(0.5, 2000 * MS, following=True)
    assert not forces.efforts(0.5, 2000 * MS, following=False).any()


@pytest.mark.parametrize("external", [None, np.full(14, np.nan)])
def test_unknown_efforts_push_nothing(external: NDArray | None) -> None:
    forces = ForceFeedback(np.full(14, 2.0), 100 * MS)
    if external is not None:
        forces.hear(external, 0)
    for now in range(0, 1000 * MS, STEP):
        assert not forces.efforts(1.0, now, following=True).any()


def test_efforts_that_are_no_longer_heard_push_nothing() -> None:
    forces = ForceFeedback(np.full(14, 2.0), 10 * MS)
    forces.hear(np.ones(14), 0)
    forces.efforts(1.0, 0, following=True)
    assert forces.efforts(1.0, 90 * MS, following=True).any()
    assert not forces.efforts(1.0, 110 * MS, following=True).any()
    assert forces.share == 0.0
