"""The parameter ``realtime_priority`` of nodes that talk to arms."""

from __future__ import annotations

from typing import Any

from trossen_pi0_core.parameters.spec import parameter


def priority_parameter() -> Any:
    """A field for it."""
    return parameter(
        50,
        "Real-time priority (SCHED_FIFO) of the threads that talk to the arms, where the system "
        "grants it; 0: none.",
        low=0,
        high=99,
    )
