"""Simulated arms, the arm controller as a process, and an operator who talks to it over DDS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from domain_coordinator import domain_id
from numpy.typing import ArrayLike, NDArray
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.joints import JointMap
from trossen_pi0_msgs.action import MoveTo
from trossen_pi0_msgs.msg import ActionChunk as ActionChunkMsg
from trossen_pi0_msgs.msg import ControllerStatus
from trossen_pi0_ros.callbacks import CallbackThread
from trossen_pi0_ros.convert import chunk_to_msg, time_ns
from trossen_pi0_ros.qos import COMMANDS, STATUS

T = TypeVar("T")

SERVERS = Path(__file__).with_name("arm_servers.py")
NAMES = JointMap().urdf_names
MS = 1_000_000
DEADLINE_S = 20.0


def wait_until(condition: Callable[[], T], what: str, deadline_s: float = DEADLINE_S) -> T:
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline_s} s for {what}"
        time.sleep(0.002)
    return value


class Servers:
    """The process that simulates both arms."""

    def __init__(self, addresses: tuple[str, str]) -> None:
        self.addresses = addresses
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(SERVERS), *self.addresses],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._hear("ready")

    def tell(self, line: str) -> None:
        """Such as ``fault 0 overheated``."""
        self._say(line)
        self._hear("done")

    def modes(self) -> list[str]:
        """Modes of the joints of each arm."""
        assert self.process.stdout is not None
        answers = []
        for arm in (0, 1):
            self._say(f"modes {arm}")
            answers.append(self.process.stdout.readline().strip())
        return answers

    def kill(self) -> None:
        self.process.kill()
        self._reap()

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.kill()

    def _say(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def _hear(self, text: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == text + "\n"

    def _reap(self) -> None:
        self.process.wait(10.0)
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()


class Controller:
    """The arm controller as a process."""

    def __init__(self, domain: int, log: Path, *parameters: str) -> None:
        words = [word for parameter in parameters for word in ("-p", parameter)]
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "trossen_pi0_control.node", "--ros-args", *words],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
            )

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def says(self, text: str) -> None:
        wait_until(lambda: text in self.text or self.process.poll() is not None, repr(text))
        assert text in self.text, self.text

    def ends(self) -> int:
        return self.process.wait(DEADLINE_S)

    def end(self, number: signal.Signals = signal.SIGINT) -> tuple[int, float]:
        """Sends the signal; returns the exit status and how long the end took [s]."""
        begun = time.monotonic()
        self.process.send_signal(number)
        return self.ends(), time.monotonic() - begun

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10.0)


class Operator:
    """A node that hears and commands the controller."""

    def __init__(self, domain: int) -> None:
        self.context = Context()
        rclpy.init(
            context=self.context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO
        )
        self.node = rclpy.create_node("operator", context=self.context, enable_rosout=False)
        self.statuses: list[ControllerStatus] = []
        self.joint_states: list[JointState] = []
        self.commands: list[JointState] = []
        self.planned: list[JointState] = []
        self.diagnostics: list[DiagnosticArray] = []
        topic = "/arm_controller"
        listen = self.node.create_subscription
        listen(ControllerStatus, f"{topic}/status", self.statuses.append, STATUS)
        listen(JointState, "/joint_states", self.joint_states.append, COMMANDS)
        listen(JointState, f"{topic}/command", self.commands.append, COMMANDS)
        listen(JointState, f"{topic}/planned_command", self.planned.append, COMMANDS)
        listen(DiagnosticArray, "/diagnostics", self.diagnostics.append, 10)
        self.chunks = self.node.create_publisher(ActionChunkMsg, "/policy/action_chunk", COMMANDS)
        self.mover = ActionClient(self.node, MoveTo, f"{topic}/move_to")
        self._chunk_id = 0
        self._callbacks = CallbackThread(self.node)
        self._callbacks.start()

    def close(self) -> None:
        self._callbacks.stop(5.0)
        assert not self._callbacks.running
        self.mover.destroy()
        self.node.destroy_node()
        self.context.try_shutdown()

    # What is heard ------------------------------------------------------------------------------

    def ready(self) -> Operator:
        """Waits until the controller is active and listens."""
        wait_until(lambda: self.statuses and self.joint_states, "the controller")
        wait_until(self.chunks.get_subscription_count, "the controller to listen")
        assert self.mover.wait_for_server(DEADLINE_S)
        return self

    def status(self, condition: Callable[[ControllerStatus], object]) -> ControllerStatus:
        """Waits for a status that comes from now on."""
        known = len(self.statuses)
        found = wait_until(
            lambda: next((s for s in self.statuses[known:] if condition(s)), None), "a status"
        )
        assert found is not None
        return found

    def until(self, condition: Callable[[], object]) -> None:
        wait_until(condition, "the condition")

    def state(self, state: int) -> ControllerStatus:
        return self.status(lambda status: status.state == state)

    def position(self, joint: str) -> float:
        """Measured now [rad or m]."""
        known = len(self.joint_states)
        wait_until(lambda: len(self.joint_states) > known + 1, "joint states")
        message = self.joint_states[-1]
        return message.position[list(message.name).index(joint)]

    def pose(self) -> NDArray[np.float64]:
        """Measured now, all joints."""
        return np.array([self.position(name) for name in NAMES])

    # What is said -------------------------------------------------------------------------------

    def chunk(self, rows: ArrayLike, **changes: Any) -> ActionChunk:
        """The next chunk, observed and due now, a row every 20 ms."""
        self._chunk_id += 1
        now_ns = time.time_ns()
        values: dict[str, Any] = {
            "run_id": "run",
            "chunk_id": self._chunk_id,
            "observation_stamp_ns": now_ns,
            "t_first_ns": now_ns,
            "period_ns": 20 * MS,
            "joint_names": NAMES,
            "positions": rows,
        }
        return ActionChunk(**{**values, **changes})

    def publish(self, chunk: ActionChunk) -> None:
        self.chunks.publish(chunk_to_msg(chunk, time.time_ns()))

    def swing(self, rows: int = 50, speed: float = 0.4, **changes: Any) -> ActionChunk:
        """A chunk that turns joint_0 of both arms from where they are commanded [rad/s]."""
        start = np.array(wait_until(lambda: self.commands, "a command")[-1].position)
        targets = np.tile(start, (rows, 1))
        targets[:, [0, 7]] += speed * 0.02 * np.arange(rows)[:, None]
        return self.chunk(targets, **changes)

    def result(self, future: Any) -> Any:
        wait_until(future.done, "an answer")
        return future.result()

    def ask(self, request: Callable[[], Any]) -> Any:
        """What a request is answered that the thread sends which takes the answer."""
        return self.result(self.result(self._callbacks.call(request)))

    def trigger(self, service: str) -> tuple[bool, str]:
        """The answer of a Trigger service."""
        client = self.node.create_client(Trigger, service)
        assert client.wait_for_service(DEADLINE_S)
        answer = self.ask(lambda: client.call_async(Trigger.Request()))
        return answer.success, answer.message

    def call(self, name: str) -> tuple[bool, str]:
        """The answer of a Trigger service of the controller."""
        return self.trigger(f"/arm_controller/{name}")

    def move(self, goal: MoveTo.Goal, seen: list[float] | None = None) -> Any:
        """Sends a goal, collects its progress, and returns the accepted handle."""

        def progress(message: Any) -> None:
            if seen is not None:
                seen.append(message.feedback.fraction)

        handle = self.ask(lambda: self.mover.send_goal_async(goal, feedback_callback=progress))
        assert handle.accepted
        return handle


@pytest.fixture
def domain() -> Iterator[int]:
    """A ROS domain that nobody else uses meanwhile."""
    with domain_id() as number:
        yield number


@pytest.fixture
def addresses(domain: int) -> tuple[str, str]:
    """Loopback addresses of this domain's arms."""
    return f"127.31.{domain}.2", f"127.31.{domain}.3"


@pytest.fixture
def servers(addresses: tuple[str, str]) -> Iterator[Servers]:
    """Both arms, simulated."""
    started = Servers(addresses)
    yield started
    started.close()


@pytest.fixture
def start(
    domain: int, addresses: tuple[str, str], tmp_path: Path
) -> Iterator[Callable[..., Controller]]:
    """Starts a controller of these arms: ``start("mode:=test", ...)``."""
    started: list[Controller] = []

    def run(*parameters: str) -> Controller:
        arms = f"arm_addresses:=[{addresses[0]}, {addresses[1]}]"
        log = tmp_path / f"controller{len(started)}.log"
        started.append(Controller(domain, log, arms, *parameters))
        return started[-1]

    yield run
    for controller in started:
        controller.close()


@pytest.fixture
def operator(domain: int) -> Iterator[Operator]:
    """A node on the test's domain."""
    someone = Operator(domain)
    yield someone
    someone.close()


@pytest.fixture
def stamp_of() -> Callable[[JointState], int]:
    """The stamp of a message [ns]."""
    return lambda message: time_ns(message.header.stamp)
