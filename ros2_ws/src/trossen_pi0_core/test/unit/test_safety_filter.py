"""Steps along chunks: the trajectory as it is, or more slowly on the same path."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.execution import Counters, ExecutorConfig
from trossen_pi0_core.limits import JointLimits
from trossen_pi0_core.safety_filter import SafetyFilter
from trossen_pi0_core.timeline import ChunkTimeline

T0 = 1_700_000_000_000_000_000
MS = 1_000_000
NAMES = ("a", "b", "c")
LIMITS = JointLimits(NAMES, -np.ones(3), np.ones(3), 2.0 * np.ones(3), np.array([10.0, 20.0, 40.0]))
CONFIG = ExecutorConfig(LIMITS, LIMITS.slowed(0.5), 0.1, 1000 * MS, 20 * MS)


class Bench:
    """A filter that follows chunks with a row every 30 ms, ticked every 10 ms."""

    def __init__(self, start: ArrayLike = (0.0, 0.0, 0.0), *, blend_ms: int = 0) -> None:
        self.now = T0
        self.counters = Counters()
        self.filter = SafetyFilter(CONFIG, self.counters, np.asarray(start, dtype=np.float64))
        self.timeline = ChunkTimeline(blend_ns=blend_ms * MS)
        self.positions = [self.filter.position]
        self.velocities = [self.filter.velocity]

    def add(self, rows: ArrayLike) -> None:
        positions = np.asarray(rows, dtype=np.float64)
        chunk = ActionChunk("run", 1, self.now, self.now, 30 * MS, NAMES, positions)
        self.timeline.add(chunk, self.now, self.filter.position, self.filter.stopping(self.now))

    def follow_to_the_end(self) -> NDArray[np.float64]:
        """Positions until no chunk covers the present, shape (ticks, joints)."""
        ticks = 0
        while self.timeline.sample(self.now + 10 * MS) is not None:
            self.follow(1)
            ticks += 1
            assert ticks < 1000
        return np.array(self.positions[-ticks:])

    def follow(self, ticks: int) -> NDArray[np.float64]:
        """Positions of some ticks, shape (ticks, joints)."""
        for _ in range(ticks):
            self.now += 10 * MS
            assert self.timeline.sample(self.now) is not None
            self.timeline.delay(self.filter.along(self.timeline, self.now, 10 * MS))
            self.positions.append(self.filter.position)
            self.velocities.append(self.filter.velocity)
        return np.array(self.positions[-ticks:])

    def assert_limits_are_kept(self) -> None:
        positions, velocities = np.array(self.positions), np.array(self.velocities)
        assert (np.abs(positions) <= 1.0).all()
        assert (np.abs(velocities) <= LIMITS.velocity * (1 + 1e-9)).all()
        accelerations = np.abs(np.diff(velocities, axis=0)) / 0.010
        assert (accelerations <= LIMITS.acceleration * (1 + 1e-6) + 1e-9).all()


def wave(count: int, size: float = 0.2) -> NDArray[np.float64]:
    """Rows of a smooth motion from rest to rest: 1 rad/s and 5 rad/s^2 for a size of 0.2."""
    place = size * (1.0 - np.cos(np.linspace(0.0, 2.0 * np.pi, count)))
    return np.stack([place, -0.5 * place, 0.25 * place], axis=1)


def test_a_motion_inside_the_limits_is_followed_as_it_is() -> None:
    bench = Bench()
    bench.add(wave(43))
    reference = ChunkTimeline()
    reference.add(ActionChunk("r", 1, T0, T0, 30 * MS, NAMES, wave(43)), T0, np.zeros(3))
    expected = reference.path(T0 + np.arange(1, 121) * 10 * MS)
    np.testing.assert_allclose(bench.follow(120), expected, atol=1e-9)
    assert bench.counters == Counters()


def distance_from_path(positions: NDArray[np.float64], rows: NDArray[np.float64]) -> float:
    """Largest distance of a position from the nearest point of the rows' curve."""
    timeline = ChunkTimeline()
    timeline.add(ActionChunk("r", 1, T0, T0, 30 * MS, NAMES, rows), T0, rows[0])
    end_ns = 30 * MS * len(rows)
    curve = timeline.path(T0 + np.linspace(0, end_ns, 20_000).astype(np.int64))
    return max(float(np.abs(curve - place).max(axis=1).min()) for place in positions)


