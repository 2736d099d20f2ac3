"""The control loop's reports as messages."""

from __future__ import annotations

from collections.abc import Mapping

from trossen_pi0_control.reports import Snapshot
from trossen_pi0_core.execution import State
from trossen_pi0_msgs.msg import ControllerStatus
from trossen_pi0_ros.convert import time_msg
from trossen_pi0_ros.diagnostics import ERROR, OK, WARN

_LATE_S = 0.005


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
        chunks_accepted=counters.chunks_accepted,
        chunks_rejected=counters.chunks_rejected,
        last_rejection=counters.last_rejection,
        starvation_count=counters.starvations,
        position_limit_events=counters.position_limit_events,
        speed_limit_events=counters.speed_limit_events,
        ticks=ticks.ticks,
        missed_deadlines=ticks.missed_deadlines,
        tick_lateness_p99_s=ticks.lateness_p99_s,
        driver_round_trip_p99_s=ticks.round_trip_p99_s,
    )
    message.header.stamp = time_msg(stamp_ns)
    return message


def diagnosis(
    snapshot: Snapshot, mode: str, addresses: Mapping[str, str]
) -> tuple[bytes, str, dict[str, object]]:
    """Level, message and values for /diagnostics.

    Args:
        snapshot: the controller's state.
        mode: parameter of the node.
        addresses: name of each arm -> address.
    """
    ticks = snapshot.ticks
    level = OK
    if snapshot.state in (State.FAULT, State.ESTOP):
        level = ERROR
    elif snapshot.state == State.STARVED or ticks.lateness_p99_s > _LATE_S:
        level = WARN
    message = snapshot.state.name + (f": {snapshot.reason}" if snapshot.reason else "")
    values: dict[str, object] = {
        "mode": mode,
        "ticks": ticks.ticks,
        "missed deadlines": ticks.missed_deadlines,
        "tick lateness p50 [s]": ticks.lateness_p50_s,
        "tick lateness p99 [s]": ticks.lateness_p99_s,
        "driver round trip p50 [s]": ticks.round_trip_p50_s,
        "driver round trip p99 [s]": ticks.round_trip_p99_s,
        "chunks accepted": snapshot.counters.chunks_accepted,
        "chunks rejected": snapshot.counters.chunks_rejected,
        "starvations": snapshot.counters.starvations,
    }
    for arm, address in addresses.items():
        values[f"arm {arm} ({address})"] = snapshot.failures.get(arm, "ok")
    return level, message, values
