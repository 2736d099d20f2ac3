"""Cameras, the way of the joint states to the policy, and all that the nodes say."""

from __future__ import annotations

import array
import copy
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import rclpy
from numpy.typing import NDArray
from rcl_interfaces.srv import SetParameters
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, qos_profile_parameters
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger

from fault_harness.clocks import PublishedTime, SystemTime
from fault_harness.processes import DEADLINE_S, wait_until
from fault_harness.safety import COMMAND
from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_msgs.action import MoveTo
from trossen_pi0_msgs.msg import ActionChunk, ControllerStatus, PolicyStatus
from trossen_pi0_ros.callbacks import CallbackThread
from trossen_pi0_ros.convert import time_msg, time_ns
from trossen_pi0_ros.qos import COMMANDS, STATUS

WIDTH, HEIGHT, FPS = 160, 120, 15.0
POLICY_JOINT_STATES = "/faults/joint_states"
"""Where the policy under test listens for joint states."""

_FRAMES = 4
_LATE_CLOCK = QoSProfile(depth=1)


class Camera:
    """Publishes noise. ``change`` may be replaced: it returns the message to send, or None."""

    def __init__(self, node: Node, name: str, seed: int) -> None:
        random = np.random.default_rng(seed)
        self._publisher = node.create_publisher(
            Image, f"/{name}/color/image_raw", QoSProfile(depth=2)
        )
        self._frames = [picture(random) for _ in range(_FRAMES)]
        self._sent = 0
        self.change: Callable[[Image], Image | None] = unchanged

    def publish(self, stamp_ns: int) -> None:
        """Sends the next picture, as ``change`` makes it."""
        message = copy.copy(self._frames[self._sent % _FRAMES])
        self._sent += 1
        message.header.stamp = time_msg(stamp_ns)
        changed = self.change(message)
        if changed is not None:
            self._publisher.publish(changed)


def unchanged(message: Any) -> Any:
    """What cameras and joint states do when nothing is wrong."""
    return message


def picture(random: np.random.Generator, width: int = WIDTH, height: int = HEIGHT) -> Image:
    """Noise, rgb8."""
    message = Image(height=height, width=width, step=3 * width, encoding="rgb8")
    message.data = array.array("B", random.bytes(3 * width * height))
    return message


