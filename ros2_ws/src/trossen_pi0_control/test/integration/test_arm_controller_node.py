"""The arm controller node: real DDS, real driver, simulated arms."""

import signal
import time

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters

from trossen_pi0_core.joints import JointMap
from trossen_pi0_msgs.action import MoveTo
from trossen_pi0_msgs.msg import ControllerStatus
from trossen_pi0_ros.convert import chunk_to_msg

NAMES = JointMap().urdf_names
MS = 1_000_000


def row_at(chunk, stamp_ns):
    """What the chunk wants at a time, by straight lines between its rows."""
    at = (stamp_ns - chunk.t_first_ns) / chunk.period_ns
    rows = np.arange(chunk.horizon)
    return np.array([np.interp(at, rows, column) for column in chunk.positions.T])


def test_chunks_are_executed_at_their_time_and_then_held(servers, start, operator, stamp_of):
    start("command_rate:=100.0", "blend_s:=0.0")
    operator.ready()
    status = operator.state(ControllerStatus.HOLDING)
    assert (status.mode, status.run_id, status.chunk_id) == ("autonomous", "", 0)
    assert np.isnan(status.chunk_age_s)
    first = operator.swing()
    operator.publish(first)
    status = operator.state(ControllerStatus.EXECUTING)
    assert (status.run_id, status.chunk_id) == ("run", first.chunk_id)
    assert 0.0 < status.chunk_age_s < 1.0
    time.sleep(0.4)
    rows = first.positions[25:] + (first.positions[-1] - first.positions[25])
    second = operator.chunk(
        np.vstack([first.positions[25:], rows]), t_first_ns=first.t_first_ns + 25 * 20 * MS
    )
    operator.publish(second)
    starved = operator.state(ControllerStatus.STARVED)
    assert starved.starvation_count == 1
    assert starved.chunks_accepted == 2
    time.sleep(0.2)
    commands = list(operator.commands)
    errors = []
    for command in commands:
        stamp_ns = stamp_of(command)
        if first.t_first_ns + 60 * MS < stamp_ns < second.t_end_ns - 20 * MS:
            chunk = first if stamp_ns < second.t_first_ns else second
            errors.append(np.abs(np.array(command.position) - row_at(chunk, stamp_ns)).max())
    assert len(errors) > 80
    # Getting to 0.4 rad/s within the acceleration delays what is to come, and so does each stall.
    assert np.quantile(errors, 0.9) < 0.4 * 0.15
    assert np.median(np.abs(np.diff(errors))) < 1e-3
    # it holds the last row, and the arms are there
    np.testing.assert_allclose(commands[-1].position, second.positions[-1], atol=1e-9)
    np.testing.assert_allclose(operator.pose(), second.positions[-1], atol=0.01)
    steps = np.abs(np.diff([command.position for command in commands], axis=0))
    assert steps.max() < 0.1  # no jump anywhere, and no zeros
    speeds = [command.velocity[0] for command in commands]
    assert max(speeds) > 0.35
    # joint states: all joints at the rate of the control loop, in order
    stamps = np.diff([stamp_of(state) for state in operator.joint_states[-100:]])
    assert stamps.min() > 0
    assert np.median(stamps) == pytest.approx(10 * MS, rel=0.05)
    assert operator.joint_states[-1].name == list(NAMES)
    assert len(operator.joint_states[-1].effort) == 14


