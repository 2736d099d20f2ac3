"""The speeds that are allowed next: each joint can always be stopped inside its limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trossen_pi0_core.envelope import Envelope, next_speeds
from trossen_pi0_core.limits import JointLimits

LIMITS = JointLimits(
    ("a", "b"),
    np.array([-1.0, 0.0]),
    np.array([1.0, 0.04]),
    np.array([2.0, 0.1]),
    np.array([10, 1]),
)
DT = 0.010


def allowed(position: list[float], velocity: list[float], dt_s: float = DT) -> Envelope:
    return next_speeds(LIMITS, np.array(position), np.array(velocity), dt_s, DT)


def test_at_rest_far_from_all_limits_only_the_acceleration_counts() -> None:
    speeds = allowed([0.0, 0.02], [0.0, 0.0])
    np.testing.assert_allclose(speeds.high, [0.1, 0.01])
    np.testing.assert_allclose(speeds.low, [-0.1, -0.01])


def test_the_acceleration_is_over_the_time_between_the_middles_of_two_steps() -> None:
    speeds = allowed([0.0, 0.02], [0.0, 0.0], dt_s=0.020)
    np.testing.assert_allclose(speeds.high, [0.15, 0.015])


def test_no_speed_beyond_the_limit() -> None:
    speeds = allowed([0.0, 0.02], [1.95, -0.095])
    assert speeds.high[0] == 2.0
    assert speeds.low[1] == -0.1


def test_towards_a_position_limit_only_what_can_still_be_stopped() -> None:
    # v * 10 ms + v^2 / 2a = 0.1 rad: v = 10 (sqrt(0.01^2 + 0.02) - 0.01).
    speeds = allowed([0.9, 0.02], [1.3, 0.0])
    assert speeds.high[0] == pytest.approx(10 * (np.sqrt(0.0001 + 0.02) - 0.01))
    assert speeds.low[0] == pytest.approx(1.2)


def test_at_a_position_limit_only_the_way_back_is_open() -> None:
    speeds = allowed([1.0, 0.0], [0.0, 0.0])
    np.testing.assert_array_equal(speeds.high, [0.0, 0.01])
    np.testing.assert_array_equal(speeds.low, [-0.1, 0.0])


def test_a_position_limit_counts_more_than_an_acceleration() -> None:
    # A limit that has come nearer meanwhile: 1 mrad left at 1 rad/s.
    speeds = allowed([0.999, 0.02], [1.0, 0.0])
    np.testing.assert_allclose([speeds.low[0], speeds.high[0]], [0.1, 0.1])


def test_speeds_are_taken_to_the_nearest_allowed_ones() -> None:
    speeds = allowed([0.0, 0.02], [0.0, 0.0])
    np.testing.assert_allclose(speeds.clipped(np.array([5.0, -5.0])), [0.1, -0.01])
    assert speeds.contains(np.array([0.1, 0.02])).tolist() == [True, False]


@settings(max_examples=100, deadline=None)
@given(
    start=st.tuples(st.floats(-1.0, 1.0), st.floats(0.0, 0.04)),
    wishes=st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6)), max_size=60),
    scale=st.sampled_from([1.0, 3.0, 1e-4]),
)
def test_whatever_is_wished_for_all_limits_are_kept(
    start: tuple[float, float], wishes: list[tuple[float, float]], scale: float
) -> None:
    position, velocity = np.array(start), np.zeros(2)
    for wish in [*np.array(wishes).reshape(-1, 2) * scale, *np.zeros((30, 2))]:
        speeds = next_speeds(LIMITS, position, velocity, DT, DT)
        assert (speeds.low <= speeds.high).all()
        chosen = speeds.clipped(wish)
        assert (np.abs(chosen - velocity) <= LIMITS.acceleration * DT * (1 + 1e-9) + 1e-12).all()
        assert (np.abs(chosen) <= LIMITS.velocity).all()
        position, velocity = position + chosen * DT, chosen
        assert (position >= LIMITS.lower - 1e-12).all()
        assert (position <= LIMITS.upper + 1e-12).all()
    np.testing.assert_allclose(velocity, 0.0, atol=1e-9)
