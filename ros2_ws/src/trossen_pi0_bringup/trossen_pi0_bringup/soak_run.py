"""What a long run leaves to be judged: the columns of its table and its rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from trossen_pi0_bringup.soak_trends import Trend, fit_trend, warm_up_end

USAGE_COLUMNS = ("rss_mb", "uss_mb", "threads", "files", "sockets", "processes", "cpu_s")
"""Columns of each process, behind ``<process>.``."""

CONTROLLER_COUNTERS = (
    "ticks",
    "missed_deadlines",
    "fault_count",
    "estop_count",
    "starvation_count",
    "pause_count",
    "chunk_timeouts",
    "clock_jumps",
    "chunks_accepted",
    "chunks_rejected",
    "position_limit_events",
    "speed_limit_events",
    "acceleration_limit_events",
    "effort_events",
    "round_trip_events",
    "slowdown_s",
)
"""Counters of the arm controller that are columns."""

POLICY_COUNTERS = ("pauses", "chunks_published", "inference_failures", "images_received")
"""Counters of the policy that are columns."""

SIM_COUNTERS = ("images_published", "images_skipped")
"""Counters of the simulation that are columns."""

GAUGES = (
    "lateness_p99_ms",
    "round_trip_p99_ms",
    "inference_p50_ms",
    "inference_p95_ms",
    "real_time_factor",
    "shm_mapped",
    "shm_files",
    "shm_mb",
)
"""Columns that are values of the moment, not counters."""

RUN, REST = "run", "rest"
"""Phases: within an episode, and at rest after one."""

Row = dict[str, Any]


@dataclass(frozen=True)
class SoakRun:
    """What a long run left to be judged.

    Attributes:
        processes: names of those that were watched.
        rows: samples in their order.
        passed: of each episode, whether it went well.
        faults: entries into FAULT or ESTOP that were seen.
        leftovers: shared-memory segments that outlived the stack.
        failure: why the stack ended by itself; empty otherwise.
    """

    processes: Sequence[str]
    rows: Sequence[Row]
    passed: Sequence[bool]
    faults: Sequence[str] = ()
    leftovers: Sequence[str] = ()
    failure: str = ""

    def column(self, name: str, *, phase: str = "", from_s: float = -math.inf) -> list[Any]:
        """Values of a column, of one phase and from one time on if so wanted."""
        return [
            row[name]
            for row in self.rows
            if phase in ("", row["phase"]) and row["time_s"] >= from_s
        ]

    def judged_from_s(self, warm_up_s: float) -> float:
        """When the time begins in which memory is judged [s]."""
        return warm_up_end(self.column("time_s"), warm_up_s)

    def increase(self, name: str, from_s: float = -math.inf) -> float:
        """How far a counter rose; it starts anew where its node was activated again."""
        values = [v for v in self.column(name, from_s=from_s) if math.isfinite(v)]
        return float(sum(b - a if b >= a else b for a, b in pairwise(values)))

    def trend(self, name: str, warm_up_s: float) -> Trend | None:
        """Line through a column after the warm-up; None with fewer than three samples."""
        from_s = self.judged_from_s(warm_up_s)
        return fit_trend(self.column("time_s", from_s=from_s), self.column(name, from_s=from_s))

    def mean_cores(self, process: str, from_s: float) -> float:
        """Processor cores that a process used on average from a time on; NaN with one sample."""
        times_s = self.column("time_s", from_s=from_s)
        if len(times_s) < 2:
            return math.nan
        return self.increase(f"{process}.cpu_s", from_s) / (times_s[-1] - times_s[0])

    def cores(self, process: str) -> tuple[list[float], list[float]]:
        """Times [s] and the cores that a process used since the sample before, within episodes."""
        times_s = np.array(self.column("time_s", phase=RUN))
        spent_s = np.array(self.column(f"{process}.cpu_s", phase=RUN), dtype=float)
        shares = np.diff(spent_s) / np.diff(times_s)
        return times_s[1:].tolist(), shares.tolist()
