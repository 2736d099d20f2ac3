"""The control loop over programmable arms: what is sent, what is told, and what stops it."""

import threading
import time

import numpy as np
import pytest

from trossen_pi0_control.moves import MoveRequest
from trossen_pi0_core.errors import (
    ChunkRejectedError,
    DriverError,
    JointError,
    MoveRejectedError,
    ParameterError,
)
from trossen_pi0_core.execution import State
from trossen_pi0_core.parameters import replaced

STAGED = np.array([0.0, np.pi / 3, np.pi / 6, np.pi / 5, 0.0, 0.0, 0.02])

LATE_TICK = 1e-3
"""By so much at most the arms come to rest beyond a last row when the tick there is late [rad]."""


def sent(arm, since=0):
    return np.array(arm.commands[since:])


def test_arms_are_held_where_they_are(rig):
    rig.ticks()
    assert rig.state == State.HOLDING
    for arm in rig.arms:
        assert arm.calls == ["connect", "enable"]
        np.testing.assert_array_equal(sent(arm), np.tile(STAGED, (len(arm.commands), 1)))
    assert rig.heard.states == [(State.HOLDING, "")]


def test_rows_are_in_force_at_their_time(rig):
    chunk = rig.swing()
    rig.loop.submit(chunk)
    assert rig.until(State.EXECUTING).chunk_id == chunk.chunk_id
    wait_for_end(rig)
    late = []
    for stamp_ns, command in list(rig.heard.commands):
        at_s = (stamp_ns - chunk.t_first_ns) / 1e9
        if 0.1 <= at_s < 0.02 * (chunk.horizon - 1):
            late.append(at_s - command.positions[0] / 0.5)
    assert len(late) > 50
    # The arms get to 0.5 rad/s and to rest within their acceleration, which takes time.
    slowdown_s = rig.snapshot.counters.slowdown_ns / 1e9
    assert 0.5 / 15.0 / 4 < np.quantile(late, 0.1) < slowdown_s
    assert np.quantile(np.abs(np.diff(late)), 0.8) < 1e-6  # a stall delays what is to come
    np.testing.assert_allclose(rig.left.positions[0], 0.49, atol=LATE_TICK)
    np.testing.assert_allclose(rig.right.positions[0], 0.49, atol=LATE_TICK)
    assert rig.snapshot.counters.starvations == 1


def wait_for_end(rig):
    rig.until(State.STARVED)
    rig.ticks()


def test_feedback_has_the_stamp_of_its_reading(rig):
    before_ns = time.time_ns()
    rig.heard.feedback.clear()
    rig.ticks(20)
    stamps = [stamp for stamp, _ in rig.heard.feedback]
    assert stamps == sorted(set(stamps))
    assert before_ns < stamps[0]
    assert stamps[-1] < time.time_ns()
    _, feedback = rig.heard.feedback[-1]
    assert feedback.names == rig.params.joint_map.urdf_names
    assert feedback.complete
    np.testing.assert_array_equal(feedback.positions, np.tile(STAGED, 2))


def test_nothing_is_sent_in_mode_test(make_rig):
    rig = make_rig(mode="test").start()
    rig.loop.submit(rig.swing(rows=10))
    wait_for_end(rig)
    rig.loop.stop(1.0)
    for arm in rig.arms:
        assert arm.commands == []
        assert "enable" not in arm.calls
    planned = [command.positions[0] for _, command in rig.heard.commands]
    assert max(planned) == pytest.approx(0.09, abs=LATE_TICK)


