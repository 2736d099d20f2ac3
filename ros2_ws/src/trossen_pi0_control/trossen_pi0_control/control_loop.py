"""The thread that moves the arms: paces ticks, commands, reads, and tells what happens."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_control.arm_group import ArmGroup, Feedback
from trossen_pi0_control.guards import Guards
from trossen_pi0_control.moves import Move, MoveRequest
from trossen_pi0_control.pacing import RateGrid, Tick, paced
from trossen_pi0_control.reports import Listener, Snapshot
from trossen_pi0_control.settings import (
    apply_live,
    executor_config,
    named_poses,
    nanoseconds,
    with_live,
)
from trossen_pi0_control.tick_statistics import TickStatistics
from trossen_pi0_control.workers import take_priority
from trossen_pi0_core.contract import NANOSECONDS, ActionChunk
from trossen_pi0_core.errors import DriverError, MoveRejectedError
from trossen_pi0_core.execution import Command, State
from trossen_pi0_core.executor import MotionExecutor
from trossen_pi0_core.limits import JointLimits
from trossen_pi0_core.parameters import ArmControllerParameters
from trossen_pi0_core.timeline import ChunkTimeline

_log = logging.getLogger(__name__)

_REST_S = 0.5
_AT_REST = 0.02
"""Measured speed that counts as standing still [rad/s; m/s for carriages]."""
_GOAL_TOLERANCE = 1e-6
_UNHEARD_PERIODS = 1.5
_HALTED = (State.FAULT, State.ESTOP)
_NOT_ACTIVE = "the arm controller is not active"


class ControlLoop:
    """Owns the motion executor and the control thread of one activation.

    ``start`` and ``stop`` belong to the owner and are called once, ``watch_driver`` to one other
    thread than the control thread. The other methods may be called
    by any thread; they take the executor's lock for some tenths of a millisecond, and only
    ``clear_fault`` blocks longer. No driver is called under the lock.
    """

    def __init__(
        self,
        group: ArmGroup,
        params: ArmControllerParameters,
        limits: JointLimits,
        *,
        now_ns: Callable[[], int],
        listener: Listener,
        simulated: Callable[[], bool] = lambda: False,
    ) -> None:
        """Takes connected arms.

        Args:
            group: the arms.
            params: parameters of the node; in mode 'test' nothing is sent.
            limits: the tighter of the configured and the arms' own limits, at full speed.
            now_ns: ROS time [ns]; called by any thread.
            listener: told what happens.
            simulated: whether ROS time comes from /clock at present; called by the control thread.

        Raises:
            ParameterError: a configured pose lies outside the limits.
        """
        self._group = group
        self._params = params
        self._now_ns = now_ns
        self._listener = listener
        self._sends = params.mode != "test"
        self._period_s = 1.0 / params.control_rate
        self._config = executor_config(params, limits)
        self._poses = named_poses(params, limits)
        self._lock = threading.Lock()
        self._clearing = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._executor: MotionExecutor | None = None
        self._timeline = ChunkTimeline()
        self._statistics = TickStatistics(self._period_s)
        self._guards = Guards(params, simulated)
        self._sent_ns: int | None = None
        self._heard = True
        self._cycle = 0  # number of the driver cycle under way, negative between two
        self._move: Move | None = None
        self._estops = 0
        self._crash = ""
        self._told_failures: dict[str, str] = {}
        self._at_rest = False
        self._measured: NDArray[np.float64] | None = None
        self._reported: tuple[State, str] | None = None
        self._command_grid = RateGrid(params.command_rate, params.control_rate)

    # Life ---------------------------------------------------------------------------------------

    def start(self, timeout_s: float) -> None:
        """Holds the arms where they are and starts the control thread.

        Args:
            timeout_s: longest wait for braking the arms when one of them fails [s].

        Raises:
            DriverError: an arm failed.
            JointError: the arms are too far outside their limits.
        """
        measured = self._group.begin(
            enable=self._sends,
            timeout_s=timeout_s,
            realtime_priority=self._params.realtime_priority,
        )
        try:
            executor = MotionExecutor(self._config, self._timeline, measured, self._now_ns())
        except Exception:
            self._group.end(timeout_s)
            raise
        with self._lock:
            self._executor = executor
        self.apply(self._params)
        self._thread = threading.Thread(target=self._run, name="arm-control", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Brings the arms to rest, ends the control thread and brakes the arms.

        Args:
            timeout_s: longest wait for a repair under way and for the arms to brake [s].
        """
        if self._thread is None:
            return
        with self._lock:
            self._require().hold("the arm controller stops")
            self._at_rest = False
        deadline_s = time.monotonic() + _REST_S
        while not self._at_rest and self._thread.is_alive() and time.monotonic() < deadline_s:
            time.sleep(self._period_s)
        self._stopping.set()
        self._thread.join(timeout_s)
        self._thread = None
        repaired = self._clearing.acquire(timeout=timeout_s)
        with self._lock:
            self._abandon_move("the arm controller has stopped")
            self._executor = None
        self._group.end(timeout_s)
        if repaired:
            self._clearing.release()

    # What may be asked --------------------------------------------------------------------------

    def apply(self, params: ArmControllerParameters) -> None:
        """Takes the parameters that may change while the node runs, from the next tick on."""
        with self._lock:
            self._params = params
            self._config = with_live(self._config, params)
            apply_live(self._timeline, params)
            if self._executor:
                self._executor.config = self._config

    def submit(self, chunk: ActionChunk) -> None:
        """Hands a chunk to the executor.

        Raises:
            ChunkRejectedError: it is not executed.
            DriverError: the controller is not active.
        """
        with self._lock:
            self._require().submit(chunk, self._now_ns())
            self._guards.took(chunk, self._params)

    def count_rejected(self, reason: str) -> None:
        """Counts a chunk that was malformed."""
        with self._lock:
            counters = self._require().counters
            counters.chunks_rejected += 1
            counters.last_rejection = reason

    def start_move(self, request: MoveRequest) -> Move:
        """Begins a MoveTo.

        Raises:
            MoveRejectedError: it is not started, and why.
        """
        with self._lock:
            executor = self._executor
            if executor is None:
                raise MoveRejectedError(_NOT_ACTIVE)
            goal = request.goal(self._config.limits.names, executor.command, self._poses)
            self._watch_move(executor)
            motion = executor.start_move(goal, request.scale, self._now_ns())
            if self._move is not None:
                self._move.conclude(self._measured)  # it was settling
            self._move = Move(goal, motion, sent=self._sends)
            return self._move

    def hold(self, reason: str) -> None:
        """Ends the run or the move under way; the arms come to rest.

        Raises:
            DriverError: the controller is not active.
        """
        with self._lock:
            self._require().hold(reason)

    def stop_move(self, move: Move, reason: str) -> None:
        """Ends a move where the arms are; does nothing when it is over."""
        with self._lock:
            if self._executor and self._move is move and move.outcome is None:
                self._executor.stop_move(reason)

    def estop(self, reason: str) -> None:
        """Holds at once, until ``clear_fault``.

        Raises:
            DriverError: the controller is not active.
        """
        with self._lock:
            executor = self._require()
            self._estops += 1
            executor.estop(reason)

    def clear_fault(self) -> str:
        """Repairs what has failed, leaves FAULT or ESTOP, and says what was done. Blocks.

        Arms that have failed are disconnected and connected anew. An e-stop in the meantime stays.

        Raises:
            DriverError: an arm could not be repaired, or this is not the time for it.
            JointError: the arms are too far outside their limits.
        """
        if not self._clearing.acquire(blocking=False):
            raise DriverError("the fault is being cleared already")
        try:
            return self._clear_fault()
        finally:
            self._clearing.release()

    def _clear_fault(self) -> str:
        with self._lock:
            executor = self._require()
            if executor.state not in _HALTED:
                return f"nothing to clear, the state is {executor.state.name}"
            estops = self._estops
        if self._crash:
            raise DriverError(f"{self._crash}; deactivate the node and activate it again")
        try:
            repaired = self._group.repair(enable=self._sends)
        except DriverError as error:
            with self._lock:
                executor.fault(str(error))
            raise
        with self._lock:
            if self._estops != estops:
                raise DriverError("the e-stop was pressed meanwhile")
            if self._executor is not executor:
                raise DriverError(_NOT_ACTIVE)
            group = self._group
            held = group.held(executor.command, repaired) if self._sends else group.pose()
            executor.clear(held, self._now_ns())
        return f"cleared; connected anew: {repaired}" if repaired else "cleared"

    def watch_driver(self) -> None:
        """Faults when the control thread is stuck in a driver call; to be called regularly.

        The arms then hold the last set-point. The control thread goes on when the call returns.
        """
        with self._lock:
            if self._executor:
                self._guards.watch_call(self._executor, self._cycle, time.monotonic_ns())

    def snapshot(self) -> Snapshot | None:
        """The present state; None when the controller is not active."""
        with self._lock:
            executor = self._executor
            if executor is None:
                return None
            chunk = executor.chunk
            age_ns = self._now_ns() - chunk.observation_stamp_ns if chunk else None
            return Snapshot(
                executor.state,
                executor.reason,
                executor.run_id,
                chunk.chunk_id if chunk else 0,
                float("nan") if age_ns is None else age_ns / NANOSECONDS,
                self._timeline.delay_ns / NANOSECONDS,
                dataclasses.replace(executor.counters),
                self._statistics.summary(),
                self._group.failures,
            )

    def _require(self) -> MotionExecutor:
        if self._executor is None:
            raise DriverError(_NOT_ACTIVE)
        return self._executor

    # The control thread -------------------------------------------------------------------------

    def _run(self) -> None:
        take_priority(self._params.realtime_priority)
        try:
            for tick in paced(self._period_s, self._stopping):
                self._tick(tick)
        except Exception as error:  # noqa: BLE001 - the arms hold, and the status says why
            _log.exception("the control thread has ended")
            self._crash = f"the control thread has failed: {error!r}"
            with self._lock:
                executor = self._require()
                executor.fault(self._crash)
                self._abandon_move(self._crash)
            self._listener.on_state(executor.state, executor.reason)

    def _tick(self, tick: Tick) -> None:
        now_ns, now_s = self._now_ns(), time.monotonic()
        with self._lock:
            executor = self._require()
            self._guards.watch_clock(executor, now_ns, nanoseconds(now_s))
            if not self._heard:
                executor.counters.round_trip_events += 1
            command = executor.tick(now_ns, sent_ns=self._sent_ns, heard=self._heard)
        moves_on = command.active and self._heard
        sent = command.positions if self._sends and command.active else None
        began_s = time.monotonic()
        self._cycle = 1 - self._cycle
        feedback = self._group.cycle(sent, tick.elapsed_s)
        self._cycle = -self._cycle
        ended_s = time.monotonic()
        stamp_ns = self._now_ns()
        self._measured = feedback.positions if feedback.complete else None
        # A driver that has not exchanged with its arm would send all that it is told meanwhile at
        # once. One period without news is usual.
        self._heard = feedback.still_s < _UNHEARD_PERIODS * self._period_s
        self._sent_ns = None if sent is None else now_ns + nanoseconds(feedback.sent_s - now_s)
        with self._lock:
            self._statistics.add(tick.lateness_s, ended_s - began_s)
            self._watch_arms(executor)
            self._guards.watch_cycle(
                executor,
                now_ns,
                feedback,
                round_trip_ns=nanoseconds(ended_s - began_s),
                elapsed_ns=nanoseconds(tick.elapsed_s),
            )
            self._watch_move(executor)
            self._at_rest = not command.active or _resting(command, feedback)
            state = (executor.state, executor.reason)
        self._report(state, stamp_ns, feedback)
        if moves_on and self._command_grid.due(now_ns):
            self._listener.on_command(now_ns, command)

    def _report(self, state: tuple[State, str], stamp_ns: int, feedback: Feedback) -> None:
        if feedback.names:
            self._listener.on_feedback(stamp_ns, feedback)
        if state != self._reported:
            self._reported = state
            self._listener.on_state(*state)

    def _watch_arms(self, executor: MotionExecutor) -> None:
        failures = self._group.failures
        another = executor.state == State.FAULT and failures != self._told_failures
        if failures and (another or executor.state not in _HALTED):
            executor.fault("; ".join(failures.values()))
        self._told_failures = failures

    def _watch_move(self, executor: MotionExecutor) -> None:
        move = self._move
        if move is None:
            return
        if executor.move is not None:
            move.follow(executor.move)
            return
        arrived = np.allclose(executor.command, move.goal, rtol=0.0, atol=_GOAL_TOLERANCE)
        if executor.state == State.HOLDING and arrived:
            if move.settle(self._measured, time.monotonic_ns()):
                self._move = None
        elif move.settling and executor.state not in _HALTED:
            move.conclude(self._measured)
            self._move = None
        else:
            self._abandon_move(executor.reason)

    def _abandon_move(self, reason: str) -> None:
        if self._move is not None:
            self._move.abandon(self._measured, reason)
            self._move = None


def _resting(command: Command, feedback: Feedback) -> bool:
    moving = np.abs(feedback.velocities) > _AT_REST
    return not command.velocities.any() and not moving.any()
