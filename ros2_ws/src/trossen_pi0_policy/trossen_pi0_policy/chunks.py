"""Makes and numbers the chunks of one run."""

from __future__ import annotations

import numpy as np

from trossen_pi0_core.contract import ActionChunk, Execution, Observation
from trossen_pi0_policy.backends.base import Inference
from trossen_pi0_policy.state import RunSettings


class ChunkStream:
    """The chunks of one run, in the order of their publication. Times are ROS time [ns].

    Attributes:
        run_id: id of the run.
        last: last published chunk.
        count: how many were published.
        published_ns: when the last one was.
    """

    def __init__(self, run_id: str, joint_names: tuple[str, ...]) -> None:
        """Args:
        run_id: id that each chunk carries.
        joint_names: columns of the chunks.
        """
        self.run_id = run_id
        self.last: ActionChunk | None = None
        self.count = 0
        self.published_ns = 0
        self._joint_names = joint_names

    def make(
        self,
        observation: Observation,
        inference: Inference,
        execution: Execution,
        settings: RunSettings,
        now_ns: int,
        *,
        at_rest: bool,
    ) -> ActionChunk:
        """An answer as a chunk.

        Blocking, its first row is due now, and the arms wait after some rows. Otherwise it is due
        at the observation's stamp; but where the arms have stood still since (``at_rest``), what
        was planned from there begins with its first row now.

        The first chunk of a run may begin with a ramp, and is not the last for that reason.

        Raises:
            InvalidChunkError: the answer makes no chunk.
        """
        blocking = execution == Execution.BLOCKING
        rate = settings.rate_of_inference
        stops = blocking and not inference.done and rate < len(inference.positions)
        begin_ns = now_ns if at_rest else observation.stamp_ns
        agrees = execution == Execution.RTC and not inference.first_due_ns
        return ActionChunk(
            run_id=self.run_id,
            chunk_id=self.count + 1,
            observation_stamp_ns=observation.stamp_ns,
            t_first_ns=now_ns if blocking else begin_ns + inference.first_due_ns,
            period_ns=settings.period_ns,
            joint_names=self._joint_names,
            positions=inference.positions,
            last=inference.done and self.last is not None,
            execution=execution,
            execute_rows=rate if stops else 0,
            committed_rows=inference.committed_rows if agrees else 0,
        )

    def moves(self, now_ns: int) -> bool:
        """Whether the last chunk has rows that are still to come."""
        return self.last is not None and self.last.horizon > 0 and now_ns < self.last.t_hold_ns

    def published(self, chunk: ActionChunk, now_ns: int) -> None:
        """A chunk was handed out for publication."""
        self.last = chunk
        self.count += 1
        self.published_ns = now_ns

    def rest(self, reason: str, now_ns: int, *, ends: bool) -> ActionChunk | None:
        """Hands out the order to come to rest; None when no chunk was published before.

        Args:
            reason: why.
            now_ns: present time [ns].
            ends: the run ends with it; else it is paused.
        """
        if self.last is None:
            return None
        chunk = ActionChunk(
            run_id=self.run_id,
            chunk_id=self.count + 1,
            observation_stamp_ns=self.last.observation_stamp_ns,
            t_first_ns=now_ns,
            period_ns=self.last.period_ns,
            joint_names=self._joint_names,
            positions=np.zeros((0, len(self._joint_names))),
            last=ends,
            execution=self.last.execution,
            reason=reason,
        )
        self.published(chunk, now_ns)
        return chunk
