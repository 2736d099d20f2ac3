"""What the ROS graph tells within a few seconds: nodes, pictures, serial numbers, diagnostics."""

from __future__ import annotations

import functools
import importlib
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.srv import GetParameters
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image, JointState

from trossen_pi0_bringup.arguments import ARM_CONTROLLER
from trossen_pi0_bringup.doctor.arms import is_connected
from trossen_pi0_bringup.doctor.cameras import Pictures
from trossen_pi0_bringup.doctor.plan import CameraPlan
from trossen_pi0_ros.convert import time_ns
from trossen_pi0_ros.qos import COMMANDS, image_qos

DISCOVERY_S, SAMPLE_S = 2.5, 2.0
_SETTLE_S = 1.0
_HOLDER_S = 8.0  # for the name of the program of this computer that holds an arm


@dataclass
class Heard:
    """What was heard.

    Attributes:
        nodes: names of the nodes in the graph.
        holder: name of the arm controller's node that has one of the arms; empty: none.
        pictures: by camera.
        joint_states: arrivals on the monotonic clock [s].
        diagnostics: newest entry by name.
    """

    nodes: set[str] = field(default_factory=set)
    holder: str = ""
    pictures: dict[str, Pictures] = field(default_factory=dict)
    joint_states: list[float] = field(default_factory=list)
    diagnostics: dict[str, DiagnosticStatus] = field(default_factory=dict)


def listen(cameras: Sequence[CameraPlan], addresses: Sequence[str]) -> Heard:
    """Listens for some seconds, on a node of its own that commands nothing.

    Args:
        cameras: whose pictures are wanted.
        addresses: of the arms; an arm controller of others is none of our business.
    """
    context = Context()
    # Without arguments: those of the command line have the form of ROS's own.
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.NO)
    name = f"doctor_{os.getpid()}"
    node = rclpy.create_node(name, context=context, start_parameter_services=False)
    try:
        return _Listener(node, cameras, addresses).run()
    finally:
        node.destroy_node()
        context.try_shutdown()


class _Listener:
    """One node's ears. One thread."""

    def __init__(self, node: Node, cameras: Sequence[CameraPlan], addresses: Sequence[str]) -> None:
        self._node = node
        self._cameras = cameras
        self._addresses = set(addresses)
        self._heard = Heard(pictures={camera.name: Pictures() for camera in cameras})
        self._asked: dict[str, Any] = {}  # the arm controllers' answers to come, by node
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)

    def run(self) -> Heard:
        heard = self._heard
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 100)
        began_s = time.monotonic()
        self._spin(lambda: self._complete() and time.monotonic() > began_s + _SETTLE_S, DISCOVERY_S)
        heard.nodes = self._nodes()
        serials = [self._ask_serials(camera) for camera in self._cameras]
        for camera in self._cameras:
            take = functools.partial(self._on_picture, camera.name)
            self._node.create_subscription(Image, camera.topic, take, image_qos("best_effort"))
        self._node.create_subscription(JointState, "/joint_states", self._on_joints, COMMANDS)
        self._spin(self._ask_arm_controllers, SAMPLE_S)
        if any(is_connected(address) for address in self._addresses):
            self._spin(self._know_holder, _HOLDER_S)
        for camera in self._cameras:
            heard.pictures[camera.name].publishers = self._node.count_publishers(camera.topic)
        self._tell_holder()
        for answer in serials:
            answer()
        self._tell_serials()
        return heard

    def _nodes(self) -> set[str]:
        names = self._node.get_node_names_and_namespaces()
        return {f"{space.rstrip('/')}/{name}" for name, space in names}

    def _complete(self) -> bool:
        """Whether all topics have been discovered; otherwise it may only take longer."""
        return all(self._node.count_publishers(camera.topic) for camera in self._cameras)

    def _spin(self, done: Any, longest_s: float) -> None:
        end_s = time.monotonic() + longest_s
        while not done() and (left_s := end_s - time.monotonic()) > 0:
            self._executor.spin_once(min(left_s, 0.1))

    # What comes ---------------------------------------------------------------------------------

    def _on_picture(self, camera: str, message: Image) -> None:
        seen = self._heard.pictures[camera]
        seen.arrivals.append(time.monotonic())
        now_ns = self._node.get_clock().now().nanoseconds
        seen.ages.append((now_ns - time_ns(message.header.stamp)) / 1e9)
        seen.shapes.add((message.width, message.height, message.encoding))

    def _on_joints(self, _: JointState) -> None:
        self._heard.joint_states.append(time.monotonic())

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self._heard.diagnostics.update({status.name: status for status in message.status})

    # Questions ----------------------------------------------------------------------------------

    def _ask_arm_controllers(self) -> bool:
        """Asks arm controllers for their addresses as they are discovered; never done."""
        self._heard.nodes |= self._nodes()  # on a busy computer some are only found by and by
        for name in self._heard.nodes:
            if name.endswith(f"/{ARM_CONTROLLER}") and name not in self._asked:
                self._asked[name] = self._parameter(name, "arm_addresses")
        return False

    def _know_holder(self) -> bool:
        """Asks on until an arm controller is known to hold an arm, by its answer."""
        self._ask_arm_controllers()
        return any(
            future.done() and (answer := future.result()) and self._addresses & _strings(answer)
            for future in self._asked.values()
        )

    def _tell_holder(self) -> None:
        for name, future in sorted(self._asked.items()):
            # One that does not answer, such as while it connects, is taken for the holder.
            known = _strings(future.result()) if future.done() else set()
            if not known or known & self._addresses:
                self._heard.holder = name

    def _ask_serials(self, camera: CameraPlan) -> Any:
        """Asks a camera's node for its device and what it was told to open."""
        node, seen = f"/{camera.name}", self._heard.pictures[camera.name]
        if node not in self._heard.nodes:
            return lambda: None
        wanted = self._parameter(node, "serial_no")
        device = self._device_info(node)

        def take() -> None:
            if wanted.done() and (answer := wanted.result()) and answer.values:
                told = answer.values[0].string_value.lstrip("_")
                if told:
                    seen.serials["parameter serial_no"] = told
            if device is not None and device.done() and (info := device.result()):
                seen.serials["device_info"] = info.serial_number

        return take

    def _parameter(self, node: str, name: str) -> Any:
        client = self._node.create_client(GetParameters, f"{node}/get_parameters")
        client.wait_for_service(0.5)
        return client.call_async(GetParameters.Request(names=[name]))

    def _device_info(self, node: str) -> Any:
        """The device by its own service, where the messages of realsense2_camera are there."""
        try:
            kind = importlib.import_module("realsense2_camera_msgs.srv").DeviceInfo
        except ImportError:
            return None
        client = self._node.create_client(kind, f"{node}/device_info")
        client.wait_for_service(0.5)
        return client.call_async(kind.Request())

    def _tell_serials(self) -> None:
        """realsense2_camera gives the serial number as the hardware id of its diagnostics."""
        for name, status in self._heard.diagnostics.items():
            camera = name.split(":")[0].rpartition("/")[2]
            if camera in self._heard.pictures and status.hardware_id:
                self._heard.pictures[camera].serials["diagnostics"] = status.hardware_id


def _strings(answer: Any) -> set[str]:
    """The strings of the one parameter asked for; empty when there is no answer."""
    return set(answer.values[0].string_array_value) if answer and answer.values else set()
