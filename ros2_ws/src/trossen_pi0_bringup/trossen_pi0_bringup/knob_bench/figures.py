"""What one row of the bench measures, from the topics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from trossen_pi0_bringup.knob_bench.laps import phase
from trossen_pi0_bringup.knob_bench.rows import Row
from trossen_pi0_bringup.recording import EpisodeRecording, Series
from trossen_pi0_bringup.virtual import metrics
from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_msgs.msg import ControllerStatus, PolicyStatus

Array = NDArray[np.float64]

SAMPLE_S = 0.02
"""Positions are compared at this distance in time [s]."""


@dataclass(frozen=True)
class Snapshot:
    """Counters at one instant.

    Attributes:
        stamp_ns: ROS time [ns].
        policy: its last status.
        controller: its last status.
    """

    stamp_ns: int
    policy: PolicyStatus
    controller: ControllerStatus


@dataclass(frozen=True)
class RowFigures:
    """Means over the time of one row; NaN where there is none.

    Attributes:
        chunks_per_s: published [1/s].
        laps_per_min: how fast the work gets on [1/min].
        jerk: RMS of the commands' third derivative, revolute joints [rad/s^3].
        still: part of the time in which the commands stand still [1].
        starvations: times a run was left without a chunk, or its chunk became too old [1/min].
        pauses: times the policy paused the run [1/min].
        expected_delay_s: at the end [s].
        chunk_age_s: mean age of the observation behind the chunk in force [s].
        tracking_rad: RMS distance of measurement and command, revolute joints [rad].
        ended: how and after what time the run ended by itself; empty: it went on.
    """

    chunks_per_s: float
    laps_per_min: float
    jerk: float
    still: float
    starvations: float
    pauses: float
    expected_delay_s: float
    chunk_age_s: float
    tracking_rad: float
    ended: str = ""


def row_figures(
    before: Snapshot,
    after: Snapshot,
    recording: EpisodeRecording,
    ages_s: Sequence[float],
    ended: str,
) -> RowFigures:
    """Figures of the time between two snapshots.

    Args:
        before: at the beginning.
        after: at the end.
        recording: covers this time.
        ages_s: of the chunk in force, as the statuses told them meanwhile.
        ended: how the run ended; empty: it went on.
    """
    duration_s = (after.stamp_ns - before.stamp_ns) / NANOSECONDS
    commands, measured = positions(
        [recording.commands, recording.measured], before.stamp_ns, after.stamp_ns
    )
    still_s = metrics.still_time(commands, SAMPLE_S, metrics.STILL)
    off = (commands - measured)[:, metrics.REVOLUTE]
    then, now = before.controller, after.controller
    starved = now.starvation_count - then.starvation_count
    timeouts = now.chunk_timeouts - then.chunk_timeouts
    seen_s = SAMPLE_S * (len(commands) - 1) if len(commands) > 1 else math.nan
    turns = np.diff(np.unwrap(phase(commands))).sum() / (2.0 * math.pi)
    per_min = 60.0 / duration_s
    chunks = after.policy.chunks_published - before.policy.chunks_published
    return RowFigures(
        chunks_per_s=chunks / duration_s,
        laps_per_min=turns / seen_s * 60.0,
        jerk=metrics.rms_jerk(commands[:, metrics.REVOLUTE], SAMPLE_S, still_s),
        still=still_s / seen_s,
        starvations=(starved + timeouts) * per_min,
        pauses=(after.policy.pauses - before.policy.pauses) * per_min,
        expected_delay_s=after.policy.expected_delay_s,
        chunk_age_s=metrics.finite_mean(ages_s),
        tracking_rad=float(np.sqrt(np.mean(off**2))) if off.size else math.nan,
        ended=ended,
    )


def positions(series: Sequence[Series], first_ns: int, last_ns: int) -> list[Array]:
    """Positions at equal times that all series cover, each of shape (n, joints) [rad; m].

    Between those that were seen they are cubic.
    """
    curves: list[CubicSpline] = []
    for each in series:
        stamps_ns, values = each.arrays()
        if len(stamps_ns) < 2:
            return [np.zeros((0, len(metrics.STILL))) for _ in series]
        stamps_ns, first = np.unique(stamps_ns, return_index=True)
        curves.append(CubicSpline((stamps_ns - first_ns) / NANOSECONDS, values[first]))
    begin_s = max(0.0, *(curve.x[0] for curve in curves))
    end_s = min((last_ns - first_ns) / NANOSECONDS, *(curve.x[-1] for curve in curves))
    at_s = np.arange(begin_s, end_s, SAMPLE_S)
    return [curve(at_s) for curve in curves]


_COLUMNS = (
    ("chunks [1/s]", "chunks_per_s", 1.0, 1),
    ("laps [1/min]", "laps_per_min", 1.0, 1),
    ("jerk [rad/s³]", "jerk", 1.0, 0),
    ("standing still [%]", "still", 100.0, 0),
    ("starved [1/min]", "starvations", 1.0, 0),
    ("paused [1/min]", "pauses", 1.0, 0),
    ("expected delay [ms]", "expected_delay_s", 1e3, 0),
    ("age of the chunk [ms]", "chunk_age_s", 1e3, 0),
    ("tracking RMS [mrad]", "tracking_rad", 1e3, 0),
)


def table(results: Sequence[tuple[Row, RowFigures]]) -> str:
    """The rows in Markdown."""
    titles = ["parameters", "inference [ms]", *(title for title, *_ in _COLUMNS), "the run"]
    lines = [titles, ["---", "---", *("---:" for _ in _COLUMNS), "---"]]
    for row, figures in results:
        numbers = (
            metrics.number_text(getattr(figures, name) * scale, digits)
            for _, name, scale, digits in _COLUMNS
        )
        lines.append([row.title, row.latency_text, *numbers, figures.ended or "goes on"])
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
