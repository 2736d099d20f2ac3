"""The frames of an episode, picked by the rule by which the live policy node picks. ROS-free."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import NANOSECONDS, Observation
from trossen_pi0_core.errors import EpisodeError, ImageError, ObservationError, TrossenPi0Error
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_core.sync import ObservationAssembler, SyncTolerances
from trossen_pi0_data.bag_reader import BagMessage, EpisodeReader
from trossen_pi0_data.plain_bag import JOINTS_TOPIC
from trossen_pi0_data.streams import (
    PictureReader,
    Track,
    episode_joints,
    read_commands,
    read_joints,
    stamp_of,
    urdf_names,
)

FPS = 30.0
"""Frames a second of the data sets [Hz]."""

COMMAND_GAP_NS = NANOSECONDS // 2
"""Commands further apart than this are not joined, and hold no longer [ns]."""

TRIMMED_S = 0.5
"""So much may lack at the end of an episode, whose streams do not stop all at once [s]."""

_LIVE = PolicyParameters()
_UNSEEN = np.zeros((1, 1, 3), np.uint8)


@dataclass(frozen=True)
class FrameSettings:
    """How frames are made; the tolerances are the policy node's own.

    Attributes:
        fps: frames a second [Hz].
        sync_tolerance_s: largest distance between a picture and the joint state [s].
        max_observation_age_s: largest age of the joint state and of each camera's picture [s].
        max_hold_s: for so long an observation also stands for the frames after it that have none of
            their own, because a picture was lost or late [s].
    """

    fps: float = FPS
    sync_tolerance_s: float = _LIVE.sync_tolerance_s
    max_observation_age_s: float = _LIVE.max_observation_age_s
    max_hold_s: float = 0.2

    def __post_init__(self) -> None:
        for name in ("fps", "sync_tolerance_s", "max_observation_age_s"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise EpisodeError(f"{name} must be greater than 0, got {value}")
        if not (np.isfinite(self.max_hold_s) and self.max_hold_s >= 0):
            raise EpisodeError(f"max_hold_s must be 0 or more, got {self.max_hold_s}")

    @property
    def tolerances(self) -> SyncTolerances:
        """For the assembler."""
        return SyncTolerances(
            round(self.sync_tolerance_s * NANOSECONDS),
            round(self.max_observation_age_s * NANOSECONDS),
        )

    @property
    def period_ns(self) -> float:
        """Between two frames [ns]."""
        return NANOSECONDS / self.fps


@dataclass(frozen=True)
class Frame:
    """One row of a data set.

    Attributes:
        index: on the grid, from 0; an index that is left out has no frame.
        time_ns: when the policy would have looked, ROS time [ns].
        observation: what it would have seen.
        action: command in force at the observation's stamp, and for a held observation later by as
            much as the frame is, shape (joints,) [rad; m for carriages].
    """

    index: int
    time_ns: int
    observation: Observation
    action: NDArray[np.float64]


@dataclass
class FrameCounts:
    """What came of the grid.

    Attributes:
        grid: times at which a frame was due.
        frames: that were made.
        held: of these, with the observation of a frame before.
        missing: index of each time without a frame -> why.
        first: index of the first frame; -1: there is none.
        last: index of the last frame; -1: there is none.
        trimmed: so many may lack at the end without a word.
    """

    grid: int = 0
    frames: int = 0
    held: int = 0
    missing: dict[int, str] = field(default_factory=dict)
    first: int = -1
    last: int = -1
    trimmed: int = 0

    @property
    def lost(self) -> dict[int, str]:
        """Index -> why, of the frames that lack between others, or at the end for too long.

        Before the first frame the episode has not begun: nothing has been commanded yet.
        """
        end = self.grid - 1 - self.last > self.trimmed
        return {
            index: why
            for index, why in self.missing.items()
            if self.first < index and (end or index < self.last)
        }

    def reasons(self) -> list[str]:
        """Why frames were lost, a text each with how many."""
        lost = self.lost
        counts = Counter(_kind(reason) for reason in lost.values())
        first = {_kind(reason): index for index, reason in reversed(lost.items())}
        return [
            f"{count} frames are missing, the first is {first[kind]}: {lost[first[kind]]}"
            for kind, count in counts.items()
        ]


@dataclass(frozen=True)
class _Look:
    """An observation, and the time of the grid at which it was new [ns]."""

    seen: Observation
    tick_ns: int


class EpisodeFrames:
    """The frames of an episode on a grid in time.

    The messages go, in the order and at the times of their arrival at the recorder, into the
    assembler of the live policy node. At each time of the grid the observation is the one that the
    node would have made then. Its action is the command in force at the observation's stamp, where
    a chunk's first row is due in live execution, joined by straight lines between the commands.
    Where a picture was lost the observation before is held for a moment; the actions go on.

    The grid begins half a period after the first complete observation, so that pictures may come
    early or late by as much and each frame has its own. Iterating reads the episode once and holds
    a few pictures at a time; each iteration begins anew. Not thread-safe.

    Attributes:
        reader: the episode.
        settings: how frames are made.
        joint_names: URDF names of state and action, in order.
        dataset_joint_names: the same joints in data sets.
        cameras: names of the cameras.
        prompt: instruction of the episode.
        commands: of the episode.
        counts: of the last iteration that came to its end, or of the one under way.
    """

    def __init__(
        self,
        reader: EpisodeReader,
        settings: FrameSettings | None = None,
        cameras: Sequence[str] | None = None,
    ) -> None:
        """Args:
        reader: the episode.
        settings: how frames are made; None: as the policy node does by default.
        cameras: which; None: all of the episode.

        Raises:
            EpisodeError: no messages, no joint states, no commands, or an unknown camera.
        """
        self.reader = reader
        self.settings = settings or FrameSettings()
        self.joint_names, self.dataset_joint_names = episode_joints(reader.info)
        self.cameras = tuple(reader.info.cameras if cameras is None else cameras)
        self.prompt = reader.info.prompt
        self.counts = FrameCounts()
        name = reader.folder.name
        unknown = [camera for camera in self.cameras if camera not in reader.info.cameras]
        if unknown:
            raise EpisodeError(
                f"{name} has no cameras {unknown}, it has {sorted(reader.info.cameras)}"
            )
        joints = read_joints(reader, self.joint_names)
        self.commands = read_commands(reader, self.joint_names)
        for topic, track in (("joint states", joints), ("commands", self.commands)):
            if not len(track):
                why = f": {track.problems[0]}" if track.problems else ""
                raise EpisodeError(f"{name} has no usable {topic}{why}")
        self._clock_ns = _clock_difference(joints, self.settings.tolerances)
        self._track_problems = [*joints.problems, *self.commands.problems]
        self._refusals: Counter[str] = Counter()
        self._newest: dict[str, int] = {}

    @property
    def fps(self) -> float:
        """Frames a second [Hz]."""
        return self.settings.fps

    @property
    def expected(self) -> int:
        """About how many frames there will be."""
        return max(0, round(self.reader.duration_s * self.settings.fps))

    @property
    def problems(self) -> list[str]:
        """What is wrong with the streams and, after an iteration, why frames are missing."""
        return [*self.stream_problems, *self.counts.reasons()]

    @property
    def stream_problems(self) -> list[str]:
        """What is wrong with the streams; what was refused is known after an iteration."""
        clock = []
        if self._clock_ns:
            ahead_s = self._clock_ns / NANOSECONDS
            clock = [f"the recorder's clock was {ahead_s:.3f} s ahead of the stamps; accounted for"]
        refused = [f"{count} times: {why}" for why, count in self._refusals.items()]
        return [*clock, *self._track_problems, *refused]

    def __iter__(self) -> Iterator[Frame]:
        """The frames with their pictures, by ascending time."""
        return self.frames()

    def frames(self, *, pictures: bool = True) -> Iterator[Frame]:
        """The frames by ascending time.

        Args:
            pictures: False: black pictures of one pixel stand for them, which is much faster where
                joints, actions and stamps are enough; a damaged JPEG is not noticed then.
        """
        self.counts = FrameCounts(trimmed=round(TRIMMED_S * self.settings.fps))
        self._refusals.clear()
        self._newest.clear()
        tolerances = self.settings.tolerances
        assembler = ObservationAssembler(self.joint_names, self.cameras, tolerances)
        readers = [PictureReader(self.reader, camera) for camera in self.cameras]
        by_topic = {
            each.topic: (camera, each) for camera, each in zip(self.cameras, readers, strict=True)
        }
        start_ns: int | None = None
        now_ns = 0
        last: _Look | None = None
        for message in self.reader.messages([JOINTS_TOPIC, *by_topic]):
            now_ns = message.log_ns - self._clock_ns
            while start_ns is not None and (tick_ns := self._tick_ns(start_ns)) < now_ns:
                frame, last = self._frame(assembler, tick_ns, last)
                self.counts.grid += 1
                if frame is not None:
                    self._count(frame.index)
                    yield frame
            self._feed(assembler, message, by_topic.get(message.topic), now_ns, pictures=pictures)
            if start_ns is None and _is_ready(assembler, now_ns):
                start_ns = now_ns + round(self.settings.period_ns / 2)
        if start_ns is None:
            why = "; ".join(assembler.missing(now_ns)) or "its parts never lie together"
            raise EpisodeError(f"{self.reader.folder.name} has no complete observation: {why}")

    def _tick_ns(self, start_ns: int) -> int:
        return start_ns + round(self.counts.grid * self.settings.period_ns)

    def _feed(
        self,
        assembler: ObservationAssembler,
        message: BagMessage,
        source: tuple[str, PictureReader] | None,
        now_ns: int,
        *,
        pictures: bool,
    ) -> None:
        """Gives a message to the assembler; one that it refuses is counted."""
        camera = source[0] if source else ""
        try:
            if source is None:
                state = self.reader.decode(message)
                names = urdf_names(self.reader.info, state.name)
                assembler.add_joints(stamp_of(state), names, state.position, now_ns)
                return
            picture = source[1].picture(message)
            if picture.stamp_ns <= self._newest.get(camera, picture.stamp_ns - 1):
                self._refusals[f"{camera}: stamped no later than a picture before"] += 1
            self._newest[camera] = picture.stamp_ns
            image = picture.rgb() if pictures or not picture.compressed else _UNSEEN
            assembler.add_image(camera, picture.stamp_ns, image if pictures else _UNSEEN, now_ns)
        except TrossenPi0Error as error:
            kind = "unreadable picture" if isinstance(error, ImageError) else "refused"
            self._refusals[f"{camera or JOINTS_TOPIC}: {kind}: {error}"] += 1

    def _frame(
        self, assembler: ObservationAssembler, tick_ns: int, last: _Look | None
    ) -> tuple[Frame | None, _Look | None]:
        """The frame of a tick, if there is one, and the newest observation."""
        index = self.counts.grid
        try:
            seen = assembler.assemble(tick_ns, self.prompt)
            why = ""
        except ObservationError as error:
            seen, why = None, str(error)
        if seen is not None and (last is None or seen.stamp_ns != last.seen.stamp_ns):
            last = _Look(seen, tick_ns)
        if last is None or tick_ns - last.tick_ns > self.settings.max_hold_s * NANOSECONDS:
            behind = min(self._newest, key=lambda c: self._newest[c], default=JOINTS_TOPIC)
            self.counts.missing[index] = why or f"{behind}: nothing new has come"
            return None, last
        held_ns = tick_ns - last.tick_ns
        action = self.commands.at(last.seen.stamp_ns + held_ns, COMMAND_GAP_NS)
        # An episode begins with a new observation: one that is held may be met by the first command
        # and followed by a new one from before it.
        if action is None or (held_ns and self.counts.first < 0):
            limit_s = COMMAND_GAP_NS / NANOSECONDS
            self.counts.missing[index] = f"commands: none within {limit_s:g} s before"
            return None, last
        self.counts.held += held_ns > 0
        return Frame(index, tick_ns, seen or last.seen, action), last

    def _count(self, index: int) -> None:
        """A frame was made."""
        self.counts.frames += 1
        self.counts.first = index if self.counts.first < 0 else self.counts.first
        self.counts.last = index


def _is_ready(assembler: ObservationAssembler, now_ns: int) -> bool:
    if assembler.missing(now_ns):
        return False
    try:
        assembler.assemble(now_ns, "")
    except ObservationError:
        return False
    return True


def _clock_difference(joints: Track, tolerances: SyncTolerances) -> int:
    """By how much the recorder's clock runs ahead of the stamps, if more than delays explain."""
    ahead_ns = int(np.median(joints.log_ns - joints.stamps_ns))
    return ahead_ns if abs(ahead_ns) > tolerances.max_age_ns else 0


def _kind(reason: str) -> str:
    """A reason without its figures, which differ from frame to frame."""
    return "".join("0" if part.isdigit() else part for part in reason)
