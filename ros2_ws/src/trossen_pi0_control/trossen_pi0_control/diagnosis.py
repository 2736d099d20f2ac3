"""How the arms and their control loop are, for /diagnostics."""

from __future__ import annotations

from collections.abc import Mapping

from trossen_pi0_control.reports import Snapshot
from trossen_pi0_control.tick_statistics import TickSummary
from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.diagnostics import Aspect, Bounds, Level, RecentCounts
from trossen_pi0_core.execution import Counters, State
from trossen_pi0_core.parameters import ArmControllerParameters, LeaderArmsParameters
from trossen_pi0_core.parameters.bounds import bounds_of

LIMIT_EVENTS = {
    "position limit events": "position_limit_events",
    "speed limit events": "speed_limit_events",
    "acceleration limit events": "acceleration_limit_events",
    "effort events": "effort_events",
}
CHUNK_EVENTS = {
    "chunks rejected": "chunks_rejected",
    "starvations": "starvations",
    "chunk timeouts": "chunk_timeouts",
    "clock jumps": "clock_jumps",
}
ROUND_TRIP_EVENTS = {"round trip events": "round_trip_events"}
"""Counters that should stand still, by their names in /diagnostics."""

MISSED = "missed deadlines"

_BAD = {State.FAULT: Level.ERROR, State.ESTOP: Level.ERROR, State.STARVED: Level.WARN}


class ArmDiagnosis:
    """What is to be said about one activation of the arm controller. Not thread-safe."""

    def __init__(self) -> None:
        self._recent = RecentCounts()

    def look(
        self, snapshot: Snapshot, params: ArmControllerParameters, now_s: float
    ) -> list[Aspect]:
        """The entries of the present.

        Args:
            snapshot: the controller's state.
            params: the node's parameters, with the bounds.
            now_s: present time on a clock that never jumps [s].
        """
        events = {**LIMIT_EVENTS, **CHUNK_EVENTS, **ROUND_TRIP_EVENTS}
        totals = {label: int(getattr(snapshot.counters, name)) for label, name in events.items()}
        recent = self._recent.risen({**totals, MISSED: snapshot.ticks.missed_deadlines}, now_s)
        addresses = dict(zip(params.arms, params.arm_addresses, strict=True))
        timing = timing_aspect(snapshot.ticks, recent[MISSED], params)
        round_trip = Bounds(params.round_trip_limit_s, params.driver_stale_s)
        timing.high("driver round trip p99 [s]", snapshot.ticks.round_trip_p99_s, round_trip)
        _events(timing, totals, recent, ROUND_TRIP_EVENTS, bounds_of(params, "missed_deadlines"))
        return [
            _state(snapshot, params.mode),
            *arm_aspects("arm", addresses, snapshot.failures),
            timing,
            _limits(snapshot.counters, totals, recent, params),
            _chunks(snapshot, totals, recent, params),
        ]


def arm_aspects(
    kind: str, addresses: Mapping[str, str], failures: Mapping[str, str]
) -> list[Aspect]:
    """An entry for each arm.

    Args:
        kind: 'arm' or 'leader'.
        addresses: name of each arm -> address.
        failures: name of each failed arm -> why.
    """
    aspects: list[Aspect] = []
    for arm, address in addresses.items():
        aspect = Aspect(f"{kind} {arm}", address, fine="connected")
        aspect.figures({"address": address})
        if arm in failures:
            aspect.say(Level.ERROR, failures[arm])
        aspects.append(aspect)
    return aspects


def timing_aspect(
    ticks: TickSummary, missed: int, params: ArmControllerParameters | LeaderArmsParameters
) -> Aspect:
    """How well a loop keeps its time; ``missed`` deadlines within the last minute."""
    aspect = Aspect("timing", fine="in time")
    aspect.figures({"ticks": ticks.ticks, "tick lateness p50 [s]": ticks.lateness_p50_s})
    lateness = bounds_of(params, "tick_lateness_s")
    aspect.high("tick lateness p99 [s]", ticks.lateness_p99_s, lateness)
    aspect.figures({MISSED: ticks.missed_deadlines})
    aspect.high(f"{MISSED} [1/min]", missed, bounds_of(params, "missed_deadlines"))
    aspect.figures({"driver round trip p50 [s]": ticks.round_trip_p50_s})
    return aspect


def _state(snapshot: Snapshot, mode: str) -> Aspect:
    told = snapshot.state.name + (f": {snapshot.reason}" if snapshot.reason else "")
    if mode == "test":
        told += " (mode test: nothing is sent to the arms)"
    aspect = Aspect("state")
    aspect.say(_BAD.get(snapshot.state, Level.OK), told)
    counters = snapshot.counters
    aspect.figures(
        {
            "mode": mode,
            "run": snapshot.run_id or "none",
            "pauses": counters.pauses,
            "faults": counters.faults,
            "e-stops": counters.estops,
        }
    )
    return aspect


def _limits(
    counters: Counters,
    totals: Mapping[str, int],
    recent: Mapping[str, int],
    params: ArmControllerParameters,
) -> Aspect:
    aspect = Aspect("limits", fine="no limit was met in the last minute")
    _events(aspect, totals, recent, LIMIT_EVENTS, bounds_of(params, "limit_events"))
    aspect.figures({"slow-down [s]": counters.slowdown_ns / NANOSECONDS})
    return aspect


def _chunks(
    snapshot: Snapshot,
    totals: Mapping[str, int],
    recent: Mapping[str, int],
    params: ArmControllerParameters,
) -> Aspect:
    aspect = Aspect("chunks", fine="executing" if snapshot.chunk_id else "none in force")
    aspect.figures({"chunk": snapshot.chunk_id, "accepted": snapshot.counters.chunks_accepted})
    age = Bounds(params.warn_chunk_age_s, params.max_chunk_age_s)
    aspect.high("age of the observation [s]", snapshot.chunk_age_s, age)
    aspect.figures({"delay by limits [s]": snapshot.chunk_delay_s})
    _events(aspect, totals, recent, CHUNK_EVENTS, bounds_of(params, "chunk_events"))
    aspect.figures({"last rejection": snapshot.counters.last_rejection or "none"})
    return aspect


def _events(
    aspect: Aspect,
    totals: Mapping[str, int],
    recent: Mapping[str, int],
    names: Mapping[str, str],
    bounds: Bounds,
) -> None:
    for label in names:
        aspect.figures({label: totals[label]})
        aspect.high(f"{label} [1/min]", recent[label], bounds)
