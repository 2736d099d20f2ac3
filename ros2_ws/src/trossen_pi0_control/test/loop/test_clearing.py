"""After a fault or an e-stop: what stays refused, what is repaired, and what goes on."""

import threading

import numpy as np
import pytest

from trossen_pi0_control.moves import MoveRequest
from trossen_pi0_core.errors import ChunkRejectedError, DriverError, MoveRejectedError
from trossen_pi0_core.execution import State


def test_an_estop_ends_the_run_for_good(rig):
    rig.loop.submit(rig.swing())
    rig.until(State.EXECUTING)
    rig.loop.estop("e-stop")
    with pytest.raises(ChunkRejectedError, match="the controller is in ESTOP: e-stop"):
        rig.loop.submit(rig.swing())
    with pytest.raises(MoveRejectedError, match="the controller is in ESTOP"):
        rig.loop.start_move(MoveRequest("staged"))
    rig.loop.clear_fault()
    with pytest.raises(ChunkRejectedError, match="run run has ended"):
        rig.loop.submit(rig.swing())
    rig.ticks()
    assert rig.state == State.HOLDING
    assert rig.snapshot.counters.estops == 1


def test_an_arm_that_fails_under_an_estop_is_repaired_when_it_is_cleared(rig):
    rig.loop.estop("e-stop")
    rig.left.failing["read"] = "gone"
    rig.ticks()
    snapshot = rig.snapshot
    assert (snapshot.state, snapshot.reason) == (State.ESTOP, "e-stop")
    assert list(snapshot.failures) == ["left"]
    assert snapshot.counters.faults == 0
    rig.left.failing.clear()
    assert rig.loop.clear_fault() == "cleared; connected anew: ['left']"
    assert rig.state == State.HOLDING


@pytest.mark.parametrize("failing", [None, "left"])
def test_what_is_in_a_gripper_stays_there(rig, failing):
    rig.right.obstacle = 0.03  # the gripper is told to close to 0.02 m
    rig.ticks()
    rig.loop.estop("e-stop")
    if failing:
        rig.left.failing["read"] = "gone"
        rig.ticks()
        rig.left.failing.clear()
    since = len(rig.right.commands)
    rig.loop.clear_fault()
    rig.ticks()
    carriage = np.array(rig.right.commands[since:])[:, 6]
    np.testing.assert_allclose(carriage, 0.02, atol=1e-6)


def test_the_other_arm_is_held_while_one_is_being_repaired(rig, until):
    rig.left.failing["read"] = "gone"
    rig.until(State.FAULT)
    rig.left.failing.clear()
    rig.left.blocking["connect"] = threading.Event()
    clearing = threading.Thread(target=rig.loop.clear_fault)
    clearing.start()
    until(lambda: "connect" in rig.left.calls[2:], "the repair")
    place, count = rig.right.positions.copy(), len(rig.right.commands)
    rig.ticks(10)
    np.testing.assert_array_equal(rig.right.positions, place)
    assert len(rig.right.commands) == count
    assert "disable" not in rig.right.calls
    with pytest.raises(DriverError, match="the fault is being cleared already"):
        rig.loop.clear_fault()
    rig.left.blocking["connect"].set()
    clearing.join(5.0)
    assert rig.until(State.HOLDING).failures == {}
    rig.loop.submit(rig.swing())
    rig.until(State.EXECUTING)
