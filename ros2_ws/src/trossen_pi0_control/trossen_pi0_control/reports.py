"""What the control loop tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from trossen_pi0_control.arm_group import Feedback
from trossen_pi0_control.tick_statistics import TickSummary
from trossen_pi0_core.execution import Command, Counters, State


class Listener(Protocol):
    """Told what happens, on the control thread: must return within a fraction of a period."""

    def on_feedback(self, stamp_ns: int, feedback: Feedback) -> None:
        """The arms have been read at this ROS time [ns]."""
        ...

    def on_command(self, stamp_ns: int, command: Command) -> None:
        """A command was computed for this ROS time [ns] and, unless the mode is test, sent.

        Called at the command rate, while there are commands.
        """
        ...

    def on_state(self, state: State, reason: str) -> None:
        """The state or its reason has changed."""
        ...


@dataclass(frozen=True)
class Snapshot:
    """The controller at one instant.

    Attributes:
        state: what it does.
        reason: why.
        run_id: policy run in force; empty when there is none.
        chunk_id: newest chunk in force; 0 when there is none.
        chunk_age_s: age of the observation behind it [s]; NaN when there is none.
        chunk_delay_s: by how much its rows are late, since limits slow the arms down [s].
        counters: events since activation.
        ticks: how well the loop keeps its time.
        failures: name of each failed arm -> why.
    """

    state: State
    reason: str
    run_id: str
    chunk_id: int
    chunk_age_s: float
    chunk_delay_s: float
    counters: Counters
    ticks: TickSummary
    failures: dict[str, str]