def test_unfit_chunks_are_refused_and_the_arms_hold(servers, start, operator):
    controller = start()
    operator.ready()
    before = operator.pose()
    refused = 0

    def refuse(chunk, reason):
        nonlocal refused
        operator.chunks.publish(chunk)
        refused += 1
        status = operator.status(lambda s: s.chunks_rejected == refused)
        assert reason in status.last_rejection, status.last_rejection
        return status

    def message(chunk):
        return chunk_to_msg(chunk, time.time_ns())

    start_rows = np.tile(operator.commands[-1].position, (50, 1))
    swapped = (*NAMES[7:], *NAMES[:7])
    refuse(message(operator.chunk(start_rows, joint_names=swapped)), "it is for the joints")
    bad = message(operator.chunk(start_rows))
    bad.positions[3] = float("nan")
    refuse(bad, "got nan for follower_left_joint_3 in row 0")
    short = message(operator.chunk(start_rows))
    short.positions = short.positions[:-1]
    refuse(short, "50 rows of 14 joints need 700 positions, got 699")
    now_ns = time.time_ns()
    old = operator.chunk(start_rows, observation_stamp_ns=now_ns - 10_000 * MS)
    refuse(message(old), "its observation is 10.")
    late = operator.chunk(start_rows, t_first_ns=now_ns - 5_000 * MS)
    status = refuse(message(late), "all its rows are past")
    assert status.state == ControllerStatus.HOLDING
    assert status.chunks_accepted == 0
    good = operator.chunk(start_rows)
    operator.publish(good)
    operator.state(ControllerStatus.EXECUTING)
    refuse(message(good), f"ids must increase within a run, the last was {good.chunk_id}")
    earlier = operator.chunk(start_rows, chunk_id=good.chunk_id - 1)
    status = refuse(message(earlier), "ids must increase within a run")
    assert status.chunks_accepted == 1
    np.testing.assert_allclose(operator.pose(), before, atol=0.005)
    assert "is not executed: it is for the joints" in controller.text


def test_moves(servers, start, operator):
    start()
    operator.ready()
    fractions = []
    goal = MoveTo.Goal(
        joint_names=["follower_right_joint_0", "follower_left_left_carriage_joint"],
        positions=[0.4, 0.03],
    )
    handle = operator.move(goal, fractions)
    operator.state(ControllerStatus.MOVING)
    answer = operator.result(handle.get_result_async())
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    assert answer.result.success
    assert answer.result.error < 0.01
    assert operator.position("follower_right_joint_0") == pytest.approx(0.4, abs=0.01)
    assert operator.position("follower_left_left_carriage_joint") == pytest.approx(0.03, abs=0.002)
    assert operator.position("follower_left_joint_0") == pytest.approx(0.0, abs=0.005)
    assert len(fractions) > 3
    assert fractions == sorted(fractions)
    speeds = np.array([command.velocity for command in operator.commands])
    assert 0.5 < speeds[:, 7].max() <= 0.3 * 3.375 + 1e-6

    def refused(goal, reason):
        answer = operator.result(operator.move(goal).get_result_async())
        assert answer.status == GoalStatus.STATUS_ABORTED
        assert not answer.result.success
        assert reason in answer.result.message, answer.result.message

    refused(MoveTo.Goal(pose="stage"), "pose 'stage' is not one of ['home', 'staged']")
    outside = MoveTo.Goal(joint_names=["follower_left_joint_1"], positions=[-0.3])
    refused(outside, "follower_left_joint_1: -0.3000 lies outside [0.0000, 3.141")
    nan = MoveTo.Goal(joint_names=["follower_left_joint_1"], positions=[float("nan")])
    refused(nan, "finite")

    handle = operator.move(MoveTo.Goal(pose="staged", velocity_scale=0.5))
    operator.until(lambda: operator.position("follower_right_joint_0") < 0.35)
    refused(MoveTo.Goal(pose="home"), "another move is under way")
    operator.result(handle.cancel_goal_async())
    answer = operator.result(handle.get_result_async())
    assert answer.status == GoalStatus.STATUS_CANCELED
    assert answer.result.message == "the move was cancelled"
    status = operator.state(ControllerStatus.HOLDING)
    assert status.reason == "the move was cancelled"
    assert 0.05 < operator.position("follower_right_joint_0") < 0.36


def test_estop_is_latched_until_it_is_cleared(servers, start, operator):
    start()
    operator.ready()
    operator.publish(operator.swing())
    operator.state(ControllerStatus.EXECUTING)
    assert operator.call("estop") == (True, "stopped; arm_controller/clear_fault releases it")
    operator.state(ControllerStatus.ESTOP)
    operator.diagnostics.clear()
    operator.until(lambda: operator.diagnostics)
    entries = {entry.name: entry for entry in operator.diagnostics[-1].status}
    entry = entries["arm_controller: state"]
    assert (entry.level, entry.message) == (DiagnosticStatus.ERROR, "ESTOP: e-stop")
    arm = entries["arm_controller: arm left"]
    assert (arm.level, arm.message) == (DiagnosticStatus.OK, "connected")
    assert arm.hardware_id == servers.addresses[0]
    time.sleep(0.3)  # the arms come to rest
    sent = len(operator.commands)
    place = operator.position("follower_left_joint_0")
    operator.publish(operator.swing(run_id="next"))
    status = operator.status(lambda s: s.chunks_rejected == 1)
    assert "the controller is in ESTOP: e-stop" in status.last_rejection
    assert operator.position("follower_left_joint_0") == pytest.approx(place, abs=1e-3)
    assert len(operator.commands) == sent
    assert operator.call("clear_fault") == (True, "cleared")
    operator.state(ControllerStatus.HOLDING)
    operator.publish(operator.swing(run_id="after"))
    operator.state(ControllerStatus.EXECUTING)


