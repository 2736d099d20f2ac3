"""MoveTo requests: where they lead, and what is refused."""

import numpy as np
import pytest

from trossen_pi0_control.moves import MoveRequest
from trossen_pi0_core.errors import MoveRejectedError

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
