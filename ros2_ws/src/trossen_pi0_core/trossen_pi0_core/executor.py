"""What the arms are told at each control tick: a state machine over chunks, moves and faults.

Pure: time is an argument, nothing here knows of ROS or of the driver. Not thread-safe; the node
that owns it serialises the calls.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.admission import check_goal, holdable, timing_problem
from trossen_pi0_core.contract import NANOSECONDS, ActionChunk
from trossen_pi0_core.errors import ChunkRejectedError, MoveRejectedError
from trossen_pi0_core.execution import Command, Counters, ExecutorConfig, State
from trossen_pi0_core.limits import limit_step
from trossen_pi0_core.motion import PointToPoint, Stop
from trossen_pi0_core.timeline import ChunkTimeline

__all__ = ["Command", "Counters", "ExecutorConfig", "MotionExecutor", "State"]

_REMEMBERED_RUNS = 64

_Motion = TypeVar("_Motion", PointToPoint, Stop)
_Positions = NDArray[np.float64]


@dataclass
class _Run:
    """The policy run in force."""

    run_id: str
    last_chunk_id: int
    not_before_ns: int | None = None
    chunk: ActionChunk | None = None
    ending: bool = False
    ramp: PointToPoint | None = None


class MotionExecutor:
    """Turns chunks and moves into one command a tick. Begins holding at the measured pose."""

    def __init__(
        self,
        config: ExecutorConfig,
        timeline: ChunkTimeline,
        measured: _Positions,
        now_ns: int,
    ) -> None:
        """Args:
            config: limits and tolerances.
            timeline: merges the chunks; its settings may be changed between ticks.
            measured: joint positions, shape (joints,) [rad; m for carriages].
            now_ns: present time [ns].

        Raises:
            JointError: the measured pose cannot be held, as in ``clear``.
        """
        self.config = config
        self.timeline = timeline
        self.counters = Counters()
        self.state = State.HOLDING
        self.reason = ""
        self._command = holdable(config.limits, measured, config.max_tick_ns)
        self._velocity = np.zeros_like(self._command)
        self._tick_ns = now_ns
        self._step_ns = 0
        self._stop: Stop | None = None
        self._run: _Run | None = None
        self._move: PointToPoint | None = None
        self._finished_runs: deque[str] = deque(maxlen=_REMEMBERED_RUNS)

    @property
    def command(self) -> _Positions:
        """Last commanded positions, shape (joints,) [rad; m for carriages]."""
        return self._command.copy()

    @property
    def run_id(self) -> str:
        """Policy run in force; empty when there is none."""
        return self._run.run_id if self._run else ""

    @property
    def chunk(self) -> ActionChunk | None:
        """Newest accepted chunk of the run in force."""
        return self._run.chunk if self._run else None

    @property
    def move(self) -> PointToPoint | None:
        """The MoveTo motion under way; a late tick shifts it in time."""
        return self._move

    # Chunks -------------------------------------------------------------------------------------

    def submit(self, chunk: ActionChunk, now_ns: int) -> None:
        """Takes a chunk for execution.

        Raises:
            ChunkRejectedError: its rows are not executed and only the counters change; but the
                last chunk of the run in force ends the run even if its rows come too late.
        """
        try:
            self._submit(chunk, now_ns)
        except ChunkRejectedError as error:
            self.counters.chunks_rejected += 1
            self.counters.last_rejection = f"chunk {chunk.chunk_id}: {error}"
            raise
        self.counters.chunks_accepted += 1

    def _submit(self, chunk: ActionChunk, now_ns: int) -> None:
        self._refuse_unfit(chunk)
        run = self._run if self._run and self._run.run_id == chunk.run_id else None
        if not chunk.horizon:
            self._stop_run(chunk.run_id)
            return
        problem = self._why_not_executed(chunk, run, now_ns)
        if problem:
            if run and chunk.last:
                run.last_chunk_id = chunk.chunk_id
                run.ending = True
            raise ChunkRejectedError(problem)
        run = run or self._begin_run(chunk)
        run.last_chunk_id = chunk.chunk_id
        run.ending = chunk.last
        if self._needs_ramp(run, chunk, now_ns):
            run.ramp = self._plan(self._first_row(chunk, now_ns), now_ns, 1.0)
            self._enter(State.RAMPING, "moving to the first row of the run")
            return
        run.chunk = chunk
        self.timeline.add(chunk, now_ns, self._command, self._stopping(self._tick_ns))
        self._enter(State.EXECUTING)

    def _refuse_unfit(self, chunk: ActionChunk) -> None:
        """Refuses what is not for this controller, not now, or out of order."""
        names = self.config.limits.names
        if chunk.joint_names != names:
            raise ChunkRejectedError(
                f"it is for the joints {list(chunk.joint_names)}, this controller has {list(names)}"
            )
        if self.state in (State.FAULT, State.ESTOP, State.MOVING):
            raise ChunkRejectedError(f"the controller is in {self.state.name}: {self.reason}")
        if chunk.run_id in self._finished_runs:
            raise ChunkRejectedError(f"run {chunk.run_id} has ended")
        run = self._run
        if not run or run.run_id != chunk.run_id:
            return
        if chunk.chunk_id <= run.last_chunk_id:
            raise ChunkRejectedError(
                f"ids must increase within a run, the last was {run.last_chunk_id}"
            )
        if run.ending and chunk.horizon:
            raise ChunkRejectedError(f"chunk {run.last_chunk_id} was the last of its run")

    def _why_not_executed(self, chunk: ActionChunk, run: _Run | None, now_ns: int) -> str:
        """What keeps the rows from being executed at this time; empty when nothing."""
        if self.state == State.RAMPING:
            return "the arms are moving to the start of the run"
        stamp_ns = chunk.observation_stamp_ns
        if run and run.not_before_ns is not None and stamp_ns < run.not_before_ns:
            return "its observation is from before the start of the motion"
        return timing_problem(chunk, now_ns, self.config.max_chunk_age_ns)

    def _begin_run(self, chunk: ActionChunk) -> _Run:
        self._forget_run()
        self._run = _Run(chunk.run_id, chunk.chunk_id)
        return self._run

    def _needs_ramp(self, run: _Run, chunk: ActionChunk, now_ns: int) -> bool:
        """A run ramps at most once, to its first row; a policy in motion always leads the arms."""
        if run.chunk is not None or run.not_before_ns is not None:
            return False
        distance = np.abs(self._first_row(chunk, now_ns) - self._command)
        distance_s = np.max(distance / self.config.move_limits.velocity)
        return bool(distance_s > self.config.start_tolerance_s)

    def _first_row(self, chunk: ActionChunk, now_ns: int) -> _Positions:
        """The row in force now, inside the position limits."""
        row = min(max(0, now_ns - chunk.t_first_ns) // chunk.period_ns, chunk.horizon - 1)
        return self._inside(chunk.positions[row])

    def _stop_run(self, run_id: str) -> None:
        """The policy has stopped a run: the arms come to rest if it is the one in force."""
        if run_id == self.run_id:
            self._end_run("")
        else:
            self._finished_runs.append(run_id)

    def _end_run(self, reason: str) -> None:
        self._forget_run()
        self._enter(State.HOLDING, reason)

    def _forget_run(self) -> None:
        if self._run:
            self._finished_runs.append(self._run.run_id)
        self._run = None
        self.timeline.clear()

    # Moves and faults ---------------------------------------------------------------------------

    def start_move(self, goal: _Positions, velocity_scale: float, now_ns: int) -> PointToPoint:
        """Begins a straight motion in joint space, as soon as the arms are at rest.

        A run that is starved ends with it: its policy may be gone.

        Args:
            goal: shape (joints,) [rad; m for carriages].
            velocity_scale: fraction of the move speed, in (0, 1].
            now_ns: present time [ns].

        Raises:
            MoveRejectedError: bad values, outside the limits, or not while in this state.
        """
        if self.state in (State.FAULT, State.ESTOP):
            raise MoveRejectedError(f"the controller is in {self.state.name}: {self.reason}")
        if self._run is not None and self.state != State.STARVED:
            raise MoveRejectedError(f"policy run {self._run.run_id} is under way; stop it first")
        if self._move is not None:
            raise MoveRejectedError("another move is under way; cancel it first")
        check_goal(self.config.limits, goal, velocity_scale)
        self._forget_run()
        self._move = self._plan(goal, now_ns, velocity_scale)
        self._enter(State.MOVING, "MoveTo")
        return self._move

    def stop_move(self, reason: str) -> None:
        """Brings the arms to rest within their accelerations; does nothing without a move."""
        if self._move is not None:
            self.hold(reason)

    def hold(self, reason: str) -> None:
        """Ends the run or the move; the arms come to rest within their accelerations."""
        if self.state not in (State.FAULT, State.ESTOP):
            self._move = None
            self._end_run(reason)

    def fault(self, reason: str) -> None:
        """Holds until ``clear``; an e-stop stays an e-stop."""
        self._halt(State.ESTOP if self.state == State.ESTOP else State.FAULT, reason)

    def estop(self, reason: str) -> None:
        """Holds until ``clear``."""
        self._halt(State.ESTOP, reason)

    def clear(self, measured: _Positions, now_ns: int) -> None:
        """Leaves FAULT or ESTOP and holds at the measured pose; does nothing in other states.

        Args:
            measured: joint positions, shape (joints,) [rad; m for carriages].
            now_ns: present time [ns].

        Raises:
            JointError: values are missing or not finite, or a joint is so far outside its position
                limits that holding it inside would be a jump. The state stays.
        """
        if self.state not in (State.FAULT, State.ESTOP):
            return
        config = self.config
        self._command = holdable(config.limits, measured, config.max_tick_ns)
        self._tick_ns = now_ns
        self._enter(State.HOLDING)

    def _halt(self, state: State, reason: str) -> None:
        self._forget_run()
        self._move = None
        self._stop = None
        self._velocity = np.zeros_like(self._command)
        self._enter(state, reason)

    # Ticks --------------------------------------------------------------------------------------

    def tick(self, now_ns: int) -> Command:
        """Advances to ``now_ns`` and says what the arms shall do."""
        elapsed_ns = now_ns - self._tick_ns
        step_ns = min(max(elapsed_ns, 0), self.config.max_tick_ns)
        self._tick_ns = now_ns
        if self.state in (State.FAULT, State.ESTOP):
            return Command(self.command, np.zeros_like(self._command), self.state, active=False)
        self._delay(elapsed_ns - step_ns)
        if step_ns > 0:
            self._advance(self._target(now_ns, now_ns - step_ns), step_ns)
        active = self.state not in (State.FAULT, State.ESTOP)
        return Command(self.command, self._velocity.copy(), self.state, active)

    def _delay(self, lost_ns: int) -> None:
        """Moves what is planned in time, by what a late tick or a set clock has taken."""
        if lost_ns:
            self._stop = _shifted(self._stop, lost_ns)
            self._move = _shifted(self._move, lost_ns)
            if self._run:
                self._run.ramp = _shifted(self._run.ramp, lost_ns)

    def _target(self, now_ns: int, began_ns: int) -> _Positions:
        """Where to be now; ``began_ns`` is when the arms were at the last command."""
        positions = self._followed(now_ns)
        if positions is not None:
            self._stop = None
            return positions
        self._stop = self._stopping(began_ns)
        return self._inside(self._stop.sample(now_ns)[0])

    def _followed(self, now_ns: int) -> _Positions | None:
        """Where the move, the ramp or the chunks lead; None when the arms shall come to rest."""
        if self._move is not None:
            return self._follow_move(self._move, now_ns)
        run = self._run
        if run is None:
            return None
        if run.ramp is not None:
            return self._follow_ramp(run, run.ramp, now_ns)
        sample = self.timeline.sample(now_ns)
        if sample is not None:
            self._enter(State.EXECUTING)
            return sample.positions
        self._run_out(run, now_ns)
        return None

    def _follow_move(self, move: PointToPoint, now_ns: int) -> _Positions | None:
        if now_ns < move.t_start_ns:
            return None
        if now_ns >= move.t_end_ns:
            self._move = None
            self._enter(State.HOLDING)
        return move.sample(now_ns)[0]

    def _follow_ramp(self, run: _Run, ramp: PointToPoint, now_ns: int) -> _Positions | None:
        if now_ns < ramp.t_start_ns:
            return None
        if now_ns >= ramp.t_end_ns:
            run.ramp = None
            run.not_before_ns = now_ns
            self._enter(State.HOLDING, "at the first row of the run; waiting for a fresh chunk")
        return ramp.sample(now_ns)[0]

    def _run_out(self, run: _Run, now_ns: int) -> None:
        """No row covers the present: one is still to come, the run has ended, or is starved."""
        if run.chunk is not None:
            over = now_ns >= run.chunk.t_end_ns
        else:
            waited_ns = now_ns - (run.not_before_ns or 0)
            over = run.ending or waited_ns > self.config.max_chunk_age_ns
        if over and run.ending:
            self._end_run("the run has ended")
        elif over and self.state != State.STARVED:
            self.counters.starvations += 1
            self._enter(State.STARVED, "no chunk covers the present")

    def _stopping(self, began_ns: int) -> Stop:
        """How the arms come to rest from the last command; within a tick where that is enough."""
        if self._stop is not None:
            return self._stop
        acceleration = self.config.limits.acceleration
        stop = Stop.plan(self._command, self._velocity, began_ns, acceleration=acceleration)
        if stop.duration_ns > self._step_ns:
            return stop
        tick_ns = self._step_ns if stop.duration_ns else 0
        return Stop(self._command, np.zeros_like(self._command), began_ns, tick_ns)

    def _advance(self, target: _Positions, step_ns: int) -> None:
        if not np.isfinite(target).all():
            self.fault("the trajectory is not finite")
            return
        dt_s = step_ns / NANOSECONDS
        limited = limit_step(self.config.limits, self._command, target, dt_s)
        self.counters.position_limit_events += limited.position_limited
        self.counters.speed_limit_events += limited.speed_limited
        self._velocity = (limited.positions - self._command) / dt_s
        self._command = limited.positions
        self._step_ns = step_ns

    def _plan(self, goal: _Positions, now_ns: int, scale: float) -> PointToPoint:
        """A motion that begins where and when the arms come to rest."""
        limits = self.config.move_limits
        self._stop = self._stopping(self._tick_ns)
        return PointToPoint.plan(
            self._inside(self._stop.goal),
            goal,
            max(now_ns, self._stop.t_end_ns),
            velocity=limits.velocity * scale,
            acceleration=limits.acceleration * scale,
        )

    def _inside(self, positions: _Positions) -> _Positions:
        return np.clip(positions, self.config.limits.lower, self.config.limits.upper)

    def _enter(self, state: State, reason: str = "") -> None:
        self.state = state
        self.reason = reason


def _shifted(motion: _Motion | None, by_ns: int) -> _Motion | None:
    """The same motion at another time; None stays None."""
    if motion is None:
        return None
    return dataclasses.replace(motion, t_start_ns=motion.t_start_ns + by_ns)
