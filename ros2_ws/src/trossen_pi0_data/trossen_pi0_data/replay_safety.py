"""Who else is there while recorded observations are played."""

from __future__ import annotations

from collections.abc import Sequence

from rclpy.node import Node

from trossen_pi0_msgs.msg import ControllerStatus
from trossen_pi0_ros.qos import STATUS


class Bystanders:
    """Finds nodes that recorded observations must not be mixed with. Callback thread alone.

    A policy that sees recorded pictures plans motions that have nothing to do with where the arms
    are: an arm controller that would execute them must not be there.
    """

    def __init__(self, node: Node, topics: Sequence[str]) -> None:
        """Args:
        node: owner of the subscription.
        topics: which the node itself publishes, each once.
        """
        self._node = node
        self._topics = tuple(topics)
        self._driving = False
        self._subscription = node.create_subscription(
            ControllerStatus, "/arm_controller/status", self._on_status, STATUS
        )

    def close(self) -> None:
        """Ends the subscription."""
        self._node.destroy_subscription(self._subscription)

    def problem(self) -> str:
        """Why observations must not be played now; empty when they may."""
        if self._driving and self._node.count_publishers("/arm_controller/status"):
            return (
                "an arm controller is there that drives the arms: a policy's plans from recorded "
                "pictures would be executed; end it, or start it with mode:=test"
            )
        taken = [topic for topic in self._topics if self._node.count_publishers(topic) > 1]
        if taken:
            return f"another node publishes {taken} as well: recorded and present would be mixed"
        return ""

    def _on_status(self, message: ControllerStatus) -> None:
        self._driving = message.mode != "test"
