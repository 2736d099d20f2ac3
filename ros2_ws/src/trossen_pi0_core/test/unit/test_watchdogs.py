"""Watchdogs: every transition, with times as whole numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from trossen_pi0_core.contract import ActionChunk, Execution
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.watchdogs import (
    ClockWatch,
    EffortWatch,
    HangWatch,
    OverlapWatch,
    RoundTrip,
    RoundTripWatch,
)

MS = 1_000_000
SECOND = 1000 * MS
EPOCH = 1_700_000_000 * SECOND


# Clock -------------------------------------------------------------------------------------------


def jumps(steps: list[tuple[int, int]], *, simulated: bool, began_ns: int = EPOCH) -> list[int]:
    """What is found after each step (of ROS time, of the monotonic clock) [ms], in ms."""
    watch = ClockWatch(100 * MS)
    ros, monotonic = began_ns, 5 * SECOND
    assert watch.check(ros, monotonic, simulated=simulated) == 0
    found = []
    for ros_ms, monotonic_ms in steps:
        ros += ros_ms * MS
        monotonic += monotonic_ms * MS
        found.append(watch.check(ros, monotonic, simulated=simulated) // MS)
    return found


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(10, 10), (10, 10)], [0, 0]),
        ([(10, 10), (110, 10), (10, 10)], [0, 0, 0]),  # exactly what is allowed
        ([(111, 10), (10, 10)], [101, 0]),  # and 1 ms more
        ([(-1, 10), (10, 10)], [-11, 0]),  # back, by however little
        ([(3000, 3000)], [0]),  # the process was held up
        ([(2850, 3000)], [-150]),  # held up and set back meanwhile
        ([(2950, 3000)], [0]),
        ([(3_600_000, 10), (-3_600_000, 10)], [3_599_990, -3_600_010]),
    ],
)
def test_wall_time_jumps_when_it_leaves_the_monotonic_clock(
    steps: list[tuple[int, int]], expected: list[int]
) -> None:
    assert jumps(steps, simulated=False) == expected


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(0, 10), (0, 10), (5, 10)], [0, 0, 0]),  # stands still, runs slowly
        ([(0, 5000), (0, 5000), (10, 10)], [0, 0, 0]),  # paused for long
        ([(100, 10), (0, 10), (100, 80)], [0, 0, 0]),  # ten times as fast, in steps
        ([(200, 10), (201, 10)], [0, 191]),  # ten times 10 ms and 100 ms is the most
        ([*[(0, 10)] * 99, (1000, 10)], [0] * 100),  # /clock at 1 Hz
        ([(0, 60_000), (10_100, 1)], [0, 0]),
        ([(0, 60_000), (10_101, 1)], [0, 9101]),  # after a pause, one second counts
        ([(-1, 10), (10, 10)], [-11, 0]),
    ],
)
def test_simulated_time_jumps_when_it_goes_back_or_far_ahead(
    steps: list[tuple[int, int]], expected: list[int]
) -> None:
    assert jumps(steps, simulated=True) == expected


def test_the_first_simulated_time_is_no_jump() -> None:
    assert jumps([(0, 10), (1_700_000_000_000, 10), (10, 10)], simulated=True, began_ns=0) == [
        0,
        0,
        0,
    ]


def test_another_source_of_time_is_a_jump() -> None:
    watch = ClockWatch(100 * MS)
    watch.check(EPOCH, SECOND, simulated=False)
    assert watch.check(0, SECOND + 10 * MS, simulated=True) < 0


def test_a_clock_difference_must_be_allowed() -> None:
    with pytest.raises(ParameterError, match="the allowed clock difference must be greater than 0"):
        ClockWatch(0)


# Round trip --------------------------------------------------------------------------------------


def verdicts(durations_ms: list[int], *, strikes: int = 3, stale_ms: int = 100) -> list[RoundTrip]:
    watch = RoundTripWatch(20 * MS, strikes, stale_ms * MS)
    return [watch.check(duration * MS) for duration in durations_ms]


GOOD, LATE, HOLD, FAULT = RoundTrip.GOOD, RoundTrip.LATE, RoundTrip.HOLD, RoundTrip.FAULT


@pytest.mark.parametrize(
    ("durations_ms", "expected"),
    [
        ([1, 20, 1], [GOOD, GOOD, GOOD]),
        ([21, 21, 1, 21, 21, 1], [LATE, LATE, GOOD, LATE, LATE, GOOD]),
        ([21, 21, 21, 21, 1], [LATE, LATE, HOLD, HOLD, GOOD]),
        ([*[21] * 8, 1, 21], [LATE, LATE, *[HOLD] * 5, FAULT, GOOD, LATE]),
        ([*[21] * 7, 1, 21], [LATE, LATE, *[HOLD] * 5, GOOD, LATE]),
        ([5000, 1], [LATE, GOOD]),  # once is a stall of this process, not of the driver
        ([5000, 5000, 5000, 1], [LATE, LATE, HOLD, GOOD]),
        ([5000, 5000, 5000, 101], [LATE, LATE, HOLD, FAULT]),
    ],
)
def test_late_cycles_in_a_row_hold_and_then_fault(
    durations_ms: list[int], expected: list[RoundTrip]
) -> None:
    assert verdicts(durations_ms) == expected


def test_one_strike_holds_at_once() -> None:
    assert verdicts([101, 101], strikes=1) == [HOLD, FAULT]


def test_a_reset_forgets_late_cycles() -> None:
    watch = RoundTripWatch(20 * MS, 2, 100 * MS)
    watch.check(21 * MS)
    watch.reset()
    assert watch.check(21 * MS) == LATE


@pytest.mark.parametrize("values", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_round_trips_need_limits(values: tuple[int, int, int]) -> None:
    with pytest.raises(ParameterError, match="must be greater than 0, got 0"):
        RoundTripWatch(*values)


# Calls that do not end ---------------------------------------------------------------------------


def test_a_call_that_is_seen_for_too_long_has_hung() -> None:
    watch = HangWatch(30 * MS, 20 * MS)
    looks = [(1, 0), (1, 10), (1, 20), (1, 30), (1, 40), (-1, 50), (2, 60), (2, 70), (3, 80)]
    assert [watch.check(call, ms * MS) // MS for call, ms in looks] == [0, 0, 0, 30, 40, 0, 0, 0, 0]


def test_between_calls_nothing_hangs() -> None:
    watch = HangWatch(30 * MS, 20 * MS)
    assert [watch.check(-5, ms * MS) for ms in range(0, 200, 10)] == [0] * 20


def test_a_look_after_a_stall_counts_little() -> None:
    watch = HangWatch(30 * MS, 20 * MS)
    looks = [(1, 0), (1, 5000), (1, 9999)]
    assert [watch.check(call, ms * MS) // MS for call, ms in looks] == [0, 0, 40]


# Efforts -----------------------------------------------------------------------------------------


def effort_watch() -> EffortWatch:
    return EffortWatch(("shoulder", "carriage"), np.array([20.0, 300.0]), 30 * MS)


def measured(watch: EffortWatch, *efforts: tuple[float, float]) -> list[str]:
    return [watch.check(np.array(pair), 10 * MS) for pair in efforts]


def test_an_effort_beyond_its_limit_for_too_long_is_told_once() -> None:
    watch = effort_watch()
    high = (-20.1, 0.0)
    told = measured(watch, high, high, high, high)
    assert told == ["", "", "shoulder: effort -20.1 is beyond its limit of +-20 for 0.03 s", ""]


def test_an_effort_at_its_limit_or_beyond_it_for_a_moment_is_allowed() -> None:
    watch = effort_watch()
    high, low = (25.0, 0.0), (20.0, 300.0)
    assert measured(watch, low, low, low, low, high, high, low, high, high) == [""] * 9


def test_the_next_overload_is_told_again_and_each_joint_by_itself() -> None:
    watch = effort_watch()
    both, one, none = (21.0, -301.0), (21.0, 0.0), (0.0, 0.0)
    told = measured(watch, one, both, both, both, none, both, both, both)
    assert [bool(text) for text in told] == [0, 0, 1, 1, 0, 0, 0, 1]
    assert told[3].startswith("carriage: effort -301.0")
    assert "shoulder: effort 21.0" in told[7]
    assert "; carriage: effort" in told[7]


def test_a_reset_forgets_overloads() -> None:
    watch = effort_watch()
    high = (25.0, 0.0)
    measured(watch, high, high)
    watch.reset()
    assert measured(watch, high, high) == ["", ""]
    assert measured(watch, high) != [""]


@pytest.mark.parametrize("limits", [[20.0], [20.0, 0.0], [20.0, math.nan], [math.inf, 1.0]])
def test_malformed_effort_limits_are_refused(limits: list[float]) -> None:
    with pytest.raises(ParameterError, match="effort limits need 2 finite values greater than 0"):
        EffortWatch(("a", "b"), np.array(limits), MS)


# Settings without effect -------------------------------------------------------------------------


def chunk(number: int, *, every: int, rows: int = 10, **changes: Any) -> ActionChunk:
    """Chunk of a run that begins a chunk each ``every`` rows of 100 ms."""
    values: dict[str, Any] = {
        "run_id": "run",
        "chunk_id": number,
        "observation_stamp_ns": EPOCH,
        "t_first_ns": EPOCH + number * every * 100 * MS,
        "period_ns": 100 * MS,
        "joint_names": ("joint",),
        "positions": np.zeros((rows, 1)),
    }
    return ActionChunk(**{**values, **changes})


def warnings(
    watch: OverlapWatch, coefficient: float, blend_ms: int, *, every: int, **changes: Any
) -> list[str]:
    chunks = [chunk(number, every=every, **changes) for number in range(6)]
    return [text for c in chunks if (text := watch.check(c, coefficient, blend_ms * MS))]


def test_ensembling_of_chunks_that_do_not_overlap_is_told_once() -> None:
    watch = OverlapWatch()
    (text,) = warnings(watch, 0.01, 100, every=10)
    assert text.startswith(
        "temporal ensembling has nothing to average: a chunk begins where the one before ends"
    )
    assert warnings(watch, 0.01, 100, every=12, run_id="next") == []
    (text,) = warnings(watch, 0.02, 100, every=12)
    assert "a chunk begins 0.200 s after the one before has ended" in text


def test_ensembling_of_chunks_that_overlap_is_fine() -> None:
    assert warnings(OverlapWatch(), 0.01, 100, every=9) == []


def test_fewer_than_three_chunks_apart_are_a_stall() -> None:
    watch = OverlapWatch()
    starts = (0, 10, 20, 25, 35, 45, 50)
    for number, start in enumerate(starts):
        late = chunk(number, every=0, t_first_ns=EPOCH + start * 100 * MS)
        assert watch.check(late, 0.01, 0) == ""


def test_in_blocking_execution_the_rows_that_are_not_executed_overlap() -> None:
    blocking = {"every": 20, "execution": Execution.BLOCKING}
    assert warnings(OverlapWatch(), 0.01, 0, execute_rows=9, **blocking) == []
    for rows in (0, 10):
        (text,) = warnings(OverlapWatch(), 0.01, 0, execute_rows=rows, **blocking)
        assert "a chunk begins where the one before ends" in text
    assert warnings(OverlapWatch(), math.nan, 500, execute_rows=5, **blocking) == []


def test_a_cross_fade_longer_than_the_overlap_is_told_once() -> None:
    watch = OverlapWatch()
    (text,) = warnings(watch, math.nan, 301, every=7)
    assert text.startswith("blend_s is 0.301 s, but consecutive chunks overlap by 0.300 s")
    assert warnings(watch, math.nan, 301, every=7, run_id="next") == []
    assert len(warnings(watch, math.nan, 400, every=7)) == 1
    assert warnings(OverlapWatch(), math.nan, 300, every=7) == []
    assert warnings(OverlapWatch(), math.nan, 0, every=12) == []


def test_runs_are_not_compared_with_one_another() -> None:
    watch = OverlapWatch()
    for number in range(6):
        one = chunk(number, every=50, run_id=f"run {number}")
        assert watch.check(one, 0.01, 100 * MS) == ""
