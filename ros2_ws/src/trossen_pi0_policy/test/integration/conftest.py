"""The far side of the policy: a server written with openpi's own code, a kit, an arm controller."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import numpy as np
import pytest
import rclpy
from domain_coordinator import domain_id
from openpi_client import msgpack_numpy
from rclpy.action import ActionClient, ActionServer, CancelResponse
from rclpy.context import Context
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.joints import JointMap
from trossen_pi0_msgs.action import MoveTo, RunPolicy
from trossen_pi0_msgs.msg import ActionChunk, ControllerStatus, PolicyStatus
from trossen_pi0_policy.node import PolicyNode
from trossen_pi0_ros.callbacks import CallbackThread
from trossen_pi0_ros.qos import COMMANDS, STATUS

DEADLINE_S = 15.0
NAMES = JointMap().urdf_names


def wait_until(condition, what, deadline_s=DEADLINE_S):
    """Waits until the condition yields something true, and returns it."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {deadline_s} s for {what}"
        time.sleep(0.005)


def rows_near(observation, horizon=50):
    """What the server answers by default: rows at the observed state."""
    return {"actions": np.tile(np.asarray(observation["state"], np.float32), (horizon, 1))}


def packed(value) -> bytes:
    """As openpi's servers pack."""
    message = msgpack_numpy.packb(value)
    assert message is not None
    return message


class PolicyServer:
    """An openpi policy server whose answers are programmed.

    ``answer`` takes the decoded observation and returns a dictionary, raw bytes, a string for a
    text frame, after which the server closes as openpi's does, or None for no answer at all.
    """

    def __init__(self):
        self.answer = rows_near
        self.metadata: bytes | str = packed({"robot": "fake"})
        self.requests = []
        self.headers = []
        self.connections = 0
        self.goodbyes = 0
        self._open = set()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._server = None
        self.start()

    def start(self):
        self._server = serve(
            self._handle, "127.0.0.1", self.port, compression=None, max_size=None, close_timeout=0.2
        )
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self):
        """Gone, as after a kill: the port is closed and connections are cut."""
        if self._server is None:
            return
        self._server.shutdown()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._server = None

    def _handle(self, connection):
        self._open.add(connection)
        try:
            self._talk(connection)
        except (ConnectionClosed, OSError):
            return
        finally:
            self._open.discard(connection)

    def _messages(self, connection):
        yield from connection  # ends without an error when the client says goodbye
        self.goodbyes += 1

    def _talk(self, connection):
        self.connections += 1
        self.headers.append(connection.request.headers)
        connection.send(self.metadata)
        for message in self._messages(connection):
            observation = msgpack_numpy.unpackb(message)
            self.requests.append(observation)
            answer = self.answer(observation)
            if isinstance(answer, dict):
                answer = packed(answer)
            if answer is not None:
                connection.send(answer)
            if isinstance(answer, str):
                connection.close(
                    1011, "Internal server error. Traceback included in previous frame."
                )
                return


@pytest.fixture
def policy_server():
    server = PolicyServer()
    yield server
    server.stop()


class Kit:
    """Publishes cameras and joint states and listens to the policy."""

    def __init__(self, node):
        self.node = node
        self.cameras = set(CAMERAS)
        self.encoding = {}
        self.joint_names = NAMES
        self.positions = np.arange(14) / 100
        self.publish_joints = True
        self.chunks = []
        self.statuses = []
        self.images_published = 0
        self._images = {
            camera: node.create_publisher(Image, f"/{camera}/color/image_raw", QoSProfile(depth=2))
            for camera in CAMERAS
        }
        self._joints = node.create_publisher(JointState, "/joint_states", COMMANDS)
        node.create_subscription(ActionChunk, "/policy/action_chunk", self.chunks.append, COMMANDS)
        node.create_subscription(PolicyStatus, "/policy/status", self.statuses.append, STATUS)
        node.create_timer(1 / 30, self._publish_images)
        node.create_timer(1 / 50, self._publish_joints)
        self.run = ActionClient(node, RunPolicy, "/policy/run")
        self.start = node.create_client(Trigger, "/policy/start")
        self.stop = node.create_client(Trigger, "/policy/stop")

    def _publish_images(self):
        for camera in self.cameras:
            encoding = self.encoding.get(camera, "rgb8")
            channels = 1 if encoding == "mono8" else 3
            message = Image(height=24, width=32, step=32 * channels, encoding=encoding)
            message.header.stamp = self.node.get_clock().now().to_msg()
            colour = (10, 20, 30)[:channels]
            message.data = bytes(colour) * (24 * 32)
            self._images[camera].publish(message)
            self.images_published += 1

    def _publish_joints(self):
        if not self.publish_joints:
            return
        message = JointState(name=list(self.joint_names), position=self.positions.tolist())
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._joints.publish(message)

    @property
    def status(self):
        return self.statuses[-1] if self.statuses else None

    def wait_for_status(self, condition, what):
        return wait_until(lambda: self.status and condition(self.status) and self.status, what)

    def wait_for_state(self, state):
        name = {0: "IDLE", 1: "STARTING", 2: "RUNNING", 3: "STALLED", 4: "ERROR"}[state]
        return self.wait_for_status(lambda status: status.state == state, name)

    def wait_for_inputs(self):
        """The policy sees everything and its backend is ready."""

        def ready(status):
            return not status.missing and not status.reason

        return self.wait_for_status(ready, "all inputs and the backend")

    def wait_for_chunks(self, count):
        wait_until(lambda: len(self.chunks) >= count, f"{count} chunks")

    def send(self, prompt="", max_duration_s=0.0, feedback=None):
        """Sends a goal and returns its handle."""
        assert self.run.wait_for_server(DEADLINE_S)
        goal = RunPolicy.Goal(prompt=prompt, max_duration_s=float(max_duration_s))
        future = self.run.send_goal_async(goal, feedback_callback=feedback)
        wait_until(future.done, "acceptance")
        return future.result()

    def result(self, handle):
        future = handle.get_result_async()
        wait_until(future.done, "the result")
        return future.result().status, future.result().result

    def call(self, client):
        assert client.wait_for_service(DEADLINE_S)
        future = client.call_async(Trigger.Request())
        wait_until(future.done, "an answer")
        return future.result()


