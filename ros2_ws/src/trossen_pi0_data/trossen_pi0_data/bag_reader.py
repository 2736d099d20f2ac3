"""Reads recorded episodes, and plain rosbag2 folders, without ROS."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rosbags.serde import SerdeError
from rosbags.typesys import TypesysError, get_types_from_msg
from rosbags.typesys.store import Typestore

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.errors import EpisodeError
from trossen_pi0_data import episode_info
from trossen_pi0_data.episode_info import EpisodeInfo, TopicInfo
from trossen_pi0_data.mcap_file import Channel, McapFile
from trossen_pi0_data.plain_bag import COMMAND_TOPIC, JOINTS_TOPIC, info_of_bag

METADATA = "metadata.yaml"
"""Name of rosbag2's own file in the folder."""


@dataclass(frozen=True)
class BagMessage:
    """A message as it was recorded.

    Attributes:
        topic: its name.
        type: such as ``sensor_msgs/msg/Image``.
        log_ns: when it came to the recorder, ROS time [ns].
        publish_ns: when it was published, as far as the recorder knew [ns].
        data: CDR.
    """

    topic: str
    type: str
    log_ns: int
    publish_ns: int
    data: bytes


class EpisodeReader:
    """An episode: what is known of it, its topics and its messages.

    Reads complete bags, files of a killed recorder, and folders that ``ros2 bag record`` wrote;
    those have no ``episode.json``: what it would say is taken from the bag, the rest is unknown.
    Opening reads no pictures of a complete file. Not thread-safe.
    """

    def __init__(self, folder: Path | str) -> None:
        """Raises EpisodeError when there is no bag in the folder, or one that cannot be read."""
        self.folder = Path(folder)
        self._problems: list[str] = []
        self._files = [McapFile(path) for path in self._find_files()]
        self._check_encodings()
        self.info = self._read_info()
        self._look_for_problems()

    @property
    def problems(self) -> list[str]:
        """What is wrong with the episode, a text each; grows when damage is met in reading."""
        return [*self._problems, *(text for file in self._files for text in file.problems)]

    @functools.cached_property
    def topics(self) -> dict[str, TopicInfo]:
        """What is in the bag, by topic; messages are counted, drops are as the recorder told."""
        messages: dict[str, int] = {}
        for file in self._files:
            counts = file.counts()
            for number, channel in file.channels.items():
                messages[channel.topic] = messages.get(channel.topic, 0) + counts[number]
        told = self.info.topics
        return {
            topic: TopicInfo(
                self.type_of(topic), count, told[topic].dropped if topic in told else 0
            )
            for topic, count in sorted(messages.items())
        }

    @functools.cached_property
    def span_ns(self) -> tuple[int, int]:
        """Log time of the first and of the last message, ROS time [ns]; (0, 0) without any."""
        spans = [span for file in self._files if (span := file.span_ns()) is not None]
        if not spans:
            return 0, 0
        return min(first for first, _ in spans), max(last for _, last in spans)

    @property
    def duration_s(self) -> float:
        """From the first to the last message [s]."""
        first_ns, last_ns = self.span_ns
        return (last_ns - first_ns) / NANOSECONDS

    def type_of(self, topic: str) -> str:
        """Type of a topic; raises EpisodeError for one that is not in the bag."""
        return self._channel(topic).type

    def raw_schema(self, topic: str) -> str:
        """Definition of a topic's type, with all types in it, as the bag has it."""
        return self._channel(topic).definition

    def metadata(self, topic: str) -> dict[str, str]:
        """What else the bag says of a topic, such as ``offered_qos_profiles``."""
        return dict(self._channel(topic).metadata)

    @property
    def topic_names(self) -> list[str]:
        """Topics that the bag names; they may have no messages."""
        return sorted({each.topic for file in self._files for each in file.channels.values()})

    def messages(
        self,
        topics: Collection[str] | None = None,
        start_ns: int | None = None,
        end_ns: int | None = None,
    ) -> Iterator[BagMessage]:
        """Messages by ascending log time, one at a time.

        Args:
            topics: which; None: all. Topics that are not in the bag have no messages.
            start_ns: log time of the first [ns]; None: from the beginning.
            end_ns: log time that is no longer taken [ns]; None: to the end.
        """
        for file in self._files:
            wanted = {
                number: channel
                for number, channel in file.channels.items()
                if topics is None or channel.topic in topics
            }
            for raw in file.messages(wanted, start_ns, end_ns):
                channel = wanted[raw.channel_id]
                data = bytes(raw.data)
                yield BagMessage(channel.topic, channel.type, raw.log_ns, raw.publish_ns, data)

    def decode(self, message: BagMessage) -> Any:
        """The message as an object with the fields of its type; arrays are numpy's.

        Raises:
            EpisodeError: its bytes do not fit the definition in the bag.
        """
        channel = self._channel(message.topic)
        try:
            store = _types(channel.type, channel.definition, channel.schema_encoding)
            return store.deserialize_cdr(memoryview(message.data), channel.type)
        except (SerdeError, TypesysError, ValueError, KeyError, IndexError) as error:
            raise EpisodeError(
                f"{self.folder.name}: a message of {message.topic} ({len(message.data)} bytes) is "
                f"no {channel.type}: {error}"
            ) from error

    def verify(self) -> list[str]:
        """Compares all chunks with their checksums, which reads the whole file.

        Returns:
            The problems, with those found by it.
        """
        for file in self._files:
            file.verify()
        return self.problems

    # Opening ------------------------------------------------------------------------------------

    def _find_files(self) -> list[Path]:
        if not self.folder.is_dir():
            what = "is no folder" if self.folder.exists() else "does not exist"
            raise EpisodeError(f"{self.folder} {what}: an episode is a rosbag2 folder")
        names = self._files_in_metadata()
        found = sorted(self.folder.glob("*.mcap"), key=_file_number)
        if not found:
            has = sorted(path.name for path in self.folder.iterdir())
            raise EpisodeError(
                f"{self.folder} has no .mcap file, only {has or 'nothing'}; bags stored otherwise "
                "(sqlite3, compressed files) become MCAP by `ros2 bag convert`"
            )
        for name in names:
            if not (self.folder / name).is_file():
                self._problems.append(f"{METADATA} names {name}, which is not there")
        return found

    def _files_in_metadata(self) -> list[str]:
        path = self.folder / METADATA
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
            names = content["rosbag2_bagfile_information"]["relative_file_paths"]
            return [str(name) for name in names]
        except FileNotFoundError:
            self._problems.append(f"{METADATA} is missing: its recorder was killed")
        except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError) as error:
            self._problems.append(f"{METADATA} cannot be read: {type(error).__name__}: {error}")
        return []

    def _check_encodings(self) -> None:
        for file in self._files:
            for channel in file.channels.values():
                if channel.encoding != "cdr":
                    raise EpisodeError(
                        f"{file.path}: messages of {channel.topic} are encoded as "
                        f"{channel.encoding!r}; ROS 2 bags have 'cdr'"
                    )

    def _read_info(self) -> EpisodeInfo:
        if (self.folder / episode_info.FILE).exists():
            return EpisodeInfo.read(self.folder)
        return info_of_bag(self)

    def _look_for_problems(self) -> None:
        info, say = self.info, self._problems.append
        if info.name != self.folder.name:
            say(f"{episode_info.FILE} calls the episode {info.name!r}: the folder was renamed")
        if info.state == episode_info.RECORDING:
            say("it was never ended: its recorder was killed, or still writes")
        if info.fault:
            say(f"its recorder failed: {info.fault}")
        if not any(topic.messages for topic in self.topics.values()):
            say("it has no messages")
            return
        for topic, told in info.topics.items():
            if told.dropped:
                say(f"{topic}: {told.dropped} messages were dropped in recording")
            there = self.topics[topic].messages if topic in self.topics else 0
            if info.state == episode_info.FINISHED and there != told.messages:
                say(f"{topic}: {there} messages are there, {told.messages} were recorded")
        needed = [JOINTS_TOPIC, COMMAND_TOPIC, *(each.topic for each in info.cameras.values())]
        for topic in needed:
            if topic not in self.topics or not self.topics[topic].messages:
                say(f"{topic}: no messages")

    def _channel(self, topic: str) -> Channel:
        for file in self._files:
            for channel in file.channels.values():
                if channel.topic == topic:
                    return channel
        raise EpisodeError(f"{self.folder.name} has no topic {topic!r}, it has {self.topic_names}")


