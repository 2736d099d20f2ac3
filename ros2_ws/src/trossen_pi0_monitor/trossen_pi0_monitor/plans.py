"""Planned gripper paths of the newest chunks, and how much of each was executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trossen_pi0_core.contract import NANOSECONDS, ActionChunk
from trossen_pi0_monitor.tips import TipPath, Tips

_LINGER_NS = NANOSECONDS  # a path is shown so long after its last row


@dataclass
class Plan:
    """The paths of one chunk.

    Attributes:
        chunk: it.
        paths: by arm.
        begin_ns: when it can take over: its first row's time, or its publication if that was later.
        executed: first and last row that were executed, with fractions; None: not yet.
    """

    chunk: ActionChunk
    paths: Mapping[str, TipPath]
    begin_ns: int
    executed: tuple[float, float] | None = None

    def row(self, at_ns: int) -> float:
        """The row in force at a time, with fractions, within the chunk's rows."""
        row = (at_ns - self.chunk.t_first_ns) / self.chunk.period_ns
        return min(max(row, 0.0), self.chunk.horizon - 1.0)


class PlanHistory:
    """The newest chunk of a run and some before it. Times are ROS time."""

    def __init__(self, tips: Tips, keep: int = 1) -> None:
        """Args:
        tips: of the robot.
        keep: so many chunks before the newest are kept.
        """
        self._tips = tips
        self.keep = keep
        self._plans: list[Plan] = []  # newest first

    @property
    def plans(self) -> tuple[Plan, ...]:
        """The newest first."""
        return tuple(self._plans[: self.keep + 1])

    def add(self, chunk: ActionChunk, published_ns: int) -> None:
        """Takes a chunk; one of another run begins anew, one without rows is left out.

        Raises:
            JointError: a joint of an arm is missing.
        """
        if not chunk.horizon:
            return
        paths = self._tips.paths(chunk.joint_names, chunk.positions)
        if self._plans and self._plans[0].chunk.run_id != chunk.run_id:
            self._plans.clear()
        self._plans.insert(0, Plan(chunk, paths, max(chunk.t_first_ns, published_ns)))
        del self._plans[self.keep + 1 :]

    def advance(self, now_ns: int, run_id: str, delay_ns: int) -> None:
        """The arms have followed the chunks up to now.

        Args:
            now_ns: the present.
            run_id: run that the arms execute; empty: none.
            delay_ns: by how much the rows are late, since limits slow the arms down.
        """
        until_ns = now_ns
        for plan in self._plans:
            if plan.begin_ns < until_ns and plan.chunk.run_id == run_id:
                end_ns = min(until_ns, plan.chunk.t_hold_ns) - delay_ns
                start = plan.row(plan.begin_ns - delay_ns)
                first, last = plan.executed or (start, start)
                plan.executed = first, max(last, plan.row(end_ns))
            until_ns = min(until_ns, plan.begin_ns)

    def drop_past(self, now_ns: int) -> None:
        """Forgets chunks that ended a while ago."""
        self._plans = [p for p in self._plans if now_ns < p.chunk.t_end_ns + _LINGER_NS]

    def clear(self) -> None:
        """Forgets all."""
        self._plans.clear()
