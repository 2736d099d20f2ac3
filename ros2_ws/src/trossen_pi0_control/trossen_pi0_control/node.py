"""The arm controller node: owns the arms and executes chunks and moves."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.clock import ROSClock
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from typing_extensions import override

from trossen_pi0_control.arm import Arm
from trossen_pi0_control.arm_group import ArmGroup, Feedback
from trossen_pi0_control.control_loop import ControlLoop
from trossen_pi0_control.diagnosis import ArmDiagnosis
from trossen_pi0_control.messages import status_msg
from trossen_pi0_control.moves import Move, MoveRequest
from trossen_pi0_control.parking import park
from trossen_pi0_control.trossen import trossen_arms
from trossen_pi0_control.workers import run_in_thread
from trossen_pi0_core.errors import ChunkRejectedError, MoveRejectedError, TrossenPi0Error
from trossen_pi0_core.execution import Command, State
from trossen_pi0_core.parameters import ArmControllerParameters
from trossen_pi0_msgs.action import MoveTo
from trossen_pi0_msgs.msg import ActionChunk, ControllerStatus
from trossen_pi0_ros.convert import chunk_from_msg, joint_state_msg
from trossen_pi0_ros.diagnostics import Diagnostics, inactive
from trossen_pi0_ros.futures import awaitable
from trossen_pi0_ros.logs import forward_logs
from trossen_pi0_ros.managed_node import ManagedNode
from trossen_pi0_ros.parameters import NodeParameters
from trossen_pi0_ros.process import leave_foreign_code, run_node
from trossen_pi0_ros.qos import COMMANDS, STATUS

NODE = "arm_controller"

_MOVE_FEEDBACK_S = 0.05
_DIAGNOSTICS_S = 1.0
_LOG_THROTTLE_S = 1.0
# At the end of the process; otherwise the arms get the connection timeout.
_QUICK_S = 0.6
_NOT_ACTIVE = "the arm controller is not active"


class ArmController(ManagedNode):
    """Wires the control loop to topics, services and the MoveTo action.

    Inactive, the arms are on their brakes, connected between configure and cleanup.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(NODE, **kwargs)
        forward_logs(self, "trossen_pi0_control", "trossen_pi0_core")
        self._params = NodeParameters(self, ArmControllerParameters, self._on_parameters)
        self._group: ArmGroup | None = None
        self._loop: ControlLoop | None = None
        self._diagnosis = ArmDiagnosis()
        self._parked = False
        self._joint_states = self.create_publisher(JointState, "joint_states", COMMANDS)
        topic = "planned_command" if self._params.value.mode == "test" else "command"
        self._commands = self.create_publisher(JointState, f"{NODE}/{topic}", COMMANDS)
        self._efforts = self.create_publisher(JointState, f"{NODE}/external_effort", COMMANDS)
        self._statuses = self.create_publisher(ControllerStatus, f"{NODE}/status", STATUS)
        self._diagnostics = Diagnostics(self)
        self.create_subscription(ActionChunk, "policy/action_chunk", self._on_chunk, COMMANDS)
        self.create_service(Trigger, f"{NODE}/estop", self._on_estop)
        self.create_service(
            Trigger,
            f"{NODE}/clear_fault",
            self._on_clear_fault,  # pyright: ignore[reportArgumentType] - it may be a coroutine
            callback_group=MutuallyExclusiveCallbackGroup(),
        )
        self._move_to = ActionServer(
            self,
            MoveTo,
            f"{NODE}/move_to",
            self._execute_move,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )
        self.create_timer(1.0 / self._params.value.status_rate, self._publish_status)
        self.create_timer(_DIAGNOSTICS_S, self._publish_diagnostics)

    def make_arms(self, parameters: ArmControllerParameters) -> Sequence[Arm]:
        """The arms that are controlled, not yet connected; for arms of another make, override it.

        Args:
            parameters: of the node; one arm for each of ``arms``, in their order.

        Raises:
            ParameterError: parameters that the arms cannot have.
        """
        return trossen_arms(parameters)

    # Lifecycle ----------------------------------------------------------------------------------

    @property
    @override
    def wants_autostart(self) -> bool:
        return self._params.value.autostart

    @override
    def configure(self) -> None:
        params = self._params.value
        self.get_logger().info(f"connecting to {_pairs(params)}")
        self._group = ArmGroup(self.make_arms(params), params.joint_map, params.driver_stale_s)
        self._group.connect(self.stopping)
        self._make_loop(self._group)
        self.get_logger().info(f"connected; the mode is {params.mode}")

    @override
    def activate(self) -> None:
        assert self._group is not None
        loop = self._make_loop(self._group)
        loop.start(self._patience_s)
        self._diagnosis = ArmDiagnosis()
        self._parked = False
        self._loop = loop

    @override
    def deactivate(self) -> None:
        loop, self._loop = self._loop, None
        if loop:
            self._park(loop)
            loop.stop(self._patience_s)

    @override
    def wind_down(self) -> None:
        if self._loop:
            self._park(self._loop)

    def _park(self, loop: ControlLoop) -> None:
        """The arms' last motion, once an activation."""
        params = self._params.value
        if self._parked or not params.shutdown_pose or params.mode == "test":
            return
        self._parked = True
        # The first signal has brought us here, or comes while a transition does this.
        skip = self.hurry if self.stopping.is_set() else self.stopping
        park(loop, params.shutdown_pose, params.shutdown_timeout_s, skip)

    @override
    def cleanup(self) -> None:
        group, self._group = self._group, None
        if group:
            group.release(self._patience_s)

    @property
    def _patience_s(self) -> float:
        return _QUICK_S if self.stopping.is_set() else 2.0 * self._params.value.connect_timeout_s

    def _make_loop(self, group: ArmGroup) -> ControlLoop:
        params = self._params.value
        limits = group.tightened(params.limits)
        clock = self.get_clock()
        assert isinstance(clock, ROSClock)
        return ControlLoop(
            group,
            params,
            limits,
            now_ns=self._now_ns,
            listener=self,
            simulated=lambda: clock.ros_time_is_active,
        )

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _on_parameters(self, params: ArmControllerParameters) -> None:
        if self._loop:
            self._loop.apply(params)

    # From the control thread --------------------------------------------------------------------

    def on_feedback(self, stamp_ns: int, feedback: Feedback) -> None:
        """Publishes the joint state, and to who listens what the arms press against."""
        self._joint_states.publish(
            joint_state_msg(
                stamp_ns,
                feedback.names,
                feedback.positions,
                feedback.velocities,
                feedback.efforts,
            )
        )
        if self._efforts.get_subscription_count():
            message = joint_state_msg(stamp_ns, feedback.names, np.empty(0))
            message.effort = feedback.external_efforts.tolist()
            self._efforts.publish(message)

    def on_command(self, stamp_ns: int, command: Command) -> None:
        """Publishes the command."""
        names = self._params.value.joint_map.urdf_names
        self._commands.publish(
            joint_state_msg(stamp_ns, names, command.positions, command.velocities)
        )

    def on_state(self, state: State, reason: str) -> None:
        """Logs the state and publishes the status."""
        log = self.get_logger()
        text = f"{state.name}: {reason}" if reason else state.name
        if state in (State.FAULT, State.ESTOP):
            log.error(text)
        else:
            log.info(text)
        self._publish_status()

    # Topics and services ------------------------------------------------------------------------

    def _on_chunk(self, message: ActionChunk) -> None:
        loop = self._loop
        if loop is None:
            self._log_rejection(message, _NOT_ACTIVE)
            return
        try:
            loop.submit(chunk_from_msg(message))
        except ChunkRejectedError as error:
            self._log_rejection(message, str(error))
        except TrossenPi0Error as error:
            loop.count_rejected(f"chunk {message.chunk_id}: {error}")
            self._log_rejection(message, str(error))

    def _log_rejection(self, message: ActionChunk, reason: str) -> None:
        self.get_logger().warning(
            f"chunk {message.chunk_id} of run {message.run_id!r} is not executed: {reason}",
            throttle_duration_sec=_LOG_THROTTLE_S,
        )

    def _on_estop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        loop = self._loop
        if loop is None:
            response.message = f"{_NOT_ACTIVE}: the arms are on their brakes"
            return response
        loop.estop("e-stop")
        response.success = True
        response.message = f"stopped; {NODE}/clear_fault releases it"
        return response

    async def _on_clear_fault(
        self, _: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        loop = self._loop
        if loop is None:
            response.message = _NOT_ACTIVE
            return response
        try:
            response.message = await awaitable(self, run_in_thread("repair", loop.clear_fault))
        except TrossenPi0Error as error:
            response.message = str(error)
            self.get_logger().error(f"the fault is not cleared: {error}")
        else:
            response.success = True
        return response

    def _publish_status(self) -> None:
        if self._loop:
            self._loop.watch_driver()
        snapshot = self._loop.snapshot() if self._loop else None
        if snapshot:
            mode = self._params.value.mode
            self._statuses.publish(status_msg(snapshot, mode, self._now_ns()))

    def _publish_diagnostics(self) -> None:
        snapshot = self._loop.snapshot() if self._loop else None
        if snapshot:
            params = self._params.value
            self._diagnostics.publish(*self._diagnosis.look(snapshot, params, time.monotonic()))
        else:
            self._diagnostics.publish(inactive(_NOT_ACTIVE))

    # MoveTo -------------------------------------------------------------------------------------

    async def _execute_move(self, handle: ServerGoalHandle) -> MoveTo.Result:
        """Accepts every goal; one that cannot be started is aborted with the reason."""
        loop, goal = self._loop, handle.request
        if loop is None:
            return _refused(handle, _NOT_ACTIVE)
        try:
            move = loop.start_move(
                MoveRequest(goal.pose, goal.joint_names, goal.positions, goal.velocity_scale)
            )
        except MoveRejectedError as error:
            return _refused(handle, str(error))
        done = Future()
        timer = self.create_timer(
            _MOVE_FEEDBACK_S, lambda: self._follow_move(loop, move, handle, done)
        )
        await done
        self.destroy_timer(timer)
        outcome = move.outcome
        assert outcome is not None
        if outcome.success:
            handle.succeed()
        elif handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        return MoveTo.Result(success=outcome.success, message=outcome.message, error=outcome.error)

    def _follow_move(
        self, loop: ControlLoop, move: Move, handle: ServerGoalHandle, done: Future
    ) -> None:
        if move.outcome is not None:
            if not done.done():
                done.set_result(None)
            return
        if handle.is_cancel_requested:
            loop.stop_move(move, "the move was cancelled")
        now_ns = self._now_ns()
        handle.publish_feedback(
            MoveTo.Feedback(fraction=move.fraction(now_ns), remaining_s=move.remaining_s(now_ns))
        )


def _refused(handle: ServerGoalHandle, reason: str) -> MoveTo.Result:
    handle.abort()
    return MoveTo.Result(success=False, message=reason, error=math.nan)


def _pairs(params: ArmControllerParameters) -> str:
    pairs = zip(params.arms, params.arm_addresses, strict=True)
    return ", ".join(f"{arm} ({address})" for arm, address in pairs)


def main() -> int:
    """Runs the node as a process; returns the exit status."""
    status = run_node(ArmController)
    leave_foreign_code(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