def list_episodes(folder: Path | str) -> list[Path]:
    """The episodes in a folder, by name; the folder itself when it is one.

    Raises:
        EpisodeError: there is no such folder, or no episode in it.
    """
    root = Path(folder)
    if _is_bag(root):
        return [root]
    if not root.is_dir():
        raise EpisodeError(f"{root} is no folder of episodes")
    found = sorted(path for path in root.iterdir() if _is_bag(path))
    if not found:
        raise EpisodeError(
            f"there is no episode in {root}: an episode is a folder with {METADATA}, "
            f"{episode_info.FILE} or an .mcap file"
        )
    return found


def _is_bag(folder: Path) -> bool:
    if not folder.is_dir() or folder.name.startswith("."):
        return False
    named = (folder / METADATA).is_file() or (folder / episode_info.FILE).is_file()
    return named or any(folder.glob("*.mcap"))


def _file_number(path: Path) -> tuple[int, str]:
    """Parts of a split bag end in their number."""
    number = path.stem.rpartition("_")[2]
    return (int(number) if number.isdecimal() else -1, path.name)


@functools.lru_cache(maxsize=256)
def _types(name: str, definition: str, encoding: str) -> Typestore:
    """Types made of a definition as the bag has it, so that a changed message does not matter."""
    if encoding != "ros2msg":
        raise TypesysError(f"its definition is {encoding!r}, only 'ros2msg' can be read")
    store = Typestore()
    store.register(get_types_from_msg(definition, name))
    return store
