"""Where the arms are along a known trajectory."""

from __future__ import annotations

import numpy as np

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.joints import JointMap
from trossen_pi0_policy.backends.following import TrajectoryFollower, revolute_joints

PERIOD_NS = NANOSECONDS // 10
JOINTS = np.array([0])


class Line:
    """One joint at 1 rad/s for 10 s, but still from 4 s to 6 s; and a gripper at 0.04 m."""

    duration_s = 12.0

    def sample(self, t_s):
        t = np.clip(np.atleast_1d(t_s), 0.0, 12.0)
        joint = np.where(t < 4, t, np.where(t < 6, 4.0, t - 2.0))
        return np.column_stack([joint, np.full_like(t, 0.04)])


def state(joint):
    return np.array([joint, 0.0])


def at(seconds):
    return 1000 + round(seconds * NANOSECONDS)


def follower():
    made = TrajectoryFollower(Line(), at(0), JOINTS)
    assert made.locate(at(0), state(0.0)) == 0.0
    made.next_rows(0.0, 200, PERIOD_NS)
    return made


def test_revolute_joints_leave_out_the_carriages():
    assert revolute_joints(JointMap()).tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]


def test_time_passes_like_the_clock_while_the_arms_follow():
    made = follower()
    assert made.locate(at(1), state(1.0)) == 1.0
    assert made.locate(at(2.5), state(2.45)) == 2.5


def test_a_usual_lag_is_not_falling_behind():
    made = follower()
    assert made.locate(at(2), state(1.8)) == 2.0


def test_arms_left_behind_pull_the_time_back():
    made = follower()
    at_s = made.locate(at(3), state(1.0))
    assert 0.95 <= at_s <= 1.05
    # From there on it passes like the clock again.
    assert abs(made.locate(at(4), state(2.0)) - (at_s + 1.0)) < 1e-6


def test_time_never_goes_back():
    made = follower()
    made.locate(at(3), state(3.0))
    assert made.locate(at(3.5), state(0.0)) >= 3.0


def test_standing_still_where_the_trajectory_does_lets_time_pass():
    made = follower()
    made.locate(at(4.2), state(4.0))
    assert made.locate(at(5.8), state(4.0)) == 5.8


def test_time_does_not_run_beyond_the_rows_that_were_handed_out():
    made = TrajectoryFollower(Line(), at(0), JOINTS)
    made.locate(at(0), state(0.0))
    made.next_rows(0.0, 43, PERIOD_NS)  # ends at 4.3 s, where the arms stand still
    assert abs(made.locate(at(9), state(4.0)) - 4.3) < 1e-9


def test_a_ramp_to_the_first_row_takes_no_time():
    made = TrajectoryFollower(Line(), at(0), JOINTS)
    made.locate(at(0), state(-1.5))
    made.next_rows(0.0, 50, PERIOD_NS)
    assert made.locate(at(3), state(0.1)) <= 0.12  # the ramp ended at row 1


def test_rows_begin_at_the_time_and_are_not_done():
    made = follower()
    answer = made.next_rows(2.0, 3, PERIOD_NS)
    np.testing.assert_allclose(answer.positions[:, 0], [2.0, 2.1, 2.2])
    assert answer.first_due_ns == 0
    assert not answer.done


def test_rows_hold_the_end_and_it_is_done_only_when_the_arms_are_there():
    made = follower()
    assert not made.next_rows(11.9, 50, PERIOD_NS).done
    made.next_rows(11.0, 50, PERIOD_NS)
    assert made.locate(at(13), state(8.0)) < 11.0  # still behind
    made.next_rows(11.0, 50, PERIOD_NS)
    at_s = made.locate(at(20), state(10.0))
    assert at_s >= 12.0
    answer = made.next_rows(at_s, 50, PERIOD_NS)
    assert answer.done
    assert answer.positions.shape == (6, 2)
    assert (answer.positions[:, 0] == 10.0).all()
