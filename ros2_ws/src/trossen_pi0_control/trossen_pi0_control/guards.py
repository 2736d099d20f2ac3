"""What the control thread watches beside the motion itself, and what it does about it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from trossen_pi0_control.arm_group import Feedback
from trossen_pi0_control.settings import nanoseconds
from trossen_pi0_core.contract import NANOSECONDS, ActionChunk
from trossen_pi0_core.execution import State
from trossen_pi0_core.executor import MotionExecutor
from trossen_pi0_core.parameters import ArmControllerParameters
from trossen_pi0_core.watchdogs import (
    ClockWatch,
    EffortWatch,
    HangWatch,
    OverlapWatch,
    RoundTrip,
    RoundTripWatch,
)

_log = logging.getLogger(__name__)

_HALTED = (State.FAULT, State.ESTOP)
_MOVING = (State.RAMPING, State.EXECUTING, State.MOVING)


class Guards:
    """The watchdogs of one activation; called under the lock of the executor's owner.

    ``watch_call`` belongs to another thread than the rest.
    """

    def __init__(self, params: ArmControllerParameters, simulated: Callable[[], bool]) -> None:
        """Takes the settings.

        Args:
            params: parameters of the node.
            simulated: whether ROS time comes from /clock at present.
        """
        self._simulated = simulated
        self._clock = ClockWatch(nanoseconds(params.clock_jump_s))
        self._round_trip_ns = nanoseconds(params.round_trip_limit_s)
        self._round_trips = RoundTripWatch(
            self._round_trip_ns, params.round_trip_strikes, nanoseconds(params.driver_stale_s)
        )
        self._calls = HangWatch(
            nanoseconds(params.driver_stale_s), nanoseconds(2.0 / params.status_rate)
        )
        self._efforts = EffortWatch(
            params.joint_map.urdf_names, params.efforts, nanoseconds(params.effort_time_s)
        )
        self._overlap = OverlapWatch()

    def watch_clock(self, executor: MotionExecutor, ros_ns: int, monotonic_ns: int) -> None:
        """Before a tick: drops what was planned on another time.

        Args:
            executor: moves the arms.
            ros_ns: ROS time of the tick [ns].
            monotonic_ns: the same instant on the monotonic clock [ns].
        """
        jump_ns = self._clock.check(ros_ns, monotonic_ns, simulated=self._simulated())
        if jump_ns:
            executor.counters.clock_jumps += 1
            executor.interrupt(f"the clock jumped by {jump_ns / NANOSECONDS:+.3f} s", ros_ns)

    def watch_cycle(
        self,
        executor: MotionExecutor,
        ros_ns: int,
        feedback: Feedback,
        *,
        round_trip_ns: int,
        elapsed_ns: int,
    ) -> None:
        """After a cycle: holds or faults when the driver is slow or a joint is overloaded.

        Args:
            executor: moves the arms.
            ros_ns: ROS time of the tick [ns].
            feedback: what was read.
            round_trip_ns: how long telling and reading the drivers took [ns].
            elapsed_ns: time since the last cycle, as far as this process was able to run [ns].
        """
        if executor.state in _HALTED or not feedback.complete:
            self._round_trips.reset()
            self._efforts.reset()
            return
        self._watch_round_trip(executor, ros_ns, round_trip_ns)
        self._watch_efforts(executor, feedback, elapsed_ns)

    def _watch_round_trip(self, executor: MotionExecutor, ros_ns: int, round_trip_ns: int) -> None:
        verdict = self._round_trips.check(round_trip_ns)
        if verdict == RoundTrip.GOOD:
            return
        executor.counters.round_trip_events += 1
        reason = (
            f"the driver took {_seconds(round_trip_ns)}, allowed are "
            f"{_seconds(self._round_trip_ns)}; {self._round_trips.late} cycles in a row were late"
        )
        if verdict == RoundTrip.FAULT:
            executor.fault(reason)
        elif verdict == RoundTrip.HOLD and executor.state in _MOVING:
            executor.interrupt(reason, ros_ns)

    def _watch_efforts(self, executor: MotionExecutor, feedback: Feedback, elapsed_ns: int) -> None:
        overload = self._efforts.check(feedback.efforts, elapsed_ns)
        if overload:
            executor.counters.effort_events += 1
            executor.fault(overload, rest_at=feedback.positions)

    def watch_call(self, executor: MotionExecutor, cycle: int, monotonic_ns: int) -> None:
        """From beside the control thread: faults when a driver cycle does not end.

        Args:
            executor: moves the arms.
            cycle: number of the cycle under way, greater than 0; otherwise there is none.
            monotonic_ns: present time of the monotonic clock [ns].
        """
        hung_ns = self._calls.check(cycle, monotonic_ns)
        if hung_ns and executor.state not in _HALTED:
            executor.fault(f"the driver has not returned for {_seconds(hung_ns)}")

    def took(self, chunk: ActionChunk, params: ArmControllerParameters) -> None:
        """Warns once when the settings cannot have an effect on chunks like those taken."""
        if chunk.horizon:
            warning = self._overlap.check(
                chunk, params.temporal_ensemble_coefficient, nanoseconds(params.blend_s)
            )
            if warning:
                _log.warning("%s", warning)


def _seconds(duration_ns: int) -> str:
    return f"{duration_ns / NANOSECONDS:.3f} s"
