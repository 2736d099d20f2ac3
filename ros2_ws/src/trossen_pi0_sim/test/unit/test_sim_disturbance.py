"""The push: when it begins, where it leads, when it ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_sim.disturbance import PUSH_S, Disturbance

START = np.array([0.05, -0.15, 0.4])


def approach(seed: int) -> tuple[Disturbance, float]:
    """A push that is about to begin, and the distance at which it did."""
    disturbance = Disturbance(seed)
    for distance in np.arange(0.30, 0.10, -0.002):
        if disturbance.target(0.0, float(distance), START, touched=False) is not None:
            return disturbance, float(distance)
    raise AssertionError("never pushed")


def end_of(disturbance: Disturbance) -> NDArray[np.float64]:
    last = START
    for time_s in np.arange(0.0, PUSH_S, 0.001):
        target = disturbance.target(float(time_s), 0.15, last, touched=False)
        assert target is not None
        last = target
    assert disturbance.target(PUSH_S + 0.001, 0.15, last, touched=False) is None
    return last


def test_begins_between_staged_pose_and_grasp_at_a_drawn_distance() -> None:
    distances = {approach(seed)[1] for seed in range(20)}
    assert min(distances) >= 0.138
    assert max(distances) <= 0.22
    assert len(distances) > 10


def test_waits_until_the_gripper_has_been_far_away() -> None:
    disturbance = Disturbance(0)
    for _ in range(100):
        assert disturbance.target(0.0, 0.10, START, touched=False) is None
    assert disturbance.target(1.0, 0.30, START, touched=False) is None
    assert disturbance.target(2.0, 0.10, START, touched=False) is not None


def test_moves_smoothly_by_centimetres_inside_the_start_range() -> None:
    for seed in range(50):
        end = end_of(approach(seed)[0])
        assert 0.039 <= np.linalg.norm(end[:2] - START[:2]) <= 0.081
        assert -0.15 <= end[0] <= 0.20
        assert -0.30 <= end[1] <= -0.03


def test_happens_once() -> None:
    disturbance, _ = approach(3)
    end = end_of(disturbance)
    assert disturbance.target(5.0, 0.30, end, touched=False) is None
    assert disturbance.target(6.0, 0.10, end, touched=False) is None


def test_ends_when_a_finger_touches_the_object() -> None:
    disturbance, _ = approach(3)
    assert disturbance.target(0.1, 0.02, START, touched=True) is None
    assert disturbance.target(0.2, 0.10, START, touched=False) is None


def test_seed_decides() -> None:
    np.testing.assert_array_equal(end_of(approach(4)[0]), end_of(approach(4)[0]))
    assert not np.array_equal(end_of(approach(4)[0]), end_of(approach(5)[0]))
