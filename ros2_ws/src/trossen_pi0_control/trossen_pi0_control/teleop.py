"""When the followers follow the leaders, and when not: a state machine. ROS-free and pure."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_control.leader_checks import differences, misaligned
from trossen_pi0_control.leader_chunks import LeaderReading, ending_chunk, following_chunk
from trossen_pi0_control.pacing import RateGrid
from trossen_pi0_control.settings import nanoseconds
from trossen_pi0_core.contract import NANOSECONDS, ActionChunk
from trossen_pi0_core.errors import TeleopError
from trossen_pi0_core.execution import State
from trossen_pi0_core.parameters import LeaderArmsParameters
from trossen_pi0_core.parameters.leader_arms import RAMP

_Array = NDArray[np.float64]

_ANSWER_NS = NANOSECONDS  # longest wait until the arm controller takes a run
_HALTED = (State.FAULT, State.ESTOP)
_FREE_STATES = (State.HOLDING, State.STARVED)


class TeleopState(enum.IntEnum):
    """What the leaders are for; the values are those of the TeleopStatus message."""

    FREE = 0
    ALIGNING = 1
    FOLLOWING = 2
    FAULT = 3


@dataclass(frozen=True)
class FollowerWord:
    """What the arm controller said last.

    Attributes:
        heard_ns: when it was heard, ROS time [ns].
        state: what it does.
        reason: why.
        run_id: run in force; empty when there is none.
        last_rejection: why the last refused chunk was refused.
    """

    heard_ns: int
    state: State
    reason: str = ""
    run_id: str = ""
    last_rejection: str = ""


@dataclass
class TeleopCounters:
    """Events since activation; fields of TeleopStatus."""

    chunks: int = 0
    sessions: int = 0
    interruptions: int = 0


class Teleop:
    """Couples the followers to the leaders from ``start`` to ``stop``, or until something fails.

    Whatever ends the coupling, the followers hold, and only ``start`` couples them again. Times are
    ROS time [ns]. Not thread-safe. A chunk that a method returns is to be published at once.

    Attributes:
        state: what the leaders are for.
        reason: why; empty when there is nothing to say.
        params: of the node; may be replaced between calls.
        counters: events since activation.
        run_id: of the present coupling; empty without one.
    """

    def __init__(self, params: LeaderArmsParameters, new_run_id: Callable[[], str]) -> None:
        """Args:
        params: of the node.
        new_run_id: makes an id that no other run has.
        """
        self.state = TeleopState.FREE
        self.reason = ""
        self.params = params
        self.counters = TeleopCounters()
        self.run_id = ""
        self._names = params.follower_map.urdf_names
        self._new_run_id = new_run_id
        self._grid = RateGrid(params.chunk_rate, params.read_rate)
        self._reading: LeaderReading | None = None
        self._word: FollowerWord | None = None
        self._followers: tuple[int, _Array] | None = None
        self._chunk_id = 0
        self._asked_ns = 0
        self._ramps = False

    @property
    def coupled(self) -> bool:
        """Whether the followers follow, or come to where they shall."""
        return self.state in (TeleopState.ALIGNING, TeleopState.FOLLOWING)

    # What is heard ------------------------------------------------------------------------------

    def hear_controller(self, word: FollowerWord) -> None:
        """Takes the arm controller's newest word."""
        self._word = word

    def hear_followers(self, positions: _Array, heard_ns: int) -> None:
        """Takes the followers' measured positions, shape (joints,) [rad; m for carriages]."""
        self._followers = (heard_ns, positions)

    def differences(self) -> _Array | None:
        """Leaders minus followers, shape (joints,) [rad; m]; None when one is not known."""
        if self._reading is None or self._followers is None:
            return None
        return self._reading.positions - self._followers[1]

    def apart(self) -> list[str]:
        """Which joints stand too far apart to start, by how much, and what is allowed."""
        known = self.differences()
        return [] if known is None else differences(self._names, known, self.params.tolerances)

    # What is asked ------------------------------------------------------------------------------

    def start(self, now_ns: int) -> ActionChunk:
        """Begins to couple the followers; returns the chunk that asks for it.

        Raises:
            TeleopError: not now, and why.
        """
        problem = self._why_not(now_ns)
        if problem:
            raise TeleopError(problem)
        self.run_id = self._new_run_id()
        self._chunk_id = 0
        self._asked_ns = now_ns
        self._ramps = False
        self._enter(TeleopState.ALIGNING, "the arm controller is asked to follow")
        return self._follow()

    def stop(self, reason: str, now_ns: int) -> ActionChunk | None:
        """Ends the coupling; the followers hold. Returns the chunk that says so, if it was on."""
        if not self.coupled:
            return None
        return self._part(reason, now_ns)

    def fault(self, reason: str, now_ns: int) -> ActionChunk | None:
        """A leader failed: the followers hold until ``clear``; as ``stop``."""
        chunk = self._break(reason, now_ns) if self.coupled else None
        self._enter(TeleopState.FAULT, reason)
        return chunk

    def clear(self) -> None:
        """Leaves FAULT; does nothing in other states."""
        if self.state == TeleopState.FAULT:
            self._reading = None
            self._enter(TeleopState.FREE, "")

    # Readings -----------------------------------------------------------------------------------

    def read(self, reading: LeaderReading, now_ns: int) -> ActionChunk | None:
        """Takes a fresh reading of the leaders; returns a chunk when one is due.

        Args:
            reading: of all leaders.
            now_ns: present time [ns].
        """
        self._reading = reading
        if not self.coupled:
            return None
        problem = self._why_part(now_ns)
        if problem:
            return self._break(problem, now_ns)
        if self.state == TeleopState.FOLLOWING:
            return self._follow() if self._grid.due(now_ns) else None
        return self._align(now_ns)

    def _align(self, now_ns: int) -> ActionChunk | None:
        """Waits until the arm controller follows, or has brought the followers to the leaders."""
        word = self._word
        assert word is not None  # or there was a reason to part
        if word.heard_ns < self._asked_ns or word.run_id != self.run_id:
            if now_ns - self._asked_ns > _ANSWER_NS:
                why = word.last_rejection or word.reason or "it does not say why"
                return self._break(f"the arm controller did not take the run: {why}", now_ns)
            return None
        if word.state == State.RAMPING:
            self._ramps = True
            self._enter(TeleopState.ALIGNING, "the followers move slowly to the leaders")
            limit_s = self.params.ramp_timeout_s
            if now_ns - self._asked_ns > nanoseconds(limit_s):
                return self._break(f"the followers took longer than {limit_s:g} s", now_ns)
            return None
        if self._ramps and self.apart():
            moved = misaligned(self.apart())
            return self._break(f"the leaders moved while the followers came: {moved}", now_ns)
        self.counters.sessions += 1
        self._enter(TeleopState.FOLLOWING, "")
        return self._follow()

    # Decisions ----------------------------------------------------------------------------------

    def _why_not(self, now_ns: int) -> str:
        """Why the coupling cannot begin; empty when it can."""
        if self.state == TeleopState.FAULT:
            return f"a leader has failed: {self.reason}; /teleop/clear_fault connects it anew"
        if self.coupled:
            return f"teleoperation is under way already, run {self.run_id}"
        stale = nanoseconds(self.params.leader_stale_s)
        if self._reading is None or now_ns - self._reading.stamp_ns > stale:
            return "the leaders have not been read"
        silence = self._silence(now_ns)
        if silence:
            return silence
        word = self._word
        assert word is not None
        if word.state not in _FREE_STATES:
            because = f": {word.reason}" if word.reason else ""
            return f"the arm controller is in {word.state.name}{because}"
        if word.run_id and word.state != State.STARVED:
            return f"policy run {word.run_id} is under way; stop it first"
        apart = self.apart()
        if apart and self.params.alignment != RAMP:
            return (
                f"leaders and followers stand apart: {misaligned(apart)}; bring the leaders to the "
                "followers, or set the parameter alignment to 'ramp'"
            )
        return ""

    def _why_part(self, now_ns: int) -> str:
        """Why the coupling ends; empty when it goes on."""
        silence = self._silence(now_ns)
        if silence:
            return silence
        word = self._word
        assert word is not None
        if word.state in _HALTED or word.state == State.MOVING:
            because = f": {word.reason}" if word.reason else ""
            return f"the arm controller is in {word.state.name}{because}"
        if self.state == TeleopState.FOLLOWING and word.run_id != self.run_id:
            because = f": {word.reason}" if word.reason else ""
            return f"the arm controller has ended the run{because}"
        return ""

    def _silence(self, now_ns: int) -> str:
        """What of the followers has not been heard for too long; empty when nothing."""
        heard = {
            "the arm controller's status": self._word.heard_ns if self._word else None,
            "the followers' joint states": self._followers[0] if self._followers else None,
        }
        allowed_ns = nanoseconds(self.params.controller_timeout_s)
        for what, at_ns in heard.items():
            if at_ns is None:
                return f"{what}: never heard"
            if now_ns - at_ns > allowed_ns:
                age_s = (now_ns - at_ns) / NANOSECONDS
                return (
                    f"{what}: not heard for {age_s:.2f} s, "
                    f"allowed are {self.params.controller_timeout_s:g} s"
                )
        return ""

    def _follow(self) -> ActionChunk:
        assert self._reading is not None
        self._chunk_id += 1
        self.counters.chunks += 1
        return following_chunk(
            self._reading,
            self.params.prediction_s,
            run_id=self.run_id,
            chunk_id=self._chunk_id,
            joint_names=self._names,
        )

    def _break(self, reason: str, now_ns: int) -> ActionChunk:
        self.counters.interruptions += 1
        return self._part(reason, now_ns)

    def _part(self, reason: str, now_ns: int) -> ActionChunk:
        chunk = ending_chunk(
            now_ns,
            reason,
            run_id=self.run_id,
            chunk_id=self._chunk_id + 1,
            joint_names=self._names,
        )
        self.run_id = ""
        self._enter(TeleopState.FREE, reason)
        return chunk

    def _enter(self, state: TeleopState, reason: str) -> None:
        self.state, self.reason = state, reason
