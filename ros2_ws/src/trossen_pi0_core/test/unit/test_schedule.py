"""When inferences are due, and the quantiles of their latencies."""

from __future__ import annotations

import math

import pytest

from trossen_pi0_core.schedule import InferenceSchedule, LatencyWindow

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