def test_lost_arms_are_found_again(servers, start, operator):
    controller = start("connect_timeout_s:=1.0")
    operator.ready()
    operator.publish(operator.swing())
    operator.state(ControllerStatus.EXECUTING)
    servers.kill()
    status = operator.status(lambda s: all(arm in s.reason for arm in servers.addresses))
    assert status.state == ControllerStatus.FAULT
    assert f"arm left ({servers.addresses[0]}): " in status.reason
    assert "Connection refused" in status.reason
    ticks = operator.statuses[-1].ticks
    heard = len(operator.joint_states)
    told = len(operator.statuses)
    cleared, message = operator.call("clear_fault")  # while nothing answers
    assert not cleared
    assert len(operator.statuses) > told + 5  # other callbacks ran in that second
    assert f"arm right ({servers.addresses[1]}): connecting (timeout 1 s) failed" in message
    status = operator.status(lambda s: s.ticks > ticks + 50)  # the loop went on meanwhile
    assert status.state == ControllerStatus.FAULT
    assert len(operator.joint_states) == heard  # nothing to read, nothing made up
    servers.start()
    assert operator.call("clear_fault") == (True, "cleared; connected anew: ['left', 'right']")
    operator.state(ControllerStatus.HOLDING)
    operator.publish(operator.swing(run_id="after"))
    operator.state(ControllerStatus.EXECUTING)
    assert controller.process.poll() is None


def test_a_silent_arm_and_a_faulting_one(servers, start, operator):
    start()
    operator.ready()
    before = operator.pose()
    servers.tell("freeze 1")
    status = operator.state(ControllerStatus.FAULT)
    assert f"arm right ({servers.addresses[1]}): its feedback stands still" in status.reason
    time.sleep(0.05)
    assert operator.joint_states[-1].name == list(NAMES[:7])
    servers.tell("thaw 1")
    assert operator.call("clear_fault") == (True, "cleared; connected anew: ['right']")
    operator.state(ControllerStatus.HOLDING)
    servers.tell("fault 0 motor 3 is overheated")
    status = operator.state(ControllerStatus.FAULT)
    assert f"arm left ({servers.addresses[0]})" in status.reason
    assert "motor 3 is overheated" in status.reason
    assert operator.call("clear_fault") == (True, "cleared; connected anew: ['left']")
    operator.state(ControllerStatus.HOLDING)
    np.testing.assert_allclose(operator.pose(), before, atol=0.005)


def test_mode_test_moves_nothing(servers, start, operator):
    start("mode:=test", "blend_s:=0.0")
    operator.ready()
    before = operator.pose()
    first = operator.planned[-1]
    rows = np.tile(first.position, (30, 1))
    rows[:, 0] += 0.3
    operator.publish(operator.chunk(rows))  # far away: a ramp comes first
    assert operator.state(ControllerStatus.RAMPING).mode == "test"
    operator.state(ControllerStatus.HOLDING)
    operator.until(lambda: abs(operator.planned[-1].position[0] - rows[0, 0]) < 1e-9)
    assert operator.commands == []
    assert servers.modes() == ["IDLE", "IDLE"]
    np.testing.assert_allclose(operator.pose(), before, atol=1e-3)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_releases_the_arms(servers, start, operator, number):
    controller = start()
    operator.ready()
    operator.publish(operator.swing(rows=200, speed=0.8))
    operator.until(lambda: operator.commands[-1].velocity[0] > 0.7)
    assert servers.modes() == ["POSITION", "POSITION"]
    status, seconds = controller.end(number)
    assert status == 0, controller.text
    assert seconds < 2.0
    assert "Traceback" not in controller.text
    assert operator.commands[-1].velocity[0] == 0.0
    assert servers.modes() == ["IDLE", "IDLE"]
    place = operator.joint_states[-1].position[0]
    second = start()  # the controllers accept a driver again
    second.says("connected")
    known = len(operator.joint_states)
    while len(operator.joint_states) <= known:
        time.sleep(0.01)
    assert operator.position("follower_left_joint_0") == pytest.approx(place, abs=0.02)


