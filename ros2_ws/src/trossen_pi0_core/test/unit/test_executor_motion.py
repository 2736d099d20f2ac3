"""Commands of the motion executor are smooth, inside the limits and never too fast."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray

from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.errors import ChunkRejectedError, MoveRejectedError
from trossen_pi0_core.executor import Command, ExecutorConfig, MotionExecutor, State
from trossen_pi0_core.limits import JointLimits
from trossen_pi0_core.timeline import ChunkTimeline

T0 = 1_700_000_000_000_000_000
MS = 1_000_000
NAMES = ("a", "b")
ACCELERATION = np.array([10.0, 1.0])
LIMITS = JointLimits(
    NAMES, np.array([-1.0, 0.0]), np.array([1.0, 0.04]), np.array([2.0, 0.1]), ACCELERATION
)
CONFIG = ExecutorConfig(
    limits=LIMITS,
    move_limits=LIMITS.slowed(0.5),
    start_tolerance_s=0.1,
    max_chunk_age_ns=1000 * MS,
    max_tick_ns=20 * MS,
)


def make_executor(*, blend_ms: int = 0, coefficient: float = math.nan) -> MotionExecutor:
    timeline = ChunkTimeline(blend_ns=blend_ms * MS, ensemble_coefficient=coefficient)
    return MotionExecutor(CONFIG, timeline, np.zeros(2), T0)


def make_chunk(
    rows: ArrayLike, now_ns: int, *, run_id: str = "run", chunk_id: int = 1, last: bool = False
) -> ActionChunk:
    positions = np.reshape(np.asarray(rows, dtype=np.float64), (-1, 2))
    return ActionChunk(run_id, chunk_id, now_ns, now_ns, 20 * MS, NAMES, positions, last)


def drive(executor: MotionExecutor, from_ns: int, ticks: int) -> list[Command]:
    """Commands of some ticks, 10 ms apart."""
    return [executor.tick(from_ns + i * 10 * MS) for i in range(1, ticks + 1)]


def accelerations(commands: list[Command]) -> NDArray[np.float64]:
    """Changes of the commanded velocity over time, shape (ticks - 1, joints)."""
    return np.diff([command.velocities for command in commands], axis=0) / 0.010


def test_a_cancelled_move_brakes_within_the_accelerations_on_its_line() -> None:
    executor = make_executor()
    executor.start_move(np.array([0.8, 0.03]), 1.0, T0)
    before = drive(executor, T0, 60)
    executor.stop_move("cancelled")
    after = drive(executor, T0 + 600 * MS, 40)
    assert (np.abs(accelerations([*before[-1:], *after])) <= ACCELERATION * (1 + 1e-6)).all()
    np.testing.assert_array_equal(after[-1].velocities, [0.0, 0.0])
    places = np.array([command.positions for command in [*before, *after]])
    np.testing.assert_allclose(places[:, 1], places[:, 0] * 0.03 / 0.8, atol=1e-9)


def test_a_move_that_follows_at_once_begins_when_the_arms_are_at_rest() -> None:
    executor = make_executor()
    executor.start_move(np.array([0.8, 0.0]), 1.0, T0)
    before = drive(executor, T0, 50)
    executor.stop_move("cancelled")
    move = executor.start_move(np.array([-0.5, 0.0]), 1.0, T0 + 500 * MS)
    assert executor.state == State.MOVING
    assert move.t_start_ns > T0 + 500 * MS
    after = drive(executor, T0 + 500 * MS, 400)
    assert (np.abs(accelerations([*before[-1:], *after])) <= ACCELERATION * (1 + 1e-6)).all()
    assert executor.state == State.HOLDING
    np.testing.assert_allclose(executor.command, [-0.5, 0.0])


def test_a_ramp_out_of_another_run_s_motion_begins_at_rest() -> None:
    executor = make_executor()
    executor.submit(make_chunk([[0.01 * i, 0.0] for i in range(40)], T0, last=True), T0)
    before = drive(executor, T0, 20)
    now_ns = T0 + 200 * MS
    executor.submit(make_chunk([[-0.9, 0.0]] * 9, now_ns, run_id="next"), now_ns)
    assert executor.state == State.RAMPING
    after = drive(executor, now_ns, 300)
    assert (np.abs(accelerations([*before[-1:], *after])) <= ACCELERATION * (1 + 1e-6)).all()
    np.testing.assert_allclose(executor.command, [-0.9, 0.0])


def test_a_chunk_that_arrives_while_the_arms_come_to_rest_is_faded_in_from_their_motion() -> None:
    executor = make_executor(blend_ms=200)
    executor.submit(make_chunk([[0.01 * i, 0.0] for i in range(40)], T0), T0)
    before = drive(executor, T0, 40)
    now_ns = T0 + 400 * MS
    executor.submit(make_chunk(np.empty((0, 2)), now_ns, chunk_id=2, last=True), now_ns)
    between = drive(executor, now_ns, 2)
    assert between[-1].velocities[0] > 0.2
    now_ns += 20 * MS
    place = executor.command[0]
    executor.submit(make_chunk([[place + 0.03, 0.0]] * 20, now_ns, run_id="next"), now_ns)
    assert executor.state == State.EXECUTING
    after = drive(executor, now_ns, 20)
    joined = accelerations([before[-1], *between, *after])
    assert (np.abs(joined) <= ACCELERATION * 1.05).all()


def test_braking_ends_at_a_position_limit_and_is_no_event() -> None:
    executor = make_executor()
    executor.submit(make_chunk([[0.02 * i, 0.0] for i in range(60)], T0), T0)
    before = drive(executor, T0, 95)
    assert before[-1].velocities[0] > 0.3
    now_ns = T0 + 950 * MS
    executor.submit(make_chunk(np.empty((0, 2)), now_ns, chunk_id=2, last=True), now_ns)
    commands = [*before, *drive(executor, now_ns, 40)]
    assert commands[-1].positions[0] <= 1.0
    assert (np.abs(accelerations(commands)) <= ACCELERATION * (1 + 1e-6)).all()
    assert executor.counters.position_limit_events == 0


def test_a_late_tick_does_not_hasten_a_stop() -> None:
    executor = make_executor()
    executor.start_move(np.array([0.8, 0.0]), 1.0, T0)
    before = drive(executor, T0, 50)
    executor.stop_move("cancelled")
    now_ns = T0 + 510 * MS
    commands = [before[-1], executor.tick(now_ns), executor.tick(now_ns + 300 * MS)]
    commands += drive(executor, now_ns + 300 * MS, 20)
    speeds = np.array([command.velocities[0] for command in commands])
    assert (np.diff(speeds) <= 1e-9).all()
    assert speeds[-1] == 0.0


def test_a_late_tick_moves_no_further_than_an_ordinary_one_and_a_move_goes_on_from_there() -> None:
    executor = make_executor()
    executor.start_move(np.array([0.8, 0.0]), 1.0, T0)
    before = drive(executor, T0, 50)
    late_ns = T0 + 500 * MS + 300 * MS
    late = executor.tick(late_ns)
    # 20 ms are accounted for, at no more than the move's 1 rad/s.
    assert 0.0 < late.positions[0] - before[-1].positions[0] <= 0.02 + 1e-9
    after = drive(executor, late_ns, 400)
    speeds = np.array([command.velocities[0] for command in [late, *after]])
    assert (np.abs(speeds) <= 1.0 + 1e-9).all()
    assert executor.state == State.HOLDING
    np.testing.assert_allclose(executor.command, [0.8, 0.0])


def test_a_ramp_goes_on_after_a_late_tick() -> None:
    executor = make_executor()
    executor.submit(make_chunk([[0.8, 0.0]] * 9, T0), T0)
    drive(executor, T0, 50)
    late = executor.tick(T0 + 800 * MS)
    after = drive(executor, T0 + 800 * MS, 400)
    speeds = np.array([command.velocities[0] for command in [late, *after]])
    assert (np.abs(speeds) <= 1.0 + 1e-9).all()
    np.testing.assert_allclose(executor.command, [0.8, 0.0])


@pytest.mark.parametrize("step_ms", [-3_600_000, -700, 3_600_000])
def test_a_move_goes_on_when_the_clock_is_set(step_ms: int) -> None:
    executor = make_executor()
    executor.start_move(np.array([0.8, 0.0]), 1.0, T0)
    before = drive(executor, T0, 50)
    now_ns = T0 + (500 + step_ms) * MS
    after = [executor.tick(now_ns), *drive(executor, now_ns, 300)]
    steps = np.diff([command.positions[0] for command in [before[-1], *after]])
    assert (steps >= -1e-12).all()
    assert (steps <= 0.02 + 1e-9).all()
    np.testing.assert_allclose(executor.command, [0.8, 0.0])


def test_ticks_at_the_same_time_change_nothing() -> None:
    executor = make_executor()
    executor.start_move(np.array([0.8, 0.0]), 1.0, T0)
    first = drive(executor, T0, 30)[-1]
    again = executor.tick(T0 + 300 * MS)
    np.testing.assert_array_equal(first.positions, again.positions)
    np.testing.assert_array_equal(first.velocities, again.velocities)


def test_limit_events_are_counted_by_ticks_while_they_last() -> None:
    executor = make_executor()
    executor.submit(make_chunk([[0.0, 0.0], [0.9, 0.0], *[[0.9, 0.05]] * 60], T0), T0)
    drive(executor, T0, 95)
    counters = executor.counters
    assert 20 < counters.speed_limit_events < 95
    assert 20 < counters.acceleration_limit_events < 95
    assert 5 < counters.position_limit_events <= 95
    assert 0.3e9 < counters.slowdown_ns < 0.95e9
    executor.submit(make_chunk(np.empty((0, 2)), T0, chunk_id=2, last=True), T0)
    drive(executor, T0 + 950 * MS, 5)
    before = counters.position_limit_events
    drive(executor, T0 + 1000 * MS, 50)
    assert counters.position_limit_events == before


def test_the_arms_stay_on_the_straight_line_when_they_are_slowed() -> None:
    executor = make_executor()
    executor.submit(make_chunk([[0.0, 0.0], *[[0.9, 0.018]] * 60], T0), T0)
    places = np.array([command.positions for command in drive(executor, T0, 95)])
    np.testing.assert_allclose(places[:, 1], places[:, 0] * 0.02, atol=1e-9)
    np.testing.assert_allclose(places[-1], [0.9, 0.018], atol=1e-6)


# Anything at any time ----------------------------------------------------------------------------

_values = st.one_of(st.floats(-1.2, 1.2), st.floats(-1e6, 1e6))
_rows = st.lists(st.tuples(_values, _values), max_size=8)
_chunks = st.tuples(
    st.just("chunk"),
    _rows,
    st.sampled_from(["one", "two", "three"]),
    st.integers(-300, 1500),  # first row, against the present [ms]
    st.sampled_from([1, 20 * MS, 50 * MS]),  # period [ns]
    st.booleans(),
)
_moves = st.tuples(st.just("move"), _values, _values, st.floats(0.001, 1.0))
_others = st.tuples(st.sampled_from(["stop_move", "fault", "estop", "clear"]))
_ticks = st.tuples(st.just("tick"), st.integers(1, 40), st.integers(-50 * MS, 200 * MS))
_events = st.lists(st.one_of(_ticks, _ticks, _chunks, _chunks, _moves, _others), max_size=30)


def _apply(executor: MotionExecutor, event: tuple, now_ns: int, number: int) -> None:
    match event:
        case ("chunk", rows, run_id, first_ms, period_ns, last):
            if not rows and not last:
                return
            positions = np.reshape(np.array(rows, dtype=np.float64), (-1, 2))
            chunk = ActionChunk(
                run_id, number, now_ns, now_ns + first_ms * MS, period_ns, NAMES, positions, last
            )
            executor.submit(chunk, now_ns)
        case ("move", a, b, scale):
            executor.start_move(np.array([a, b]), scale, now_ns)
        case ("clear",):
            executor.clear(np.array([0.5, 0.02]), now_ns)
        case (name,):
            getattr(executor, name)("drawn")


@settings(max_examples=80, deadline=None)
@given(
    events=_events,
    blend_ms=st.sampled_from([0, 100, 2000]),
    coefficient=st.sampled_from([math.nan, -10.0, 0.01, 10.0]),
)
def test_no_command_is_ever_wild(events: list[tuple], blend_ms: int, coefficient: float) -> None:
    executor = make_executor(blend_ms=blend_ms, coefficient=coefficient)
    now_ns = T0
    velocities = np.zeros(2)
    for number, event in enumerate(events, start=1):
        if event[0] == "tick":
            for i in range(event[1]):
                step_ns = event[2] if i == 0 else 10 * MS
                previous = executor.command
                now_ns += step_ns
                command = executor.tick(now_ns)
                assert np.isfinite(command.positions).all()
                assert np.isfinite(command.velocities).all()
                assert (command.positions >= LIMITS.lower).all()
                assert (command.positions <= LIMITS.upper).all()
                dt_s = min(max(step_ns, 0), CONFIG.max_tick_ns) / 1e9
                fastest = LIMITS.velocity * dt_s * (1 + 1e-9) + 1e-15
                assert (np.abs(command.positions - previous) <= fastest).all()
                if step_ns == 10 * MS and i > 1 and command.active:
                    change = np.abs(command.velocities - velocities)
                    assert (change <= ACCELERATION * 0.010 * (1 + 1e-6) + 1e-9).all()
                velocities = command.velocities
                if command.state in (State.FAULT, State.ESTOP):
                    assert not command.active
                    np.testing.assert_array_equal(command.positions, previous)
            continue
        try:
            _apply(executor, event, now_ns, number)
        except (ChunkRejectedError, MoveRejectedError):
            assert executor.state in State
    # Whatever has happened, the arms can be stopped, cleared and moved again.
    executor.estop("end")
    executor.clear(np.zeros(2), now_ns)
    executor.start_move(np.array([0.1, 0.01]), 1.0, now_ns)
    drive(executor, now_ns, 60)
    np.testing.assert_allclose(executor.command, [0.1, 0.01])


@settings(max_examples=80, deadline=None)
@example(goals=[(0.875, 0.0, 1.0, 13), (0.0, 0.0, 1.0, 1)])
@given(
    goals=st.lists(
        st.tuples(st.floats(-1, 1), st.floats(0, 0.04), st.floats(0.1, 1), st.integers(1, 200)),
        min_size=1,
        max_size=6,
    )
)
def test_moves_interrupted_at_any_time_keep_the_accelerations(
    goals: list[tuple[float, float, float, int]],
) -> None:
    executor = make_executor()
    now_ns = T0
    commands = drive(executor, now_ns, 1)
    now_ns += 10 * MS
    for a, b, scale, ticks in goals:
        executor.stop_move("next")
        executor.start_move(np.array([a, b]), scale, now_ns)
        commands += drive(executor, now_ns, ticks)
        now_ns += ticks * 10 * MS
    assert (np.abs(accelerations(commands)) <= ACCELERATION * (1 + 1e-6) + 1e-9).all()
