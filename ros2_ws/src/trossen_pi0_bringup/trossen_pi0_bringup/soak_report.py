"""The verdict over a long run, its table and its figures as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from trossen_pi0_bringup.soak_run import (
    CONTROLLER_COUNTERS,
    POLICY_COUNTERS,
    REST,
    SIM_COUNTERS,
    SoakRun,
)
from trossen_pi0_bringup.soak_trends import MemoryBounds, count_trend

COUNTED = ("threads", "files", "sockets", "processes")
"""What a process must not gather."""

_MEMORY = ("uss_mb", "rss_mb")
_WORST = ("lateness_p99_ms", "round_trip_p99_ms", "inference_p95_ms")


@dataclass(frozen=True)
class Check:
    """One part of the verdict.

    Attributes:
        name: what was looked at.
        passed: None where there is too little to judge.
        figure: what was seen.
        bound: what is allowed.
    """

    name: str
    passed: bool | None
    figure: str
    bound: str


@dataclass(frozen=True)
class SoakBounds:
    """What a long run must keep.

    Attributes:
        memory: growth of each process.
        warm_up_s: beginning of the run of which memory is not judged [s].
        success: smallest part of the episodes that must succeed [1].
    """

    memory: MemoryBounds
    warm_up_s: float
    success: float


def judge(run: SoakRun, bounds: SoakBounds) -> list[Check]:
    """All parts of the verdict."""
    checks = [_memory_check(run, bounds, p, c) for p in run.processes for c in _MEMORY]
    names = [f"{process}.{counted}" for process in run.processes for counted in COUNTED]
    checks += [_count_check(run, name) for name in (*names, "shm_mapped")]
    left = ", ".join(run.leftovers)
    checks.append(Check("shared memory left behind", not left, left or "none", "none"))
    checks.append(_fault_check(run))
    if run.passed:
        rate = sum(run.passed) / len(run.passed)
        figure = f"{sum(run.passed)} of {len(run.passed)} ({rate:.1%})"
        bound = f">= {bounds.success:.1%}"
        checks.append(Check("episodes that succeeded", rate >= bounds.success, figure, bound))
    else:
        checks.append(Check("episodes that succeeded", None, "none ended", ""))
    checks.append(Check("stack stayed up", not run.failure, run.failure or "yes", "yes"))
    return checks


def _memory_check(run: SoakRun, bounds: SoakBounds, process: str, column: str) -> Check:
    name, memory = f"{process}.{column}", bounds.memory
    allowed = (
        f"<= {memory.per_hour_mb:g} MB/h and <= {memory.fraction:.1%}, "
        f"or <= {memory.floor_mb:g} MB in all"
    )
    trend = run.trend(name, bounds.warm_up_s)
    if trend is None:
        return Check(name, None, "too few samples", allowed)
    figure = f"{trend.per_hour:+.2f} MB/h, {trend.growth:+.2f} MB on {trend.first:.0f} MB"
    return Check(name, trend.is_flat(memory), figure, allowed)


def _count_check(run: SoakRun, name: str) -> Check:
    trend = count_trend(run.column(name, phase=REST))
    if trend is None:
        return Check(name, None, "too few episodes", "no growth")
    return Check(name, trend.leaked == 0, f"{trend.first} -> {trend.last}", "no growth")


def _fault_check(run: SoakRun) -> Check:
    counted = run.increase("fault_count") + run.increase("estop_count")
    seen = "; ".join(run.faults)
    figure = f"{max(counted, len(run.faults)):g}{': ' if seen else ''}{seen}"
    return Check("faults and e-stops", not counted and not run.faults, figure, "0")


def stack_figures(run: SoakRun, warm_up_s: float) -> dict[str, Any]:
    """What happened to the motion and the pictures, ready for JSON.

    Pictures lost are those published but not received. Both counters are read at instants up to a
    status period apart, so that a dozen more or less are none.

    Args:
        run: the run.
        warm_up_s: beginning that is left out of the worst values [s].
    """
    from_s = run.judged_from_s(warm_up_s)
    figures: dict[str, Any] = {"duration_s": _rounded(max(run.column("time_s"), default=0.0))}
    for name in (*CONTROLLER_COUNTERS, *POLICY_COUNTERS, *SIM_COUNTERS):
        figures[name] = _rounded(run.increase(name))
    lost = run.increase("images_published") - run.increase("images_received")
    figures["images_lost"] = _rounded(lost)
    for name in _WORST:
        values = [v for v in run.column(name, from_s=from_s) if math.isfinite(v)]
        figures[name] = {
            "median": _rounded(np.median(values) if values else math.nan),
            "worst": _rounded(max(values, default=math.nan)),
        }
    factors = [f for f in run.column("real_time_factor", from_s=from_s) if f > 0]
    figures["real_time_factor"] = {
        "mean": _rounded(np.mean(factors) if factors else math.nan),
        "worst": _rounded(min(factors, default=math.nan)),
    }
    return figures


def process_figures(run: SoakRun, warm_up_s: float) -> dict[str, dict[str, Any]]:
    """Memory, counts and processor of each process, ready for JSON."""
    from_s = run.judged_from_s(warm_up_s)
    table: dict[str, dict[str, Any]] = {}
    for process in run.processes:
        figures: dict[str, Any] = {}
        for column in _MEMORY:
            trend = run.trend(f"{process}.{column}", warm_up_s)
            figures[column] = None if trend is None else _rounded_all(asdict(trend), trend.growth)
        for counted in COUNTED:
            trend = count_trend(run.column(f"{process}.{counted}", phase=REST))
            figures[counted] = None if trend is None else [trend.first, trend.last]
        figures["cpu_cores"] = _rounded(run.mean_cores(process, from_s))
        table[process] = figures
    return table


def verdict(checks: Sequence[Check]) -> bool:
    """Whether nothing failed."""
    return all(check.passed is not False for check in checks)


def process_table(figures: dict[str, dict[str, Any]]) -> Table:
    """One row a process; what fits 80 columns."""
    table = Table("process", "USS [MB]", "RSS [MB]", "threads", "files", "cores")
    for process, row in figures.items():
        memory = [_memory_cell(row[column]) for column in _MEMORY]
        counts = [_count_cell(row[counted]) for counted in ("threads", "files")]
        cores = row["cpu_cores"]
        table.add_row(process, *memory, *counts, "" if cores is None else f"{cores:.2f}")
    return table


def _memory_cell(trend: dict[str, Any] | None) -> str:
    return f"{trend['first']:.0f} {trend['per_hour']:+.1f}/h" if trend else ""


def _count_cell(pair: list[int] | None) -> str:
    if pair is None:
        return ""
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]} -> {pair[1]}"


def stack_table(figures: dict[str, Any]) -> Table:
    """One row a figure; those that are zero are left out."""
    table = Table("figure", "value")
    for name, value in figures.items():
        if isinstance(value, dict):
            table.add_row(name, ", ".join(f"{k} {v}" for k, v in value.items()))
        elif value is None:
            table.add_row(name, "unknown")
        elif value or name in ("missed_deadlines", "images_lost", "fault_count"):
            table.add_row(name, f"{value:.10g}")
    return table


def failed_table(checks: Sequence[Check]) -> Table:
    """What did not pass."""
    table = Table("failed", "seen", "allowed")
    for check in checks:
        if check.passed is False:
            table.add_row(escape(check.name), escape(check.figure), escape(check.bound))
    return table


def _rounded(value: Any) -> float | None:
    return round(float(value), 4) if math.isfinite(value) else None


def _rounded_all(trend: dict[str, float], growth: float) -> dict[str, float | None]:
    return {name: _rounded(value) for name, value in {**trend, "growth": growth}.items()}
