"""Figures of motions that are written down here."""

import math

import numpy as np
import pytest

from trossen_pi0_bringup.virtual.metrics import (
    GROUPS,
    REVOLUTE,
    Array,
    jump,
    rms_jerk,
    row_at,
    still_time,
    wilson,
)


def linspace(first: float | list[float], last: float | list[float], count: int) -> Array:
    return np.linspace(np.array(first), np.array(last), count, dtype=np.float64)


def test_the_jerk_of_a_cubic_is_six_times_its_coefficient():
    t = linspace(0.0, 0.49, 50)
    positions = np.column_stack([2.0 * t**3, 2.0 * t**3])
    assert rms_jerk(positions, 0.01) == pytest.approx(12.0)


def test_jerk_is_a_root_mean_square_over_joints():
    t = linspace(0.0, 0.49, 50)
    positions = np.column_stack([t**3, np.zeros(50)])
    assert rms_jerk(positions, 0.01) == pytest.approx(6.0 / math.sqrt(2.0))


def test_a_single_step_of_the_third_difference():
    positions = np.array([[0.0], [0.0], [0.0], [0.001]])
    assert rms_jerk(positions, 0.1) == pytest.approx(1.0)


def test_pauses_do_not_dilute_the_jerk():
    kick = np.zeros((201, 1))
    kick[100:] = 0.5
    half_of_it = rms_jerk(kick, 0.01, pause_s=1.0)
    assert half_of_it == pytest.approx(rms_jerk(kick, 0.01) * math.sqrt(2.0))


def test_there_is_no_jerk_without_motion():
    assert math.isnan(rms_jerk(np.zeros((3, 2)), 0.01))
    assert math.isnan(rms_jerk(np.zeros((11, 2)), 0.01, pause_s=0.1))


def test_still_time_counts_long_rests_of_all_joints():
    still = np.array([0.1, 0.1])
    moving = linspace(0.0, [0.09, 0.0], 10)  # joint 0 at 1 rad/s, joint 1 rests
    resting = np.repeat(moving[-1:], 8, axis=0)
    again = linspace([0.09, 0.01], [0.09, 0.05], 5)  # now joint 1 moves
    positions = np.concatenate([moving, resting, again])
    assert still_time(positions, 0.01, still) == pytest.approx(0.08)
    assert still_time(positions, 0.01, still, shortest_s=0.09) == 0.0


def test_still_time_takes_slow_motion_for_motion():
    positions = linspace([0.0], [0.0209], 20)
    assert still_time(positions, 0.01, np.array([0.1])) == 0.0
    assert still_time(positions, 0.01, np.array([0.12])) == pytest.approx(0.19)
    assert still_time(positions[:1], 0.01, np.array([0.1])) == 0.0


def test_a_chunk_that_goes_on_as_the_arms_do_makes_no_jump():
    command, velocity = np.array([1.0, 2.0]), np.array([0.5, -1.0])
    assert jump(command, velocity, 0.01, np.array([1.005, 1.99])) == pytest.approx(0.0)
    assert jump(command, velocity, 0.01, np.array([1.005, 1.94])) == pytest.approx(0.05)


def test_a_chunk_between_its_rows():
    rows = np.array([[0.0, 1.0], [1.0, 1.0], [3.0, 0.0]])
    assert row_at(rows, -1.0, 0.1).tolist() == [0.0, 1.0]
    assert row_at(rows, 0.15, 0.1) == pytest.approx([2.0, 0.5])
    assert row_at(rows, 5.0, 0.1).tolist() == [3.0, 0.0]


def test_groups_are_the_kits_joints():
    assert GROUPS["shoulder and elbow"].tolist() == [0, 1, 2, 7, 8, 9]
    assert GROUPS["wrist"].tolist() == [3, 4, 5, 10, 11, 12]
    assert GROUPS["carriages"].tolist() == [6, 13]
    assert REVOLUTE.tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]


def test_wilsons_interval():
    assert wilson(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert wilson(0, 5) == pytest.approx((0.0, 0.4345), abs=1e-4)
    assert wilson(5, 5) == pytest.approx((0.5655, 1.0), abs=1e-4)
    assert wilson(0, 0) == (0.0, 1.0)
