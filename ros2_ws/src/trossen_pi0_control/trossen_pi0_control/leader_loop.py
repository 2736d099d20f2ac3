"""The thread that reads the leaders, tells them forces, and has the followers follow."""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_control.arm_group import ArmGroup, Feedback
from trossen_pi0_control.force_feedback import ForceFeedback
from trossen_pi0_control.leader_checks import JumpWatch
from trossen_pi0_control.leader_chunks import LeaderReading
from trossen_pi0_control.pacing import Tick, paced
from trossen_pi0_control.settings import nanoseconds
from trossen_pi0_control.teleop import FollowerWord, Teleop, TeleopCounters, TeleopState
from trossen_pi0_control.tick_statistics import TickStatistics, TickSummary
from trossen_pi0_control.workers import take_priority
from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.errors import DriverError, TeleopError
from trossen_pi0_core.parameters import LeaderArmsParameters

_log = logging.getLogger(__name__)

_Array = NDArray[np.float64]

_UNHEARD_PERIODS = 1.5  # one period without news of an arm is usual
_NOT_ACTIVE = "the leader arms are not active: they are on their brakes"


class LeaderListener(Protocol):
    """Told what happens; must return within a fraction of a period."""

    def on_leaders(self, stamp_ns: int, feedback: Feedback) -> None:
        """The leaders have been read at this ROS time [ns]; on the leader thread."""
        ...

    def on_chunk(self, chunk: ActionChunk) -> None:
        """Is to be published; on any thread, one at a time and in order."""
        ...

    def on_teleop(self, state: TeleopState, reason: str) -> None:
        """The state or its reason has changed; on any thread."""
        ...


@dataclass(frozen=True)
class TeleopSnapshot:
    """Teleoperation at one instant.

    Attributes:
        state: what the leaders are for.
        reason: why.
        run_id: of the coupling; empty without one.
        counters: events since activation.
        differences: leaders minus followers, shape (joints,) [rad; m]; None when not known.
        apart: joints that stand too far apart to start.
        force_share: part of the force feedback in force, 0..1.
        ticks: how well the loop keeps its time.
        failures: name of each failed leader -> why.
    """

    state: TeleopState
    reason: str
    run_id: str
    counters: TeleopCounters
    differences: _Array | None
    apart: list[str]
    force_share: float
    ticks: TickSummary
    failures: dict[str, str]


