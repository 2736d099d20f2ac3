"""What the arms are told at each control tick: a state machine over chunks, moves and faults.

Pure: time is an argument, nothing here knows of ROS or of the driver. Not thread-safe; the node
that owns it serialises the calls.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.admission import (
    check_goal,
    check_joints,
    first_row,
    holdable,
    is_far,
    timing_problem,
    too_old,
)
from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.errors import ChunkRejectedError, MoveRejectedError
from trossen_pi0_core.execution import Command, Counters, ExecutorConfig, State
from trossen_pi0_core.motion import PointToPoint, shifted
from trossen_pi0_core.runs import Run, Runs
from trossen_pi0_core.safety_filter import SafetyFilter
from trossen_pi0_core.timeline import ChunkTimeline

_Positions = NDArray[np.float64]

_THERE = 1e-9  # distance from the goal that is arithmetic [rad; m for carriages]


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
        self.timeline = timeline
        self.counters = Counters()
        self.state = State.HOLDING
        self.reason = ""
        start = holdable(config.limits, measured, config.max_tick_ns)
        self._filter = SafetyFilter(config, self.counters, start)
        self._tick_ns = now_ns
        self._move: PointToPoint | None = None
        self._retreat: PointToPoint | None = None
        self._runs = Runs()

    @property
    def config(self) -> ExecutorConfig:
        """Limits and tolerances; may be replaced between ticks."""
        return self._filter.config

    @config.setter
    def config(self, config: ExecutorConfig) -> None:
        self._filter.config = config

    @property
    def command(self) -> _Positions:
        """Last commanded positions, shape (joints,) [rad; m for carriages]."""
        return self._filter.position

    @property
    def _run(self) -> Run | None:
        return self._runs.current

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
        run = self._runs.of(chunk)
        if not chunk.horizon and chunk.last:
            self._stop_run(chunk.run_id)
            return
        if not chunk.horizon:
            self._pause(chunk, run)
            return
        problem = self._why_not_executed(chunk, run, now_ns)
        if problem:
            if run and chunk.last:
                run.last_chunk_id = chunk.chunk_id
                run.ending = True
            raise ChunkRejectedError(problem)
        if run is None:
            self._forget_run()
            run = self._runs.begin(chunk)
        run.last_chunk_id = chunk.chunk_id
        run.ending = chunk.last
        first = first_row(chunk, now_ns, self.config.limits)
        # A run ramps at most once: a policy in motion always leads the arms.
        if not run.begun and is_far(self.config, self.command, first):
            run.ramp = self._filter.plan(first, self._tick_ns, now_ns, 1.0)
            self._enter(State.RAMPING, "moving to the first row of the run")
            return
        run.chunk = chunk
        run.begun = True
        run.held_ns = None
        stop = self._filter.stopping(self._tick_ns)
        self.timeline.add(chunk, now_ns, self.command, stop, self.config.limits)
        self._enter(State.EXECUTING)

    def _refuse_unfit(self, chunk: ActionChunk) -> None:
        """Refuses what is not for this controller, not now, or out of order."""
        check_joints(chunk, self.config.limits)
        if self._halted or self.state == State.MOVING:
            raise ChunkRejectedError(f"the controller is in {self.state.name}: {self.reason}")
        self._runs.check(chunk, starved=self.state == State.STARVED)

    def _why_not_executed(self, chunk: ActionChunk, run: Run | None, now_ns: int) -> str:
        """What keeps the rows from being executed at this time; empty when nothing."""
        if self.state == State.RAMPING:
            return "the arms are moving to the start of the run"
        if run and run.is_before(chunk):
            return f"its observation is from before {run.not_before}"
        return timing_problem(chunk, now_ns, self.config.max_chunk_age_ns)

    def _stop_run(self, run_id: str) -> None:
        """The policy has stopped a run: the arms come to rest if it is the one in force."""
        if run_id == self.run_id:
            self._end_run("")
        else:
            self._runs.end_other(run_id)

    def _pause(self, chunk: ActionChunk, run: Run | None) -> None:
        """The policy cannot go on for now: the arms come to rest and its run waits."""
        if run is None:
            raise ChunkRejectedError("it has no rows, and its run is not under way")
        run.last_chunk_id = chunk.chunk_id
        self.counters.pauses += 1
        self._starve(run, f"the policy pauses: {chunk.reason}".removesuffix(": "))

    def _starve(self, run: Run, reason: str) -> None:
        """Forgets what was planned; the arms come to rest and wait for the next chunk."""
        self.timeline.clear()
        run.ramp = None
        self._enter(State.STARVED, reason)

    def _end_run(self, reason: str) -> None:
        self._forget_run()
        self._enter(State.HOLDING, reason)

    def _forget_run(self) -> None:
        self._runs.end()
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
        if self._halted:
            raise MoveRejectedError(f"the controller is in {self.state.name}: {self.reason}")
        if self._run is not None and self.state != State.STARVED:
            raise MoveRejectedError(f"policy run {self._run.run_id} is under way; stop it first")
        if self._move is not None:
            raise MoveRejectedError("another move is under way; cancel it first")
        check_goal(self.config.limits, goal, velocity_scale)
        self._forget_run()
        self._move = self._filter.plan(goal, self._tick_ns, now_ns, velocity_scale)
        self._enter(State.MOVING, "MoveTo")
        return self._move

    def stop_move(self, reason: str) -> None:
        """Brings the arms to rest within their accelerations; does nothing without a move."""
        if self._move is not None:
            self.hold(reason)

    def hold(self, reason: str) -> None:
        """Ends the run or the move; the arms come to rest within their accelerations."""
        if not self._halted:
            self._move = None
            self._end_run(reason)

    def interrupt(self, reason: str, now_ns: int) -> None:
        """What was planned is no longer valid: the arms come to rest.

        A move ends. A run goes on with the first chunk of an observation from after ``now_ns``.
        """
        if self._halted:
            return
        if self._run is None:
            self.hold(reason)
            return
        self._run.only_after("the interruption", now_ns)
        self._starve(self._run, reason)

    def fault(self, reason: str, rest_at: _Positions | None = None) -> None:
        """Holds until ``clear``; an e-stop stays an e-stop.

        Args:
            reason: why.
            rest_at: hold here, where the arms go slowly first, shape (joints,) [rad; m for
                carriages], finite; None: at the last command, from which nothing more is sent.
        """
        retreat = None
        if rest_at is not None and not self._halted:
            goal = self._filter.inside(rest_at)
            retreat = self._filter.plan(goal, self._tick_ns, self._tick_ns, 1.0)
        self.counters.faults += not self._halted
        self._halt(State.ESTOP if self.state == State.ESTOP else State.FAULT, reason, retreat)

    def estop(self, reason: str) -> None:
        """Holds until ``clear``."""
        self.counters.estops += self.state != State.ESTOP
        self._halt(State.ESTOP, reason)

    def clear(self, pose: _Positions, now_ns: int) -> None:
        """Leaves FAULT or ESTOP and holds at a pose; does nothing in other states.

        Args:
            pose: where the arms are, or are held, shape (joints,) [rad; m for carriages].
            now_ns: present time [ns].

        Raises:
            JointError: values are missing or not finite, or a joint is so far outside its position
                limits that holding it inside would be a jump. The state stays.
        """
        if not self._halted:
            return
        self._filter.rest(holdable(self.config.limits, pose, self.config.max_tick_ns))
        self._retreat = None
        self._tick_ns = now_ns
        self._enter(State.HOLDING)

    def _halt(self, state: State, reason: str, retreat: PointToPoint | None = None) -> None:
        self._forget_run()
        self._move = None
        self._retreat = retreat
        if retreat is None:
            self._filter.rest()
        self._enter(state, reason)

    # Ticks --------------------------------------------------------------------------------------

    def tick(self, now_ns: int, *, sent_ns: int | None = None, heard: bool = True) -> Command:
        """Advances to ``now_ns`` and says what the arms shall do.

        Args:
            now_ns: present time [ns].
            sent_ns: when the last command had been handed to the arms [ns]. If that was late, this
                step is shortened, so that the two do not reach the arms as one.
            heard: whether the arms have been heard since the last commands; otherwise those may not
                have reached them yet, and what is planned waits.
        """
        elapsed_ns = now_ns - self._tick_ns
        step_ns = min(max(elapsed_ns, 0), self.config.max_tick_ns) if heard else 0
        if sent_ns is not None:
            step_ns = min(step_ns, max(now_ns - sent_ns, 0) + self.config.period_ns // 2)
        self._tick_ns = now_ns
        if self._halted and self._retreat is None:
            return Command(self.command, self._filter.velocity, self.state, active=False)
        self._delay(elapsed_ns - step_ns)
        if step_ns > 0:
            self._advance(now_ns, step_ns)
        active = not self._halted or self._retreat is not None
        return Command(self.command, self._filter.velocity, self.state, active)

    @property
    def _halted(self) -> bool:
        return self.state in (State.FAULT, State.ESTOP)

    def _delay(self, lost_ns: int) -> None:
        """Moves what is planned in time, by what a late tick or a set clock has taken."""
        if lost_ns:
            self.timeline.delay(lost_ns)
            self._filter.delay(lost_ns)
            self._move = shifted(self._move, lost_ns)
            self._retreat = shifted(self._retreat, lost_ns)
            if self._run:
                self._run.ramp = shifted(self._run.ramp, lost_ns)

    def _advance(self, now_ns: int, step_ns: int) -> None:
        """One step of whatever is under way; without anything the arms come to rest."""
        motion = self._planned(now_ns)
        if motion is not None:
            self._filter.toward(motion.sample(now_ns)[0], step_ns)
            # The filter may be a few steps late, as where the goal lies at a position limit.
            if now_ns >= motion.t_end_ns and np.allclose(self.command, motion.goal, 0.0, _THERE):
                self._arrived(now_ns)
        elif self._follows_chunks(now_ns):
            self.timeline.delay(self._filter.along(self.timeline, now_ns, step_ns))
        elif not self._halted or self._retreat is not None:
            self._filter.brake(now_ns, step_ns)

    def _planned(self, now_ns: int) -> PointToPoint | None:
        """The retreat, the move or the ramp; None when there is none, or not yet."""
        motion = self._retreat or self._move or (self._run.ramp if self._run else None)
        return None if motion is None or now_ns < motion.t_start_ns else motion

    def _arrived(self, now_ns: int) -> None:
        if self._retreat is not None:
            self._retreat = None
        elif self._move is not None:
            self._move = None
            self._enter(State.HOLDING)
        elif self._run is not None:
            self._run.ramp = None
            self._run.begun = True
            self._run.only_after("the start of the motion", now_ns)
            self._enter(State.HOLDING, "at the first row of the run; waiting for a fresh chunk")

    def _follows_chunks(self, now_ns: int) -> bool:
        """Whether the chunks say where to be now; if not, the state says why."""
        run = self._run
        if run is None or run.ramp is not None or self._halted:
            return False
        sample = self.timeline.sample(now_ns)
        if sample is None:
            self._run_out(run, now_ns)
            return False
        if not np.isfinite(sample.positions).all():
            self.fault("the trajectory is not finite")
            return False
        newest = run.chunk or sample.chunk
        age_ns = now_ns - newest.observation_stamp_ns
        if age_ns > self.config.max_chunk_age_ns:
            self.counters.chunk_timeouts += 1
            self._starve(run, too_old(age_ns, self.config.max_chunk_age_ns))
            return False
        self._enter(State.EXECUTING)
        return True

    def _run_out(self, run: Run, now_ns: int) -> None:
        """No row covers the present: one is still to come, the run has ended, or is starved."""
        patience_ns = self.config.max_chunk_age_ns
        if self.timeline.waits(now_ns):
            return
        if run.ending:
            if run.chunk is not None or run.ramp is None:
                self._end_run("the run has ended")
            return
        if self.timeline.holds(now_ns):
            run.held_ns = now_ns if run.held_ns is None else run.held_ns
            if now_ns - run.held_ns <= patience_ns:
                self._enter(State.HOLDING, "waiting for the next chunk")
                return
        elif run.chunk is None and now_ns - (run.not_before_ns or 0) <= patience_ns:
            return
        if self.state != State.STARVED:
            self.counters.starvations += 1
            self._enter(State.STARVED, "no chunk covers the present")

    def _enter(self, state: State, reason: str = "") -> None:
        self.state = state
        self.reason = reason
