"""When a running stack counts as healthy. No ROS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

JOINTS, CONTROLLER, POLICY = "/joint_states", "/arm_controller/status", "/policy/status"

REQUIRED = (JOINTS, CONTROLLER)
"""Topics that every stack has; a policy there is only where somebody publishes its status."""


@dataclass(frozen=True)
class Heard:
    """The newest message of a topic.

    Attributes:
        age_s: its stamp's age when it came [s].
        state: what its sender says it does, such as ``HOLDING``; empty where it says nothing.
        reason: why it is in this state.
        broken: whether that is a state of failure.
    """

    age_s: float
    state: str = ""
    reason: str = ""
    broken: bool = False


def problems(
    heard: Mapping[str, Heard], expected: Sequence[str], max_age_s: float, timeout_s: float
) -> list[str]:
    """What is wrong, one sentence for each expected topic that is not well.

    Args:
        heard: newest message by topic.
        expected: topics that must be alive.
        max_age_s: oldest stamp of a live message [s]; from the future it is as far off.
        timeout_s: how long was listened [s].
    """
    found: list[str] = []
    for topic in expected:
        message = heard.get(topic)
        if message is None:
            found.append(f"{topic}: no message within {timeout_s:g} s")
        elif abs(message.age_s) > max_age_s:
            found.append(
                f"{topic}: its newest message is {message.age_s:.2f} s old, "
                f"{max_age_s:g} s is allowed"
            )
        elif message.broken:
            found.append(f"{topic}: {message.state}: {message.reason or 'no reason given'}")
    return found


def summary(heard: Mapping[str, Heard]) -> str:
    """One line for a healthy stack."""
    return ", ".join(
        f"{topic} {message.state}".rstrip() + f" ({1e3 * message.age_s:.0f} ms)"
        for topic, message in sorted(heard.items())
    )
