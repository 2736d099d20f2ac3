"""The leader-arm node: two arms that an operator moves and the followers follow."""

from __future__ import annotations

import sys
import time
import uuid
from typing import Any

import numpy as np
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from typing_extensions import override

from trossen_pi0_control.arm_group import ArmGroup, Feedback
from trossen_pi0_control.leader_arm import leader_arms
from trossen_pi0_control.leader_loop import LeaderLoop
from trossen_pi0_control.leader_messages import LeaderDiagnosis, status_msg
from trossen_pi0_control.teleop import FollowerWord, TeleopState
from trossen_pi0_control.workers import run_in_thread
from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.errors import JointError, TeleopError, TrossenPi0Error
from trossen_pi0_core.execution import State
from trossen_pi0_core.joints import select_joints
from trossen_pi0_core.parameters import LeaderArmsParameters
from trossen_pi0_msgs.msg import ActionChunk as ActionChunkMsg
from trossen_pi0_msgs.msg import ControllerStatus, TeleopStatus
from trossen_pi0_ros.convert import chunk_to_msg, joint_state_msg
from trossen_pi0_ros.diagnostics import Diagnostics, inactive
from trossen_pi0_ros.futures import awaitable
from trossen_pi0_ros.logs import forward_logs
from trossen_pi0_ros.managed_node import ManagedNode
from trossen_pi0_ros.parameters import NodeParameters
from trossen_pi0_ros.process import leave_foreign_code, run_node
from trossen_pi0_ros.qos import COMMANDS, STATUS

NODE = "leader_arms"

_DIAGNOSTICS_S = 1.0
_LOG_THROTTLE_S = 1.0
# At the end of the process; otherwise the leaders get the connection timeout.
_QUICK_S = 0.6
_NOT_ACTIVE = "the leader arms are not active: they are on their brakes"


