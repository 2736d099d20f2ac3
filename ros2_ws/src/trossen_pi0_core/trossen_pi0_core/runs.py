"""Which policy run is in force, and which of its chunks may follow which."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.errors import ChunkRejectedError
from trossen_pi0_core.motion import PointToPoint

_REMEMBERED = 64


@dataclass
class Run:
    """The policy run in force.

    Attributes:
        run_id: id that its chunks carry.
        last_chunk_id: of the newest chunk that was not out of order.
        not_before_ns: chunks of older observations are refused [ns].
        not_before: what was then.
        chunk: newest accepted chunk.
        begun: no ramp is needed any more.
        ending: its last chunk has come.
        ramp: to its first row, while that is under way.
        held_ns: since when the arms wait for the next chunk by plan [ns].
    """

    run_id: str
    last_chunk_id: int
    not_before_ns: int | None = None
    not_before: str = ""
    chunk: ActionChunk | None = None
    begun: bool = False
    ending: bool = False
    ramp: PointToPoint | None = None
    held_ns: int | None = None

    def only_after(self, what: str, now_ns: int) -> None:
        """Chunks of observations from before ``now_ns``, when something was, are refused."""
        self.not_before_ns = now_ns
        self.not_before = what

    def is_before(self, chunk: ActionChunk) -> bool:
        """Whether the chunk's observation is from before what it has to follow."""
        return self.not_before_ns is not None and chunk.observation_stamp_ns < self.not_before_ns


class Runs:
    """The run in force, if any, and those that have ended."""

    def __init__(self) -> None:
        self.current: Run | None = None
        self._ended: deque[str] = deque(maxlen=_REMEMBERED)

    def of(self, chunk: ActionChunk) -> Run | None:
        """The run in force if the chunk belongs to it."""
        run = self.current
        return run if run and run.run_id == chunk.run_id else None

    def check(self, chunk: ActionChunk, *, starved: bool) -> None:
        """Refuses chunks of other runs and chunks out of order.

        Args:
            chunk: with or without rows.
            starved: another run may take the place of the one in force.

        Raises:
            ChunkRejectedError: its run has ended or is not the one in force, or its id does not
                follow.
        """
        if chunk.run_id in self._ended:
            raise ChunkRejectedError(f"run {chunk.run_id} has ended")
        run = self.current
        if run is None:
            return
        if run.run_id != chunk.run_id:
            if chunk.horizon and not starved and not run.ending:
                raise ChunkRejectedError(f"policy run {run.run_id} is under way")
            return
        if chunk.chunk_id <= run.last_chunk_id:
            raise ChunkRejectedError(
                f"ids must increase within a run, the last was {run.last_chunk_id}"
            )
        if run.ending and chunk.horizon:
            raise ChunkRejectedError(f"chunk {run.last_chunk_id} was the last of its run")

    def begin(self, chunk: ActionChunk) -> Run:
        """Ends the run in force and begins that of the chunk."""
        self.end()
        self.current = Run(chunk.run_id, chunk.chunk_id)
        return self.current

    def end(self) -> None:
        """Ends the run in force, if there is one."""
        if self.current:
            self._ended.append(self.current.run_id)
        self.current = None

    def end_other(self, run_id: str) -> None:
        """A run that is not in force is over before it has begun."""
        self._ended.append(run_id)
