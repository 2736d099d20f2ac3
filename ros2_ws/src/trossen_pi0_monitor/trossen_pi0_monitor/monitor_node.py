"""The node that draws what the kit plans and does. It is not on the way of any command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Header, String
from visualization_msgs.msg import MarkerArray

from trossen_pi0_core.errors import DescriptionError, InvalidChunkError, JointError
from trossen_pi0_core.parameters import MonitorParameters
from trossen_pi0_monitor.drawing import Stroke
from trossen_pi0_monitor.messages import (
    MarkerWriter,
    controller_view,
    policy_view,
    text_marker,
)
from trossen_pi0_monitor.status_text import status_level, status_lines
from trossen_pi0_monitor.view import MotionView, Style, following
from trossen_pi0_msgs.msg import ActionChunk, ControllerStatus, PolicyStatus
from trossen_pi0_ros.convert import chunk_from_msg, time_ns
from trossen_pi0_ros.parameters import NodeParameters
from trossen_pi0_ros.process import run_node
from trossen_pi0_ros.qos import COMMANDS, STATUS

_LIFETIME_S = 2.0
_WARN_EVERY_S = 10.0


class MonitorNode(Node):
    """Publishes markers while somebody listens to them; else it hears no stream at all."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("monitor", **kwargs)
        self._params = NodeParameters(self, MonitorParameters, on_change=self._on_parameters)
        self._view: MotionView | None = None
        self._policy: PolicyStatus | None = None
        self._controller: ControllerStatus | None = None
        self._streams: list[Any] = []
        self._writer = MarkerWriter(_LIFETIME_S)
        self._publisher = self.create_publisher(MarkerArray, "/policy/chunk_markers", COMMANDS)
        self.create_subscription(String, "/robot_description", self._on_description, STATUS)
        self._timer = self.create_timer(1.0 / self._params.value.rate, self._draw)

    def _on_parameters(self, params: MonitorParameters) -> None:
        if self._view is not None:
            self._view.style = _style(params)
        self._timer.timer_period_ns = int(1e9 / params.rate)

    # -- what comes in -------------------------------------------------------------------------

    def _on_description(self, message: String) -> None:
        params = self._params.value
        try:
            self._view = MotionView(message.data, params.joint_map, params.tip_link, _style(params))
        except DescriptionError as error:
            self._view = None
            self.get_logger().error(f"/robot_description: {error}; no paths are drawn")
            return
        self.get_logger().info(f"robot description read; paths lie in frame {self._view.frame!r}")

    def _listen(self) -> None:
        subscribe = self.create_subscription
        self._streams = [
            subscribe(ActionChunk, "/policy/action_chunk", self._on_chunk, COMMANDS),
            subscribe(JointState, "/joint_states", self._on_joints, COMMANDS),
            subscribe(PolicyStatus, "/policy/status", self._on_policy, STATUS),
            subscribe(ControllerStatus, "/arm_controller/status", self._on_controller, STATUS),
        ]

    def _stop_listening(self) -> None:
        for stream in self._streams:
            self.destroy_subscription(stream)
        self._streams = []
        self._policy = self._controller = None
        if self._view is not None:
            self._view.clear()

    def _on_chunk(self, message: ActionChunk) -> None:
        if self._view is None:
            return
        try:
            self._view.add_chunk(chunk_from_msg(message), time_ns(message.header.stamp))
        except (InvalidChunkError, JointError) as error:
            self._warn(f"chunk {message.chunk_id} is not drawn: {error}")

    def _on_joints(self, message: JointState) -> None:
        if self._view is None:
            return
        try:
            names = list(message.name)
            self._view.add_joints(time_ns(message.header.stamp), names, message.position)
        except JointError as error:
            self._warn(f"/joint_states is not drawn: {error}")

    def _on_policy(self, message: PolicyStatus) -> None:
        self._policy = message

    def _on_controller(self, message: ControllerStatus) -> None:
        self._controller = message

    # -- what goes out -------------------------------------------------------------------------

    def _draw(self) -> None:
        watched = self._publisher.get_subscription_count() > 0
        if watched != bool(self._streams):
            (self._listen if watched else self._stop_listening)()
        if not watched:
            return
        params, now = self._params.value, self.get_clock().now()
        policy = self._policy and policy_view(self._policy, now.nanoseconds)
        controller = self._controller and controller_view(self._controller, now.nanoseconds)
        lines = status_lines(policy, controller)
        if self._view is None:
            lines.append("no robot description: no paths")
        text = text_marker(
            lines, status_level(policy, controller), params.text_position, params.text_height
        )
        frame = params.frame if self._view is None else self._view.frame
        strokes = self._strokes(now.nanoseconds)
        header = Header(frame_id=frame, stamp=now.to_msg())
        self._publisher.publish(self._writer.array(strokes, [text], header))

    def _strokes(self, now_ns: int) -> list[Stroke]:
        if self._view is None:
            return []
        status = self._controller
        run = None
        if status is not None:
            executing = status.state == ControllerStatus.EXECUTING
            run = following(status.run_id, executing=executing, delay_s=status.chunk_delay_s)
        return self._view.strokes(now_ns, run)

    def _warn(self, text: str) -> None:
        self.get_logger().warning(text, throttle_duration_sec=_WARN_EVERY_S)


def _style(params: MonitorParameters) -> Style:
    return Style(params.history, params.trail_s, params.line_width)


def main(args: Sequence[str] | None = None) -> int:
    """Runs the node; returns the exit status."""
    return run_node(MonitorNode, args)


if __name__ == "__main__":
    sys.exit(main())