def test_a_failing_arm_stops_both(rig):
    rig.loop.submit(rig.swing())
    rig.until(State.EXECUTING)
    rig.right.failing["read"] = "cable is out"
    snapshot = rig.until(State.FAULT)
    assert snapshot.reason == "arm right (127.0.0.33): cable is out"
    assert snapshot.failures == {"right": snapshot.reason}
    count = len(rig.left.commands)
    del rig.right.failing["read"]
    rig.ticks(10)
    assert len(rig.left.commands) == count  # nothing more is sent
    _, feedback = rig.heard.feedback[-1]
    assert feedback.names == rig.params.joint_map.urdf_names[:7]  # the other arm is still read
    assert not feedback.complete
    with pytest.raises(ChunkRejectedError, match="the controller is in FAULT: arm right"):
        rig.loop.submit(rig.chunk(np.tile(STAGED, (5, 2)), run_id="next"))
    with pytest.raises(MoveRejectedError, match="the controller is in FAULT"):
        rig.loop.start_move(MoveRequest("staged"))


def test_the_reason_names_every_failed_arm(rig):
    rig.right.failing["read"] = "cable is out"
    rig.until(State.FAULT)
    rig.left.failing["read"] = "fuse"
    rig.ticks(2)
    assert rig.snapshot.reason == (
        "arm left (127.0.0.32): fuse; arm right (127.0.0.33): cable is out"
    )


def test_standing_feedback_is_a_fault_and_is_not_published(rig):
    rig.left.frozen = True
    begun = time.monotonic()
    snapshot = rig.until(State.FAULT)
    assert time.monotonic() - begun > 0.08
    assert "arm left (127.0.0.32): its feedback stands still for 0.1" in snapshot.reason
    assert "allowed are 0.1 s" in snapshot.reason
    rig.ticks()
    assert rig.heard.feedback[-1][1].names == rig.params.joint_map.urdf_names[7:]
    rig.left.frozen = False
    rig.ticks()
    assert rig.heard.feedback[-1][1].complete
    assert rig.state == State.FAULT  # until it is cleared


def test_feedback_that_is_not_finite_is_never_published(rig):
    rig.left.noise[2] = np.nan
    assert "its positions are not finite" in rig.until(State.FAULT).reason
    for _, feedback in rig.heard.feedback:
        assert np.isfinite(feedback.positions).all()


def test_clearing_connects_the_failed_arm_anew(rig):
    rig.left.failing["command"] = "over-current"
    rig.until(State.FAULT)
    rig.left.failing.clear()
    rig.left.calls.clear()
    rig.right.calls.clear()
    rig.left.positions[0] = 0.05  # it sank meanwhile
    assert rig.loop.clear_fault() == "cleared; connected anew: ['left']"
    assert rig.left.calls == ["release", "connect", "enable"]
    assert rig.right.calls == []
    assert rig.state == State.HOLDING
    since = len(rig.left.commands)
    rig.ticks()
    np.testing.assert_allclose(sent(rig.left, since)[:, 0], 0.05)
    rig.loop.submit(rig.swing())
    assert rig.until(State.EXECUTING).failures == {}


def test_clearing_that_fails_can_be_tried_again(rig):
    rig.left.failing["read"] = "gone"
    rig.until(State.FAULT)
    rig.left.failing["connect"] = "still gone"
    with pytest.raises(DriverError, match=r"arm left \(127.0.0.32\): still gone"):
        rig.loop.clear_fault()
    assert rig.snapshot.reason == "arm left (127.0.0.32): still gone"
    rig.ticks()  # the thread lives
    rig.left.failing.clear()
    rig.loop.clear_fault()
    assert rig.state == State.HOLDING


def test_an_arm_that_now_allows_something_else_is_refused(rig):
    rig.left.failing["read"] = "gone"
    rig.until(State.FAULT)
    rig.left.failing.clear()
    rig.left.allowed.upper[0] = 1.0
    with pytest.raises(DriverError, match="its joint limits have changed"):
        rig.loop.clear_fault()
    assert rig.state == State.FAULT
    assert rig.left.calls[-1] == "release"


def test_clearing_without_a_fault_does_nothing(rig):
    assert rig.loop.clear_fault() == "nothing to clear, the state is HOLDING"


