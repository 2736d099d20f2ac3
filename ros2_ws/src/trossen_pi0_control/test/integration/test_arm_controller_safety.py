"""The arm controller node when something fails, and at its end: real DDS, real driver."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rosgraph_msgs.msg import Clock

from trossen_pi0_core.joints import JointMap
from trossen_pi0_msgs.action import MoveTo
from trossen_pi0_msgs.msg import ControllerStatus
from trossen_pi0_ros.convert import chunk_to_msg, time_msg

NAMES = JointMap().urdf_names
STAGED = [0.0, np.pi / 3, np.pi / 6, np.pi / 5, 0.0, 0.0, 0.0] * 2
MS = 1_000_000
SECOND = 1000 * MS


def runs_again(operator, run_id):
    """A run can start."""
    operator.state(ControllerStatus.HOLDING)
    operator.publish(operator.swing(run_id=run_id))
    operator.state(ControllerStatus.EXECUTING)


def test_one_arm_that_goes_away_and_comes_back(servers, start, operator):
    start("connect_timeout_s:=1.0", "driver_stale_s:=0.5")
    operator.ready()
    operator.publish(operator.swing(rows=400, speed=0.05))
    operator.state(ControllerStatus.EXECUTING)
    servers.tell("end 0")
    status = operator.state(ControllerStatus.FAULT)
    assert f"arm left ({servers.addresses[0]}): " in status.reason
    assert "arm right" not in status.reason
    assert status.fault_count == 1
    operator.until(lambda: operator.joint_states[-1].name == list(NAMES[7:]))
    place = operator.position("follower_right_joint_0")
    cleared, message = operator.call("clear_fault")
    assert not cleared
    assert f"arm left ({servers.addresses[0]}): connecting (timeout 1 s) failed" in message
    assert servers.modes()[1] == "POSITION"
    assert operator.position("follower_right_joint_0") == pytest.approx(place, abs=0.002)
    servers.tell("serve 0")
    assert operator.call("clear_fault") == (True, "cleared; connected anew: ['left']")
    assert operator.position("follower_right_joint_0") == pytest.approx(place, abs=0.002)
    runs_again(operator, "after")


@pytest.mark.parametrize("kind", ["stall", "stop"])
def test_controllers_that_stand_still(servers, start, operator, kind):
    start("driver_stale_s:=0.5")
    operator.ready()
    operator.publish(operator.swing(rows=400, speed=0.05))
    operator.state(ControllerStatus.EXECUTING)
    if kind == "stall":
        servers.tell("stall 0")
        servers.tell("stall 1")
    else:
        servers.process.send_signal(signal.SIGSTOP)
    status = operator.status(lambda s: s.reason.count("its feedback stands still for") == 2)
    assert status.state == ControllerStatus.FAULT
    assert status.fault_count == 1
    heard = len(operator.joint_states)
    operator.status(lambda s: s.ticks > status.ticks + 20)
    assert len(operator.joint_states) <= heard + 1
    if kind == "stall":
        servers.tell("thaw 0")
        servers.tell("thaw 1")
    else:
        servers.process.send_signal(signal.SIGCONT)
    assert operator.call("clear_fault") == (True, "cleared; connected anew: ['left', 'right']")
    runs_again(operator, "after")


def test_a_blocked_joint_gives_way_and_is_a_fault(servers, start, operator):
    start("driver_stale_s:=0.5", "command_rate:=100.0")
    operator.ready()
    answer = operator.result(operator.move(MoveTo.Goal(pose="staged")).get_result_async())
    assert answer.result.success
    assert operator.statuses[-1].effort_events == 0
    joint = "follower_left_joint_1"
    goal = MoveTo.Goal(joint_names=[joint], positions=[2.2])  # through the table
    handle = operator.move(goal)
    status = operator.state(ControllerStatus.FAULT)
    assert status.reason.startswith(f"{joint}: effort 2"), status.reason
    assert "is beyond its limit of +-21.6 for 0.5" in status.reason
    assert (status.effort_events, status.fault_count) == (1, 1)
    assert not operator.result(handle.get_result_async()).result.success
    operator.until(lambda: abs(operator.joint_states[-1].effort[1]) < 21.6)
    assert operator.position(joint) < 2.0
    assert operator.statuses[-1].state == ControllerStatus.FAULT
    steps = np.abs(np.diff([command.position for command in operator.commands], axis=0))
    assert steps.max() < 0.1
    assert operator.call("clear_fault") == (True, "cleared")
    operator.state(ControllerStatus.HOLDING)
    answer = operator.result(operator.move(MoveTo.Goal(pose="staged")).get_result_async())
    assert answer.result.success


class SimulatedTime:
    """Publishes /clock at the pace of the wall."""

    def __init__(self, operator) -> None:
        self._publisher = operator.node.create_publisher(Clock, "/clock", 10)
        self._offset_ns = 1000 * SECOND - time.monotonic_ns()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def now_ns(self) -> int:
        return time.monotonic_ns() + self._offset_ns

    def jump(self, by_ns: int) -> None:
        self._offset_ns += by_ns

    def close(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.005):
            self._publisher.publish(Clock(clock=time_msg(self.now_ns)))


@pytest.fixture
def clock(operator) -> Iterator[SimulatedTime]:
    simulated = SimulatedTime(operator)
    yield simulated
    simulated.close()


@pytest.mark.parametrize("jump_ns", [-5 * SECOND, 30 * SECOND])
def test_a_clock_that_jumps(servers, start, operator, clock, jump_ns):
    start("use_sim_time:=true", "driver_stale_s:=0.5")
    operator.ready()

    def swing(run_id):
        stamps = {"observation_stamp_ns": clock.now_ns, "t_first_ns": clock.now_ns}
        return operator.swing(rows=200, speed=0.1, run_id=run_id, **stamps)

    def publish(chunk):
        operator.chunks.publish(chunk_to_msg(chunk, clock.now_ns))

    publish(swing("run"))
    assert operator.state(ControllerStatus.EXECUTING).clock_jumps == 0
    late = swing("run")
    clock.jump(jump_ns)
    status = operator.state(ControllerStatus.STARVED)
    assert status.reason.startswith(f"the clock jumped by {'+' if jump_ns > 0 else '-'}")
    assert status.clock_jumps == 1
    publish(late)  # observed before the jump
    status = operator.status(lambda s: s.chunks_rejected == 1)
    assert "its observation is" in status.last_rejection
    publish(swing("run"))
    assert operator.state(ControllerStatus.EXECUTING).clock_jumps == 1
    steps = np.abs(np.diff([command.position for command in operator.commands], axis=0))
    assert steps.max() < 0.05


# The end -----------------------------------------------------------------------------------------


def test_ctrl_c_parks_the_arms(servers, start, operator):
    controller = start("shutdown_pose:=staged", "shutdown_timeout_s:=15.0", "command_rate:=100.0")
    operator.ready()
    operator.publish(operator.swing(rows=200, speed=0.2))
    operator.state(ControllerStatus.EXECUTING)
    status, seconds = controller.end()
    assert status == 0, controller.text
    assert 1.0 < seconds < 15.0
    assert "moving to pose 'staged' before the arms brake" in controller.text
    np.testing.assert_allclose(operator.commands[-1].position, STAGED, atol=0.01)
    assert servers.modes() == ["IDLE", "IDLE"]
    assert "Traceback" not in controller.text


def test_a_second_ctrl_c_leaves_parking_out(servers, start, operator):
    controller = start("shutdown_pose:=staged", "shutdown_timeout_s:=15.0")
    operator.ready()
    controller.process.send_signal(signal.SIGINT)
    controller.says("moving to pose 'staged'")
    operator.until(lambda: any(command.velocity[1] > 0.1 for command in operator.commands))
    status, seconds = controller.end()
    assert status == 0, controller.text
    assert seconds < 2.5
    assert "the arms have not reached pose 'staged'" in controller.text
    assert operator.commands[-1].velocity[1] == pytest.approx(0.0, abs=0.05)
    assert servers.modes() == ["IDLE", "IDLE"]


def test_the_e_stop_stops_the_arms_while_they_are_parked(servers, start, operator):
    controller = start("shutdown_pose:=staged", "shutdown_timeout_s:=15.0", "command_rate:=100.0")
    operator.ready()
    controller.process.send_signal(signal.SIGINT)
    operator.until(lambda: any(command.velocity[1] > 0.1 for command in operator.commands))
    assert operator.call("estop")[0]
    status = controller.process.wait(10.0)
    assert status == 0, controller.text
    assert "ESTOP: e-stop" in controller.text
    assert "the arms have not reached pose 'staged'" in controller.text
    assert operator.commands[-1].position[1] < STAGED[1] - 0.1
    assert servers.modes() == ["IDLE", "IDLE"]


def test_faulted_arms_are_not_parked(servers, start, operator):
    controller = start("shutdown_pose:=staged", "shutdown_timeout_s:=15.0")
    operator.ready()
    servers.tell("fault 0 motor 3 is overheated")
    operator.state(ControllerStatus.FAULT)
    status, seconds = controller.end()
    assert status == 0, controller.text
    assert seconds < 4.0
    assert "the arms do not move to pose 'staged': the controller is in FAULT" in controller.text


def test_deactivation_parks_the_arms(servers, start: Callable[..., object], operator) -> None:
    start("shutdown_pose:=staged", "shutdown_timeout_s:=15.0", "command_rate:=100.0")
    operator.ready()
    client = operator.node.create_client(ChangeState, "/arm_controller/change_state")
    assert client.wait_for_service(20.0)
    request = ChangeState.Request(transition=Transition(id=Transition.TRANSITION_DEACTIVATE))
    assert operator.result(client.call_async(request)).success
    np.testing.assert_allclose(operator.commands[-1].position, STAGED, atol=0.01)
    assert servers.modes() == ["IDLE", "IDLE"]


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("effort_limit:=[20.0, 20.0]", "effort_limit needs 7 values (each arm alike) or 14, got 2"),
        ("clock_jump_s:=0.0", "clock_jump_s: 0.0 lies outside [0.01, 10]"),
        ("round_trip_strikes:=0", "round_trip_strikes: 0 lies outside [1, 100]"),
        ("shutdown_pose:=bed", "shutdown_pose: 'bed' is not one of"),
    ],
)
def test_malformed_limits_refuse_to_start(start, parameter, message):
    controller = start(parameter)
    assert controller.ends() == 2
    assert message in controller.text
    assert "Traceback" not in controller.text
