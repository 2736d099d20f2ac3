"""The state of policy and arm controller in a few lines."""

from __future__ import annotations

import math
from dataclasses import dataclass

SILENT_S = 2.0
"""A node that has said nothing for so long is told to be silent [s]."""

GOOD, BUSY, BAD = "good", "busy", "bad"
"""Levels of a text."""

_BAD_STATES = ("ERROR", "FAULT", "ESTOP")
_BUSY_STATES = ("STALLED", "STARVED")
_LONGEST = 70  # characters of a line


@dataclass(frozen=True)
class PolicyView:
    """What is shown of PolicyStatus.

    Attributes:
        state: name of its state.
        reason: why; may be empty.
        backend: name of the backend.
        prompt: instruction.
        execution: "blocking", "async" or "rtc".
        chunk_id: last chunk; 0 before the first.
        latency_s: of the last inference [s]; NaN before the first.
        age_s: since the status was taken [s].
    """

    state: str
    reason: str
    backend: str
    prompt: str
    execution: str
    chunk_id: int
    latency_s: float
    age_s: float


@dataclass(frozen=True)
class ControllerView:
    """What is shown of ControllerStatus.

    Attributes:
        state: name of its state.
        reason: why; may be empty.
        mode: "autonomous" or "test".
        chunk_age_s: age of the observation behind the chunk in force [s]; NaN without one.
        age_s: since the status was taken [s].
    """

    state: str
    reason: str
    mode: str
    chunk_age_s: float
    age_s: float


def status_lines(policy: PolicyView | None, controller: ControllerView | None) -> list[str]:
    """Text for people, a few short lines; None: nothing has been heard."""
    lines: list[str] = []
    if policy is None:
        lines.append("policy: nothing heard")
    else:
        lines.append(f"policy {policy.state}{_silence(policy.age_s)}  {policy.backend}")
        lines += [policy.reason, policy.prompt and f'"{policy.prompt}"']
        chunk = f"chunk {policy.chunk_id}  {policy.execution}"
        lines.append(f"{chunk}  inference {_milliseconds(policy.latency_s)}")
    if controller is None:
        lines.append("arms: nothing heard")
    else:
        mode = "  TEST: nothing is sent to the arms" if controller.mode == "test" else ""
        lines.append(f"arms {controller.state}{_silence(controller.age_s)}{mode}")
        lines.append(controller.reason)
        if math.isfinite(controller.chunk_age_s):
            lines.append(f"chunk age {_milliseconds(controller.chunk_age_s)}")
    return [_short(line) for line in lines if line]


def status_level(policy: PolicyView | None, controller: ControllerView | None) -> str:
    """The worst of both: ``BAD``, ``BUSY`` or ``GOOD``."""
    views = [view for view in (policy, controller) if view is not None]
    states = [view.state for view in views]
    if any(state in _BAD_STATES for state in states):
        return BAD
    waiting = len(views) < 2 or any(view.age_s > SILENT_S for view in views)
    return BUSY if waiting or any(state in _BUSY_STATES for state in states) else GOOD


def _silence(age_s: float) -> str:
    return f" (silent for {age_s:.0f} s)" if age_s > SILENT_S else ""


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:.0f} ms" if math.isfinite(seconds) else "none yet"


def _short(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
