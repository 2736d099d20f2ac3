"""Subscriptions that fill an observation buffer."""

from __future__ import annotations

import functools
import time

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState

from trossen_pi0_core.errors import ImageError
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_msgs.msg import GroundTruth as GroundTruthMsg
from trossen_pi0_policy.backends import GroundTruth, LatestGroundTruth
from trossen_pi0_policy.observations import JOINT_STREAM, ObservationBuffer
from trossen_pi0_ros.convert import image_to_rgb, time_ns
from trossen_pi0_ros.qos import COMMANDS, image_qos

GROUND_TRUTH_TOPIC = "/sim/ground_truth"


class Inputs:
    """Cameras and joint states, and the ground truth for a backend that needs it."""

    def __init__(
        self,
        node: Node,
        parameters: PolicyParameters,
        observations: ObservationBuffer,
        ground_truth: LatestGroundTruth | None,
    ) -> None:
        """Args:
        node: owner of the subscriptions.
        parameters: which topics.
        observations: takes pictures and joint states.
        ground_truth: takes the ground truth; None: it is not subscribed to.
        """
        self._node = node
        self._observations = observations
        self._ground_truth = ground_truth
        pictures = image_qos(parameters.image_reliability)
        subscribe = node.create_subscription
        self._subscriptions = [
            subscribe(Image, topic, functools.partial(self._on_image, camera), pictures)
            for camera, topic in parameters.image_topics.items()
        ]
        self._subscriptions.append(
            subscribe(JointState, "/joint_states", self._on_joints, COMMANDS)
        )
        if ground_truth is not None:
            self._subscriptions.append(
                subscribe(
                    GroundTruthMsg,
                    GROUND_TRUTH_TOPIC,
                    self._on_ground_truth,
                    image_qos("best_effort"),
                )
            )

    def close(self) -> None:
        """Ends the subscriptions."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def _now_ns(self) -> int:
        return self._node.get_clock().now().nanoseconds

    def _on_image(self, camera: str, message: Image) -> None:
        stamp_ns = time_ns(message.header.stamp)
        self._observations.heard(camera, stamp_ns, time.monotonic())
        try:
            image = image_to_rgb(message)
        except ImageError as error:
            self._observations.refuse(camera, str(error))
            return
        self._observations.add_image(camera, stamp_ns, image, self._now_ns())

    def _on_joints(self, message: JointState) -> None:
        stamp_ns = time_ns(message.header.stamp)
        self._observations.heard(JOINT_STREAM, stamp_ns, time.monotonic())
        names, positions = list(message.name), list(message.position)
        self._observations.add_joints(stamp_ns, names, positions, self._now_ns())

    def _on_ground_truth(self, message: GroundTruthMsg) -> None:
        position, turn = message.object_pose.position, message.object_pose.orientation
        half = message.object_half_size
        if self._ground_truth is not None:
            self._ground_truth.set(
                GroundTruth(
                    stamp_ns=time_ns(message.header.stamp),
                    object_pose=np.array(
                        [position.x, position.y, position.z, turn.w, turn.x, turn.y, turn.z]
                    ),
                    object_half_size=np.array([half.x, half.y, half.z]),
                )
            )
