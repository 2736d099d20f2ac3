"""What the data report reads: episodes as frames, wherever they come from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_data.bag_reader import EpisodeReader
from trossen_pi0_data.frames import EpisodeFrames
from trossen_pi0_data.streams import Track, read_joints
from trossen_pi0_training.dataset import LeRobotFrames


@dataclass(frozen=True)
class SourceFrame:
    """One frame.

    Attributes:
        time_s: since the beginning of the episode [s].
        state: measured positions, shape (joints,) [rad; m for carriages].
        action: commanded positions, shape (joints,) [rad; m for carriages].
        images: camera -> uint8 RGB, shape (height, width, 3).
        offsets_s: camera -> its picture's stamp less that of the joint state [s]; may be empty.
    """

    time_s: float
    state: NDArray[np.float64]
    action: NDArray[np.float64]
    images: Mapping[str, NDArray[np.uint8]]
    offsets_s: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class TopicCount:
    """Messages of a topic: how many, a second [Hz], and how many were dropped in recording."""

    messages: int
    rate_hz: float
    dropped: int


@dataclass(frozen=True)
class Motion:
    """Commanded and measured positions at an even rate, float64, each of shape (n, joints)."""

    rate_hz: float
    commanded: NDArray[np.float64]
    measured: NDArray[np.float64]


class EpisodeSource(Protocol):
    """One episode of any kind of data set. Used by one thread."""

    @property
    def name(self) -> str:
        """Of the episode."""
        ...

    @property
    def fps(self) -> float:
        """Frames a second [Hz]."""
        ...

    @property
    def prompt(self) -> str:
        """Instruction; empty when there is none."""
        ...

    @property
    def outcome(self) -> str:
        """How the task went: success, failure or unknown."""
        ...

    @property
    def joint_names(self) -> Sequence[str]:
        """Data-set names of the values of state and action."""
        ...

    @property
    def cameras(self) -> Sequence[str]:
        """Names of the cameras."""
        ...

    @property
    def duration_s(self) -> float:
        """Length of the recording [s]."""
        ...

    @property
    def topics(self) -> Mapping[str, TopicCount]:
        """What was recorded; empty for data sets that do not know."""
        ...

    def frames(self) -> Iterator[SourceFrame]:
        """The frames, each time anew; raises TrossenPi0Error when there are none to be had."""
        ...

    def missing(self) -> int:
        """Frames that could not be made, once ``frames`` has come to its end."""
        ...

    def held(self) -> int:
        """Frames that show the observation of one before, because a picture was lost or late."""
        ...

    def missing_reasons(self) -> Sequence[str]:
        """Why they could not be made."""
        ...

    def problems(self) -> Sequence[str]:
        """What is wrong, once ``frames`` has come to its end."""
        ...

    def motion(self) -> Motion | None:
        """The motion at the rate of the recording, where it is finer than the frames."""
        ...


class RecordedEpisode:
    """An episode folder as an ``EpisodeSource``."""

    def __init__(self, folder: Path) -> None:
        """Raises EpisodeError when it cannot be read or has no usable joints or commands."""
        self._reader = EpisodeReader(folder)
        self._frames = EpisodeFrames(self._reader)
        self.name = folder.name
        self.fps = self._frames.fps
        self.prompt = self._frames.prompt
        self.outcome = self._reader.info.outcome
        self.joint_names = self._frames.dataset_joint_names
        self.cameras = self._frames.cameras
        self.duration_s = self._reader.duration_s
        duration_s = max(self.duration_s, 1e-9)
        self.topics = {
            topic: TopicCount(info.messages, max(0, info.messages - 1) / duration_s, info.dropped)
            for topic, info in self._reader.topics.items()
        }

    def frames(self) -> Iterator[SourceFrame]:
        """The frames of the episode."""
        for frame in self._frames:
            seen = frame.observation
            yield SourceFrame(
                frame.index / self.fps,
                seen.state,
                frame.action,
                seen.images,
                {
                    camera: (stamp_ns - seen.stamp_ns) / NANOSECONDS
                    for camera, stamp_ns in seen.image_stamps_ns.items()
                },
            )

    def missing(self) -> int:
        """Frames that could not be made."""
        return len(self._frames.counts.lost)

    def held(self) -> int:
        """Frames that show the observation of one before."""
        return self._frames.counts.held

    def missing_reasons(self) -> list[str]:
        """Why they could not be made."""
        return self._frames.counts.reasons()

    def problems(self) -> list[str]:
        """What is wrong with the bag and its streams."""
        return [*self._reader.problems, *self._frames.stream_problems]

    def motion(self) -> Motion | None:
        """The motion at 100 Hz."""
        return _motion(self._frames.commands, read_joints(self._reader, self._frames.joint_names))


class DatasetEpisode:
    """An episode of a LeRobot data set as an ``EpisodeSource``."""

    topics: Mapping[str, TopicCount] = MappingProxyType({})

    def __init__(self, data: LeRobotFrames, number: int) -> None:
        """Args:
            data: the data set.
            number: of the episode, from 0.

        Raises:
            DatasetError: what the conversion wrote of its episodes is damaged.
        """
        self._data = data
        self._span = data.episodes[number]
        self.name = episode_name(number)
        self.outcome = data.outcomes.get(number, "unknown")
        self.fps = float(data.fps)
        self.prompt = "; ".join(self._span.tasks)
        self.joint_names = data.joint_names
        self.cameras = data.cameras
        self.duration_s = self._span.length / self.fps

    def frames(self) -> Iterator[SourceFrame]:
        """The frames of the episode."""
        for index in range(self._span.length):
            frame = self._data.frame(self._span.first + index)
            yield SourceFrame(
                frame.time_s,
                frame.state.astype(np.float64),
                frame.action.astype(np.float64),
                frame.images,
            )

    def missing(self) -> int:
        """None: a data set cannot tell."""
        return 0

    def held(self) -> int:
        """None: a data set cannot tell."""
        return 0

    def missing_reasons(self) -> list[str]:
        """None."""
        return []

    def problems(self) -> list[str]:
        """None."""
        return []

    def motion(self) -> Motion | None:
        """There is nothing finer than the frames."""
        return None


def episode_name(number: int) -> str:
    """What an episode of a data set is called."""
    return f"episode {number}"


def _motion(commanded: Track, measured: Track, rate_hz: float = 100.0) -> Motion | None:
    """Both where both are, by straight lines; None when they share less than two seconds."""
    begin = max(commanded.stamps_ns[0], measured.stamps_ns[0])
    end = min(commanded.stamps_ns[-1], measured.stamps_ns[-1])
    count = int((end - begin) / NANOSECONDS * rate_hz)
    if count < 2 * rate_hz:
        return None
    times = np.arange(count) / rate_hz
    both = []
    for track in (commanded, measured):
        at = (track.stamps_ns - begin) / NANOSECONDS
        columns = [np.interp(times, at, column) for column in track.positions.T]
        both.append(np.stack(columns, axis=1))
    return Motion(rate_hz, both[0], both[1])