class Controller:
    """The arm controller's side: status and MoveTo, as programmed."""

    def __init__(self, node):
        self.node = node
        self.moves = []
        self.cancelled = 0
        self.hold_moves = threading.Event()
        self.move_result = (True, "")
        self._status = node.create_publisher(ControllerStatus, "/arm_controller/status", STATUS)
        self._server = ActionServer(
            node,
            MoveTo,
            "/arm_controller/move_to",
            execute_callback=self._execute,
            cancel_callback=self._on_cancel,
        )

    def say(self, state, run_id="", reason="", **fields):
        message = ControllerStatus(state=state, run_id=run_id, reason=reason, **fields)
        message.header.stamp = self.node.get_clock().now().to_msg()
        self._status.publish(message)

    def _on_cancel(self, handle):
        self.cancelled += 1
        return CancelResponse.ACCEPT

    async def _execute(self, handle):
        self.moves.append(handle.request.pose)
        future = Future()

        def look():
            handle.publish_feedback(MoveTo.Feedback(fraction=0.5))
            if handle.is_cancel_requested or not self.hold_moves.is_set():
                future.set_result(None)

        timer = self.node.create_timer(0.02, lambda: future.done() or look())
        await future
        self.node.destroy_timer(timer)
        success, message = self.move_result
        if handle.is_cancel_requested:
            handle.canceled()
        elif success:
            handle.succeed()
        else:
            handle.abort()
        return MoveTo.Result(success=success, message=message)


class Ros:
    """A context on a domain of its own; each node spins on a thread of its own."""

    wait_until = staticmethod(wait_until)

    def __init__(self, domain):
        self.domain = domain
        self.context = Context()
        rclpy.init(
            context=self.context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO
        )
        self._nodes = []
        self._actions = []
        self._spinning = []
        self.peer = rclpy.create_node("peer", context=self.context)
        self.kit = Kit(self.peer)
        self._actions.append(self.kit.run)
        self.spin(self.peer)
        self.policy = None

    def controller(self):
        node = rclpy.create_node("arm_controller", context=self.context)
        made = Controller(node)
        self._actions.append(made._server)
        self.spin(node)
        return made

    def start_policy(self, **parameters):
        """A policy node that is configured and active, without a start pose."""
        values = {
            "start_pose": "",
            "status_rate": 20.0,
            "stall_timeout_s": 5.0,
            "max_observation_age_s": 0.6,
            "sync_tolerance_s": 0.1,
            **parameters,
        }
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        self.policy = PolicyNode(context=self.context, parameter_overrides=overrides)
        self._nodes.append(self.policy)
        assert self.policy.autostart()
        self.spin(self.policy)
        return self.policy

    def spin(self, node):
        if node not in self._nodes:
            self._nodes.append(node)
        callbacks = CallbackThread(node)
        callbacks.start()
        self._spinning.append(callbacks)

    def close(self):
        for callbacks in self._spinning:
            callbacks.stop(5.0)
            assert not callbacks.running
        for action in self._actions:  # not destroyed with their nodes
            action.destroy()
        for node in self._nodes:
            if hasattr(node, "close"):
                node.close()
            node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def ros():
    with domain_id() as domain:
        harness = Ros(domain)
        yield harness
        harness.close()
