"""Rows at their times, one continuous trajectory out of overlapping chunks."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.motion import Stop
from trossen_pi0_core.timeline import ChunkTimeline

T0 = 1_700_000_000_000_000_000
MS = 1_000_000
HOLD = np.zeros(1)


def chunk(
    rows: ArrayLike, *, first_ms: float = 0.0, period_ms: float = 100.0, chunk_id: int = 1
) -> ActionChunk:
    """A chunk of one joint; times from T0."""
    return ActionChunk(
        run_id="run",
        chunk_id=chunk_id,
        observation_stamp_ns=T0,
        t_first_ns=T0 + round(first_ms * MS),
        period_ns=round(period_ms * MS),
        joint_names=("a",),
        positions=np.reshape(np.asarray(rows, dtype=np.float64), (-1, 1)),
    )


def constant(value: float, *, first_ms: float = 0.0, rows: int = 10) -> ActionChunk:
    return chunk([value] * rows, first_ms=first_ms)


def add(timeline: ChunkTimeline, new: ActionChunk, at_ms: float = 0.0, hold: float = 0.0) -> None:
    timeline.add(new, T0 + round(at_ms * MS), np.array([hold]))


def place(timeline: ChunkTimeline, at_ms: float) -> float | None:
    sample = timeline.sample(T0 + round(at_ms * MS))
    return None if sample is None else float(sample.positions[0])


def speed(timeline: ChunkTimeline, at_ms: float) -> float:
    sample = timeline.sample(T0 + round(at_ms * MS))
    assert sample is not None
    return float(sample.velocities[0])


def test_rows_attract_the_curve_at_their_times() -> None:
    # The ends are reached; between them a sixth of each neighbour and four of the row itself.
    timeline = ChunkTimeline()
    add(timeline, chunk([1.0, 2.0, 4.0, 3.0], first_ms=100), hold=1.0)
    places = [place(timeline, t) for t in (100, 200, 300, 400)]
    assert places == pytest.approx([1.0, 13 / 6, 3.5, 3.0])


def test_an_even_acceleration_is_followed() -> None:
    # Rows on 10 t^2: 20 / s^2 everywhere, and all rows but the ends are shifted alike.
    timeline = ChunkTimeline()
    add(timeline, chunk([0.1 * i * i for i in range(8)]))
    speeds = [speed(timeline, t) for t in (200, 230, 300, 390, 450)]
    assert speeds == pytest.approx([4.0, 4.6, 6.0, 7.8, 9.0])


def test_jitter_from_row_to_row_is_damped_to_a_third() -> None:
    timeline = ChunkTimeline()
    add(timeline, chunk([0.3, -0.3] * 5))
    assert place(timeline, 400) == pytest.approx(0.1)
    assert place(timeline, 500) == pytest.approx(-0.1)


def test_rows_on_a_line_are_joined_by_the_line() -> None:
    timeline = ChunkTimeline()
    add(timeline, chunk([0.0, 0.1, 0.2, 0.3]))
    assert place(timeline, 150) == pytest.approx(0.15)
    assert speed(timeline, 150) == pytest.approx(1.0)
    assert place(timeline, 225) == pytest.approx(0.225)


def test_a_step_in_the_rows_does_not_overshoot() -> None:
    timeline = ChunkTimeline()
    add(timeline, chunk([0.0, 0.0, 1.0, 1.0]))
    places = [place(timeline, t) for t in range(0, 400, 5)]
    assert all(p is not None and 0.0 <= p <= 1.0 for p in places)
    assert [place(timeline, t) for t in (0, 150)] == pytest.approx([0.0, 0.5])
    assert place(timeline, 305) == pytest.approx(1.0)


def test_rows_next_to_zero_are_no_trouble() -> None:
    timeline = ChunkTimeline()
    add(timeline, chunk([0.0, 5e-324, 1e-300, 1.0, 1.0]))
    places = [place(timeline, t) for t in range(0, 500, 20)]
    assert all(p is not None and 0.0 <= p <= 1.0 for p in places)


def test_the_last_row_is_held_for_one_period_and_then_nothing_is_covered() -> None:
    timeline = ChunkTimeline()
    add(timeline, chunk([0.0, 1.0]))
    assert place(timeline, 199.9) == 1.0
    assert speed(timeline, 199.9) == 0.0
    assert timeline.sample(T0 + 200 * MS) is None
    assert timeline.sample(T0 + 10_000 * MS) is None


def test_before_its_time_a_chunk_has_no_part() -> None:
    timeline = ChunkTimeline()
    add(timeline, chunk([1.0, 2.0], first_ms=50), hold=1.0)
    assert place(timeline, 49.9) is None
    assert place(timeline, 50) == 1.0


def test_a_chunk_of_one_row_is_held_for_its_period() -> None:
    timeline = ChunkTimeline()
    add(timeline, chunk([0.7]), hold=0.7)
    assert [place(timeline, t) for t in (0, 99.9)] == [0.7, 0.7]
    assert speed(timeline, 99.9) == 0.0
    assert place(timeline, 100) is None


def test_rows_past_on_arrival_are_never_executed() -> None:
    timeline = ChunkTimeline()
    add(timeline, chunk([0.0, 1.0, 2.0, 3.0]), at_ms=250)
    assert place(timeline, 249.9) is None
    assert place(timeline, 250) == pytest.approx(2.5)
    assert place(timeline, 300) == pytest.approx(3.0)


def test_a_sample_names_the_newest_chunk_in_it() -> None:
    timeline = ChunkTimeline(blend_ns=100 * MS)
    first, second = constant(0.0), constant(1.0, first_ms=200)
    add(timeline, first)
    add(timeline, second)
    for at_ms, expected in ((199, first), (200, second), (900, second)):
        sample = timeline.sample(T0 + at_ms * MS)
        assert sample is not None
        assert sample.chunk is expected


def test_without_a_blend_the_newer_chunk_takes_over_at_once() -> None:
    timeline = ChunkTimeline()
    add(timeline, constant(0.0))
    add(timeline, constant(1.0), at_ms=300)
    assert [place(timeline, t) for t in (300, 301)] == [1.0, 1.0]


def test_a_newer_chunk_is_faded_in_smoothly() -> None:
    # 3 s^2 - 2 s^3 at a quarter, half and three quarters of the blend.
    timeline = ChunkTimeline(blend_ns=100 * MS)
    add(timeline, constant(2.0), hold=2.0)
    add(timeline, constant(4.0, first_ms=200))
    places = [place(timeline, t) for t in (200, 225, 250, 275, 300)]
    assert places == pytest.approx([2.0, 2.3125, 3.0, 3.6875, 4.0])


def test_the_blend_begins_on_arrival_when_the_chunk_has_begun_before() -> None:
    timeline = ChunkTimeline(blend_ns=100 * MS)
    add(timeline, constant(2.0), hold=2.0)
    add(timeline, constant(4.0), at_ms=200)
    assert [place(timeline, t) for t in (200, 250, 300)] == pytest.approx([2.0, 3.0, 4.0])


def test_the_first_chunk_is_faded_in_from_the_last_command() -> None:
    timeline = ChunkTimeline(blend_ns=100 * MS)
    add(timeline, constant(1.0), hold=-1.0)
    assert [place(timeline, t) for t in (0, 50, 100)] == pytest.approx([-1.0, 0.0, 1.0])
    assert speed(timeline, 100) == 0.0


def test_the_first_chunk_is_faded_in_from_arms_that_come_to_rest() -> None:
    timeline = ChunkTimeline(blend_ns=100 * MS)
    stop = Stop(np.zeros(1), np.ones(1), T0, 200 * MS)
    timeline.add(constant(1.0), T0, np.zeros(1), stop)
    assert place(timeline, 0) == 0.0
    assert speed(timeline, 0) == pytest.approx(1.0)
    assert place(timeline, 50) == pytest.approx(0.5 * 0.04375 + 0.5 * 1.0)


def test_after_starvation_the_next_chunk_is_faded_in_from_the_last_command() -> None:
    timeline = ChunkTimeline(blend_ns=100 * MS)
    add(timeline, constant(1.0, rows=2))
    assert timeline.sample(T0 + 250 * MS) is None
    add(timeline, constant(3.0, first_ms=300), at_ms=250, hold=1.0)
    assert place(timeline, 299) is None
    assert [place(timeline, t) for t in (300, 350, 400)] == pytest.approx([1.0, 2.0, 3.0])


def test_a_fade_that_is_cut_off_by_a_gap_goes_on_from_where_it_has_led() -> None:
    timeline = ChunkTimeline(blend_ns=200 * MS)
    add(timeline, constant(1.0, rows=1))
    add(timeline, constant(3.0, first_ms=150), at_ms=10)
    half_way = place(timeline, 99.999999)
    assert half_way == pytest.approx(0.5)
    assert place(timeline, 120) is None
    assert [place(timeline, t) for t in (150, 250, 350)] == pytest.approx([0.5, 1.75, 3.0])


def test_a_chunk_that_is_still_to_begin_is_kept_beside_a_later_one() -> None:
    timeline = ChunkTimeline()
    add(timeline, constant(1.0, first_ms=100))
    add(timeline, constant(2.0, first_ms=300), at_ms=50)
    assert [place(timeline, t) for t in (99, 100, 299, 300)] == pytest.approx([None, 1, 1, 2])


def test_a_newer_chunk_for_an_earlier_time_replaces_one_that_is_still_to_begin() -> None:
    timeline = ChunkTimeline()
    add(timeline, constant(1.0, first_ms=300))
    add(timeline, constant(2.0, first_ms=100), at_ms=50)
    assert [place(timeline, t) for t in (99, 100, 300, 500)] == pytest.approx([None, 2, 2, 2])


def test_chunks_that_have_been_replaced_are_dropped() -> None:
    timeline = ChunkTimeline(blend_ns=100 * MS)
    for i in range(5):
        add(timeline, constant(float(i)), at_ms=10 * i)
    assert len(timeline) == 5
    assert place(timeline, 140) == pytest.approx(4.0)
    assert len(timeline) == 1


def test_the_number_of_chunks_is_bounded() -> None:
    timeline = ChunkTimeline(ensemble_coefficient=0.0)
    for i in range(200):
        add(timeline, constant(1.0), at_ms=0.1 * i)
    assert len(timeline) == 64
    assert place(timeline, 20) == pytest.approx(1.0)


def test_clear_forgets_chunks_and_hold() -> None:
    timeline = ChunkTimeline(blend_ns=100 * MS)
    add(timeline, constant(1.0), hold=-5.0)
    timeline.clear()
    assert len(timeline) == 0
    assert timeline.sample(T0) is None
    add(timeline, constant(1.0), hold=1.0)
    assert place(timeline, 50) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("coefficient", "expected"),
    [
        # (0 w0 + 1 w1 + 2 w2) / (w0 + w1 + w2) with w = exp(-m i), i = 0 for the oldest.
        (0.0, 1.0),
        (0.5, (0.6065306597 + 2 * 0.3678794412) / (1 + 0.6065306597 + 0.3678794412)),
        (-0.5, (1.6487212707 + 2 * 2.7182818285) / (1 + 1.6487212707 + 2.7182818285)),
        (0.01, (0.9900498337 + 2 * 0.9801986733) / (1 + 0.9900498337 + 0.9801986733)),
    ],
)
def test_ensembling_has_act_s_weights(coefficient: float, expected: float) -> None:
    timeline = ChunkTimeline(ensemble_coefficient=coefficient)
    for i in range(3):
        add(timeline, constant(float(i)), at_ms=100 * i)
    assert place(timeline, 350) == pytest.approx(expected, rel=1e-9)
    assert speed(timeline, 350) == 0.0


def test_an_ensemble_moves_at_its_members_mean_speed() -> None:
    timeline = ChunkTimeline(ensemble_coefficient=0.0)
    add(timeline, chunk(np.linspace(0.0, 0.9, 10)))
    add(timeline, constant(0.5))
    assert speed(timeline, 500) == pytest.approx(0.5)


def test_an_ensemble_member_that_is_over_leaves() -> None:
    timeline = ChunkTimeline(ensemble_coefficient=0.5)
    add(timeline, constant(0.0, rows=3))
    add(timeline, constant(1.0, rows=5))
    assert place(timeline, 299) == pytest.approx(0.6065306597 / 1.6065306597)
    assert place(timeline, 300) == 1.0
    assert len(timeline) == 1
    assert place(timeline, 500) is None


def test_ensemble_members_are_faded_in_and_out() -> None:
    timeline = ChunkTimeline(blend_ns=100 * MS, ensemble_coefficient=0.0)
    add(timeline, constant(0.0, rows=5))
    add(timeline, constant(1.0, first_ms=200))
    # Half way in, the newer weighs 1/2 against 1; half way out, the older does.
    places = [place(timeline, t) for t in (200, 250, 300, 400, 450, 499.999)]
    assert places == pytest.approx([0.0, 1 / 3, 0.5, 0.5, 2 / 3, 1.0], abs=1e-6)


def test_an_ensemble_is_faded_in_from_the_last_command_though_another_chunk_arrives() -> None:
    timeline = ChunkTimeline(blend_ns=100 * MS, ensemble_coefficient=0.0)
    add(timeline, constant(1.0), hold=-1.0)
    assert place(timeline, 49.999) == pytest.approx(0.0, abs=1e-4)
    add(timeline, constant(1.0), at_ms=50)
    assert [place(timeline, t) for t in (50, 75, 100)] == pytest.approx([0.0, 0.6875, 1.0])


def test_an_ensemble_begins_where_the_one_before_has_ended() -> None:
    timeline = ChunkTimeline(blend_ns=100 * MS, ensemble_coefficient=0.0)
    add(timeline, constant(1.0, rows=3), hold=1.0)
    add(timeline, constant(3.0, first_ms=300), at_ms=250)
    places = [place(timeline, t) for t in (299, 300, 350, 400)]
    assert places == pytest.approx([1.0, 1.0, 2.0, 3.0])


def test_an_ensemble_begins_at_the_mean_of_those_that_ended_together() -> None:
    timeline = ChunkTimeline(blend_ns=100 * MS, ensemble_coefficient=0.0)
    add(timeline, constant(1.0, rows=3))
    add(timeline, constant(2.0, rows=3))
    add(timeline, constant(5.0, first_ms=300), at_ms=250)
    places = [place(timeline, t) for t in (299, 300, 350, 400)]
    assert places == pytest.approx([1.5, 1.5, 3.25, 5.0])


# Properties over random chunks -------------------------------------------------------------------


@st.composite
def _plans(draw: st.DrawFn) -> list[tuple[int, ActionChunk]]:
    """Chunks of small steps with different offsets, each with its time of arrival [ns]."""
    plans: list[tuple[int, ActionChunk]] = []
    now_ms = 0
    for i in range(draw(st.integers(1, 6))):
        now_ms += draw(st.integers(0, 150))
        offset = draw(st.floats(-1.0, 1.0))
        steps = draw(st.lists(st.floats(-0.05, 0.05), min_size=1, max_size=12))
        first_ms = now_ms + draw(st.integers(-100, 60))
        new = chunk(offset + np.cumsum(steps), first_ms=first_ms, period_ms=20, chunk_id=i)
        if new.t_end_ns > T0 + now_ms * MS:
            plans.append((T0 + now_ms * MS, new))
    return plans


def _walk(
    timeline: ChunkTimeline,
    plans: list[tuple[int, ActionChunk]],
    visit: Callable[[int, np.ndarray | None, np.ndarray | None], None],
) -> None:
    """Adds the chunks at their times and samples every 5 ms and around every event."""
    events = {t for t, _ in plans}
    for arrived_ns, new in plans:
        start_ns = max(arrived_ns, new.t_first_ns)
        blend = timeline.blend_ns
        events |= {start_ns, start_ns + blend, new.t_end_ns, new.t_end_ns - blend}
    times = {t + d for t in events for d in (-1000, 0, 1000)}
    times |= set(range(T0, T0 + 1_400 * MS, 5 * MS))
    waiting, hold = sorted(plans, key=lambda plan: plan[0]), HOLD
    for now_ns in sorted(t for t in times if t >= T0):
        while waiting and waiting[0][0] <= now_ns:
            timeline.add(waiting.pop(0)[1], now_ns, hold)
        sample = timeline.sample(now_ns)
        visit(now_ns, sample and sample.positions, sample and sample.velocities)
        hold = hold if sample is None else sample.positions


@settings(max_examples=60, deadline=None)
@given(plans=_plans(), blend_ms=st.integers(5, 200), coefficient=st.sampled_from([math.nan, 0, 1]))
def test_positions_never_jump(
    plans: list[tuple[int, ActionChunk]], blend_ms: int, coefficient: float
) -> None:
    timeline = ChunkTimeline(blend_ns=blend_ms * MS, ensemble_coefficient=coefficient)
    last_ns, last = T0, HOLD

    def visit(now_ns: int, positions: np.ndarray | None, _: np.ndarray | None) -> None:
        nonlocal last_ns, last
        if positions is not None:
            # Far beyond what rows and fades can do, far below a jump within microseconds.
            allowed = 5_000.0 * (now_ns - last_ns) / 1e9 + 1e-9
            assert abs(positions[0] - last[0]) <= allowed, (now_ns - T0) / MS
            last = positions
        last_ns = now_ns

    _walk(timeline, plans, visit)


@settings(max_examples=40, deadline=None)
@given(plans=_plans(), blend_ms=st.integers(5, 200), coefficient=st.sampled_from([math.nan, 0, 1]))
def test_the_reported_velocity_is_the_derivative_of_the_position(
    plans: list[tuple[int, ActionChunk]], blend_ms: int, coefficient: float
) -> None:
    timeline = ChunkTimeline(blend_ns=blend_ms * MS, ensemble_coefficient=coefficient)
    # The only kinks: a chunk's last row, where its motion stops, its end, and arrivals.
    kinks = [
        t
        for arrived_ns, new in plans
        for t in (arrived_ns, new.t_first_ns, new.t_end_ns - new.period_ns, new.t_end_ns)
    ]
    step_ns = 1000
    waiting, hold = list(plans), HOLD
    for now_ns in range(T0 + 1_300_000, T0 + 1_200 * MS, 7 * MS):
        while waiting and waiting[0][0] <= now_ns:
            timeline.add(waiting.pop(0)[1], now_ns, hold)
        if any(abs(now_ns - kink) <= 3 * step_ns for kink in kinks):
            continue
        before, here, after = (timeline.sample(now_ns + d) for d in (0, step_ns, 2 * step_ns))
        if before is None or here is None or after is None:
            continue
        numeric = (after.positions - before.positions) / (2 * step_ns / 1e9)
        assert here.velocities == pytest.approx(numeric, rel=1e-2, abs=0.05)
        hold = before.positions