class Kit:
    """A node on a thread of its own. Lists grow while it runs; newest last."""

    def __init__(self, domain: int, *, publishes_time: bool = False) -> None:
        """Args:
        domain: ROS domain.
        publishes_time: /clock is published, which can jump and stop.
        """
        self.context = Context()
        rclpy.init(
            context=self.context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO
        )
        node = self.node = rclpy.create_node("operator", context=self.context, enable_rosout=False)
        self.clock = self._published_time() if publishes_time else SystemTime()
        self.cameras = {name: Camera(node, name, i) for i, name in enumerate(CAMERAS)}
        self.change_joints: Callable[[JointState], JointState | None] = unchanged
        self.statuses: list[ControllerStatus] = []
        self.policy_statuses: list[PolicyStatus] = []
        self.chunks: list[ActionChunk] = []
        self._commands: list[tuple[float, JointState]] = []
        self._told: list[tuple[float, ControllerStatus]] = []
        self._joints: JointState | None = None
        self._relay = node.create_publisher(JointState, POLICY_JOINT_STATES, COMMANDS)
        self.chunk_publisher = node.create_publisher(ActionChunk, "/policy/action_chunk", COMMANDS)
        plenty = QoSProfile(depth=1000)
        listen = node.create_subscription
        listen(ControllerStatus, "/arm_controller/status", self._on_status, STATUS)
        listen(PolicyStatus, "/policy/status", self.policy_statuses.append, STATUS)
        listen(ActionChunk, "/policy/action_chunk", self.chunks.append, plenty)
        listen(JointState, "/arm_controller/command", self._on_command, plenty)
        listen(JointState, "/joint_states", self._on_joints, COMMANDS)
        node.create_timer(1.0 / FPS, self._publish_pictures)
        self.mover = ActionClient(node, MoveTo, "/arm_controller/move_to")
        self._services: dict[str, Any] = {}
        self._callbacks = CallbackThread(node)
        self._callbacks.start()

    @property
    def published_time(self) -> PublishedTime:
        """The clock, where it is published."""
        assert isinstance(self.clock, PublishedTime)
        return self.clock

    def close(self) -> None:
        """Ends the node."""
        self.clock.close()
        self._callbacks.stop(5.0)
        assert not self._callbacks.running
        self.mover.destroy()
        self.node.destroy_node()
        self.context.try_shutdown()

    def _published_time(self) -> PublishedTime:
        publisher = self.node.create_publisher(Clock, "/clock", _LATE_CLOCK)
        return PublishedTime(lambda now_ns: publisher.publish(Clock(clock=time_msg(now_ns))))

    # What is heard ------------------------------------------------------------------------------

    def _on_status(self, message: ControllerStatus) -> None:
        self._told.append((time.monotonic(), message))
        self.statuses.append(message)

    def _on_command(self, message: JointState) -> None:
        self._commands.append((time.monotonic(), message))

    def _on_joints(self, message: JointState) -> None:
        self._joints = message
        changed = self.change_joints(message)
        if changed is not None:
            self._relay.publish(changed)

    def commands_since(self, time_s: float) -> NDArray[Any]:
        """Records of ``safety.COMMAND`` that came from a time on [s, monotonic]."""
        told = [entry for entry in list(self._commands) if entry[0] >= time_s]
        records = np.empty(len(told), dtype=COMMAND)
        for record, (came_s, message) in zip(records, told, strict=True):
            record["time_s"] = came_s
            record["stamp_ns"] = time_ns(message.header.stamp)
            record["positions"] = message.position
            record["velocities"] = message.velocity
        return records

    def statuses_since(self, time_s: float) -> list[ControllerStatus]:
        """Statuses of the arm controller that came from a time on [s, monotonic]."""
        return [status for came_s, status in list(self._told) if came_s >= time_s]

    def measured(self, joint: str) -> float:
        """Newest measured position of a joint [rad; m for carriages]."""
        wait_until(lambda: self._joints, "joint states")
        assert self._joints is not None
        return self._joints.position[list(self._joints.name).index(joint)]

    @property
    def moving(self) -> bool:
        """Whether the newest command, from a moment ago at most, is one of motion."""
        if not self._commands or time.monotonic() - self._commands[-1][0] > 0.1:
            return False
        return any(abs(speed) > 0.01 for speed in self._commands[-1][1].velocity)

    @property
    def status(self) -> ControllerStatus:
        """Newest status of the arm controller."""
        return self.statuses[-1] if self.statuses else ControllerStatus(state=255)

    @property
    def policy(self) -> PolicyStatus:
        """Newest status of the policy."""
        return self.policy_statuses[-1] if self.policy_statuses else PolicyStatus(state=255)

    # What is said -------------------------------------------------------------------------------

    def _publish_pictures(self) -> None:
        stamp_ns = self.clock.now_ns()
        for camera in self.cameras.values():
            camera.publish(stamp_ns)

    def call(self, name: str) -> tuple[bool, str]:
        """The answer of a Trigger service."""
        answer = self._ask(Trigger, name, Trigger.Request())
        return answer.success, answer.message

    def reach(self, name: str) -> None:
        """Calls a Trigger service that does no harm until it answers.

        A node that was killed is believed to be there for some seconds, and requests go to it.
        """
        for _ in range(round(DEADLINE_S)):
            client = self.node.create_client(Trigger, name)
            client.wait_for_service(DEADLINE_S)
            future = client.call_async(Trigger.Request())
            answered = threading.Event()
            future.add_done_callback(lambda _, event=answered: event.set())
            if answered.wait(1.0):
                self._services[name] = client
                return
            self.node.destroy_client(client)
        raise AssertionError(f"{name} does not answer")

    def put(self, node: str, name: str, value: Any) -> tuple[bool, str]:
        """Sets a parameter of a node; returns whether it was taken, and why not."""
        return self.put_message(node, Parameter(name, value=value).to_parameter_msg())

    def put_soon(self, node: str, name: str, value: Any) -> Any:
        """The same without waiting; returns the future of the answer."""
        parameter = Parameter(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[parameter])
        return self._client(SetParameters, f"/{node}/set_parameters").call_async(request)

    def put_message(self, node: str, parameter: Any) -> tuple[bool, str]:
        """The same with a message, which may be a wrong one."""
        request = SetParameters.Request(parameters=[parameter])
        (result,) = self._ask(SetParameters, f"/{node}/set_parameters", request).results
        return result.successful, result.reason

    def move(self, goal: MoveTo.Goal) -> Any:
        """The result of a MoveTo, once it has ended."""
        assert self.mover.wait_for_server(DEADLINE_S)
        handle = self.ask(lambda: self.mover.send_goal_async(goal))
        return self.ask(handle.get_result_async).result

    def _ask(self, kind: Any, name: str, request: Any) -> Any:
        client = self._client(kind, name)
        return self.ask(lambda: client.call_async(request))

    def _client(self, kind: Any, name: str) -> Any:
        if name not in self._services:
            # As many answers as a node's parameters take requests: by default a client keeps ten
            # that it has not taken, and a node that was held up sends more than that at a time.
            self._services[name] = self.node.create_client(
                kind, name, qos_profile=qos_profile_parameters
            )
        client = self._services[name]
        assert client.wait_for_service(DEADLINE_S), name
        return client

    def ask(self, request: Callable[[], Any]) -> Any:
        """What a request is answered that the thread sends which takes the answer."""
        return self.answer(self.answer(self._callbacks.call(request)))

    def answer(self, future: Any) -> Any:
        """What the future becomes."""
        wait_until(future.done, "an answer")
        return future.result()
