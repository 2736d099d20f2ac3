"""Durations by literal numbers; peaks never above the limits; rest at both ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from trossen_pi0_core.motion import PointToPoint, Stop

T0 = 1_700_000_000_000_000_000
SECOND = 1_000_000_000


def plan(
    distance: float, *, velocity: float = 1e6, acceleration: float = 1e6, t_start_ns: int = T0
) -> PointToPoint:
    return PointToPoint.plan(
        np.zeros(1),
        np.array([distance]),
        t_start_ns,
        velocity=np.array([velocity]),
        acceleration=np.array([acceleration]),
    )


def test_speed_limits_set_the_duration() -> None:
    # The quintic's peak speed is 15/8 of the mean: 2 rad at 1 rad/s take 3.75 s.
    assert plan(2.0, velocity=1.0).duration_ns == 3_750_000_000
    assert plan(-2.0, velocity=1.0).duration_ns == 3_750_000_000


def test_acceleration_limits_set_the_duration() -> None:
    # Peak acceleration 10/sqrt(3) d/T^2: 1 rad at 1 rad/s^2 takes sqrt(5.7735) s.
    assert plan(1.0, acceleration=1.0).duration_ns == pytest.approx(2_402_811_414, abs=2)


def test_the_slowest_joint_sets_the_duration() -> None:
    motion = PointToPoint.plan(
        np.zeros(2),
        np.array([1.0, 0.04]),
        T0,
        velocity=np.array([2.0, 0.02]),
        acceleration=np.full(2, 1e6),
    )
    assert motion.duration_ns == 3_750_000_000


def test_it_begins_and_ends_at_rest_and_is_half_way_in_the_middle() -> None:
    motion = plan(2.0, velocity=1.0)
    for t, place, speed in (
        (T0 - SECOND, 0.0, 0.0),
        (T0, 0.0, 0.0),
        (T0 + motion.duration_ns // 2, 1.0, 1.0),
        (motion.t_end_ns, 2.0, 0.0),
        (motion.t_end_ns + SECOND, 2.0, 0.0),
    ):
        position, velocity = motion.sample(t)
        assert position[0] == pytest.approx(place, abs=1e-9)
        assert velocity[0] == pytest.approx(speed, abs=1e-9)


def test_fraction_is_the_part_of_the_time_that_is_over() -> None:
    motion = plan(2.0, velocity=1.0)
    quarter = motion.duration_ns // 4
    times = (T0 - 1, T0, T0 + quarter, T0 + 5 * quarter)
    assert [motion.fraction(t) for t in times] == [0.0, 0.0, 0.25, 1.0]


def test_no_distance_takes_no_time() -> None:
    motion = plan(0.0)
    assert motion.duration_ns == 0
    assert motion.fraction(T0) == 1.0
    position, velocity = motion.sample(T0)
    assert (position[0], velocity[0]) == (0.0, 0.0)


def test_a_plan_keeps_its_own_copies() -> None:
    start, goal = np.zeros(1), np.ones(1)
    one = np.ones(1)
    motion = PointToPoint.plan(start, goal, T0, velocity=one, acceleration=one)
    start[0] = goal[0] = 9.0
    np.testing.assert_array_equal(motion.sample(T0)[0], [0.0])
    np.testing.assert_array_equal(motion.sample(motion.t_end_ns)[0], [1.0])


_joints = st.integers(1, 3).flatmap(
    lambda n: st.tuples(
        *(
            st.lists(st.floats(low, high), min_size=n, max_size=n).map(np.array)
            for low, high in ((-3.0, 3.0), (-3.0, 3.0), (0.01, 5.0), (0.01, 30.0))
        )
    )
)


@given(_joints)
def test_peaks_never_exceed_the_limits(joints: tuple[NDArray[np.float64], ...]) -> None:
    start, goal, velocity, acceleration = joints
    motion = PointToPoint.plan(start, goal, 0, velocity=velocity, acceleration=acceleration)
    times = np.linspace(0, motion.t_end_ns, 201).astype(int)
    positions = np.array([motion.sample(int(t))[0] for t in times])
    velocities = np.array([motion.sample(int(t))[1] for t in times])
    assert (np.abs(velocities) <= velocity * (1 + 1e-9)).all()
    seconds = np.diff(times)[:, None] / SECOND
    if seconds.all():
        # Mean accelerations and mean speeds between samples.
        assert (np.abs(np.diff(velocities, axis=0)) <= acceleration * seconds * (1 + 1e-6)).all()
        assert (np.abs(np.diff(positions, axis=0)) <= velocity * seconds * (1 + 1e-6) + 1e-12).all()
    np.testing.assert_allclose(positions[0], start, atol=1e-12)
    np.testing.assert_allclose(positions[-1], goal, atol=1e-12)


def test_a_stop_slows_down_evenly() -> None:
    # From 1 rad/s at 2 rad/s^2: 0.5 s and 0.25 rad; half the time covers three quarters of it.
    stop = Stop.plan(np.ones(1), np.ones(1), T0, acceleration=np.array([2.0]))
    assert stop.duration_ns == SECOND // 2
    np.testing.assert_allclose(stop.goal, [1.25])
    for t, place, speed in (
        (T0 - SECOND, 1.0, 1.0),
        (T0, 1.0, 1.0),
        (T0 + SECOND // 4, 1.1875, 0.5),
        (T0 + SECOND // 2, 1.25, 0.0),
        (T0 + SECOND, 1.25, 0.0),
    ):
        position, velocity = stop.sample(t)
        assert position[0] == pytest.approx(place, abs=1e-12)
        assert velocity[0] == pytest.approx(speed, abs=1e-12)


def test_all_joints_stop_together_on_a_straight_line() -> None:
    velocity = np.array([1.0, -0.5])
    stop = Stop.plan(np.zeros(2), velocity, T0, acceleration=np.array([2.0, 0.5]))
    assert stop.duration_ns == SECOND  # joint 1 needs it
    position, speed = stop.sample(T0 + SECOND // 2)
    np.testing.assert_allclose(position, 0.375 * velocity)
    np.testing.assert_allclose(speed, 0.5 * velocity)


def test_what_stands_still_stops_at_once() -> None:
    stop = Stop.plan(np.ones(2), np.zeros(2), T0, acceleration=np.ones(2))
    assert stop.t_end_ns == T0
    np.testing.assert_array_equal(stop.sample(T0)[0], [1.0, 1.0])