def test_ctrl_c_with_a_silent_controller(servers, start, operator):
    controller = start()
    operator.ready()
    servers.process.send_signal(signal.SIGSTOP)
    operator.state(ControllerStatus.FAULT)
    status, seconds = controller.end()
    assert status == 0, controller.text
    assert seconds < 2.5
    assert "may hold its last set-point" in controller.text


def test_an_address_that_does_not_answer(servers, start, addresses, domain):
    nobody = f"127.31.{domain}.9"
    controller = start(f"arm_addresses:=[{addresses[0]}, {nobody}]", "connect_timeout_s:=1.0")
    assert controller.ends() == 1
    assert f"arm right ({nobody}): connecting (timeout 1 s) failed" in controller.text
    assert "Traceback" not in controller.text


def test_ctrl_c_while_connecting(start):
    controller = start("connect_timeout_s:=60.0")
    controller.says("connecting to left")
    status, seconds = controller.end()
    assert status == 0, controller.text
    assert seconds < 2.0


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("arm_addresses:=[kitchen, 127.0.0.1]", "arm_addresses: 'kitchen' is no IP address"),
        ("position_lower:=[0.0, 0.0]", "position_lower needs 7 values"),
        ("mode:=fast", "mode: 'fast' is not one of ['autonomous', 'test']"),
        ("end_effectors:=[claw]", "end_effectors: 'claw' is not one of"),
    ],
)
def test_parameters_that_are_not_allowed(start, parameter, message):
    controller = start(parameter)
    assert controller.ends() in (1, 2)
    assert message in controller.text
    assert "Traceback" not in controller.text


def test_live_and_fixed_parameters(servers, start, operator):
    start()
    operator.ready()
    client = operator.node.create_client(SetParameters, "/arm_controller/set_parameters")
    assert client.wait_for_service(10.0)

    def put(name, value):
        values = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=value)
        request = SetParameters.Request(parameters=[Parameter(name=name, value=values)])
        (result,) = operator.result(client.call_async(request)).results
        return result.successful, result.reason

    accepted, reason = put("blend_s", 5.0)
    assert not accepted
    assert all(word in reason for word in ("blend_s", "2.0", "5.0")), reason
    accepted, reason = put("temporal_ensemble_coefficient", 50.0)
    assert (accepted, reason) == (
        False,
        "temporal_ensemble_coefficient: 50.0 lies outside [-10, 10]",
    )
    accepted, reason = put("control_rate", 200.0)
    assert not accepted
    assert "control_rate" in reason
    assert put("max_chunk_age_s", 0.2)[0]
    operator.publish(operator.swing(observation_stamp_ns=time.time_ns() - 400 * MS))
    status = operator.status(lambda s: s.chunks_rejected == 1)
    assert "allowed are 0.20 s" in status.last_rejection


def test_lifecycle_by_hand(servers, start, operator, domain):
    start("autostart:=false")
    client = operator.node.create_client(ChangeState, "/arm_controller/change_state")
    assert client.wait_for_service(20.0)

    def change(transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        return operator.result(client.call_async(request)).success

    assert operator.call("estop")[0] is False
    for _ in range(2):
        assert change(Transition.TRANSITION_CONFIGURE)
        assert change(Transition.TRANSITION_ACTIVATE)
        operator.statuses.clear()
        operator.ready()
        answer = operator.result(
            operator.move(MoveTo.Goal(pose="staged", velocity_scale=1.0)).get_result_async()
        )
        assert answer.result.success
        assert change(Transition.TRANSITION_DEACTIVATE)
        assert servers.modes() == ["IDLE", "IDLE"]
        heard = len(operator.joint_states)
        answer = operator.result(operator.move(MoveTo.Goal(pose="home")).get_result_async())
        assert answer.result.message == "the arm controller is not active"
        assert len(operator.joint_states) == heard
        assert change(Transition.TRANSITION_CLEANUP)
    servers.kill()
    assert not change(Transition.TRANSITION_CONFIGURE)  # and the node stays up
    assert operator.call("clear_fault") == (False, "the arm controller is not active")
