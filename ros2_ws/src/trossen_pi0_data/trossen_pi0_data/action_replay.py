"""Recorded commands as a policy run of their own: which chunk is sent when. ROS-free and pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trossen_pi0_core.contract import NANOSECONDS, ActionChunk
from trossen_pi0_core.errors import ChunkRejectedError
from trossen_pi0_core.execution import State
from trossen_pi0_core.limits import JointLimits
from trossen_pi0_data.commands import CommandTrack

_HALTED = (State.FAULT, State.ESTOP)
_ANSWER_NS = 2 * NANOSECONDS  # longest wait for the controller to take or to end the run
_OVERLAP_ROWS = 5  # rows of the past at the beginning of a chunk; the curve's ends are straight
_TAIL_NS = NANOSECONDS // 5  # rest at the last pose before the run ends
_EARLY_NS = NANOSECONDS // 10  # so much before its end the run may end without having been cut off
_LAST_CHUNKS = 2  # so many times between two chunks before the end the last one is sent
_CHUNKS_A_LENGTH = 4  # each part of the motion is sent so many times


class Phase(enum.Enum):
    """Where a replay of actions is."""

    READY = enum.auto()
    STARTING = enum.auto()
    """The first pose was asked for; the arms go there."""
    PLAYING = enum.auto()
    ENDING = enum.auto()
    """The last chunk is out."""
    DONE = enum.auto()
    STOPPED = enum.auto()
    FAILED = enum.auto()


@dataclass(frozen=True)
class ActionSettings:
    """How actions are replayed.

    Attributes:
        rate: episode time over real time.
        row_ns: time between two rows [ns].
        chunk_ns: how far ahead a chunk reaches [ns].
        rest_ns: rest at the first pose [ns].
        ramp_timeout_ns: longest motion to the first pose [ns].
        silence_ns: longest silence of the controller [ns].
    """

    rate: float
    row_ns: int
    chunk_ns: int
    rest_ns: int
    ramp_timeout_ns: int
    silence_ns: int


@dataclass(frozen=True)
class ControllerWord:
    """What the arm controller said last.

    Attributes:
        stamp_ns: when, ROS time [ns].
        state: what it does.
        reason: why.
        run_id: policy run in force; empty when there is none.
        chunk_id: newest chunk in force.
        chunk_delay_ns: by how much its rows are late [ns].
        rejections: chunks refused so far.
        last_rejection: why the last of them was.
    """

    stamp_ns: int
    state: State
    reason: str = ""
    run_id: str = ""
    chunk_id: int = 0
    chunk_delay_ns: int = 0
    rejections: int = 0
    last_rejection: str = ""


class ActionReplay:
    """One replay from the ramp to the last row.

    Times are ROS time [ns]. Not thread-safe. A chunk that a method returns is to be published at
    once; the first one only asks for the first pose, the others are rows of the motion in time.

    Attributes:
        run_id: of all its chunks.
        phase: where it is.
        reason: why it is there; empty when there is nothing to say.
        began_ns: when the first command is due, without delays; 0 before that is known.
        delay_ns: by how much limits have delayed the motion so far.
        chunks: how many were returned.
    """

    def __init__(
        self, run_id: str, track: CommandTrack, limits: JointLimits, settings: ActionSettings
    ) -> None:
        """Args:
            run_id: of its chunks.
            track: what is executed.
            limits: of the arm controller.
            settings: how.

        Raises:
            EpisodeError: the commands do not fit the controller.
        """
        track.check(limits, settings.rate)
        self.run_id = run_id
        self.phase = Phase.READY
        self.reason = ""
        self.began_ns = 0
        self.delay_ns = 0
        self.chunks = 0
        self._track = track
        self._limits = limits
        self._settings = settings
        self._word: ControllerWord | None = None
        self._in_force = False
        self._asked_ns = 0
        self._sent_ns = 0
        self._delays: dict[int, int] = {}  # chunk -> delay that it was sent with [ns]
        self._refused = 0

    @property
    def over(self) -> bool:
        """Whether it has ended in any way."""
        return self.phase in (Phase.DONE, Phase.STOPPED, Phase.FAILED)

    @property
    def under_way(self) -> bool:
        """Whether the arm controller has been told of it, and not of its end."""
        return self.phase in (Phase.STARTING, Phase.PLAYING, Phase.ENDING)

    @property
    def duration_ns(self) -> int:
        """From the first to the last command in real time [ns]."""
        return round(self._track.duration_ns / self._settings.rate)

    def position_ns(self, now_ns: int) -> int:
        """Episode time since the first command."""
        if not self.began_ns:
            return 0
        elapsed_ns = round((now_ns - self.began_ns - self.delay_ns) * self._settings.rate)
        return min(max(0, elapsed_ns), self._track.duration_ns)

    def begin(self, word: ControllerWord, now_ns: int) -> ActionChunk:
        """Asks the controller for the first pose.

        Raises:
            ChunkRejectedError: the controller cannot take a run now; nothing has changed.
        """
        if word.run_id:
            raise ChunkRejectedError(f"policy run {word.run_id} is under way; stop it first")
        if word.state in _HALTED or word.state == State.MOVING:
            raise ChunkRejectedError(
                f"the arm controller is in {word.state.name}: {word.reason}".rstrip(": ")
            )
        self._word = word
        self._refused = word.rejections
        self._asked_ns = now_ns
        self._enter(Phase.STARTING, "moving to the first pose")
        pose = self._rows(np.zeros(self._rows_per_chunk))
        return self._chunk(pose, now_ns, now_ns)

    def heard(self, word: ControllerWord, now_ns: int) -> ActionChunk | None:
        """Takes in what the controller says; returns what to tell it, if anything."""
        self._word = word
        if not self.under_way:
            return None
        if word.state in _HALTED:
            return self._fail(f"arm controller: {word.state.name}: {word.reason}", now_ns)
        ours = word.run_id == self.run_id
        if ours and word.chunk_id in self._delays:
            known_ns = self._delays[word.chunk_id] + word.chunk_delay_ns
            self.delay_ns = max(self.delay_ns, known_ns)
        if ours:
            self._in_force = True
        if ours and word.state == State.STARVED:
            return self._fail(f"the arms have stopped: {self._lost(word)}", now_ns)
        if self.phase == Phase.STARTING:
            return self._start(word, now_ns) if ours else self._judge_start(word, now_ns)
        if self.phase == Phase.ENDING and not ours and word.stamp_ns > self._sent_ns:
            if word.run_id or now_ns < self._end_ns - _EARLY_NS:
                return self._fail(self._lost(word), now_ns)
            self._enter(Phase.DONE)
            return None
        if not ours and word.stamp_ns > self._sent_ns:
            return self._fail(self._lost(word), now_ns)
        return None

    def poll(self, now_ns: int) -> ActionChunk | None:
        """Returns the next chunk when it is due, or what ends the run when time limits are over."""
        if not self.under_way or self._word is None:
            return None
        silent_ns = now_ns - self._word.stamp_ns
        if silent_ns > self._settings.silence_ns:
            return self._fail(
                f"the arm controller is silent for {silent_ns / NANOSECONDS:.2f} s", now_ns
            )
        if self.phase == Phase.STARTING:
            waited_ns = now_ns - self._asked_ns
            limit_ns = self._settings.ramp_timeout_ns if self._in_force else _ANSWER_NS
            if waited_ns > limit_ns:
                what = "is not at the first pose" if self._in_force else "has not taken the run"
                text = f"the arm controller {what} after {waited_ns / NANOSECONDS:.1f} s"
                return self._fail(text, now_ns)
        if self.phase == Phase.ENDING and now_ns > self._end_ns + _ANSWER_NS:
            return self._fail("the arm controller has not ended the run", now_ns)
        if self.phase == Phase.PLAYING and now_ns >= self._sent_ns + self._interval_ns:
            return self._next(now_ns)
        return None

    def stop(self, reason: str, now_ns: int) -> ActionChunk | None:
        """Ends the replay; returns the chunk that brings the arms to rest, if that is needed."""
        return self._end(Phase.STOPPED, reason, now_ns)

    # Phases -------------------------------------------------------------------------------------

    def _start(self, word: ControllerWord, now_ns: int) -> ActionChunk | None:
        """The run is in force: goes on once the arms are at the first pose."""
        if word.state == State.RAMPING:
            return None
        self._enter(Phase.PLAYING)
        self.delay_ns = 0
        self._delays.clear()
        self.began_ns = now_ns + self._settings.rest_ns
        return self._next(now_ns)

    def _judge_start(self, word: ControllerWord, now_ns: int) -> ActionChunk | None:
        """The controller has not taken the run, or no longer has it."""
        if self._in_force or word.run_id or word.rejections > self._refused:
            return self._fail(self._lost(word), now_ns)
        return None

    def _next(self, now_ns: int) -> ActionChunk:
        """The rows from a little before now on."""
        start_ns = self.began_ns + self.delay_ns
        row_ns = self._settings.row_ns
        first = (now_ns - start_ns) // row_ns - _OVERLAP_ROWS
        end = -(-(self.duration_ns + _TAIL_NS) // row_ns)  # the last row
        # The last chunk cannot be followed by another one, however much limits delay it: it is sent
        # when little is left. Those before it rest at the last pose beyond the end.
        last = start_ns + end * row_ns - now_ns <= _LAST_CHUNKS * self._interval_ns
        # What is late has at least two rows, so that the run ends at the last pose.
        stop = max(end + 1, first + 2) if last else first + self._rows_per_chunk
        rows = self._rows(np.arange(first, stop) * (row_ns * self._settings.rate))
        chunk = self._chunk(rows, start_ns + first * row_ns, now_ns, last=last)
        if last:
            self._enter(Phase.ENDING)
        return chunk

    @property
    def _interval_ns(self) -> int:
        """Time between two chunks."""
        return self._settings.chunk_ns // _CHUNKS_A_LENGTH

    @property
    def _end_ns(self) -> int:
        """When the last row is due."""
        return self.began_ns + self.delay_ns + self.duration_ns + _TAIL_NS

    def _fail(self, reason: str, now_ns: int) -> ActionChunk | None:
        return self._end(Phase.FAILED, reason.removesuffix(": "), now_ns)

    def _end(self, phase: Phase, reason: str, now_ns: int) -> ActionChunk | None:
        told = self.under_way
        if self.over:
            return None
        self._enter(phase, reason)
        nothing = np.zeros((0, len(self._track.names)))
        return self._chunk(nothing, now_ns, now_ns, last=True, reason=reason) if told else None

    def _lost(self, word: ControllerWord) -> str:
        """Why the run is not, or no longer, in force."""
        if word.run_id and word.run_id != self.run_id:
            return f"policy run {word.run_id} has taken the arms"
        if word.rejections > self._refused and not (self._in_force and word.reason):
            return f"the arm controller refused a chunk: {word.last_rejection}"
        return word.reason or "the arm controller has ended the run"

    def _enter(self, phase: Phase, reason: str = "") -> None:
        self.phase = phase
        self.reason = reason

    # Chunks -------------------------------------------------------------------------------------

    @property
    def _rows_per_chunk(self) -> int:
        return max(2, self._settings.chunk_ns // self._settings.row_ns)

    def _rows(self, times_ns: ArrayLike) -> NDArray[np.float64]:
        """Commands at these episode times, inside the limits, shape (n, joints) [rad; m]."""
        rows = self._track.sample(times_ns)
        return np.clip(rows, self._limits.lower, self._limits.upper)

    def _chunk(
        self,
        rows: NDArray[np.float64],
        t_first_ns: int,
        now_ns: int,
        *,
        last: bool = False,
        reason: str = "",
    ) -> ActionChunk:
        self.chunks += 1
        self._sent_ns = now_ns
        self._delays[self.chunks] = self.delay_ns
        return ActionChunk(
            run_id=self.run_id,
            chunk_id=self.chunks,
            observation_stamp_ns=now_ns,
            t_first_ns=t_first_ns,
            period_ns=self._settings.row_ns,
            joint_names=self._track.names,
            positions=rows,
            last=last,
            reason=reason,
        )
