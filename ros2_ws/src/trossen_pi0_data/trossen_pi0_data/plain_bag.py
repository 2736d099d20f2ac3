"""What can be told of a bag that ``ros2 bag record`` wrote, which has no ``episode.json``."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from trossen_pi0_core.contract import CAMERAS, NANOSECONDS
from trossen_pi0_core.joints import JointMap
from trossen_pi0_data import episode_info
from trossen_pi0_data.episode_info import CameraInfo, EpisodeInfo, SoftwareInfo

if TYPE_CHECKING:
    from trossen_pi0_data.bag_reader import EpisodeReader

JOINTS_TOPIC = "/joint_states"
"""Measured positions of all joints."""

COMMAND_TOPIC = "/arm_controller/command"
"""What was really sent to the arms."""

IMAGE_TYPE = "sensor_msgs/msg/Image"
COMPRESSED_TYPE = "sensor_msgs/msg/CompressedImage"
VIDEO_TYPE = "foxglove_msgs/msg/CompressedVideo"
_PICTURE_TYPES = {IMAGE_TYPE: None, COMPRESSED_TYPE: "jpeg", VIDEO_TYPE: "h264"}

_COLOUR_TOPIC = re.compile(r"(?P<base>.*/color)/image_(raw|rect_raw)(/compressed(_video)?)?")


def info_of_bag(reader: EpisodeReader) -> EpisodeInfo:
    """What ``episode.json`` would say, as far as the bag tells it; the rest is unknown or empty.

    The joints are those of the suite's joint map when the bag has them all, else those of its
    joint states as they stand. Cameras are the colour topics whose path holds a camera's name.
    """
    first_ns, last_ns = reader.span_ns
    began = datetime.fromtimestamp(first_ns / NANOSECONDS, tz=timezone.utc)
    names, dataset_names = _joints(reader)
    return EpisodeInfo(
        name=reader.folder.name,
        began_ns=first_ns,
        began=began.isoformat(timespec="milliseconds"),
        joint_names=names,
        dataset_joint_names=dataset_names,
        cameras=_cameras(reader),
        topics={},
        software=SoftwareInfo("unknown", None, "unknown", "unknown", None),
        state=episode_info.FINISHED,
        duration_s=(last_ns - first_ns) / NANOSECONDS,
    )


def _joints(reader: EpisodeReader) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names of the joints, in the URDF and in data sets."""
    joint_map = JointMap()
    message = next(reader.messages([JOINTS_TOPIC]), None)
    names = tuple(reader.decode(message).name) if message is not None else joint_map.urdf_names
    if set(joint_map.urdf_names) <= set(names):
        return joint_map.urdf_names, joint_map.dataset_names
    return names, names


def _cameras(reader: EpisodeReader) -> dict[str, CameraInfo]:
    """The cameras whose colour topics are in the bag; raw pictures before compressed ones."""
    found: dict[str, CameraInfo] = {}
    for topic in reader.topic_names:
        match = _COLOUR_TOPIC.fullmatch(topic)
        kind = reader.type_of(topic)
        if match is None or kind not in _PICTURE_TYPES:
            continue
        camera = next((part for part in topic.split("/") if part in CAMERAS), None)
        if camera is not None and (camera not in found or kind == IMAGE_TYPE):
            found[camera] = _camera(reader, topic, f"{match['base']}/camera_info")
    return {camera: found[camera] for camera in CAMERAS if camera in found}


def _camera(reader: EpisodeReader, topic: str, info_topic: str) -> CameraInfo:
    compression = _PICTURE_TYPES[reader.type_of(topic)]
    if compression is not None:
        return CameraInfo(topic, info_topic, compression=compression)
    message = next(reader.messages([topic]), None)
    if message is None:
        return CameraInfo(topic, info_topic)
    picture = reader.decode(message)
    return CameraInfo(topic, info_topic, picture.width, picture.height, picture.encoding)
