"""The streams of an episode as arrays and pictures. ROS-free."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.errors import EpisodeError, ImageError, JointError
from trossen_pi0_core.images import rgb_from_compressed, rgb_from_raw
from trossen_pi0_core.joints import JointMap, select_joints
from trossen_pi0_data.bag_reader import BagMessage, EpisodeReader
from trossen_pi0_data.episode_info import EpisodeInfo
from trossen_pi0_data.plain_bag import (
    COMMAND_TOPIC,
    COMPRESSED_TYPE,
    IMAGE_TYPE,
    JOINTS_TOPIC,
    VIDEO_TYPE,
)

JOINT_STATE_TYPE = "sensor_msgs/msg/JointState"


@dataclass(frozen=True)
class Track:
    """Positions of the joints over time.

    Attributes:
        names: URDF joint names, one a column.
        stamps_ns: as stamped, ascending, int64, shape (n,), ROS time [ns].
        log_ns: when they came to the recorder, int64, shape (n,), ROS time [ns].
        positions: float64, shape (n, joints) [rad; m for carriages].
        problems: what was left out, a text each.
    """

    names: tuple[str, ...]
    stamps_ns: NDArray[np.int64]
    log_ns: NDArray[np.int64]
    positions: NDArray[np.float64]
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.stamps_ns)

    def at(self, stamp_ns: int, longest_gap_ns: int) -> NDArray[np.float64] | None:
        """Positions at a time, shape (joints,).

        Straight lines join neighbours no further apart than ``longest_gap_ns``; after the last of
        such a piece its positions hold for as long. None before the first, or where nothing holds.
        """
        right = int(np.searchsorted(self.stamps_ns, stamp_ns, side="right"))
        if right == 0:
            return None
        since_ns = stamp_ns - int(self.stamps_ns[right - 1])
        before = self.positions[right - 1]
        if right < len(self.stamps_ns):
            step_ns = int(self.stamps_ns[right] - self.stamps_ns[right - 1])
            if step_ns <= longest_gap_ns:
                return before + (self.positions[right] - before) * (since_ns / step_ns)
        return before if since_ns <= longest_gap_ns else None


@dataclass(frozen=True)
class Picture:
    """A picture as it was recorded.

    Attributes:
        camera: its name.
        stamp_ns: as stamped, ROS time [ns].
        log_ns: when it came to the recorder, ROS time [ns].
        compressed: whether it has to be decoded.
        rgb: decodes it: uint8 RGB, shape (height, width, 3); raises ImageError if it is damaged.
    """

    camera: str
    stamp_ns: int
    log_ns: int
    compressed: bool
    rgb: Callable[[], NDArray[np.uint8]]


class PictureReader:
    """Makes pictures of the messages of one camera; not thread-safe.

    Pictures of an H.264 stream need those before them: all messages must be given, in order, and
    are decoded at once. Others are decoded when somebody asks for their pixels.
    """

    def __init__(self, reader: EpisodeReader, camera: str) -> None:
        """Raises EpisodeError: the episode has no such camera."""
        cameras = reader.info.cameras
        if camera not in cameras:
            raise EpisodeError(
                f"{reader.folder.name} has no camera {camera!r}, it has {sorted(cameras)}"
            )
        self.topic = cameras[camera].topic
        self._reader = reader
        self._camera = camera
        self._codec: Any = None

    def picture(self, message: BagMessage) -> Picture:
        """A message as a picture; raises EpisodeError for messages of other types."""
        content = self._reader.decode(message)
        make = functools.partial(Picture, self._camera, log_ns=message.log_ns)
        if message.type == IMAGE_TYPE:
            return make(stamp_of(content), compressed=False, rgb=lambda: _raw(content))
        if message.type == COMPRESSED_TYPE:
            rgb = functools.partial(rgb_from_compressed, content.data)
            return make(stamp_of(content), compressed=True, rgb=rgb)
        if message.type == VIDEO_TYPE:
            rgb = self._decoded(bytes(content.data))
            return make(time_of(content.timestamp), compressed=True, rgb=rgb)
        raise EpisodeError(
            f"{self._reader.folder.name}: {message.topic} must have one of the types "
            f"{[IMAGE_TYPE, COMPRESSED_TYPE, VIDEO_TYPE]}, got {message.type}"
        )

    def _decoded(self, data: bytes) -> Callable[[], NDArray[np.uint8]]:
        import av  # takes a tenth of a second

        if self._codec is None:
            self._codec = av.CodecContext.create("h264", "r")
            self._codec.thread_count = 1  # else pictures come out later than they go in
        try:
            decoded = self._codec.decode(av.Packet(data))
        except av.FFmpegError as error:
            return _damaged(str(error))
        if len(decoded) != 1:
            return _damaged(f"{len(decoded)} pictures came of its {len(data)} bytes")
        return functools.partial(decoded[0].to_ndarray, format="rgb24")


def _raw(content: Any) -> NDArray[np.uint8]:
    it = content
    return rgb_from_raw(it.encoding, it.width, it.height, it.step, it.data)


def _damaged(why: str) -> Callable[[], NDArray[np.uint8]]:
    def rgb() -> NDArray[np.uint8]:
        raise ImageError(f"a picture of an H.264 stream cannot be decoded: {why}")

    return rgb


def episode_joints(
    info: EpisodeInfo, joints: JointMap | None = None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """URDF and data-set names of an episode's joints, in the order that arrays have them.

    That is the order of the suite's joint map if the episode has all of its joints, whatever
    their order there, else the episode's own.
    """
    joints = joints or JointMap()
    if set(joints.urdf_names) <= set(info.joint_names):
        return joints.urdf_names, joints.dataset_names
    return info.joint_names, info.dataset_joint_names


def read_joints(reader: EpisodeReader, names: tuple[str, ...] | None = None) -> Track:
    """The measured positions; see ``read_track``."""
    return read_track(reader, JOINTS_TOPIC, names)


def read_commands(reader: EpisodeReader, names: tuple[str, ...] | None = None) -> Track:
    """The commands that were sent to the arms; see ``read_track``."""
    return read_track(reader, COMMAND_TOPIC, names)


def read_track(reader: EpisodeReader, topic: str, names: tuple[str, ...] | None = None) -> Track:
    """All joint states of a topic, whose joints may stand in any order.

    Args:
        reader: the episode.
        topic: with ``sensor_msgs/JointState``.
        names: URDF names of the columns; None: as ``episode_joints`` says.

    Returns:
        An empty track if the topic has no messages. States that lack joints, are not finite, or
        are stamped no later than one before are left out and told among the problems.

    Raises:
        EpisodeError: the topic has another type, or a message cannot be read.
    """
    names = names or episode_joints(reader.info)[0]
    stamps: list[int] = []
    logs: list[int] = []
    rows: list[NDArray[np.float64]] = []
    refused: list[str] = []
    late = 0
    if topic in reader.topic_names and reader.type_of(topic) != JOINT_STATE_TYPE:
        raise EpisodeError(
            f"{reader.folder.name}: {topic} must have type {JOINT_STATE_TYPE}, "
            f"got {reader.type_of(topic)}"
        )
    for message in reader.messages([topic]):
        state = reader.decode(message)
        stamp_ns = stamp_of(state)
        try:
            row = select_joints(urdf_names(reader.info, state.name), state.position, names)
        except JointError as error:
            refused.append(str(error))
            continue
        if not np.isfinite(row).all():
            refused.append("positions are not finite")
        elif stamps and stamp_ns <= stamps[-1]:
            late += 1
        else:
            stamps.append(stamp_ns)
            logs.append(message.log_ns)
            rows.append(row)
    problems = [f"{topic}: {len(refused)} states are unusable: {refused[0]}"] if refused else []
    if late:
        problems.append(f"{topic}: {late} states are stamped no later than one before")
    positions = np.array(rows, dtype=np.float64).reshape(len(rows), len(names))
    return Track(
        names, np.array(stamps, np.int64), np.array(logs, np.int64), positions, tuple(problems)
    )


def read_pictures(
    reader: EpisodeReader, camera: str, start_ns: int | None = None, end_ns: int | None = None
) -> Iterator[Picture]:
    """The pictures of a camera by ascending log time, one at a time; see PictureReader.

    Raises:
        EpisodeError: unknown camera, or its topic has another type.
    """
    pictures = PictureReader(reader, camera)
    for message in reader.messages([pictures.topic], start_ns, end_ns):
        yield pictures.picture(message)


def read_statuses(reader: EpisodeReader, topic: str) -> Iterator[tuple[int, Any]]:
    """Log time [ns] and content of each message of a topic, such as ``/policy/status``."""
    for message in reader.messages([topic]):
        yield message.log_ns, reader.decode(message)


def stamp_of(content: Any) -> int:
    """Stamp in the header of a decoded message, ROS time [ns]."""
    return time_of(content.header.stamp)


def time_of(stamp: Any) -> int:
    """A decoded ``builtin_interfaces/Time`` [ns]."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def urdf_names(info: EpisodeInfo, names: list[str]) -> list[str]:
    """Names of joints as the URDF has them; data-set names are translated, others stay."""
    known = dict(zip(info.dataset_joint_names, info.joint_names, strict=True))
    joints = JointMap()
    known |= dict(zip(joints.dataset_names, joints.urdf_names, strict=True))
    return [known.get(name, name) for name in names]
