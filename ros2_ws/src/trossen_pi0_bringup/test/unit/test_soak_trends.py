"""Verdicts over series as a long run has them: flat, leaking, with steps, noisy."""

from typing import Any

import numpy as np
import pytest

from trossen_pi0_bringup.soak_trends import (
    CountTrend,
    MemoryBounds,
    Trend,
    count_trend,
    fit_trend,
    warm_up_end,
)

BOUNDS = MemoryBounds(per_hour_mb=20.0, fraction=0.05, floor_mb=2.0)
HOUR = np.arange(0.0, 3600.1, 5.0)


def trend_of(values, times: Any = HOUR):
    trend = fit_trend(list(times), list(values))
    assert trend is not None
    return trend


def test_a_constant_series_is_flat():
    trend = trend_of(np.full(len(HOUR), 250.0))
    assert trend == Trend(first=250.0, per_hour=0.0, span_s=3600.0)
    assert trend.is_flat(BOUNDS)


def test_a_leak_is_found_at_its_slope():
    trend = trend_of(250.0 + 30.0 * HOUR / 3600.0)
    assert trend.per_hour == pytest.approx(30.0)
    assert trend.growth == pytest.approx(30.0)
    assert trend.first == pytest.approx(250.0)
    assert not trend.is_flat(BOUNDS)


def test_a_leak_below_the_slope_but_large_for_its_process_is_found():
    assert not trend_of(60.0 + 6.0 * HOUR / 3600.0).is_flat(BOUNDS)
    assert trend_of(600.0 + 6.0 * HOUR / 3600.0).is_flat(BOUNDS)


def test_noise_and_outliers_do_not_count_as_a_leak_nor_hide_one():
    noise = np.random.default_rng(7).normal(0.0, 5.0, len(HOUR))
    noise[::50] += 400.0
    flat = trend_of(250.0 + noise)
    assert abs(flat.per_hour) < 3.0
    assert flat.is_flat(BOUNDS)
    leaking = trend_of(250.0 + noise + 30.0 * HOUR / 3600.0)
    assert leaking.per_hour == pytest.approx(30.0, abs=3.0)
    assert not leaking.is_flat(BOUNDS)


def test_a_leak_in_steps_is_found():
    assert not trend_of(250.0 + 10.0 * np.floor(HOUR / 900.0)).is_flat(BOUNDS)


def test_a_step_in_the_warm_up_is_left_out_and_one_soon_after_it_does_not_count():
    values = np.where(HOUR < 200.0, 100.0, 180.0)
    judged = warm_up_end(HOUR.tolist(), 300.0) <= HOUR
    assert trend_of(values[judged], HOUR[judged]).is_flat(BOUNDS)
    later = np.where(HOUR < 500.0, 100.0, 180.0)
    assert trend_of(later[judged], HOUR[judged]).is_flat(BOUNDS)


def test_growth_below_the_floor_is_no_leak_however_steep():
    minutes = np.arange(0.0, 180.1, 5.0)
    assert trend_of(100.0 + 1.5 * minutes / 180.0, minutes).is_flat(BOUNDS)  # 30 MB/h
    assert not trend_of(100.0 + 2.5 * minutes / 180.0, minutes).is_flat(BOUNDS)


def test_a_bound_of_zero_forbids_any_growth():
    nothing = MemoryBounds(0.0, 0.0, 0.0)
    assert trend_of(np.full(len(HOUR), 250.0)).is_flat(nothing)
    assert not trend_of(250.0 + 0.1 * HOUR / 3600.0).is_flat(nothing)


def test_missing_values_are_left_out_and_two_are_no_series():
    values = 250.0 + 30.0 * HOUR / 3600.0
    values[100:200] = np.nan
    assert trend_of(values).per_hour == pytest.approx(30.0)
    assert fit_trend([0.0, 1.0, 2.0], [1.0, float("nan"), 1.0]) is None
    assert fit_trend([], []) is None


def test_a_long_series_is_thinned_and_keeps_its_slope():
    times = np.arange(0.0, 86400.0, 5.0)
    assert trend_of(100.0 + times / 3600.0, times).per_hour == pytest.approx(1.0)


def test_a_short_run_has_a_short_warm_up():
    assert warm_up_end([10.0, 3610.0], 300.0) == 310.0
    assert warm_up_end([10.0, 40.0], 300.0) == 20.0
    assert warm_up_end([], 300.0) == 0.0


@pytest.mark.parametrize(
    ("values", "leaked"),
    [
        ([40] * 10, 0),
        ([31, 40, 40, 40, 40, 40, 40], 0),  # pools fill in the first episode
        ([40, 40, 40, 40, 55, 40, 40], 0),  # a peak
        ([40, 40, 40, 40, 40, 40, 41], 0),  # a peak at the end
        ([40, 40, 40, 40, 40, 41, 41, 41], 1),
        ([40, 41, 42, 43, 44, 45, 46], 1),  # one an episode: fewest of the last over most before
        ([40, 40, 39, 38, 38, 38], 0),
        ([40, 42], 2),
    ],
)
def test_counts_that_stay_higher_are_leaks(values, leaked):
    trend = count_trend(values)
    assert trend is not None
    assert trend.leaked == leaked


def test_one_count_says_nothing():
    assert count_trend([40]) is None
    assert count_trend([]) is None
    assert count_trend([1, 5, 7]) == CountTrend(first=5, last=7)