def test_estop_is_latched(rig):
    rig.loop.submit(rig.swing())
    rig.until(State.EXECUTING)
    rig.loop.estop("e-stop")
    rig.ticks(2)
    count = len(rig.left.commands)
    rig.ticks(10)
    assert len(rig.left.commands) == count
    assert rig.state == State.ESTOP
    assert rig.heard.feedback[-1][1].complete
    assert rig.loop.clear_fault() == "cleared"
    rig.ticks()
    assert rig.state == State.HOLDING
    assert len(rig.left.commands) > count
    assert "disable" not in rig.left.calls


def test_estop_while_a_fault_is_being_cleared_stays(rig, until):
    rig.left.failing["read"] = "gone"
    rig.until(State.FAULT)
    rig.left.failing.clear()

    def press_while_connecting():
        type(rig.left).connect(rig.left)
        rig.loop.estop("e-stop")

    rig.left.connect = press_while_connecting
    with pytest.raises(DriverError, match="the e-stop was pressed meanwhile"):
        rig.loop.clear_fault()
    assert rig.state == State.ESTOP


def test_stop_brings_the_arms_to_rest_before_they_brake(rig):
    rig.loop.submit(rig.swing(speed=2.0))
    rig.until(State.EXECUTING)
    rig.ticks(25)
    rig.loop.stop(1.0)
    for arm in rig.arms:
        assert arm.calls == ["connect", "enable", "disable"]
        speeds = np.abs(np.diff(sent(arm)[:, 0]))
        assert speeds.max() > 0.01
        assert speeds[-1] == 0.0
    accelerations = np.diff([command.velocities[0] for _, command in rig.heard.commands])
    assert accelerations.min() > -0.4  # a stop in one tick would be -2; 15 rad/s^2 are -0.15
    assert rig.loop.snapshot() is None
    with pytest.raises(DriverError, match="not active"):
        rig.loop.submit(rig.swing())


def test_stop_does_not_wait_for_ever(rig):
    rig.left.blocking["disable"] = threading.Event()
    begun = time.monotonic()
    rig.loop.stop(0.2)
    assert time.monotonic() - begun < 1.0
    assert rig.right.calls[-1] == "disable"


def test_an_arm_that_cannot_be_enabled_leaves_the_others_braked(make_rig):
    rig = make_rig()
    rig.right.failing["enable"] = "no power"
    with pytest.raises(DriverError, match=r"arm right \(127.0.0.33\): no power"):
        rig.loop.start(1.0)
    assert rig.left.calls == ["connect", "enable", "disable"]
    assert rig.loop.snapshot() is None


def test_arms_far_outside_their_limits_are_not_moved(make_rig):
    rig = make_rig()
    rig.left.positions[1] = -0.5
    with pytest.raises(JointError, match=r"follower_left_joint_1: -0.5000 lies outside"):
        rig.loop.start(1.0)
    assert rig.left.commands == []
    assert rig.left.calls[-1] == "disable"


def test_a_broken_listener_faults_and_says_so(rig, until):
    rig.heard.broken = "publisher is gone"
    snapshot = rig.until(State.FAULT)
    assert "the control thread has failed: ValueError('publisher is gone')" in snapshot.reason
    assert rig.heard.states[-1][0] == State.FAULT
    with pytest.raises(DriverError, match="deactivate the node and activate it again"):
        rig.loop.clear_fault()


def test_a_pose_outside_what_the_arm_allows_refuses_to_start(make_rig):
    rig = make_rig()
    rig.right.allowed.upper[1] = 1.0
    with pytest.raises(ParameterError, match=r"staged_pose: follower_right_joint_1 at 1.0472 lies"):
        rig.make_loop()


