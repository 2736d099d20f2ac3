"""The control loop's reports as messages: every counter is in the status and in /diagnostics."""

import dataclasses

from trossen_pi0_control.diagnosis import ArmDiagnosis
from trossen_pi0_control.messages import status_msg
from trossen_pi0_control.reports import Snapshot
from trossen_pi0_control.tick_statistics import TickSummary
from trossen_pi0_core.diagnostics import Level
from trossen_pi0_core.execution import Counters, State
from trossen_pi0_core.parameters import ArmControllerParameters

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


def look(counters, state=State.EXECUTING, before=COUNTERS, **parameters):
    """The entries a second after others, by name."""
    diagnosis = ArmDiagnosis()
    params = ArmControllerParameters(**parameters)
    diagnosis.look(snapshot(before), params, 0.0)
    return {aspect.name: aspect for aspect in diagnosis.look(snapshot(counters, state), params, 1)}


def test_the_diagnosis_has_every_counter():
    aspects = look(COUNTERS)
    assert list(aspects) == ["state", "arm left", "arm right", "timing", "limits", "chunks"]
    told = {key: value for aspect in aspects.values() for key, value in aspect.values.items()}
    names = [
        "accepted",
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
    ]
    values = [told[name] for name in names]
    assert values == [1, 2, "why", 3, 4, 5, 6, 7, 8, 9, 10, 11, 12.0, 13, 14]
    assert {aspect.level for aspect in aspects.values()} == {Level.OK}
    assert aspects["arm left"].hardware_id == "192.168.1.5"


def test_events_of_the_last_minute_are_graded_where_they_belong():
    more = dataclasses.replace(COUNTERS, speed_limit_events=12, starvations=4)
    aspects = look(more)
    assert aspects["limits"].level == Level.WARN
    assert aspects["limits"].message == "speed limit events [1/min] is 2, WARN from 1"
    assert aspects["chunks"].message == "starvations [1/min] is 1, WARN from 1"
    assert aspects["timing"].level == Level.OK
    worse = look(more, error_limit_events=2)
    assert worse["limits"].level == Level.ERROR
    assert look(more, warn_limit_events=3)["limits"].level == Level.OK
    anew = look(Counters(chunks_accepted=5))  # a new activation begins at zero
    assert {aspect.level for aspect in anew.values()} == {Level.OK}


def test_a_failed_arm_and_a_latched_stop_are_errors():
    stopped = look(COUNTERS, State.ESTOP)["state"]
    assert (stopped.level, stopped.message) == (Level.ERROR, "ESTOP")
    assert look(COUNTERS, State.STARVED)["state"].level == Level.WARN
    failed = dataclasses.replace(snapshot(), failures={"right": "its feedback stands still"})
    aspects = ArmDiagnosis().look(failed, ArmControllerParameters(), 0.0)
    levels = {aspect.name: aspect.level for aspect in aspects}
    assert (levels["arm left"], levels["arm right"]) == (Level.OK, Level.ERROR)


def test_a_chunk_that_gets_old_is_a_warning_before_the_arms_hold():
    for age_s, level in ((1.9, Level.OK), (2.1, Level.WARN), (2.6, Level.ERROR)):
        old = dataclasses.replace(snapshot(), chunk_age_s=age_s)
        aspects = ArmDiagnosis().look(old, ArmControllerParameters(), 0.0)
        assert {aspect.name: aspect.level for aspect in aspects}["chunks"] == level
