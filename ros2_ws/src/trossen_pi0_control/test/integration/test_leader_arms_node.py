"""Teleoperation over real sockets and DDS: leaders, their node, the arm controller, followers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sensor_msgs.msg import JointState

from trossen_pi0_core.joints import JointMap
from trossen_pi0_msgs.action import MoveTo
from trossen_pi0_msgs.msg import ControllerStatus, TeleopStatus
from trossen_pi0_ros.convert import time_ns
from trossen_pi0_ros.qos import COMMANDS, STATUS

SERVERS = Path(__file__).with_name("leader_servers.py")
FOLLOWERS = JointMap().urdf_names
LEADERS = JointMap(urdf_prefixes=("leader_left_", "leader_right_")).urdf_names
STAGED_CARRIAGE = 0.02
DEADLINE_S = 20.0
# Of one machine that simulates four arms at once.
CONTROLLER = ("driver_stale_s:=0.5", "round_trip_limit_s:=0.1", "command_rate:=100.0")
LEADER_STALE_S = 0.3


def wait_until(condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline_s} s for {what}"
        time.sleep(0.002)
    return value


class Leaders:
    """The process that simulates both leaders and the hands that hold them."""

    def __init__(self, addresses: tuple[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SERVERS), *addresses],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def tell(self, line: str) -> None:
        """Such as ``swing 0.2 0.5``."""
        assert self.ask(line) == "done"

    def ask(self, line: str) -> str:
        """Such as ``modes 0``."""
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self._answer()

    def modes(self) -> list[str]:
        return [self.ask(f"modes {arm}") for arm in (0, 1)]

    def efforts(self) -> NDArray[np.float64]:
        words = " ".join(self.ask(f"efforts {arm}") for arm in (0, 1)).split()
        return np.array([float(word) for word in words])

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait(10.0)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


class LeaderNode:
    """The leader-arm node as a process, and what is heard of it."""

    def __init__(self, domain: int, log: Path, operator: Any, *parameters: str) -> None:
        words = [word for parameter in parameters for word in ("-p", parameter)]
        self.log = log
        self.operator = operator
        self.statuses: list[TeleopStatus] = []
        self.joint_states: list[JointState] = []
        listen = operator.node.create_subscription
        listen(TeleopStatus, "/teleop/status", self.statuses.append, STATUS)
        listen(JointState, "/leader_arms/joint_states", self.joint_states.append, COMMANDS)
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "trossen_pi0_control.leader_node", "--ros-args", *words],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
            )

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def ready(self) -> LeaderNode:
        """Waits until it has heard of leaders and followers."""
        wait_until(
            lambda: self.statuses and np.isfinite(self.statuses[-1].largest_difference),
            f"the leader node: {self.text}",
        )
        return self

    def call(self, name: str) -> tuple[bool, str]:
        """The answer of ``/teleop/<name>``."""
        return self.operator.trigger(f"/teleop/{name}")

    def state(self, state: int) -> TeleopStatus:
        """Waits for a status that comes from now on."""
        known = len(self.statuses)
        return wait_until(
            lambda: next((s for s in self.statuses[known:] if s.state == state), None),
            f"state {state}; {self.statuses[-1] if self.statuses else None}",
        )

    def follow(self) -> None:
        """Couples the followers."""
        began = time.monotonic()
        success, message = self.call("start")
        while (
            "never heard" in message or "listens" in message
        ) and time.monotonic() < began + DEADLINE_S:
            success, message = self.call("start")
        assert success, message
        self.state(TeleopStatus.FOLLOWING)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10.0)


def angle_in(text: str, pattern: str) -> float:
    """The angle of a message [rad]."""
    found = re.search(pattern, text)
    assert found is not None, text
    return float(found[1])


def columns(
    messages: list[JointState], names: tuple[str, ...], since_ns: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times [s] and positions (n, 14)."""
    kept = [m for m in messages if time_ns(m.header.stamp) >= since_ns]
    times = np.array([time_ns(m.header.stamp) for m in kept]) * 1e-9
    index = {name: i for i, name in enumerate(kept[0].name)}
    order = [index[name] for name in names]
    return times, np.array([m.position for m in kept])[:, order]


