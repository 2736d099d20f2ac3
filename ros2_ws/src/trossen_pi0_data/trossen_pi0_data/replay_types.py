"""Recorded messages and the message types that are installed here."""

from __future__ import annotations

import array
import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from trossen_pi0_core.errors import EpisodeError
from trossen_pi0_data.bag_reader import BagMessage
from trossen_pi0_data.replay_plan import ReplayPlan
from trossen_pi0_ros.convert import time_msg


def message_classes(plan: ReplayPlan) -> dict[str, Any]:
    """The class that each topic of a replay of observations is published as.

    Raises:
        EpisodeError: a type is not installed here, or was another one when it was recorded.
    """
    reader, decoded = plan.reader, dict(plan.decoded)
    classes: dict[str, Any] = {}
    for topic in plan.topics:
        if topic in decoded:
            classes[topic] = Image
            continue
        cls = classes[topic] = message_class(reader.type_of(topic))
        first = next(reader.messages([topic], plan.start_ns, plan.end_ns), None)
        if first is not None:
            check_message(cls, first)
    return classes


def message_class(kind: str) -> Any:
    """The class of a type such as ``sensor_msgs/msg/Image``.

    Raises:
        EpisodeError: it is not installed here.
    """
    package, _, name = kind.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise EpisodeError(
            f"messages of type {kind!r} cannot be published: it is not installed here"
        ) from error


def check_message(cls: Any, message: BagMessage) -> None:
    """Raises EpisodeError unless the recorded bytes are a message of the class."""
    try:
        deserialize_message(message.data, cls)
    except Exception as error:  # what rclpy raises depends on the middleware
        raise EpisodeError(
            f"{message.topic}: the recorded messages do not fit the {message.type} that is "
            f"installed here: {error}"
        ) from error


def image_of(stamp_ns: int, frame_id: str, rgb: NDArray[np.uint8]) -> Image:
    """A picture, uint8 RGB of shape (height, width, 3), as an rgb8 message."""
    height, width = rgb.shape[:2]
    message = Image(
        header=Header(stamp=time_msg(stamp_ns), frame_id=frame_id),
        height=height,
        width=width,
        encoding="rgb8",
        step=3 * width,
    )
    message.data = array.array("B", rgb.tobytes())
    return message
