"""Moves and faults of the motion executor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import ArrayLike

from trossen_pi0_core.errors import JointError, MoveRejectedError
from trossen_pi0_core.executor import State
from trossen_pi0_core.timeline import ChunkTimeline, Sample

if TYPE_CHECKING:
    from .conftest import Rig

T0 = 1_700_000_000_000_000_000
MS = 1_000_000
SECOND = 1000 * MS


# Moves -------------------------------------------------------------------------------------------


def test_a_move_reaches_its_goal_at_limited_speed(rig: Rig) -> None:
    rig.move((0.5, -0.25))
    assert rig.state == State.MOVING
    move = rig.executor.move
    assert move is not None
    assert move.duration_ns == 937_500_000
    rig.refused("the controller is in MOVING: MoveTo")
    command = rig.until(State.HOLDING)
    assert rig.now - T0 == 940 * MS
    np.testing.assert_allclose(command.positions, [0.5, -0.25])
    assert rig.executor.move is None
    np.testing.assert_array_equal(rig.tick(10).positions, [0.5, -0.25])


def test_a_scaled_move_takes_longer(rig: Rig) -> None:
    rig.move((0.5, 0.0), 0.5)
    assert rig.executor.move is not None
    assert rig.executor.move.duration_ns == 1_875_000_000


def test_a_move_can_be_stopped(rig: Rig) -> None:
    rig.executor.stop_move("nothing to stop")
    assert rig.executor.reason == ""
    rig.move()
    rig.tick(40)
    rig.executor.stop_move("cancelled")
    assert rig.state == State.HOLDING
    assert rig.executor.reason == "cancelled"
    rest = rig.tick(20)
    np.testing.assert_array_equal(rest.velocities, [0.0, 0.0])
    assert 0.1 < rest.positions[0] < 0.45
    np.testing.assert_array_equal(rig.tick(20).positions, rest.positions)


@pytest.mark.parametrize(
    ("goal", "scale", "message"),
    [
        ((0.0, 1.2), 1.0, r"b: 1.2000 lies outside \[-1.0000, 1.0000\]"),
        ((-1.0001, 0.0), 1.0, r"a: -1.0001 lies outside \[-1.0000, 1.0000\]"),
        ((math.nan, 0.0), 1.0, r"need 2 finite positions, got \[nan, 0.0\]"),
        ((math.inf, 0.0), 1.0, r"need 2 finite positions, got \[inf, 0.0\]"),
        ((0.0, 0.0, 0.0), 1.0, r"need 2 finite positions, got \[0.0, 0.0, 0.0\]"),
        ((0.5, 0.0), 0.0, r"velocity_scale must lie in \[0.001, 1\], got 0.0"),
        ((0.5, 0.0), 1.01, "velocity_scale must lie in"),
        ((0.5, 0.0), -1.0, "velocity_scale must lie in"),
        ((0.5, 0.0), math.nan, "velocity_scale must lie in"),
        ((0.5, 0.0), 1e-320, "velocity_scale must lie in"),
    ],
)
def test_a_bad_move_is_refused(rig: Rig, goal: ArrayLike, scale: float, message: str) -> None:
    with pytest.raises(MoveRejectedError, match=message):
        rig.move(goal, scale)
    assert rig.state == State.HOLDING
    assert rig.executor.move is None


def test_a_move_is_refused_during_another_one(rig: Rig) -> None:
    rig.move()
    with pytest.raises(MoveRejectedError, match="another move is under way; cancel it first"):
        rig.move()


@pytest.mark.parametrize("far", [False, True])
def test_a_move_is_refused_during_a_run(rig: Rig, far: bool) -> None:
    rig.submit([[0.5 if far else 0.0, 0.0]] * 10)
    with pytest.raises(MoveRejectedError, match="policy run run is under way; stop it first"):
        rig.move()
    if far:
        rig.until(State.HOLDING)
        with pytest.raises(MoveRejectedError, match="policy run run is under way"):
            rig.move()


def test_a_move_ends_a_starved_run(rig: Rig) -> None:
    rig.submit([[0.0, 0.0]] * 2)
    rig.until(State.STARVED)
    rig.move()
    assert rig.state == State.MOVING
    assert rig.executor.run_id == ""
    rig.until(State.HOLDING)
    np.testing.assert_allclose(rig.executor.command, [0.5, 0.0])
    rig.refused("run run has ended")


@pytest.mark.parametrize("doing", ["holding", "moving", "executing", "ramping", "starved"])
def test_hold_ends_what_is_under_way_and_brings_the_arms_to_rest(
    gentle_rig: Rig, doing: str
) -> None:
    rig = gentle_rig
    if doing == "moving":
        rig.move()
    elif doing == "starved":
        rig.submit([[0.0, 0.0]] * 2)
    elif doing != "holding":
        rig.submit([[0.5 if doing == "ramping" else 0.02 * i, 0.0] for i in range(20)])
    before = rig.tick(10)
    rig.executor.hold("deactivated")
    assert rig.state == State.HOLDING
    assert rig.executor.reason == "deactivated"
    assert (rig.executor.run_id, rig.executor.move) == ("", None)
    slowing = rig.tick()
    assert (np.abs(slowing.velocities - before.velocities) <= 10.0 * 0.010 + 1e-9).all()
    np.testing.assert_array_equal(rig.tick(30).velocities, [0.0, 0.0])
    if doing not in ("holding", "moving"):
        rig.refused("run run has ended")
    rig.move((-0.5, 0.0))
    assert rig.state == State.MOVING


@pytest.mark.parametrize("kind", ["fault", "estop"])
def test_hold_does_not_release_a_fault(rig: Rig, kind: str) -> None:
    getattr(rig.executor, kind)("cable unplugged")
    state = rig.state
    rig.executor.hold("deactivated")
    assert (rig.state, rig.executor.reason) == (state, "cable unplugged")


# Faults ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fault", "estop"])
@pytest.mark.parametrize("doing", ["holding", "moving", "executing", "ramping"])
def test_a_fault_freezes_the_command_and_is_latched(rig: Rig, kind: str, doing: str) -> None:
    if doing == "moving":
        rig.move()
    elif doing != "holding":
        rig.submit([[0.5 if doing == "ramping" else 0.02 * i, 0.0] for i in range(20)])
    rig.tick(10)
    frozen = rig.executor.command
    state = State.FAULT if kind == "fault" else State.ESTOP
    getattr(rig.executor, kind)("cable unplugged")
    command = rig.tick(20)
    assert command.state == state
    assert not command.active
    np.testing.assert_array_equal(command.positions, frozen)
    np.testing.assert_array_equal(command.velocities, [0.0, 0.0])
    assert rig.executor.reason == "cable unplugged"
    assert (rig.executor.run_id, rig.executor.move) == ("", None)
    message = f"the controller is in {state.name}: cable unplugged"
    rig.refused(message, run_id="next")
    with pytest.raises(MoveRejectedError, match=message):
        rig.move()
    rig.executor.stop_move("cancelled")
    assert rig.state == state


def test_an_estop_outranks_a_fault(rig: Rig) -> None:
    rig.executor.fault("driver failed")
    rig.executor.estop("button")
    assert rig.state == State.ESTOP
    rig.executor.fault("driver failed again")
    assert rig.state == State.ESTOP
    assert rig.executor.reason == "driver failed again"


@pytest.mark.parametrize("kind", ["fault", "estop"])
def test_clear_holds_where_the_arms_are_measured(rig: Rig, kind: str) -> None:
    rig.submit()
    rig.tick()
    getattr(rig.executor, kind)("sagged")
    rig.tick(100)
    rig.executor.clear(np.array([0.0, -0.3]), rig.now)
    assert rig.state == State.HOLDING
    assert rig.executor.reason == ""
    command = rig.tick()
    assert command.active
    np.testing.assert_array_equal(command.positions, [0.0, -0.3])
    rig.refused("run run has ended")
    rig.submit([[0.0, -0.3]] * 10, run_id="next")
    assert rig.state == State.EXECUTING


@pytest.mark.parametrize("braking", [False, True])
def test_motion_before_a_fault_is_forgotten(rig: Rig, braking: bool) -> None:
    rig.move()
    rig.tick(40)
    if braking:
        rig.executor.stop_move("cancelled")
        rig.tick()
    rig.executor.estop("button")
    rig.tick()
    rig.executor.clear(np.array([-0.4, 0.1]), rig.now)
    np.testing.assert_array_equal(rig.tick(10).positions, [-0.4, 0.1])


def test_clear_does_nothing_without_a_fault(rig: Rig) -> None:
    rig.submit([[0.02 * i, 0.0] for i in range(10)])
    moving = rig.tick(5)
    rig.executor.clear(np.array([0.0, 0.0]), rig.now)
    assert rig.state == State.EXECUTING
    assert rig.tick().positions[0] > moving.positions[0]


def test_clear_refuses_a_pose_that_cannot_be_held(rig: Rig) -> None:
    rig.executor.estop("button")
    with pytest.raises(JointError, match="need 2 finite measured positions"):
        rig.executor.clear(np.array([math.nan, 0.0]), rig.now)
    with pytest.raises(JointError, match=r"measured a: 2\.0000 lies outside"):
        rig.executor.clear(np.array([2.0, 0.0]), rig.now)
    assert rig.state == State.ESTOP


class BrokenTimeline(ChunkTimeline):
    """Merges chunks into values that are not finite."""

    def sample(self, now_ns: int) -> Sample | None:
        sample = super().sample(now_ns)
        return sample and Sample(sample.positions * math.nan, sample.velocities, sample.chunk)


def test_a_trajectory_that_is_not_finite_is_a_fault_and_is_never_commanded(rig: Rig) -> None:
    rig.executor.timeline = BrokenTimeline()
    rig.submit()
    command = rig.tick()
    assert command.state == State.FAULT
    assert not command.active
    np.testing.assert_array_equal(command.positions, [0.0, 0.0])
    assert rig.executor.reason == "the trajectory is not finite"