def test_live_parameters_take_effect(rig):
    rig.loop.apply(replaced(rig.params, {"max_chunk_age_s": 0.05}))
    old = rig.chunk(np.tile(STAGED, (50, 2)), observation_stamp_ns=time.time_ns() - 10**8)
    with pytest.raises(ChunkRejectedError, match=r"allowed are 0\.05 s"):
        rig.loop.submit(old)


def test_malformed_chunks_are_counted(rig):
    rig.loop.count_rejected("chunk 4: targets must be finite")
    counters = rig.snapshot.counters
    assert (counters.chunks_rejected, counters.last_rejection) == (
        1,
        "chunk 4: targets must be finite",
    )


def test_a_move_ends_at_its_goal(rig, until):
    move = rig.loop.start_move(
        MoveRequest(joint_names=["follower_left_joint_0"], positions=[0.2], velocity_scale=1.0)
    )
    assert rig.state == State.MOVING
    outcome = until(lambda: move.outcome, "the end of the move")
    assert (outcome.success, outcome.message) == (True, "the motion is done")
    assert outcome.error < 1e-6
    np.testing.assert_allclose(rig.left.positions[0], 0.2)
    np.testing.assert_allclose(rig.right.positions, STAGED)
    assert move.fraction(time.time_ns()) == 1.0


def test_a_move_against_an_obstacle_tells_the_error(rig, until):
    rig.right.obstacle = 0.01
    move = rig.loop.start_move(
        MoveRequest(joint_names=["follower_right_left_carriage_joint"], positions=[0.0])
    )
    outcome = until(lambda: move.outcome, "the end of the move")
    assert outcome.success
    assert outcome.error == pytest.approx(0.01)


def settling(rig, until):
    """A move that is done but for the right gripper, which an obstacle keeps open."""
    rig.right.obstacle = 0.01
    move = rig.loop.start_move(
        MoveRequest(joint_names=["follower_right_left_carriage_joint"], positions=[0.0])
    )
    until(lambda: move.settling, "the end of the motion")
    return move


def test_a_move_that_settles_can_be_followed_by_another(rig, until):
    first = settling(rig, until)
    second = rig.loop.start_move(MoveRequest("home"))
    assert first.outcome is not None
    assert first.outcome.success
    rig.ticks()
    assert second.outcome is None
    assert rig.state == State.MOVING


def test_a_move_that_settles_can_be_followed_by_a_run(rig, until):
    move = settling(rig, until)
    rig.loop.submit(rig.chunk(np.tile(rig.left.positions, (50, 2))))
    outcome = until(lambda: move.outcome, "the end of the move")
    assert (outcome.success, outcome.message) == (True, "the motion is done")


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (lambda loop, move: loop.stop_move(move, "cancelled"), "cancelled"),
        (lambda loop, _: loop.estop("e-stop"), "e-stop"),
        (lambda loop, _: loop.stop(1.0), "the arm controller stops"),
    ],
)
def test_a_move_that_is_ended_says_why(rig, until, end, message):
    move = rig.loop.start_move(MoveRequest("home"))
    rig.ticks(20)
    end(rig.loop, move)
    outcome = until(lambda: move.outcome, "the end of the move")
    assert (outcome.success, outcome.message) == (False, message)
    assert outcome.error > 0.5


def test_a_move_in_mode_test_says_that_nothing_was_sent(make_rig, until):
    rig = make_rig(mode="test").start()
    move = rig.loop.start_move(MoveRequest("home", velocity_scale=1.0))
    outcome = until(lambda: move.outcome, "the end of the move")
    assert (outcome.success, outcome.message) == (True, "planned only: the mode is test")
    assert outcome.error == pytest.approx(np.pi / 3)


def test_moves_exclude_each_other_and_runs(rig):
    rig.loop.start_move(MoveRequest("home"))
    with pytest.raises(MoveRejectedError, match="another move is under way"):
        rig.loop.start_move(MoveRequest("staged"))
    with pytest.raises(ChunkRejectedError, match="the controller is in MOVING"):
        rig.loop.submit(rig.swing())