def test_a_motion_that_is_too_fast_is_slowed_on_its_path() -> None:
    # Twice and four times as fast as allowed, round a bend.
    t = np.linspace(0.0, 1.0, 12)[:, None]
    way = 3 * t**2 - 2 * t**3
    rows = np.concatenate([way * [0.9, 0.0, 0.5], np.repeat([[0.9, 0.0, 0.5]], 4, axis=0)])
    rows[:, 1] = 0.5 * np.sin(rows[:, 0] * 3.0)
    bench = Bench()
    bench.add(rows)
    places = bench.follow_to_the_end()
    bench.assert_limits_are_kept()
    assert distance_from_path(places, rows) < 1e-3
    np.testing.assert_allclose(places[-1], rows[-1], atol=1e-3)
    assert bench.counters.speed_limit_events > 10
    assert bench.counters.acceleration_limit_events > 10
    assert bench.counters.slowdown_ns > 0.2e9


def test_before_a_sharp_corner_the_arms_slow_down_in_time() -> None:
    rows = np.zeros((40, 3))
    rows[:16, 0] = np.linspace(0.0, 0.8, 16)  # 1.8 rad/s along a ...
    rows[15:, 0] = 0.8
    rows[15:31, 1] = np.linspace(0.0, 0.8, 16)  # ... and then along b
    rows[30:, 1] = 0.8
    bench = Bench()
    bench.add(rows)
    places = bench.follow_to_the_end()
    bench.assert_limits_are_kept()
    assert distance_from_path(places, rows) < 1e-3
    np.testing.assert_allclose(places[-1], [0.8, 0.8, 0.0], atol=1e-3)


def test_the_arms_come_to_rest_on_the_last_row_of_a_chunk() -> None:
    rows = np.zeros((20, 3))
    rows[:, 0] = np.linspace(0.0, 0.6, 20)  # 1 rad/s up to the end
    bench = Bench()
    bench.add(rows)
    places = bench.follow_to_the_end()
    bench.assert_limits_are_kept()
    np.testing.assert_allclose(places[-1], [0.6, 0.0, 0.0], atol=1e-3)
    np.testing.assert_allclose(bench.velocities[-1], 0.0, atol=0.05)
    assert places[:, 0].max() <= 0.6 + 1e-9


def test_a_jump_between_chunks_is_bridged_in_a_straight_line_within_the_limits() -> None:
    bench = Bench()
    bench.add(np.zeros((60, 3)))
    bench.follow(10)
    bench.add(np.repeat([[0.4, -0.2, 0.1]], 60, axis=0))
    places = bench.follow(100)
    bench.assert_limits_are_kept()
    np.testing.assert_allclose(places[:, 1], -0.5 * places[:, 0], atol=1e-9)
    np.testing.assert_allclose(places[-1], [0.4, -0.2, 0.1], atol=1e-6)
    assert (np.diff(places[:, 0]) >= -1e-9).all()  # no overshoot


def test_a_joint_that_is_led_beyond_its_limit_stops_there_and_the_others_go_on() -> None:
    t = np.arange(60) * 0.030
    rows = np.stack([0.8 * t, 0.2 * np.sin(2 * t), 0.0 * t], axis=1)  # a ends at 1.4
    bench = Bench()
    bench.add(rows)
    places = bench.follow(170)
    bench.assert_limits_are_kept()
    assert places[-1, 0] == pytest.approx(1.0, abs=1e-6)
    at_s = 1.5 - bench.counters.slowdown_ns / 1e9  # it begins at rest
    assert at_s > 1.4
    assert places[149, 1] == pytest.approx(0.2 * math.sin(2 * at_s), abs=1e-3)
    assert 10 < bench.counters.position_limit_events < 80


def test_a_slow_down_delays_what_is_left_and_a_new_chunk_is_on_time() -> None:
    bench = Bench()
    rows = np.zeros((40, 3))
    rows[5:, 0] = 0.9
    bench.add(rows)
    bench.follow(30)
    assert bench.counters.slowdown_ns > 0.05e9
    bench.add(np.repeat([bench.filter.position], 20, axis=0))
    assert bench.timeline._curves[-1].first_ns == bench.now
    assert bench.timeline._curves[0].first_ns > T0
    bench.follow(30)
    bench.assert_limits_are_kept()


@settings(max_examples=25, deadline=None)
@given(
    chunks=st.lists(
        st.tuples(
            st.lists(st.tuples(*[st.floats(-1.5, 1.5)] * 3), min_size=8, max_size=12),
            st.integers(1, 20),
        ),
        min_size=1,
        max_size=5,
    ),
    blend_ms=st.sampled_from([0, 50, 300]),
    coefficient=st.sampled_from([math.nan, 0.01]),
)
def test_whatever_the_chunks_are_all_limits_are_kept(
    chunks: list[tuple[list[tuple[float, float, float]], int]], blend_ms: int, coefficient: float
) -> None:
    bench = Bench(blend_ms=blend_ms)
    bench.timeline.ensemble_coefficient = coefficient
    for rows, ticks in chunks:
        bench.add(rows)
        bench.follow(ticks)
    bench.assert_limits_are_kept()