class LeaderLoop:
    """Owns the leaders' motion thread of one activation.

    ``start`` and ``stop`` belong to the owner and are called once. The other methods may be called
    by any thread; only ``clear_fault`` blocks.
    """

    def __init__(
        self,
        group: ArmGroup,
        params: LeaderArmsParameters,
        speeds: _Array,
        *,
        now_ns: Callable[[], int],
        new_run_id: Callable[[], str],
        listener: LeaderListener,
    ) -> None:
        """Takes connected leaders.

        Args:
            group: the leaders.
            params: parameters of the node.
            speeds: what their controllers allow, shape (joints,) [rad/s; m/s for carriages].
            now_ns: ROS time [ns]; called by any thread.
            new_run_id: makes an id that no other run has.
            listener: told what happens.
        """
        self._group = group
        self._now_ns = now_ns
        self._listener = listener
        self._period_s = 1.0 / params.read_rate
        self._priority = params.realtime_priority
        self._lock = threading.Lock()
        self._clearing = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._teleop = Teleop(params, new_run_id)
        self._jumps = JumpWatch(params.joint_map.urdf_names, speeds, params.jumps)
        self._forces = ForceFeedback(params.force_limits, nanoseconds(params.force_feedback_fade_s))
        self._statistics = TickStatistics(self._period_s)
        self._told_failures: dict[str, str] = {}
        self._told = (TeleopState.FREE, "")
        self._crash = ""

    # Life ---------------------------------------------------------------------------------------

    def start(self, timeout_s: float) -> None:
        """Frees the leaders and starts the thread.

        Args:
            timeout_s: longest wait for braking them when one of them fails [s].

        Raises:
            DriverError: a leader failed; all are on their brakes.
        """
        self._group.begin(enable=True, timeout_s=timeout_s, realtime_priority=self._priority)
        self._thread = threading.Thread(target=self._run, name="leader-arms", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Has the followers hold, ends the thread, and brakes the leaders.

        Args:
            timeout_s: longest wait for a repair under way and for the leaders to brake [s].
        """
        if self._thread is None:
            return
        self.end("the leader arms stop")
        self._stopping.set()
        self._thread.join(timeout_s)
        self._thread = None
        repaired = self._clearing.acquire(timeout=timeout_s)
        self._group.end(timeout_s)
        if repaired:
            self._clearing.release()

    # What may be asked --------------------------------------------------------------------------

    def apply(self, params: LeaderArmsParameters) -> None:
        """Takes the parameters that may change while the node runs, from the next tick on."""
        with self._lock:
            self._teleop.params = params

    def begin(self) -> str:
        """Has the followers follow; returns what was done.

        Raises:
            TeleopError: not now, and why.
        """
        with self._lock:
            if self._thread is None:
                raise TeleopError(_NOT_ACTIVE)
            self._jumps.forget()
            self._tell(self._teleop.start(self._now_ns()))
            return f"run {self._teleop.run_id}: {self._teleop.reason}"

    def end(self, reason: str) -> bool:
        """Has the followers hold; returns whether they followed."""
        with self._lock:
            chunk = self._teleop.stop(reason, self._now_ns())
            self._tell(chunk)
            return chunk is not None

    def clear_fault(self) -> str:
        """Connects failed leaders anew, frees them, and says what was done. Blocks.

        Raises:
            DriverError: a leader could not be repaired, or this is not the time for it.
        """
        if not self._clearing.acquire(blocking=False):
            raise DriverError("the fault is being cleared already")
        try:
            return self._clear_fault()
        finally:
            self._clearing.release()

    def _clear_fault(self) -> str:
        with self._lock:
            if self._teleop.state != TeleopState.FAULT:
                return f"nothing to clear, the state is {self._teleop.state.name}"
        if self._crash:
            raise DriverError(f"{self._crash}; deactivate the node and activate it again")
        failed = list(self._group.failures)
        self._group.repair(enable=True)
        with self._lock:
            self._jumps.forget()
            self._told_failures = {}
            self._teleop.clear()
            self._tell(None)
        return f"cleared; connected anew: {failed}" if failed else "cleared"

    def hear_controller(self, word: FollowerWord) -> None:
        """Takes the arm controller's newest word."""
        with self._lock:
            self._teleop.hear_controller(word)

    def hear_followers(self, positions: _Array) -> None:
        """Takes the followers' measured positions, shape (joints,) [rad; m for carriages]."""
        with self._lock:
            self._teleop.hear_followers(positions, self._now_ns())

    def hear_forces(self, external: _Array) -> None:
        """Takes the followers' external efforts, shape (joints,) [N m; N for carriages]."""
        with self._lock:
            self._forces.hear(external, self._now_ns())

    def snapshot(self) -> TeleopSnapshot:
        """The present state."""
        with self._lock:
            teleop = self._teleop
            return TeleopSnapshot(
                teleop.state,
                teleop.reason,
                teleop.run_id,
                dataclasses.replace(teleop.counters),
                teleop.differences(),
                teleop.apart(),
                self._forces.share,
                self._statistics.summary(),
                self._group.failures,
            )

    # The leader thread --------------------------------------------------------------------------

    def _run(self) -> None:
        take_priority(self._priority)
        try:
            for tick in paced(self._period_s, self._stopping):
                self._tick(tick)
        except Exception as error:  # noqa: BLE001 - the followers hold, and the status says why
            _log.exception("the leader thread has ended")
            self._crash = f"the leader thread has failed: {error!r}"
            with self._lock:
                self._tell(self._teleop.fault(self._crash, self._now_ns()))

    def _tick(self, tick: Tick) -> None:
        with self._lock:
            following = self._teleop.state == TeleopState.FOLLOWING
            gain = self._teleop.params.force_feedback_gain
            efforts = self._forces.efforts(gain, self._now_ns(), following=following)
        began_s = time.monotonic()
        feedback = self._group.cycle(efforts, tick.elapsed_s)
        stamp_ns, ended_s = self._now_ns(), time.monotonic()
        with self._lock:
            self._statistics.add(tick.lateness_s, ended_s - began_s)
            self._watch(feedback, stamp_ns)
        if feedback.names:
            self._listener.on_leaders(stamp_ns, feedback)

    def _watch(self, feedback: Feedback, stamp_ns: int) -> None:
        failures = self._group.failures
        if failures and failures != self._told_failures:
            self._tell(self._teleop.fault("; ".join(failures.values()), stamp_ns))
        self._told_failures = failures
        if not feedback.complete or feedback.still_s >= _UNHEARD_PERIODS * self._period_s:
            return  # the followers come to rest where the last chunk ends
        reading = LeaderReading(stamp_ns, feedback.positions, feedback.velocities)
        jump = self._jumps.check(reading)
        if jump and self._teleop.coupled:
            self._teleop.counters.interruptions += 1
            self._tell(self._teleop.stop(jump, stamp_ns))
        self._tell(self._teleop.read(reading, stamp_ns))

    def _tell(self, chunk: ActionChunk | None) -> None:
        """Hands on what is to be published; under the lock, which keeps it in order."""
        if chunk is not None:
            self._listener.on_chunk(chunk)
        now = (self._teleop.state, self._teleop.reason)
        if now != self._told:
            self._told = now
            self._listener.on_teleop(*now)
