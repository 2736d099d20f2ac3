"""The leader loop's reports as messages."""

from __future__ import annotations

import math

import numpy as np

from trossen_pi0_control.diagnosis import MISSED, arm_aspects, timing_aspect
from trossen_pi0_control.leader_loop import TeleopSnapshot
from trossen_pi0_control.teleop import TeleopState
from trossen_pi0_core.diagnostics import Aspect, Bounds, Level, RecentCounts
from trossen_pi0_core.joints import JOINTS_PER_ARM
from trossen_pi0_core.parameters import LeaderArmsParameters
from trossen_pi0_msgs.msg import TeleopStatus
from trossen_pi0_ros.convert import time_msg

_INTERRUPTIONS = "interruptions"


def status_msg(snapshot: TeleopSnapshot, stamp_ns: int) -> TeleopStatus:
    """The status, taken at this ROS time [ns]."""
    counters, ticks = snapshot.counters, snapshot.ticks
    message = TeleopStatus(
        state=int(snapshot.state),
        reason=snapshot.reason,
        run_id=snapshot.run_id,
        chunks=counters.chunks,
        sessions=counters.sessions,
        interruptions=counters.interruptions,
        largest_difference=largest_difference(snapshot),
        apart=snapshot.apart,
        force_feedback=snapshot.force_share,
        ticks=ticks.ticks,
        missed_deadlines=ticks.missed_deadlines,
        tick_lateness_p99_s=ticks.lateness_p99_s,
    )
    message.header.stamp = time_msg(stamp_ns)
    return message


def largest_difference(snapshot: TeleopSnapshot) -> float:
    """Of a revolute joint between leader and follower [rad]; NaN when one is not known."""
    if snapshot.differences is None:
        return math.nan
    revolute = snapshot.differences.reshape(-1, JOINTS_PER_ARM)[:, :-1]
    return float(np.abs(revolute).max())


class LeaderDiagnosis:
    """What is to be said about one activation of the leader arms. Not thread-safe."""

    def __init__(self) -> None:
        self._recent = RecentCounts()

    def look(
        self, snapshot: TeleopSnapshot, params: LeaderArmsParameters, now_s: float
    ) -> list[Aspect]:
        """The entries of the present.

        Args:
            snapshot: the present state.
            params: the node's parameters, with the bounds.
            now_s: present time on a clock that never jumps [s].
        """
        counters, ticks = snapshot.counters, snapshot.ticks
        totals = {_INTERRUPTIONS: counters.interruptions, MISSED: ticks.missed_deadlines}
        recent = self._recent.risen(totals, now_s)
        state = Aspect("state")
        level = Level.ERROR if snapshot.state == TeleopState.FAULT else Level.OK
        state.say_state(level, snapshot.state.name, snapshot.reason)
        state.figures(
            {
                "run": snapshot.run_id or "none",
                "chunks": counters.chunks,
                "sessions": counters.sessions,
                _INTERRUPTIONS: counters.interruptions,
                "largest difference [rad]": largest_difference(snapshot),
                "joints apart": "; ".join(snapshot.apart) or "none",
                "force feedback": snapshot.force_share,
            }
        )
        state.high(f"{_INTERRUPTIONS} [1/min]", recent[_INTERRUPTIONS], Bounds(1, math.nan))
        timing = timing_aspect(ticks, recent[MISSED], params)
        timing.figures({"driver round trip p99 [s]": ticks.round_trip_p99_s})
        addresses = dict(zip(params.arms, params.arm_addresses, strict=True))
        failures = {
            arm: snapshot.failures[f"leader {arm}"]
            for arm in addresses
            if f"leader {arm}" in snapshot.failures
        }
        return [state, *arm_aspects("leader", addresses, failures), timing]
