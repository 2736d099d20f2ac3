"""What an operator does with a replay: starts it, listens, and runs the policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rclpy.action.client import ClientGoalHandle
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from typing_extensions import override

from trossen_pi0_bringup.operator_node import OperatorNode, Watch
from trossen_pi0_bringup.recording import Series
from trossen_pi0_bringup.supervisor import StackError
from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.errors import InvalidChunkError
from trossen_pi0_msgs.action import RunPolicy
from trossen_pi0_msgs.msg import ActionChunk as ActionChunkMsg
from trossen_pi0_msgs.msg import ControllerStatus, PolicyStatus, ReplayStatus, SimStatus
from trossen_pi0_ros.convert import chunk_from_msg, time_ns
from trossen_pi0_ros.qos import COMMANDS, STATUS

_FRESH_S = 10.0


class ReplayOperator(OperatorNode):
    """Runs one replay.

    Attributes:
        status: last of the replay node.
        policy: last of the policy node.
        controller: last of the arm controller.
        sim: last of the simulation.
        chunks: with rows, as they were published.
        commands: what was sent to the arms.
    """

    def __init__(self) -> None:
        """Joins the ROS graph."""
        super().__init__("replay_operator")
        self.status: ReplayStatus | None = None
        self.policy: PolicyStatus | None = None
        self.controller: ControllerStatus | None = None
        self.sim: SimStatus | None = None
        self.chunks: list[ActionChunk] = []
        self.commands = Series()
        subscribe = self.node.create_subscription
        subscribe(ReplayStatus, "/replay/status", self._taking("status"), STATUS)
        subscribe(PolicyStatus, "/policy/status", self._taking("policy"), STATUS)
        subscribe(ControllerStatus, "/arm_controller/status", self._taking("controller"), STATUS)
        subscribe(SimStatus, "/sim/status", self._taking("sim"), STATUS)
        subscribe(ActionChunkMsg, "/policy/action_chunk", self._on_chunk, COMMANDS)
        subscribe(JointState, "/arm_controller/command", self._on_command, COMMANDS)
        self._start = self.node.create_client(Trigger, "/replay/start")
        self.listen()

    # Streams ------------------------------------------------------------------------------------

    def _taking(self, name: str) -> Callable[[Any], None]:
        def take(message: Any) -> None:
            with self.changed:
                setattr(self, name, message)
                self.changed.notify_all()

        return take

    def _on_chunk(self, message: ActionChunkMsg) -> None:
        try:
            chunk = chunk_from_msg(message)
        except InvalidChunkError as error:
            self.node.get_logger().warning(f"chunk {message.chunk_id}: {error}")
            return
        if chunk.horizon:
            with self.changed:
                self.chunks.append(chunk)

    def _on_command(self, message: JointState) -> None:
        with self.changed:
            self.commands.add(message)

    # Waiting ------------------------------------------------------------------------------------

    def missing(self, *, actions: bool) -> str:
        """What is not there yet, in words; empty when everything is."""
        parts = {
            "replay node (/replay/status)": self.status is not None,
            "service /replay/start": self._start.service_is_ready(),
        }
        if actions:
            parts["simulation (/sim/status)"] = self.sim is not None
            parts["reset service (/sim/reset)"] = self._reset.service_is_ready()
            parts["arm controller (/arm_controller/status)"] = self.controller is not None
        else:
            parts["policy (/policy/status)"] = self.policy is not None
            parts["policy's run action (/policy/run)"] = self._run.server_is_ready()
        absent = [name for name, there in parts.items() if not there]
        if absent:
            return f"there is still no {', no '.join(absent)}"
        if not actions and self.policy is not None and self.policy.reason:
            return f"the policy is not ready: {self.policy.reason}"
        return ""

    # Requests -----------------------------------------------------------------------------------

    def start_replay(self, watch: Watch) -> None:
        """Begins the replay.

        Raises:
            StackError: it does not, and why.
        """
        sent = self._start.call_async(Trigger.Request())
        answer = self.answer(sent, watch, "start of the replay")
        if not answer.success:
            raise StackError(f"the replay does not begin: {answer.message}")

    @override
    def reset_sim(self, seed: int, variant: str, watch: Watch) -> None:
        begun_ns = self.now_ns()
        super().reset_sim(seed, variant, watch)

        def fresh() -> bool:
            return self.sim is not None and time_ns(self.sim.header.stamp) >= begun_ns

        self.wait_for(fresh, _FRESH_S, watch, lambda: "the simulation has sent no status")

    def run_policy(self, max_duration_s: float, watch: Watch) -> tuple[ClientGoalHandle, Future]:
        """Begins a run of the policy; returns its goal and its result to come.

        Raises:
            StackError: the policy refused.
        """
        goal = RunPolicy.Goal(max_duration_s=max_duration_s)
        return self.start_run(goal, watch, lambda: self.policy.reason if self.policy else "")

    def end_run(self, handle: ClientGoalHandle, result: Future, watch: Watch) -> RunPolicy.Result:
        """Ends the run, unless it has ended, and returns its result."""
        if not result.done():
            self.request(handle.cancel_goal_async, watch)
        return self.answer(result, watch, "end of the policy's run").result
