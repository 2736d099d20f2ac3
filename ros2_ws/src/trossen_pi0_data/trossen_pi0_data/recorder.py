"""What the recorder does with episodes: one at a time, begun and ended by hand or with runs.

ROS-free; the node owns an instance and calls it from its callback thread.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Sequence
from pathlib import Path

from trossen_pi0_core.errors import EpisodeError
from trossen_pi0_core.parameters import RecorderParameters
from trossen_pi0_data import episode_info
from trossen_pi0_data.episode_info import EpisodeInfo, PolicyInfo, SoftwareInfo
from trossen_pi0_data.episode_writer import (
    EpisodeFigures,
    EpisodeRequest,
    EpisodeWriter,
    delete_episode,
    joined,
)
from trossen_pi0_data.recorded_topics import RecordedTopic


class RecorderState(enum.IntEnum):
    """What the recorder does; the values are those of RecorderStatus."""

    IDLE = 0
    RECORDING = 1
    ERROR = 2


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """What the recorder does and why.

    Attributes:
        state: what.
        reason: why.
        name: of the episode under way, or of the last one.
        folder: its folder; None: there was none.
        prompt: its instruction.
        duration_s: since its beginning [s].
        figures: how it stands.
        episodes: finished since the recorder was made.
    """

    state: RecorderState
    reason: str
    name: str
    folder: Path | None
    prompt: str
    duration_s: float
    figures: EpisodeFigures
    episodes: int


_NOTHING = EpisodeFigures(0, 0, 0, ())


class Recorder:
    """One episode at a time. One thread."""

    def __init__(
        self,
        topics: Sequence[RecordedTopic],
        software: SoftwareInfo,
        *,
        parameters: Callable[[], RecorderParameters],
        now_ns: Callable[[], int],
        on_begin: Callable[[EpisodeWriter], None],
        on_end: Callable[[], None],
    ) -> None:
        """Args:
        topics: that are recorded.
        software: what records.
        parameters: present ones.
        now_ns: present ROS time [ns].
        on_begin: is told of an episode that takes messages from now on.
        on_end: is told that it takes none any more.
        """
        self._topics = topics
        self._software = software
        self._parameters = parameters
        self._now_ns = now_ns
        self._on_begin = on_begin
        self._on_end = on_end
        self._writer: EpisodeWriter | None = None
        self._last: Snapshot | None = None
        self._fault = ""
        self._episodes = 0

    @property
    def writer(self) -> EpisodeWriter | None:
        """The episode under way."""
        return self._writer

    def begin(self, request: EpisodeRequest) -> EpisodeWriter:
        """Begins an episode.

        Raises:
            EpisodeError: one is under way, or it cannot be begun.
        """
        if self._writer is not None:
            raise EpisodeError(
                f"episode {self._writer.info.name!r} is under way: end or discard it first"
            )
        writer = EpisodeWriter(
            self._parameters(), self._topics, request, self._software, self._now_ns()
        )
        try:
            self._on_begin(writer)
        except EpisodeError:
            self._on_end()
            writer.discard()
            raise
        self._writer, self._fault = writer, ""
        return writer

    def end(
        self, outcome: str, *, notes: str = "", fault: str = "", policy: PolicyInfo | None = None
    ) -> EpisodeInfo:
        """Ends the episode under way and keeps it; the arguments are those of its ``finish``.

        Raises:
            EpisodeError: none is under way, the outcome is not known, or the end of it cannot be
                written.
        """
        writer = self._need()
        outcome = _checked(outcome) or episode_info.UNKNOWN
        self._on_end()
        self._writer = None
        try:
            info = writer.finish(outcome, notes=notes, fault=fault, policy=policy)
        except EpisodeError as error:
            self._fault = str(error)
            self._remember(writer, writer.info)
            raise
        self._episodes += 1
        self._fault = info.fault
        self._remember(writer, info)
        return info

    def discard(self) -> Path:
        """Ends the episode under way and deletes it; returns where it was.

        Raises:
            EpisodeError: none is under way, or it cannot be deleted.
        """
        writer = self._need()
        self._on_end()
        self._writer = None
        self._last = None
        writer.discard()
        return writer.folder

    def mark(self, outcome: str, notes: str) -> EpisodeInfo:
        """Changes what the last ended episode says of itself.

        Args:
            outcome: empty: unchanged.
            notes: added.

        Raises:
            EpisodeError: no episode has ended, or it cannot be changed.
        """
        folder = self._last_folder()
        info = EpisodeInfo.read(folder)
        info = dataclasses.replace(
            info, outcome=_checked(outcome) or info.outcome, notes=joined(info.notes, notes)
        )
        info.write(folder)
        return info

    def discard_last(self) -> Path:
        """Deletes the last ended episode; returns where it was.

        Raises:
            EpisodeError: none has ended, or it cannot be deleted.
        """
        folder = self._last_folder()
        delete_episode(folder)
        self._last = None
        self._episodes -= 1
        return folder

    def snapshot(self) -> Snapshot:
        """What the recorder does and why."""
        writer = self._writer
        if writer is not None:
            return Snapshot(
                RecorderState.RECORDING,
                "",
                writer.info.name,
                writer.folder,
                writer.info.prompt,
                writer.duration_s,
                writer.figures(),
                self._episodes,
            )
        state = RecorderState.ERROR if self._fault else RecorderState.IDLE
        if self._last is None:
            return Snapshot(state, self._fault, "", None, "", 0.0, _NOTHING, self._episodes)
        return dataclasses.replace(
            self._last, state=state, reason=self._fault, episodes=self._episodes
        )

    def _remember(self, writer: EpisodeWriter, info: EpisodeInfo) -> None:
        figures = dataclasses.replace(
            writer.figures(), messages=info.messages, dropped=info.dropped
        )
        self._last = Snapshot(
            RecorderState.IDLE,
            "",
            info.name,
            writer.folder,
            info.prompt,
            info.duration_s,
            figures,
            self._episodes,
        )

    def _need(self) -> EpisodeWriter:
        if self._writer is None:
            raise EpisodeError("no episode is under way")
        return self._writer

    def _last_folder(self) -> Path:
        if self._last is None or self._last.folder is None:
            raise EpisodeError("no episode has ended that could be marked or discarded")
        return self._last.folder


def _checked(outcome: str) -> str:
    if outcome and outcome not in episode_info.OUTCOMES:
        raise EpisodeError(
            f"outcome must be empty or one of {list(episode_info.OUTCOMES)}, got {outcome!r}"
        )
    return outcome
