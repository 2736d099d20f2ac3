"""When inferences are due, and what delay is expected of them."""

from __future__ import annotations

import math

import pytest

from trossen_pi0_core.schedule import (
    DelayEstimate,
    InferenceSchedule,
    LatencyWindow,
)

T0 = 1_700_000_000_000_000_000
MS = 1_000_000


def begun(rate: int = 5) -> InferenceSchedule:
    """Steps of 20 ms, so an inference every 100 ms; the first began at T0."""
    schedule = InferenceSchedule(rate, 20 * MS)
    schedule.began(T0)
    return schedule


def test_the_first_inference_is_due_at_once() -> None:
    schedule = InferenceSchedule(5, 20 * MS)
    assert schedule.due_ns == 0
    assert schedule.is_due(0)
    assert schedule.is_due(T0)


def test_the_next_inference_is_due_after_the_rate_s_steps() -> None:
    schedule = begun()
    assert schedule.interval_ns == 100 * MS
    assert schedule.due_ns == T0 + 100 * MS
    assert not schedule.is_due(T0 + 100 * MS - 1)
    assert schedule.is_due(T0 + 100 * MS)


def test_small_delays_do_not_add_up() -> None:
    schedule = begun()
    for i in range(1, 11):
        schedule.began(T0 + (100 * i + 7) * MS)
    assert schedule.due_ns == T0 + 1100 * MS


def test_a_policy_that_is_too_slow_is_asked_at_once_and_not_for_what_it_has_missed() -> None:
    schedule = begun()
    schedule.began(T0 + 350 * MS)
    assert schedule.due_ns == T0 + 450 * MS
    assert not schedule.is_due(T0 + 449 * MS)


def test_a_restart_is_due_at_once_and_begins_a_new_grid() -> None:
    schedule = begun()
    schedule.restart()
    assert schedule.is_due(T0 + 1)
    schedule.began(T0 + 33 * MS)
    assert schedule.due_ns == T0 + 133 * MS


def test_an_inference_before_its_time_begins_a_new_grid() -> None:
    schedule = begun()
    schedule.began(T0 + 40 * MS)
    assert schedule.due_ns == T0 + 140 * MS


def test_rate_and_period_may_change_while_it_runs() -> None:
    schedule = begun()
    schedule.rate_of_inference = 10
    assert schedule.due_ns == T0 + 200 * MS
    schedule.control_period_ns = 10 * MS
    assert schedule.due_ns == T0 + 100 * MS


@pytest.mark.parametrize("back_ms", [1, 50, 3_600_000])
def test_a_clock_that_is_set_back_does_not_stall_it(back_ms: int) -> None:
    schedule = begun()
    now = T0 - back_ms * MS
    assert schedule.is_due(now)
    schedule.began(now)
    assert not schedule.is_due(now + 99 * MS)
    assert schedule.is_due(now + 100 * MS)


def test_quantiles_are_those_of_the_last_latencies() -> None:
    window = LatencyWindow(size=5)
    for milliseconds in (900, 10, 20, 30, 40, 50):
        window.add(milliseconds * MS)
    assert len(window) == 5
    assert window.quantile(0.5) == pytest.approx(0.030)
    assert window.quantiles([0.0, 0.25, 1.0]) == pytest.approx([0.010, 0.020, 0.050])


def test_quantiles_of_nothing_are_nan() -> None:
    window = LatencyWindow()
    assert len(window) == 0
    assert math.isnan(window.quantile(0.5))
    assert [math.isnan(q) for q in window.quantiles([0.5, 0.95])] == [True, True]


def estimate(*delays_ms: float, quantile: float = 0.9, size: int = 50) -> DelayEstimate:
    """Without the way to the controller."""
    made = DelayEstimate(quantile, size=size, transport_ns=0)
    for delay in delays_ms:
        made.add(round(delay * MS))
    return made


def test_nothing_is_expected_before_the_first_delay() -> None:
    assert estimate().expected_ns is None
    assert math.isnan(estimate().expected_s)
    assert estimate().rows(33 * MS) is None


def test_the_expected_delay_is_a_quantile_and_the_way_to_the_controller() -> None:
    delays = DelayEstimate(0.9)
    for delay in range(100, 201, 10):
        delays.add(delay * MS)
    assert delays.expected_ns == 190 * MS + 10 * MS
    assert delays.expected_s == pytest.approx(0.2)
    delays.quantile = 0.5
    assert delays.expected_ns == 150 * MS + 10 * MS
    delays.clear()
    assert delays.expected_ns is None


@pytest.mark.parametrize(("delay_ms", "rows"), [(1, 1), (99, 3), (99.001, 4), (100, 4), (0, 0)])
def test_rows_that_pass_are_rounded_up(delay_ms: float, rows: int) -> None:
    assert estimate(delay_ms).rows(33 * MS) == rows


def test_inferences_that_compile_are_forgotten_when_others_follow() -> None:
    assert estimate(9000).expected_ns == 9000 * MS
    assert estimate(9000, 100).expected_ns == 100 * MS
    assert estimate(9000, 8000, 7000, 100, 100, 100, quantile=1.0).expected_ns == 9000 * MS
    assert estimate(9000, 7000, 100, 100, 100, quantile=1.0).expected_ns == 100 * MS


def test_a_policy_that_becomes_slower_is_believed() -> None:
    delays = [100] * 45 + [400] * 6
    assert estimate(*delays).expected_ns == 400 * MS


def test_only_recent_delays_count() -> None:
    assert estimate(300, 300, 300, 200, 200, 200, size=3).expected_ns == 200 * MS
    assert len(estimate(*range(9), size=3)) == 3


def test_a_negative_delay_is_a_clock_that_was_set() -> None:
    assert estimate(100, -9000).expected_ns == 100 * MS
