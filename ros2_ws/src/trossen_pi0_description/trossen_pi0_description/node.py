"""The node that publishes the robot's description and its frames."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Header, String
from tf2_msgs.msg import TFMessage

from trossen_pi0_core.errors import JointError
from trossen_pi0_core.parameters import DescriptionParameters
from trossen_pi0_description.frames import FrameTree, Transform
from trossen_pi0_description.positions import read_positions
from trossen_pi0_description.sources import load_description
from trossen_pi0_ros.parameters import NodeParameters
from trossen_pi0_ros.process import run_node
from trossen_pi0_ros.qos import STATUS

_TF = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
_NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)


class DescriptionNode(Node):
    """Publishes the URDF, the frames that stand still, and those that the joint states move.

    Attributes:
        callback_period_s: joint states are looked at so often, and then the newest: a callback for
            each of them would take five times the processor time [s].
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("robot_description", **kwargs)
        parameters = NodeParameters(self, DescriptionParameters).value
        text = load_description(parameters)
        self._tree = FrameTree(text)
        self._message = _message(self._tree.moved(dict.fromkeys(self._tree.joint_names, 0.0)))
        self._problem = ""
        self.callback_period_s = 1.0 / parameters.tf_rate
        self._description = self.create_publisher(String, "robot_description", STATUS)
        self._static = self.create_publisher(TFMessage, "/tf_static", STATUS)
        self._moving = self.create_publisher(TFMessage, "/tf", _TF)
        self._description.publish(String(data=text))
        fixed = _message(self._tree.fixed)
        _fill(fixed, self._tree.fixed, self.get_clock().now().to_msg())
        self._static.publish(fixed)
        self.create_subscription(JointState, "joint_states", self._on_joints, _NEWEST)
        self.get_logger().info(
            f"description of {len(self._tree.joint_names)} joints; {len(self._tree.fixed)} frames "
            f"stand still, {len(self._tree.joints)} move, at {parameters.tf_rate:g} Hz"
        )

    def _on_joints(self, message: JointState) -> None:
        try:
            positions = read_positions(list(message.name), message.position, self._tree.joint_names)
        except JointError as error:
            self._tell(str(error))
            return
        self._tell("")
        _fill(self._message, self._tree.moved(positions), message.header.stamp)
        self._moving.publish(self._message)

    def _tell(self, problem: str) -> None:
        """Says what is wrong once, and once that it is over."""
        if bool(problem) == bool(self._problem):
            return
        self._problem = problem
        if problem:
            self.get_logger().warning(f"joint states without use, /tf waits: {problem}")
        else:
            self.get_logger().info("joint states are complete again, /tf goes on")


def _message(transforms: Sequence[Transform]) -> TFMessage:
    """A message with the names of the frames, made once: filling it is cheaper than making it."""
    return TFMessage(
        transforms=[
            TransformStamped(header=Header(frame_id=each.parent), child_frame_id=each.child)
            for each in transforms
        ]
    )


def _fill(message: TFMessage, transforms: Sequence[Transform], stamp: Time) -> None:
    for stamped, transform in zip(message.transforms, transforms, strict=True):
        stamped.header.stamp = stamp
        move, turn = stamped.transform.translation, stamped.transform.rotation
        move.x, move.y, move.z = transform.position
        turn.x, turn.y, turn.z, turn.w = transform.quaternion


def main(args: Sequence[str] | None = None) -> int:
    """Runs the node; returns the exit status."""
    return run_node(DescriptionNode, args)


if __name__ == "__main__":
    sys.exit(main())
