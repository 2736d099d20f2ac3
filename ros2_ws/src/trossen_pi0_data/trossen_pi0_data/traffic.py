"""Publishes what a kit publishes, with numbered messages; for the recorder's bench and tests.

``python -m trossen_pi0_data.traffic`` publishes until SIGTERM or SIGINT and then prints, as JSON,
how many messages it has sent on each topic.
"""

from __future__ import annotations

import argparse
import json
import signal
import struct
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import rclpy
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import serialize_message
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, Image, JointState

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.signals import SignalFlag
from trossen_pi0_data.topic_subscriptions import message_class
from trossen_pi0_ros.qos import COMMANDS, STATUS, image_qos

_STAMP = struct.Struct("<iI")
_STAMP_AT = 4  # behind the CDR header: every message here begins with a header, that with a stamp
_PATTERNS = 8  # different pictures of a camera


@dataclass(frozen=True)
class Stream:
    """One topic of the traffic.

    Attributes:
        topic: its name.
        type: such as ``sensor_msgs/msg/Image``.
        rate_hz: of its messages.
        qos: of its publisher.
        patterns: serialised messages, sent in turn with the number of the message as their stamp.
    """

    topic: str
    type: str
    rate_hz: float
    qos: QoSProfile
    patterns: tuple[bytes, ...]

    def message(self, number: int) -> bytes:
        """The serialised message of a number."""
        data = bytearray(self.patterns[number % len(self.patterns)])
        _STAMP.pack_into(data, _STAMP_AT, number // 1_000_000, number % 1_000_000)
        return bytes(data)


def number_of(data: bytes | memoryview) -> int:
    """The number of a message."""
    high, low = _STAMP.unpack_from(data, _STAMP_AT)
    return high * 1_000_000 + low


def kit_traffic(width: int = 640, height: int = 480, fps: float = 30.0) -> tuple[Stream, ...]:
    """What a kit publishes: pictures and camera_info of four cameras, joints, commands, status."""
    streams: list[Stream] = []
    for i, camera in enumerate(CAMERAS):
        pictures = tuple(_picture(i, k, width, height) for k in range(_PATTERNS))
        infos = (_serialised(CameraInfo(width=width, height=height)),)
        root = f"/{camera}/color"
        qos = image_qos("reliable")
        streams.append(Stream(f"{root}/image_raw", "sensor_msgs/msg/Image", fps, qos, pictures))
        streams.append(
            Stream(f"{root}/camera_info", "sensor_msgs/msg/CameraInfo", fps, COMMANDS, infos)
        )
    names = list(JointMap().urdf_names)
    joints = (
        _serialised(
            JointState(
                name=names,
                position=[0.1] * len(names),
                velocity=[0.2] * len(names),
                effort=[0.3] * len(names),
            )
        ),
    )
    for topic, rate_hz in (("/joint_states", 100.0), ("/arm_controller/command", 100.0)):
        streams.append(Stream(topic, "sensor_msgs/msg/JointState", rate_hz, COMMANDS, joints))
    for topic, short, rate_hz, qos in (
        ("/policy/action_chunk", "ActionChunk", 2.0, COMMANDS),
        ("/arm_controller/status", "ControllerStatus", 10.0, STATUS),
    ):
        kind = f"trossen_pi0_msgs/msg/{short}"
        message = message_class(kind)()
        if topic == "/policy/action_chunk":
            message.joint_names, message.horizon = names, 50
            message.positions = [0.5] * (50 * len(names))
        streams.append(Stream(topic, kind, rate_hz, qos, (_serialised(message),)))
    return tuple(streams)


def _picture(camera: int, pattern: int, width: int, height: int) -> bytes:
    """A picture with smooth and with busy parts, as of a table with objects."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    rng = np.random.default_rng(100 * camera + pattern)
    smooth = 96.0 + 64.0 * np.sin((x + 9 * pattern) / 37.0) + 48.0 * np.cos(y / (23.0 + camera))
    noise = rng.normal(0.0, 4.0, (height, width, 3))
    pixels = np.clip(smooth[..., None] + noise, 0, 255).astype(np.uint8)
    message = Image(width=width, height=height, encoding="rgb8", step=3 * width)
    message.header.frame_id = f"camera_{camera}"
    message.data = pixels.tobytes()
    return _serialised(message)


def _serialised(message: Any) -> bytes:
    """The message in whole words of four bytes, which DDS would otherwise fill up on its way."""
    data = serialize_message(message)
    return data + bytes(-len(data) % 4)


class Traffic:
    """Publishes streams, each at its rate, from a thread of its own."""

    def __init__(self, node: Node, streams: Sequence[Stream]) -> None:
        """Makes the publishers; nothing is sent yet."""
        self.sent: dict[str, int] = {stream.topic: 0 for stream in streams}
        self.latest_s = 0.0
        self._streams = streams
        self._publishers: dict[str, Any] = {
            s.topic: node.create_publisher(message_class(s.type), s.topic, s.qos) for s in streams
        }
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="traffic", daemon=True)

    def start(self) -> None:
        """Begins to publish."""
        self._thread.start()

    def stop(self) -> None:
        """Publishes nothing more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def send(self, stream: Stream) -> bytes:
        """Publishes the next message of a stream; returns it."""
        data = stream.message(self.sent[stream.topic])
        self._publishers[stream.topic].publish(data)
        self.sent[stream.topic] += 1
        return data

    def _run(self) -> None:
        began_s = time.monotonic()
        # Cameras do not come all at the same instant.
        due_s = {s.topic: began_s + 0.001 * i for i, s in enumerate(self._streams)}
        while not self._stop.is_set():
            stream = min(self._streams, key=lambda s: due_s[s.topic])
            wait_s = due_s[stream.topic] - time.monotonic()
            if wait_s > 0.0 and self._stop.wait(wait_s):
                return
            self.latest_s = max(self.latest_s, -wait_s)
            self.send(stream)
            due_s[stream.topic] += 1.0 / stream.rate_hz


def main(words: Sequence[str] | None = None) -> int:
    """Publishes until a signal; returns the exit status."""
    parser = argparse.ArgumentParser(description="publishes what a kit publishes")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--height", type=int, default=480)
    parser.add_argument("--fps", type=float, default=30.0)
    given = parser.parse_args(words)
    stop = SignalFlag()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = Node("traffic")
    traffic = Traffic(node, kit_traffic(given.width, given.height, given.fps))
    traffic.start()
    while not stop.wait(0.1):
        pass
    traffic.stop()
    sys.stdout.write(json.dumps({"sent": traffic.sent, "latest_s": traffic.latest_s}) + "\n")
    sys.stdout.flush()
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
