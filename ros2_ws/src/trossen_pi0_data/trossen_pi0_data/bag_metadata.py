"""``metadata.yaml`` of a bag, as Jazzy's rosbag2 writes it (version 9). ROS-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml
from typing_extensions import override

FILE = "metadata.yaml"
"""Its name in the bag's folder."""

_VERSION = 9

Qos = dict[str, Any]
"""One offered quality of service: the keys and words of rosbag2, such as reliability: reliable."""


@dataclass(frozen=True)
class BagTopic:
    """One topic of a bag.

    Attributes:
        name: of the topic.
        type: such as ``sensor_msgs/msg/Image``.
        type_hash: RIHS01 hash; empty when it is not known.
        qos: what its publishers offer.
        messages: how many there are.
    """

    name: str
    type: str
    type_hash: str = ""
    qos: tuple[Qos, ...] = ()
    messages: int = 0


@dataclass(frozen=True)
class BagSpan:
    """What a bag's file holds: first and last log time [ns] and the number of messages."""

    first_ns: int
    last_ns: int
    messages: int

    @property
    def duration_ns(self) -> int:
        """First to last message [ns]."""
        return self.last_ns - self.first_ns


def qos_text(qos: Sequence[Qos]) -> str:
    """Offered qualities of service as the text that a channel's metadata holds."""
    return yaml.safe_dump(list(qos), sort_keys=False).strip() if qos else ""


def metadata_text(file: str, topics: Sequence[BagTopic], span: BagSpan, ros_distro: str) -> str:
    """The content of ``metadata.yaml``.

    Args:
        file: name of the bag's only file.
        topics: of the bag.
        span: what the file holds.
        ros_distro: such as jazzy.
    """
    times = {
        "starting_time": {"nanoseconds_since_epoch": span.first_ns},
        "duration": {"nanoseconds": span.duration_ns},
        "message_count": span.messages,
    }
    content = {
        "version": _VERSION,
        "storage_identifier": "mcap",
        "duration": {"nanoseconds": span.duration_ns},
        "starting_time": {"nanoseconds_since_epoch": span.first_ns},
        "message_count": span.messages,
        "topics_with_message_count": [_topic(topic) for topic in topics],
        "compression_format": "",
        "compression_mode": "",
        "relative_file_paths": [file],
        "files": [{"path": file, **times}],
        "custom_data": None,
        "ros_distro": ros_distro,
    }
    return yaml.dump({"rosbag2_bagfile_information": content}, Dumper=_Plain, sort_keys=False)


class _Plain(yaml.SafeDumper):
    """Writes equal parts out each time instead of naming them, which other readers may not know."""

    @override
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _topic(topic: BagTopic) -> dict[str, Any]:
    return {
        "topic_metadata": {
            "name": topic.name,
            "type": topic.type,
            "serialization_format": "cdr",
            "offered_qos_profiles": list(topic.qos),
            "type_description_hash": topic.type_hash,
        },
        "message_count": topic.messages,
    }