def lag(
    leader: tuple[NDArray[np.float64], NDArray[np.float64]],
    follower: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> tuple[float, float]:
    """By how much the follower is late [s], and the largest difference then [rad], joint 0 to 5."""
    revolute = [j for j in range(14) if j % 7 != 6]
    times, positions = follower
    inside = (times > leader[0][0] + 0.3) & (times < leader[0][-1] - 0.1)

    def apart(shift_s: float) -> NDArray[np.float64]:
        at = times[inside] - shift_s
        return np.stack(
            [np.interp(at, leader[0], leader[1][:, j]) - positions[inside, j] for j in revolute]
        )

    shifts = [float(s) for s in np.arange(-0.05, 0.25, 0.001)]
    best = min(shifts, key=lambda s: float(np.sqrt(np.mean(apart(s) ** 2))))
    return best, float(np.abs(apart(best)).max())


def jerk(times: NDArray[np.float64], positions: NDArray[np.float64]) -> float:
    """Root mean square of the revolute joints' jerk at 100 Hz [rad/s^3]."""
    grid = np.arange(times[0], times[-1], 0.01)
    even = np.stack([np.interp(grid, times, positions[:, j]) for j in range(14) if j % 7 != 6])
    return float(np.sqrt(np.mean((np.diff(even, 3, axis=1) / 1e-6) ** 2)))


@pytest.fixture
def leader_addresses(domain: int) -> tuple[str, str]:
    return f"127.31.{domain}.4", f"127.31.{domain}.5"


@pytest.fixture
def leaders(leader_addresses: tuple[str, str]) -> Iterator[Leaders]:
    started = Leaders(leader_addresses)
    yield started
    started.close()


@pytest.fixture
def teleop(
    domain: int,
    servers: Any,
    start: Callable[..., Any],
    operator: Any,
    leaders: Leaders,
    leader_addresses: tuple[str, str],
    tmp_path: Path,
) -> Iterator[Callable[..., LeaderNode]]:
    """Starts the controller, stages the followers, and starts the node: ``teleop("...:=...")``."""
    del servers, leaders
    nodes: list[LeaderNode] = []

    def run(*parameters: str, controller: tuple[str, ...] = ()) -> LeaderNode:
        start(*CONTROLLER, *controller)
        operator.ready()
        carriages = [name for name in FOLLOWERS if "carriage" in name]
        for goal in (
            MoveTo.Goal(pose="staged"),
            MoveTo.Goal(joint_names=carriages, positions=[STAGED_CARRIAGE] * 2),
        ):
            result = operator.result(operator.move(goal).get_result_async())
            assert result.result.success, result.result.message
        addresses = f"arm_addresses:=[{leader_addresses[0]}, {leader_addresses[1]}]"
        stale = f"leader_stale_s:={LEADER_STALE_S}"
        log = tmp_path / "leaders.log"
        nodes.append(LeaderNode(domain, log, operator, addresses, stale, *parameters))
        return nodes[-1].ready()

    yield run
    for node in nodes:
        node.close()


@dataclass(frozen=True)
class Following:
    """How the followers went behind leaders that swing.

    Attributes:
        late_s: of the commands.
        apart: of the commands then, at most [rad].
        measured_apart: of the measured joints, behind them by their own lag, at most [rad].
        jerk: of the commands [rad/s^3].
        swing: of a joint's commands [rad].
        rejected: chunks.
        faults: since the start.
    """

    late_s: float
    apart: float
    measured_apart: float
    jerk: float
    swing: float
    rejected: int
    faults: int


def follow_a_swing(node: LeaderNode, leaders: Leaders, operator: Any) -> Following:
    before = operator.statuses[-1]
    node.follow()
    begun_ns = time.time_ns()
    leaders.tell("swing 0.2 0.4")
    time.sleep(6.0)  # the motion itself
    status = operator.status(lambda s: s.state == ControllerStatus.EXECUTING)
    led = columns(node.joint_states, LEADERS, begun_ns)
    commanded = columns(operator.commands, FOLLOWERS, begun_ns)
    measured = columns(operator.joint_states, FOLLOWERS, begun_ns)
    late_s, apart = lag(led, commanded)
    measured_late_s, measured_apart = lag(led, measured)
    sys.stdout.write(
        f"\ncommands {1e3 * late_s:.0f} ms behind, then within {1e3 * apart:.1f} mrad; measured "
        f"{1e3 * measured_late_s:.0f} ms, {1e3 * measured_apart:.1f} mrad; jerk commanded "
        f"{jerk(*commanded):.0f}, leaders {jerk(*led):.0f} rad/s^3; limits: "
        f"{status.acceleration_limit_events - before.acceleration_limit_events} acceleration, "
        f"{status.speed_limit_events - before.speed_limit_events} speed events; rejected "
        f"{status.chunks_rejected}; starved {status.starvation_count}\n"
    )
    return Following(
        late_s,
        apart,
        measured_apart,
        jerk(*commanded),
        float(np.ptp(commanded[1][:, 0])),
        status.chunks_rejected - before.chunks_rejected,
        status.fault_count,
    )


def test_the_followers_go_where_the_leaders_go(teleop, leaders, operator):
    node = teleop()
    found = follow_a_swing(node, leaders, operator)
    assert found.swing > 0.25
    assert found.apart < 0.1  # of 0.2 to either side, however late
    assert found.rejected == 0
    assert found.faults == 0
    assert node.call("stop") == (True, "the followers hold")
    operator.state(ControllerStatus.HOLDING)
    assert leaders.modes() == ["EXTERNAL_EFFORT"] * 2


@pytest.mark.slow
def test_the_followers_are_close_and_smooth(teleop, leaders, operator):
    """Figures of a machine that does nothing else and simulates four arms in time."""
    found = follow_a_swing(teleop(), leaders, operator)
    assert found.late_s < 0.03
    assert found.apart < 0.02
    assert found.measured_apart < 0.05
    assert found.jerk < 500.0


def test_a_hand_too_fast_meets_the_limits(teleop, leaders, operator):
    node = teleop()
    node.follow()
    begun_ns = time.time_ns()
    leaders.tell("turn 1.5 0.5")  # up to 5.6 rad/s
    wait_until(lambda: abs(operator.commands[-1].position[0] - 1.5) < 0.01, "the followers", 8.0)
    status = operator.status(lambda s: s.state == ControllerStatus.EXECUTING)
    assert status.speed_limit_events > 0
    assert status.fault_count == 0
    sent = [m for m in operator.commands if time_ns(m.header.stamp) >= begun_ns]
    speeds = np.abs([m.velocity[0] for m in sent])
    assert speeds.max() <= 0.7 * 3.375 + 1e-6


def test_a_start_apart_is_refused_and_names_the_joint(teleop, leaders, operator):
    node = teleop()
    leaders.tell("turn 0.4 0.3")
    wait_until(lambda: node.statuses[-1].largest_difference > 0.39, "the leaders")
    success, message = node.call("start")
    assert not success
    angle = angle_in(message, r"follower_left_joint_0 by \+([0-9.]+) rad \(allowed: 0.1 rad\)")
    assert angle == pytest.approx(0.4, abs=0.011)  # it may still turn, beyond 0.39
    assert "follower_right_joint_0" in message
    assert len(node.statuses[-1].apart) == 2
    assert operator.statuses[-1].state == ControllerStatus.HOLDING


def test_ramp_brings_the_followers_slowly(teleop, leaders, operator):
    node = teleop("alignment:=ramp")
    leaders.tell("turn 0.6 0.3")
    wait_until(lambda: node.statuses[-1].largest_difference > 0.59, "the leaders")
    begun_ns = time.time_ns()
    success, message = node.call("start")
    assert success, message
    operator.state(ControllerStatus.RAMPING)
    node.state(TeleopStatus.FOLLOWING)
    operator.state(ControllerStatus.EXECUTING)
    sent = [m for m in operator.commands if time_ns(m.header.stamp) >= begun_ns]
    assert np.abs([m.velocity[0] for m in sent]).max() <= 0.3 * 3.375 + 1e-6
    wait_until(lambda: node.statuses[-1].largest_difference < 0.05, "the followers")


@pytest.mark.slow
def test_leaders_that_move_during_the_ramp_are_not_followed(teleop, leaders, operator):
    node = teleop("alignment:=ramp")
    leaders.tell("turn 0.6 0.3")
    wait_until(lambda: node.statuses[-1].largest_difference > 0.59, "the leaders")
    assert node.call("start")[0]
    operator.state(ControllerStatus.RAMPING)
    leaders.tell("turn -0.5 0.3")
    status = node.state(TeleopStatus.FREE)
    assert "the leaders moved while the followers came" in status.reason
    operator.state(ControllerStatus.HOLDING)


@pytest.mark.parametrize(
    "failure",
    [
        "freeze 1",
        pytest.param("stall 1", marks=pytest.mark.slow),
        "fault 1 overheated",
        pytest.param("kill", marks=pytest.mark.slow),
    ],
)
def test_a_leader_that_fails_leads_to_hold(teleop, leaders, operator, failure):
    node = teleop()
    node.follow()
    leaders.tell("swing 0.3 0.5")
    time.sleep(2.0)  # in motion
    if failure == "kill":
        leaders.process.kill()
    else:
        leaders.tell(failure)
    failed_ns = time.time_ns()
    status = node.state(TeleopStatus.FAULT)
    assert "leader right" in status.reason
    held = operator.state(ControllerStatus.HOLDING)
    assert "leader" in held.reason or not held.reason
    time.sleep(0.3)  # nothing moves any more
    moving = [
        time_ns(m.header.stamp)
        for m in operator.commands
        if time_ns(m.header.stamp) > failed_ns and np.abs(m.velocity).max() > 1e-3
    ]
    stopped_s = (max(moving, default=failed_ns) - failed_ns) * 1e-9
    sys.stdout.write(f"\n{failure}: at rest after {1e3 * stopped_s:.0f} ms\n")
    assert stopped_s < LEADER_STALE_S + 0.1
    if failure == "kill":
        return
    assert leaders.modes()[0] == "EXTERNAL_EFFORT"  # the other one is not dropped
    assert "has failed" in node.call("start")[1]
    leaders.tell("thaw 1")
    leaders.tell("rest")
    success, message = node.call("clear_fault")
    assert success, message
    node.state(TeleopStatus.FREE)
    assert leaders.modes() == ["EXTERNAL_EFFORT"] * 2


def test_a_jump_a_silent_controller_and_the_e_stop_lead_to_hold(teleop, leaders, operator):
    node = teleop()
    node.follow()
    leaders.tell("jump 0.4")
    status = node.state(TeleopStatus.FREE)
    angle = angle_in(status.reason, r"leader_(?:left|right)_joint_0 jumped by \+([0-9.]+) rad")
    assert angle == pytest.approx(0.4, abs=0.002)
    operator.state(ControllerStatus.HOLDING)
    assert abs(operator.position(FOLLOWERS[0])) < 0.1
    leaders.tell("turn -0.4 0.5")
    wait_until(lambda: node.statuses[-1].largest_difference < 0.05, "the leaders")
    node.follow()
    assert operator.call("estop")[0]
    status = node.state(TeleopStatus.FREE)
    assert "the arm controller is in ESTOP: e-stop" in status.reason
    assert "ESTOP" in node.call("start")[1]
    assert operator.call("clear_fault")[0]
    operator.state(ControllerStatus.HOLDING)
    wait_until(lambda: node.call("start")[0], "another start")
    node.state(TeleopStatus.FOLLOWING)
    assert node.statuses[-1].sessions == 3


def test_the_leaders_are_pushed_back_within_their_limits(teleop, leaders, operator):
    node = teleop(
        "force_feedback_gain:=1.0",
        "force_feedback_limit:=[0.05, 0.05, 0.05, 0.05, 0.05, 0.05, 1.0]",
        "force_feedback_fade_s:=0.2",
    )
    assert not leaders.efforts().any()
    node.follow()
    leaders.tell("swing 0.4 0.8")
    pushed: list[NDArray[np.float64]] = []
    wait_until(lambda: node.statuses[-1].force_feedback == 1.0, "the whole of it")
    for _ in range(200):
        pushed.append(leaders.efforts())
        time.sleep(0.005)
    limits = np.tile([0.05] * 6 + [1.0], 2)
    assert (np.abs(pushed) <= limits + 1e-6).all()
    assert np.abs(pushed).max(axis=0)[0] == pytest.approx(0.05)
    node.call("stop")
    wait_until(lambda: not leaders.efforts().any(), "no efforts")


def test_ctrl_c_leaves_the_leaders_on_their_brakes_and_the_followers_holding(
    teleop, leaders, operator
):
    node = teleop()
    node.follow()
    leaders.tell("swing 0.2 0.4")
    node.process.send_signal(signal.SIGINT)
    assert node.process.wait(DEADLINE_S) == 0, node.text
    assert leaders.modes() == ["IDLE"] * 2
    held = operator.state(ControllerStatus.HOLDING)
    assert held.run_id == ""


def test_a_killed_node_leaves_the_followers_at_rest(teleop, leaders, operator):
    node = teleop()
    node.follow()
    leaders.tell("swing 0.2 0.4")
    time.sleep(1.0)  # in motion
    node.process.kill()
    killed_ns = time.time_ns()
    operator.state(ControllerStatus.STARVED)
    time.sleep(0.5)  # nothing moves any more
    moving = [
        time_ns(m.header.stamp)
        for m in operator.commands
        if time_ns(m.header.stamp) > killed_ns and np.abs(m.velocity).max() > 1e-3
    ]
    assert (max(moving, default=killed_ns) - killed_ns) * 1e-9 < 0.4
