"""MoveTo requests: where they lead, and what is refused."""

import numpy as np
import pytest

from trossen_pi0_control.moves import Move, MoveRequest
from trossen_pi0_core.errors import MoveRejectedError
from trossen_pi0_core.motion import PointToPoint

NAMES = ("a", "b", "c")
PRESENT = np.array([0.1, 0.2, 0.3])
POSES = {"home": np.zeros(3), "staged": np.ones(3)}


def test_a_named_pose():
    np.testing.assert_array_equal(MoveRequest("staged").goal(NAMES, PRESENT, POSES), np.ones(3))


def test_joints_that_are_not_named_stay():
    request = MoveRequest(joint_names=["c", "a"], positions=[3.0, 1.0])
    np.testing.assert_array_equal(request.goal(NAMES, PRESENT, POSES), [1.0, 0.2, 3.0])
    np.testing.assert_array_equal(PRESENT, [0.1, 0.2, 0.3])


def test_no_scale_is_full_scale():
    assert MoveRequest("home").scale == 1.0
    assert MoveRequest("home", velocity_scale=0.5).scale == 0.5


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (MoveRequest("stagd"), r"pose 'stagd' is not one of \['home', 'staged'\]"),
        (MoveRequest("home", ["a"], [1.0]), "either pose 'home' or positions, not both"),
        (MoveRequest(), r"give the name of a pose, one of \['home', 'staged'\]"),
        (MoveRequest(joint_names=["a"], positions=[1.0, 2.0]), "1 joint names but 2 positions"),
        (MoveRequest(joint_names=["x"], positions=[1.0]), r"unknown joints \['x'\], the joints"),
        (MoveRequest(joint_names=["a", "a"], positions=[1.0, 2.0]), "name each joint once"),
    ],
)
def test_refusals(request_, message):
    with pytest.raises(MoveRejectedError, match=message):
        request_.goal(NAMES, PRESENT, POSES)


def make_move(sent=True):
    motion = PointToPoint(np.zeros(3), np.ones(3), 0, 2 * 10**9)
    return Move(np.ones(3), motion, sent=sent)


def test_progress():
    move = make_move()
    assert (move.fraction(10**9), move.remaining_s(10**9)) == (0.5, 1.0)
    assert (move.fraction(3 * 10**9), move.remaining_s(3 * 10**9)) == (1.0, 0.0)


def test_a_move_waits_a_little_for_arms_that_lag():
    move = make_move()
    assert not move.settle(np.full(3, 0.9), 0)
    assert not move.settle(np.full(3, 0.98), 490_000_000)
    assert move.outcome is None
    assert move.settle(np.full(3, 0.998), 495_000_000)
    assert move.outcome is not None
    assert move.outcome.success
    assert move.outcome.error == pytest.approx(0.002)


def test_a_move_does_not_wait_for_ever():
    move = make_move()
    assert not move.settle(np.full(3, 0.9), 0)
    assert move.settle(np.full(3, 0.9), 500_000_000)
    assert move.outcome is not None
    assert move.outcome.error == pytest.approx(0.1)


def test_an_unknown_pose_has_an_unknown_error():
    move = make_move()
    move.abandon(None, "e-stop")
    assert move.outcome is not None
    assert not move.outcome.success
    assert np.isnan(move.outcome.error)


def test_progress_never_goes_back():
    motion = PointToPoint(np.zeros(3), np.ones(3), 0, 100)
    move = Move(np.ones(3), motion, sent=True)
    assert move.fraction(50) == 0.5
    move.follow(PointToPoint(np.zeros(3), np.ones(3), 20, 100))
    assert move.fraction(60) == 0.5
    assert move.fraction(80) == 0.6
