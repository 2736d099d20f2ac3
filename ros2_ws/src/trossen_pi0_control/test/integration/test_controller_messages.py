"""The control loop's reports as messages: every counter is in the status and in /diagnostics."""

import dataclasses

from diagnostic_msgs.msg import DiagnosticStatus

from trossen_pi0_control.messages import diagnosis, status_msg
from trossen_pi0_control.reports import Snapshot
from trossen_pi0_control.tick_statistics import TickSummary
from trossen_pi0_core.execution import Counters, State

COUNTERS = Counters(1, 2, "why", 3, 4, 5, 6, 7, 8, 9, 10, 11, 12_000_000_000, 13, 14)


def snapshot(counters=COUNTERS, state=State.EXECUTING):
    return Snapshot(state, "", "run", 1, 0.1, 0.2, counters, TickSummary(), {})


def test_the_status_has_every_counter():
    message = status_msg(snapshot(), "autonomous", 5_000_000_000)
    assert (message.chunks_accepted, message.chunks_rejected, message.last_rejection) == (
        1,
        2,
        "why",
    )
    assert (message.starvation_count, message.pause_count, message.chunk_timeouts) == (3, 4, 5)
    assert (message.clock_jumps, message.fault_count, message.estop_count) == (6, 7, 8)
    assert (message.position_limit_events, message.speed_limit_events) == (9, 10)
    assert (message.acceleration_limit_events, message.slowdown_s) == (11, 12.0)
    assert (message.effort_events, message.round_trip_events) == (13, 14)
    assert message.header.stamp.sec == 5
    assert len(dataclasses.fields(Counters)) == 15  # a new one belongs above


def test_the_diagnosis_has_every_counter():
    _, _, values = diagnosis(snapshot(), "autonomous", {}, COUNTERS)
    told = [
        values[name]
        for name in (
            "chunks accepted",
            "chunks rejected",
            "last rejection",
            "starvations",
            "pauses",
            "chunk timeouts",
            "clock jumps",
            "faults",
            "e-stops",
            "position limit events",
            "speed limit events",
            "acceleration limit events",
            "slow-down [s]",
            "effort events",
            "round trip events",
        )
    ]
    assert told == [1, 2, "why", 3, 4, 5, 6, 7, 8, 9, 10, 11, 12.0, 13, 14]


def test_events_since_the_last_diagnosis_are_a_warning():
    level, message, _ = diagnosis(snapshot(), "autonomous", {}, COUNTERS)
    assert (level, message) == (DiagnosticStatus.OK, "EXECUTING")
    more = dataclasses.replace(COUNTERS, speed_limit_events=12, starvations=4)
    level, message, _ = diagnosis(snapshot(more), "autonomous", {}, COUNTERS)
    assert level == DiagnosticStatus.WARN
    assert message == "EXECUTING (new: 1 starvations, 2 speed limit events)"
    level, _, _ = diagnosis(snapshot(Counters(chunks_accepted=5)), "autonomous", {}, None)
    assert level == DiagnosticStatus.OK
    level, message, _ = diagnosis(snapshot(more, State.ESTOP), "autonomous", {}, COUNTERS)
    assert (level, message) == (DiagnosticStatus.ERROR, "ESTOP")
