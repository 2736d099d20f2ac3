"""What is replayed of an episode; found out before anything is published. ROS-free."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.errors import EpisodeError, ParameterError
from trossen_pi0_core.parameters import ReplayParameters
from trossen_pi0_core.parameters.replay import ACTIONS
from trossen_pi0_data.bag_reader import BagMessage, EpisodeReader
from trossen_pi0_data.commands import CommandTrack, read_command_track
from trossen_pi0_data.plain_bag import JOINTS_TOPIC

_COMPRESSED_SUFFIXES = ("/compressed_video", "/compressed")


def plain_topic(topic: str) -> str:
    """The topic of plain pictures, for one of plain or compressed pictures."""
    for suffix in _COMPRESSED_SUFFIXES:
        topic = topic.removesuffix(suffix)
    return topic


@dataclass(frozen=True)
class ReplayPlan:
    """An episode and the part of it that is replayed.

    Attributes:
        reader: the episode.
        start_ns: log time at which it begins [ns].
        end_ns: log time that is no longer played [ns].
        topics: mode "observations": what is published.
        decoded: of those, topics of compressed pictures, each with its camera's name; plain
            pictures are made of them.
        track: mode "actions": the commands; None otherwise.
    """

    reader: EpisodeReader
    start_ns: int
    end_ns: int
    topics: tuple[str, ...] = ()
    decoded: tuple[tuple[str, str], ...] = ()
    track: CommandTrack | None = None

    @property
    def published(self) -> dict[str, str]:
        """Each of the topics, and the name that it is published under."""
        decoded = dict(self.decoded)
        return {each: plain_topic(each) if each in decoded else each for each in self.topics}

    @property
    def name(self) -> str:
        """Of the episode."""
        return self.reader.info.name

    @property
    def duration_s(self) -> float:
        """Of what is played [s]."""
        if self.track is not None:
            return self.track.duration_ns / NANOSECONDS
        return (self.end_ns - self.start_ns) / NANOSECONDS

    def messages(self) -> Iterator[BagMessage]:
        """What is published, by ascending log time."""
        return self.reader.messages(self.topics, self.start_ns, self.end_ns)


def plan_replay(parameters: ReplayParameters) -> ReplayPlan:
    """Opens the episode and checks that it can be replayed as the parameters say.

    Raises:
        ParameterError: no episode is named, start_s lies behind its end, or awaits names others.
        EpisodeError: the episode cannot be read, or lacks what is needed.
    """
    if not parameters.episode:
        raise ParameterError("episode: need the folder of an episode, got none")
    reader = EpisodeReader(Path(parameters.episode).expanduser())
    if not any(topic.messages for topic in reader.topics.values()):
        raise EpisodeError(f"{reader.folder} has no messages")
    start_ns, end_ns = _part(reader, parameters)
    if parameters.mode == ACTIONS:
        track = read_command_track(reader, parameters.joint_map, start_ns, end_ns)
        return ReplayPlan(reader, start_ns, end_ns, track=track)
    topics, decoded = _topics(reader, parameters.topics)
    plan = ReplayPlan(reader, start_ns, end_ns, topics, decoded)
    unknown = sorted(set(parameters.awaits) - set(plan.published.values()))
    if unknown:
        raise ParameterError(
            f"awaits: {unknown} are not published, {sorted(plan.published.values())} are"
        )
    if next(plan.messages(), None) is None:
        raise EpisodeError(
            f"{reader.folder}: no messages of {list(topics)} in this part of the episode"
        )
    return plan


def _part(reader: EpisodeReader, parameters: ReplayParameters) -> tuple[int, int]:
    first_ns, last_ns = reader.span_ns
    start_ns = first_ns + round(parameters.start_s * NANOSECONDS)
    if start_ns > last_ns:
        raise ParameterError(
            f"start_s: {parameters.start_s:g} s lies behind the end of the episode, which is "
            f"{reader.duration_s:.3f} s long"
        )
    end_ns = last_ns + 1
    if parameters.duration_s:
        end_ns = min(end_ns, start_ns + round(parameters.duration_s * NANOSECONDS))
    return start_ns, end_ns


def _topics(
    reader: EpisodeReader, wanted: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Topics to publish, and those of them that are decoded, with their cameras."""
    there = [name for name, topic in reader.topics.items() if topic.messages]
    cameras = reader.info.cameras.values()
    compressed = {
        each.topic: name for name, each in reader.info.cameras.items() if each.compression
    }
    infos = [each.info_topic for each in cameras if each.info_topic in there]
    topics = list(wanted) or [JOINTS_TOPIC, *(each.topic for each in cameras), *infos]
    missing = [name for name in topics if name not in there]
    if missing:
        raise EpisodeError(f"{reader.folder} has no messages of {missing}; it has {there}")
    if not wanted and not list(cameras):
        raise EpisodeError(
            f"{reader.folder} has no pictures; name the topics to replay, it has {there}"
        )
    topics = list(dict.fromkeys(topics))
    decoded = tuple((name, compressed[name]) for name in topics if name in compressed)
    return tuple(topics), decoded