class LeaderArms(ManagedNode):
    """Wires the leader loop to topics and services.

    Active, the leaders can be moved by hand; inactive they are on their brakes, connected between
    configure and cleanup.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(NODE, **kwargs)
        forward_logs(self, "trossen_pi0_control", "trossen_pi0_core")
        self._params = NodeParameters(self, LeaderArmsParameters, self._on_parameters)
        self._followers = self._params.value.follower_map.urdf_names
        self._group: ArmGroup | None = None
        self._loop: LeaderLoop | None = None
        self._diagnosis = LeaderDiagnosis()
        self._joint_states = self.create_publisher(JointState, f"{NODE}/joint_states", COMMANDS)
        self._chunks = self.create_publisher(ActionChunkMsg, "policy/action_chunk", COMMANDS)
        self._statuses = self.create_publisher(TeleopStatus, "teleop/status", STATUS)
        self._diagnostics = Diagnostics(self)
        listen = self.create_subscription
        listen(ControllerStatus, "arm_controller/status", self._on_controller, STATUS)
        listen(JointState, "joint_states", self._on_followers, COMMANDS)
        listen(JointState, "arm_controller/external_effort", self._on_forces, COMMANDS)
        self.create_service(Trigger, "teleop/start", self._on_start)
        self.create_service(Trigger, "teleop/stop", self._on_stop)
        self.create_service(
            Trigger,
            "teleop/clear_fault",
            self._on_clear_fault,  # pyright: ignore[reportArgumentType] - it may be a coroutine
            callback_group=MutuallyExclusiveCallbackGroup(),
        )
        self.create_timer(1.0 / self._params.value.status_rate, self._publish_status)
        self.create_timer(_DIAGNOSTICS_S, self._publish_diagnostics)

    # Lifecycle ----------------------------------------------------------------------------------

    @property
    @override
    def wants_autostart(self) -> bool:
        return self._params.value.autostart

    @override
    def configure(self) -> None:
        params = self._params.value
        arms = zip(params.arms, params.arm_addresses, strict=True)
        told = ", ".join(f"{arm} ({address})" for arm, address in arms)
        self.get_logger().info(f"connecting to the leaders {told}")
        self._group = ArmGroup(leader_arms(params), params.joint_map, params.leader_stale_s)
        self._group.connect(self.stopping)

    @override
    def activate(self) -> None:
        assert self._group is not None
        loop = LeaderLoop(
            self._group,
            self._params.value,
            self._group.speeds(),
            now_ns=self._now_ns,
            new_run_id=lambda: f"teleop-{uuid.uuid4().hex[:12]}",
            listener=self,
        )
        loop.start(self._patience_s)
        self._diagnosis = LeaderDiagnosis()
        self._loop = loop
        self.get_logger().info("the leaders can be moved by hand; /teleop/start couples them")

    @override
    def deactivate(self) -> None:
        loop, self._loop = self._loop, None
        if loop:
            loop.stop(self._patience_s)
            self.get_logger().info("the leaders are on their brakes")

    @override
    def cleanup(self) -> None:
        group, self._group = self._group, None
        if group:
            group.release(self._patience_s)

    @property
    def _patience_s(self) -> float:
        return _QUICK_S if self.stopping.is_set() else 2.0 * self._params.value.connect_timeout_s

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds

    def _on_parameters(self, params: LeaderArmsParameters) -> None:
        if self._loop:
            self._loop.apply(params)

    # From the leader loop -----------------------------------------------------------------------

    def on_leaders(self, stamp_ns: int, feedback: Feedback) -> None:
        """Publishes the leaders' joint state."""
        self._joint_states.publish(
            joint_state_msg(
                stamp_ns,
                feedback.names,
                feedback.positions,
                feedback.velocities,
                feedback.efforts,
            )
        )

    def on_chunk(self, chunk: ActionChunk) -> None:
        """Publishes a chunk for the followers."""
        self._chunks.publish(chunk_to_msg(chunk, self._now_ns()))

    def on_teleop(self, state: TeleopState, reason: str) -> None:
        """Logs the state."""
        text = f"{state.name}: {reason}" if reason else state.name
        if state == TeleopState.FAULT:
            self.get_logger().error(text)
        elif state == TeleopState.FREE and reason:
            self.get_logger().warning(text)
        else:
            self.get_logger().info(text)

    # Topics -------------------------------------------------------------------------------------

    def _on_controller(self, message: ControllerStatus) -> None:
        if self._loop:
            word = FollowerWord(
                self._now_ns(),
                State(message.state),
                message.reason,
                message.run_id,
                message.last_rejection,
            )
            self._loop.hear_controller(word)

    def _on_followers(self, message: JointState) -> None:
        positions = self._selected(message, message.position)
        if self._loop and positions is not None:
            self._loop.hear_followers(positions)

    def _on_forces(self, message: JointState) -> None:
        efforts = self._selected(message, message.effort)
        if self._loop and efforts is not None:
            self._loop.hear_forces(efforts)

    def _selected(self, message: JointState, values: Any) -> Any:
        """Values of the followers' joints in our order; None, with a warning, where they lack."""
        try:
            selected = select_joints(list(message.name), values, self._followers)
        except JointError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=_LOG_THROTTLE_S)
            return None
        return selected if np.isfinite(selected).all() else None

    # Services -----------------------------------------------------------------------------------

    def _on_start(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        loop = self._loop
        if loop is None:
            response.message = _NOT_ACTIVE
            return response
        if not self._chunks.get_subscription_count():  # it would never hear that it is asked
            response.message = "no arm controller listens to action chunks yet"
            return response
        try:
            response.message = loop.begin()
        except TeleopError as error:
            response.message = str(error)
            self.get_logger().warning(f"teleoperation is not started: {error}")
        else:
            response.success = True
        self._publish_status()
        return response

    def _on_stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        loop = self._loop
        response.success = True
        followed = loop is not None and loop.end("stopped by the operator")
        response.message = "the followers hold" if followed else "they did not follow"
        self._publish_status()
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

    # Reports ------------------------------------------------------------------------------------

    def _publish_status(self) -> None:
        loop = self._loop
        if loop:
            self._statuses.publish(status_msg(loop.snapshot(), self._now_ns()))

    def _publish_diagnostics(self) -> None:
        loop = self._loop
        if loop:
            params, now_s = self._params.value, time.monotonic()
            self._diagnostics.publish(*self._diagnosis.look(loop.snapshot(), params, now_s))
        else:
            self._diagnostics.publish(inactive("the leader arms are not active"))


def main() -> int:
    """Runs the node as a process; returns the exit status."""
    status = run_node(LeaderArms)
    leave_foreign_code(status)
    return status


if __name__ == "__main__":
    sys.exit(main())
