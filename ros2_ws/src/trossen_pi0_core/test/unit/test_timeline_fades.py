"""Fades that keep the limits, and delays."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike

from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.limits import JointLimits
from trossen_pi0_core.timeline import ChunkTimeline

T0 = 1_700_000_000_000_000_000
MS = 1_000_000
HOLD = np.zeros(1)


def chunk(rows: ArrayLike, *, first_ms: float = 0.0) -> ActionChunk:
    """A chunk of one joint with a row every 100 ms; times from T0."""
    return ActionChunk(
        run_id="run",
        chunk_id=1,
        observation_stamp_ns=T0,
        t_first_ns=T0 + round(first_ms * MS),
        period_ns=100 * MS,
        joint_names=("a",),
        positions=np.reshape(np.asarray(rows, dtype=np.float64), (-1, 1)),
    )


def constant(value: float, *, first_ms: float = 0.0, rows: int = 10) -> ActionChunk:
    return chunk([value] * rows, first_ms=first_ms)


def place(timeline: ChunkTimeline, at_ms: float) -> float | None:
    sample = timeline.sample(T0 + round(at_ms * MS))
    return None if sample is None else float(sample.positions[0])


LIMITS = JointLimits(("a",), np.full(1, -10.0), np.full(1, 10.0), np.full(1, 2.0), np.full(1, 10.0))


def peak(timeline: ChunkTimeline, from_ms: int, to_ms: int) -> tuple[float, float]:
    """Largest speed [rad/s] and acceleration [rad/s^2] between two times."""
    path = timeline.path(T0 + np.arange(from_ms, to_ms, 5) * MS)[:, 0]
    speeds = np.diff(path) / 0.005
    return float(np.abs(speeds).max()), float(np.abs(np.diff(speeds)).max() / 0.005)


@pytest.mark.parametrize("offset", [0.05, 0.2, 0.4])
def test_a_chunk_that_leads_far_away_is_faded_in_within_half_of_the_limits(offset: float) -> None:
    timeline = ChunkTimeline(blend_ns=100 * MS)
    timeline.add(constant(0.0, rows=30), T0, HOLD, None, LIMITS)
    assert place(timeline, 500) == 0.0
    timeline.add(constant(offset, rows=30), T0 + 500 * MS, HOLD, None, LIMITS)
    speed_peak, acceleration_peak = peak(timeline, 500, 1600)
    assert speed_peak <= 1.0 * 1.02
    assert acceleration_peak <= 5.0 * 1.05
    assert place(timeline, 1600) == pytest.approx(offset)


def test_a_chunk_that_agrees_is_faded_in_over_the_blend() -> None:
    timeline = ChunkTimeline(blend_ns=100 * MS)
    timeline.add(constant(0.0, rows=30), T0, HOLD, None, LIMITS)
    timeline.add(constant(0.005, rows=30), T0 + 500 * MS, HOLD, None, LIMITS)
    assert place(timeline, 550) == pytest.approx(0.0025)
    assert place(timeline, 600) == pytest.approx(0.005)


def test_without_a_blend_no_chunk_is_faded_in_whatever_the_limits() -> None:
    timeline = ChunkTimeline()
    timeline.add(constant(0.0, rows=30), T0, HOLD, None, LIMITS)
    timeline.add(constant(0.4, rows=30), T0 + 500 * MS, HOLD, None, LIMITS)
    assert place(timeline, 501) == pytest.approx(0.4)


def test_a_member_that_has_come_to_disagree_is_faded_out_within_half_of_the_limits() -> None:
    timeline = ChunkTimeline(blend_ns=100 * MS, ensemble_coefficient=0.0)
    timeline.add(chunk([0.04 * i for i in range(20)]), T0, HOLD, None, LIMITS)
    assert place(timeline, 400) == pytest.approx(0.16)
    timeline.add(chunk([0.16] * 30, first_ms=400), T0 + 400 * MS, HOLD, None, LIMITS)
    _, acceleration_peak = peak(timeline, 1000, 2500)
    assert acceleration_peak <= 5.0
    assert place(timeline, 2100) == pytest.approx(0.16)


def test_rows_that_are_late_are_told() -> None:
    timeline = ChunkTimeline()
    assert timeline.delay_ns == 0
    timeline.add(constant(0.0), T0, HOLD)
    timeline.delay(30 * MS)
    assert timeline.delay_ns == 30 * MS
    timeline.add(constant(0.0, first_ms=500), T0 + 500 * MS, HOLD)
    assert timeline.delay_ns == 0
