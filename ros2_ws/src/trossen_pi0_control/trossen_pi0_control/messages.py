"""The control loop's reports as messages."""

from __future__ import annotations

from collections.abc import Mapping

from trossen_pi0_control.reports import Snapshot
from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.execution import Counters, State
from trossen_pi0_msgs.msg import ControllerStatus
from trossen_pi0_ros.convert import time_msg
from trossen_pi0_ros.diagnostics import ERROR, OK, WARN

_LATE_S = 0.005

_EVENTS = {
    "chunks rejected": "chunks_rejected",
    "starvations": "starvations",
    "chunk timeouts": "chunk_timeouts",
    "clock jumps": "clock_jumps",
    "position limit events": "position_limit_events",
    "speed limit events": "speed_limit_events",
    "acceleration limit events": "acceleration_limit_events",
    "effort events": "effort_events",
    "round trip events": "round_trip_events",
}
"""Counters that should stand still, by their names in /diagnostics."""


def status_msg(snapshot: Snapshot, mode: str, stamp_ns: int) -> ControllerStatus:
    """The status, taken at this ROS time [ns]."""
    counters, ticks = snapshot.counters, snapshot.ticks
    message = ControllerStatus(
        state=int(snapshot.state),
        reason=snapshot.reason,
        mode=mode,
        run_id=snapshot.run_id,
        chunk_id=snapshot.chunk_id,
        chunk_age_s=snapshot.chunk_age_s,
        chunk_delay_s=snapshot.chunk_delay_s,
        chunks_accepted=counters.chunks_accepted,
        chunks_rejected=counters.chunks_rejected,
        last_rejection=counters.last_rejection,
        starvation_count=counters.starvations,
        pause_count=counters.pauses,
        chunk_timeouts=counters.chunk_timeouts,
        clock_jumps=counters.clock_jumps,
        fault_count=counters.faults,
        estop_count=counters.estops,
        position_limit_events=counters.position_limit_events,
        speed_limit_events=counters.speed_limit_events,
        acceleration_limit_events=counters.acceleration_limit_events,
        slowdown_s=counters.slowdown_ns / NANOSECONDS,
        effort_events=counters.effort_events,
        round_trip_events=counters.round_trip_events,
        ticks=ticks.ticks,
        missed_deadlines=ticks.missed_deadlines,
        tick_lateness_p99_s=ticks.lateness_p99_s,
        driver_round_trip_p99_s=ticks.round_trip_p99_s,
    )
    message.header.stamp = time_msg(stamp_ns)
    return message


def diagnosis(
    snapshot: Snapshot, mode: str, addresses: Mapping[str, str], before: Counters | None
) -> tuple[bytes, str, dict[str, object]]:
    """Level, message and values for /diagnostics.

    Args:
        snapshot: the controller's state.
        mode: parameter of the node.
        addresses: name of each arm -> address.
        before: the counters of the last diagnosis of this activation; None for its first. An event
            since then makes the level WARN at least, and is in the message of a warning.
    """
    ticks, counters = snapshot.ticks, snapshot.counters
    risen = _risen(counters, before or Counters())
    level = OK
    if snapshot.state in (State.FAULT, State.ESTOP):
        level = ERROR
    elif snapshot.state == State.STARVED or ticks.lateness_p99_s > _LATE_S or risen:
        level = WARN
    message = snapshot.state.name + (f": {snapshot.reason}" if snapshot.reason else "")
    if risen and level == WARN:
        message += f" (new: {', '.join(risen)})"
    values: dict[str, object] = {
        "mode": mode,
        "ticks": ticks.ticks,
        "missed deadlines": ticks.missed_deadlines,
        "tick lateness p50 [s]": ticks.lateness_p50_s,
        "tick lateness p99 [s]": ticks.lateness_p99_s,
        "driver round trip p50 [s]": ticks.round_trip_p50_s,
        "driver round trip p99 [s]": ticks.round_trip_p99_s,
        "chunks accepted": counters.chunks_accepted,
        **{label: getattr(counters, name) for label, name in _EVENTS.items()},
        "last rejection": counters.last_rejection,
        "pauses": counters.pauses,
        "faults": counters.faults,
        "e-stops": counters.estops,
        "slow-down [s]": counters.slowdown_ns / NANOSECONDS,
    }
    for arm, address in addresses.items():
        values[f"arm {arm} ({address})"] = snapshot.failures.get(arm, "ok")
    return level, message, values


def _risen(now: Counters, before: Counters) -> list[str]:
    """Such as '3 speed limit events'."""
    counts = {label: getattr(now, name) - getattr(before, name) for label, name in _EVENTS.items()}
    return [f"{count} {label}" for label, count in counts.items() if count > 0]
