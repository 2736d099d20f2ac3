"""The node that publishes the robot's description and its frames."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Quaternion, TransformStamped, Vector3
from geometry_msgs.msg import Transform as TransformMsg
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Header, String
from tf2_msgs.msg import TFMessage

from trossen_pi0_core.errors import JointError
from trossen_pi0_core.parameters import DescriptionParameters
from trossen_pi0_description.frames import FrameTree, Transform
from trossen_pi0_description.positions import RateLimit, read_positions
from trossen_pi0_description.sources import load_description
from trossen_pi0_ros.convert import time_ns
from trossen_pi0_ros.parameters import NodeParameters
from trossen_pi0_ros.process import run_node
from trossen_pi0_ros.qos import COMMANDS, STATUS

_TF = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)


class DescriptionNode(Node):
    """Publishes the URDF, the frames that stand still, and those that the joint states move."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("robot_description", **kwargs)
        parameters = NodeParameters(self, DescriptionParameters).value
        text = load_description(parameters)
        self._tree = FrameTree(text)
        self._limit = RateLimit(parameters.tf_rate)
        self._problem = ""
        self._description = self.create_publisher(String, "robot_description", STATUS)
        self._static = self.create_publisher(TFMessage, "/tf_static", STATUS)
        self._moving = self.create_publisher(TFMessage, "/tf", _TF)
        self._description.publish(String(data=text))
        now = self.get_clock().now().to_msg()
        self._static.publish(_message(self._tree.fixed, now))
        self.create_subscription(JointState, "joint_states", self._on_joints, COMMANDS)
        self.get_logger().info(
            f"description of {len(self._tree.joint_names)} joints; {len(self._tree.fixed)} frames "
            f"stand still, {len(self._tree.joints)} move, at {parameters.tf_rate:g} Hz"
        )

    def _on_joints(self, message: JointState) -> None:
        if not self._limit.passes(time_ns(message.header.stamp)):
            return
        try:
            positions = read_positions(message.name, message.position, self._tree.joint_names)
        except JointError as error:
            self._tell(str(error))
            return
        self._tell("")
        self._moving.publish(_message(self._tree.moved(positions), message.header.stamp))

    def _tell(self, problem: str) -> None:
        """Says what is wrong once, and once that it is over."""
        if bool(problem) == bool(self._problem):
            return
        self._problem = problem
        if problem:
            self.get_logger().warning(f"joint states without use, /tf waits: {problem}")
        else:
            self.get_logger().info("joint states are complete again, /tf goes on")


def _message(transforms: Sequence[Transform], stamp: Time) -> TFMessage:
    return TFMessage(transforms=[_stamped(transform, stamp) for transform in transforms])


def _stamped(transform: Transform, stamp: Time) -> TransformStamped:
    x, y, z = transform.position.tolist()
    qx, qy, qz, qw = transform.quaternion.tolist()
    return TransformStamped(
        header=Header(stamp=stamp, frame_id=transform.parent),
        child_frame_id=transform.child,
        transform=TransformMsg(
            translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(x=qx, y=qy, z=qz, w=qw)
        ),
    )


def main(args: Sequence[str] | None = None) -> int:
    """Runs the node; returns the exit status."""
    return run_node(DescriptionNode, args)


if __name__ == "__main__":
    sys.exit(main())
