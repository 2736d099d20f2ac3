"""The health check against what a stack publishes, over DDS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import rclpy
from domain_coordinator import domain_id
from rclpy.context import Context
from rclpy.duration import Duration
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState

from trossen_pi0_bringup.healthcheck import main
from trossen_pi0_msgs.msg import ControllerStatus, PolicyStatus
from trossen_pi0_ros.callbacks import CallbackThread
from trossen_pi0_ros.qos import COMMANDS, STATUS

DEADLINE_S = 30.0
WORDS = [f"timeout_s:={DEADLINE_S:g}", "max_age_s:=0.5"]
BRIEF = ["timeout_s:=1", "max_age_s:=0.5"]
STRICT = ["timeout_s:=1", "max_age_s:=0.05"]


class Kit:
    """Publishes what a stack publishes, by what its attributes say.

    Attributes:
        late_s: how old stamps are, by topic [s].
        states: of the status messages, by topic.
    """

    def __init__(self, domain: int, topics: tuple[str, ...]) -> None:
        self.late_s: dict[str, float] = {}
        self.states: dict[str, tuple[int, str]] = {}
        self._context = Context()
        options = SignalHandlerOptions.NO
        rclpy.init(context=self._context, domain_id=domain, signal_handler_options=options)
        self._node = rclpy.create_node("kit", context=self._context, enable_rosout=False)
        kinds = {
            "/joint_states": (JointState, COMMANDS),
            "/arm_controller/status": (ControllerStatus, STATUS),
            "/policy/status": (PolicyStatus, STATUS),
        }
        self._publishers = {
            topic: (self._node.create_publisher(kinds[topic][0], topic, kinds[topic][1]), kind)
            for topic, (kind, _) in kinds.items()
            if topic in topics
        }
        self._silent = threading.Event()
        self._node.create_timer(0.02, self._publish)
        self._callbacks = CallbackThread(self._node)
        self._callbacks.start()

    def fall_silent(self) -> None:
        """Publishes nothing more; the last statuses stay for those who come late."""
        self._silent.set()

    def close(self) -> None:
        self._callbacks.stop()
        assert self._callbacks.failure is None
        self._node.destroy_node()
        rclpy.shutdown(context=self._context)

    def _publish(self) -> None:
        if self._silent.is_set():
            return
        for topic, (publisher, kind) in self._publishers.items():
            message: Any = kind()
            late = Duration(seconds=self.late_s.get(topic, 0.0))
            message.header.stamp = (self._node.get_clock().now() - late).to_msg()
            if topic in self.states:
                message.state, message.reason = self.states[topic]
            publisher.publish(message)


ALL = ("/joint_states", "/arm_controller/status", "/policy/status")


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Kit]]:
    kits: list[Kit] = []
    with domain_id() as domain:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(domain))

        def run(*topics: str) -> Kit:
            kits.append(Kit(domain, topics or ALL))
            return kits[-1]

        yield run
        for kit in kits:
            kit.close()


def unhealthy(words: list[str], capsys: pytest.CaptureFixture[str], heard: int) -> list[str]:
    """What is wrong, told by a check that came to hear so many of the topics in its time."""
    deadline = time.monotonic() + DEADLINE_S
    while True:
        assert main(words) == 1
        lines = capsys.readouterr().out.splitlines()
        if len(lines) == 3 and sum("no message" not in line for line in lines) >= heard:
            return lines
        assert time.monotonic() < deadline, lines


def test_a_stack_that_works_is_healthy(
    start: Callable[..., Kit], capsys: pytest.CaptureFixture[str]
) -> None:
    start().states["/policy/status"] = (PolicyStatus.RUNNING, "")
    assert main(WORDS) == 0
    said = capsys.readouterr().out
    assert said.startswith("healthy: /arm_controller/status HOLDING (")
    assert "/policy/status RUNNING (" in said


def test_a_stack_without_a_policy_is_healthy_too(start: Callable[..., Kit]) -> None:
    start("/joint_states", "/arm_controller/status")
    assert main(WORDS) == 0


def test_nothing_there(start: Callable[..., Kit], capsys: pytest.CaptureFixture[str]) -> None:
    assert start is not None
    assert main(["timeout_s:=0.5"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "/joint_states: no message within 0.5 s",
        "/arm_controller/status: no message within 0.5 s",
    ]


def test_old_stamps_and_failed_nodes_are_not_healthy(
    start: Callable[..., Kit], capsys: pytest.CaptureFixture[str]
) -> None:
    kit = start()
    kit.late_s["/joint_states"] = 3.0
    kit.states["/arm_controller/status"] = (ControllerStatus.FAULT, "left: lost")
    kit.states["/policy/status"] = (PolicyStatus.ERROR, "no checkpoint")
    joints, controller, policy = unhealthy(BRIEF, capsys, heard=3)
    assert joints.startswith("/joint_states: its newest message is 3.0")
    assert joints.endswith(" s old, 0.5 s is allowed")
    assert controller == "/arm_controller/status: FAULT: left: lost"
    assert policy == "/policy/status: ERROR: no checkpoint"


def test_what_an_operator_wants_or_a_policy_waits_for_is_no_failure(
    start: Callable[..., Kit],
) -> None:
    kit = start()
    kit.states["/arm_controller/status"] = (ControllerStatus.ESTOP, "by an operator")
    kit.states["/policy/status"] = (PolicyStatus.STALLED, "cam_high is missing")
    assert main(WORDS) == 0


def test_a_hung_node_is_not_healthy_although_its_last_status_is_kept(
    start: Callable[..., Kit], capsys: pytest.CaptureFixture[str]
) -> None:
    kit = start()
    assert main(WORDS) == 0
    kit.fall_silent()
    capsys.readouterr()
    joints, controller, policy = unhealthy(STRICT, capsys, heard=2)
    assert joints == "/joint_states: no message within 1 s"
    assert controller.endswith(" s old, 0.05 s is allowed")
    assert policy.endswith(" s old, 0.05 s is allowed")


def test_arguments_that_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["timeout:=1"]) == 2
    assert "did you mean 'timeout_s'?" in capsys.readouterr().err
    assert main(["--help"]) == 0
    assert "max_age_s:=1" in capsys.readouterr().out
