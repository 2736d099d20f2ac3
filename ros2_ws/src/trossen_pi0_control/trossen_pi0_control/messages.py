"""The control loop's status as a message."""

from __future__ import annotations

from trossen_pi0_control.reports import Snapshot
from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_msgs.msg import ControllerStatus
from trossen_pi0_ros.convert import time_msg


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
