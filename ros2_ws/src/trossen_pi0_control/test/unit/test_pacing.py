"""When ticks come, and which of them are due at a lower rate."""

import threading
import time

import pytest

from trossen_pi0_control.pacing import RateGrid, paced
from trossen_pi0_control.tick_statistics import TickStatistics, TickSummary

MS = 1_000_000


def test_thirty_of_a_hundred_ticks():
    grid = RateGrid(30.0, 100.0)
    start = 1_700_000_000 * 1000 * MS
    due = [i for i in range(100) if grid.due(start + i * 10 * MS)]
    assert due[:7] == [0, 3, 7, 10, 13, 17, 20]
    assert len(due) == 30


def test_ticks_that_come_a_little_early_or_late_are_not_left_out():
    jitter = [0, 9_900_000, 20_200_000, 29_800_000, 45_700_000, 50_000_000]
    assert [RateGrid(100.0, 100.0).due(0), RateGrid(500.0, 100.0).due(0)] == [True, True]
    for rate in (100.0, 500.0):
        grid = RateGrid(rate, 100.0)
        assert all(grid.due(at) for at in jitter)
    grid = RateGrid(50.0, 100.0)
    assert [grid.due(at) for at in jitter] == [True, False, True, False, True, False]


def test_a_pause_begins_a_new_grid():
    grid = RateGrid(30.0, 100.0)
    assert grid.due(0)
    assert grid.due(1000 * MS)
    assert not grid.due(1010 * MS)  # and does not make up for the pause


def test_a_clock_set_back_begins_a_new_grid():
    grid = RateGrid(30.0, 100.0)
    assert grid.due(5000 * MS)
    assert grid.due(1000 * MS)
    assert not grid.due(1010 * MS)


class Clock:
    """Time that passes when it is slept, 0.1 ms too long each time."""

    def __init__(self):
        self.now_s = 100.0

    def __call__(self):
        return self.now_s

    def sleep(self, duration_s):
        assert duration_s > 0.0
        self.now_s += duration_s + 0.0001


def test_missed_ticks_are_left_out_and_not_counted_as_elapsed():
    clock, stopping = Clock(), threading.Event()
    begun, ticks = [], []
    for tick in paced(0.01, stopping, clock, clock.sleep):
        begun.append(clock.now_s - 100.0)
        ticks.append(tick)
        clock.now_s += 0.055 if len(ticks) == 3 else 0.002
        if len(ticks) == 6:
            stopping.set()
    # those due at 0.03 to 0.06 s are left out
    assert begun == pytest.approx([0.0, 0.0101, 0.0201, 0.0751, 0.0801, 0.0901], abs=1e-9)
    lateness = [tick.lateness_s for tick in ticks]
    assert lateness == pytest.approx([0.0, 0.0001, 0.0001, 0.0051, 0.0001, 0.0001], abs=1e-9)
    elapsed = [tick.elapsed_s for tick in ticks]
    assert elapsed == pytest.approx([0.0, 0.0101, 0.01, 0.02, 0.005, 0.01], abs=1e-9)


def test_a_loop_of_the_real_clock_ends_when_told():
    stopping = threading.Event()
    begun = []
    for _ in paced(0.002, stopping):
        begun.append(time.monotonic())
        if len(begun) == 5:
            stopping.set()
    assert begun[-1] - begun[0] >= 0.0079


def test_summary_of_ticks():
    statistics = TickStatistics(0.01)
    assert statistics.summary() == TickSummary()
    for i in range(2000):
        statistics.add(0.02 if i % 100 == 0 else 0.001, 0.003)
    summary = statistics.summary()
    assert (summary.ticks, summary.missed_deadlines) == (2000, 20)
    assert summary.lateness_p50_s == pytest.approx(0.001)
    assert summary.lateness_p99_s == pytest.approx(0.001, abs=1e-3)
    assert summary.round_trip_p99_s == pytest.approx(0.003)
