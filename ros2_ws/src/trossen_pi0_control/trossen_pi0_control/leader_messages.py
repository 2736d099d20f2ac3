"""The leader loop's reports as messages."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from trossen_pi0_control.leader_loop import TeleopSnapshot
from trossen_pi0_control.teleop import TeleopCounters, TeleopState
from trossen_pi0_core.joints import JOINTS_PER_ARM
from trossen_pi0_msgs.msg import TeleopStatus
from trossen_pi0_ros.convert import time_msg
from trossen_pi0_ros.diagnostics import ERROR, OK, WARN

_LATE_S = 0.005


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


def diagnosis(
    snapshot: TeleopSnapshot, addresses: Mapping[str, str], before: TeleopCounters | None
) -> tuple[bytes, str, dict[str, object]]:
    """Level, message and values for /diagnostics.

    Args:
        snapshot: the present state.
        addresses: name of each leader -> address.
        before: the counters of the last diagnosis of this activation; None for its first. An
            interruption since then makes the level WARN at least.
    """
    counters, ticks = snapshot.counters, snapshot.ticks
    interrupted = counters.interruptions > (before or TeleopCounters()).interruptions
    level = OK
    if snapshot.state == TeleopState.FAULT:
        level = ERROR
    elif interrupted or ticks.lateness_p99_s > _LATE_S:
        level = WARN
    message = snapshot.state.name + (f": {snapshot.reason}" if snapshot.reason else "")
    values: dict[str, object] = {
        "run": snapshot.run_id,
        "chunks": counters.chunks,
        "sessions": counters.sessions,
        "interruptions": counters.interruptions,
        "largest difference [rad]": largest_difference(snapshot),
        "joints apart": "; ".join(snapshot.apart),
        "force feedback": snapshot.force_share,
        "ticks": ticks.ticks,
        "missed deadlines": ticks.missed_deadlines,
        "tick lateness p99 [s]": ticks.lateness_p99_s,
        "driver round trip p99 [s]": ticks.round_trip_p99_s,
    }
    for arm, address in addresses.items():
        values[f"leader {arm} ({address})"] = snapshot.failures.get(f"leader {arm}", "ok")
    return level, message, values
