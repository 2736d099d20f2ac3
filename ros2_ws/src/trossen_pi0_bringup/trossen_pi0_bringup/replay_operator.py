"""What an operator does with a replay: starts it, listens, and runs the policy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger

from trossen_pi0_bringup.recording import Series
from trossen_pi0_bringup.supervisor import StackError
from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.errors import InvalidChunkError
from trossen_pi0_msgs.action import RunPolicy
from trossen_pi0_msgs.msg import ActionChunk as ActionChunkMsg
from trossen_pi0_msgs.msg import ControllerStatus, PolicyStatus, ReplayStatus, SimStatus
from trossen_pi0_msgs.srv import ResetSim
from trossen_pi0_ros.callbacks import CallbackThread
from trossen_pi0_ros.convert import chunk_from_msg, time_ns
from trossen_pi0_ros.qos import COMMANDS, STATUS

Watch = Callable[[], None]
"""Called while something is waited for; raises to end the waiting."""

_ANSWER_S = 10.0


class ReplayOperator:
    """A ROS node on a thread of its own; its methods are called by one other thread.

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
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self.status: ReplayStatus | None = None
        self.policy: PolicyStatus | None = None
        self.controller: ControllerStatus | None = None
        self.sim: SimStatus | None = None
        self.chunks: list[ActionChunk] = []
        self.commands = Series()
        self._node = Node("replay_operator")
        self._changed = threading.Condition()
        subscribe = self._node.create_subscription
        subscribe(ReplayStatus, "/replay/status", self._taking("status"), STATUS)
        subscribe(PolicyStatus, "/policy/status", self._taking("policy"), STATUS)
        subscribe(ControllerStatus, "/arm_controller/status", self._taking("controller"), STATUS)
        subscribe(SimStatus, "/sim/status", self._taking("sim"), STATUS)
        subscribe(ActionChunkMsg, "/policy/action_chunk", self._on_chunk, COMMANDS)
        subscribe(JointState, "/arm_controller/command", self._on_command, COMMANDS)
        self._services = {
            name: self._node.create_client(Trigger, f"/replay/{name}") for name in ("start", "stop")
        }
        self._reset = self._node.create_client(ResetSim, "/sim/reset")
        self._run = ActionClient(self._node, RunPolicy, "/policy/run")
        self._callbacks = CallbackThread(self._node)
        self._callbacks.start()

    def close(self) -> None:
        """Leaves the graph."""
        self._callbacks.stop()
        self._run.destroy()
        self._node.destroy_node()
        rclpy.try_shutdown()

    # Streams ------------------------------------------------------------------------------------

    def _taking(self, name: str) -> Callable[[Any], None]:
        def take(message: Any) -> None:
            with self._changed:
                setattr(self, name, message)
                self._changed.notify_all()

        return take

    def _on_chunk(self, message: ActionChunkMsg) -> None:
        try:
            chunk = chunk_from_msg(message)
        except InvalidChunkError as error:
            self._node.get_logger().warning(f"chunk {message.chunk_id}: {error}")
            return
        if chunk.horizon:
            with self._changed:
                self.chunks.append(chunk)

    def _on_command(self, message: JointState) -> None:
        with self._changed:
            self.commands.add(message)

    # Waiting ------------------------------------------------------------------------------------

    def wait_for(
        self, condition: Callable[[], bool], timeout_s: float, watch: Watch, what: Callable[[], str]
    ) -> None:
        """Waits until the condition holds.

        Raises:
            StackError: it does not after ``timeout_s``; ``what`` says what is missing.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            watch()
            if time.monotonic() > deadline:
                raise StackError(f"after {timeout_s:g} s: {what()}")
            self.pause(0.05)

    def pause(self, seconds: float) -> None:
        """Waits a little, for a status or the time [s]."""
        if self._callbacks.failure is not None:
            raise StackError(f"a callback failed: {self._callbacks.failure!r}")
        with self._changed:
            self._changed.wait(seconds)

    def missing(self, *, actions: bool) -> str:
        """What is not there yet, in words; empty when everything is."""
        parts = {
            "replay node (/replay/status)": self.status is not None,
            "service /replay/start": self._services["start"].service_is_ready(),
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
        future = self._services["start"].call_async(Trigger.Request())
        answer = self._await(future, watch, "start of the replay")
        if not answer.success:
            raise StackError(f"the replay does not begin: {answer.message}")

    def reset_sim(self, seed: int, variant: str, watch: Watch) -> None:
        """Puts the object where it was.

        Raises:
            StackError: the simulation refused.
        """
        begun_ns = self._node.get_clock().now().nanoseconds
        request = ResetSim.Request(seed=seed, variant=variant)
        answer = self._await(self._reset.call_async(request), watch, "reset")
        if not answer.success:
            raise StackError(f"the simulation refused the reset: {answer.message}")

        def fresh() -> bool:
            return self.sim is not None and time_ns(self.sim.header.stamp) >= begun_ns

        self.wait_for(fresh, _ANSWER_S, watch, lambda: "the simulation sent no status")

    def run_policy(self, max_duration_s: float, watch: Watch) -> tuple[ClientGoalHandle, Future]:
        """Begins a run of the policy; returns its goal and its result to come.

        Raises:
            StackError: the policy refused.
        """
        goal = RunPolicy.Goal(max_duration_s=max_duration_s)
        asked = self._request(lambda: self._run.send_goal_async(goal), watch)
        handle = self._await(asked, watch, "run of the policy")
        if not handle.accepted:
            raise StackError("the policy refused to run; its log says why")
        return handle, self._request(handle.get_result_async, watch)

    def end_run(self, handle: ClientGoalHandle, result: Future, watch: Watch) -> RunPolicy.Result:
        """Ends the run, unless it has ended, and returns its result."""
        if not result.done():
            self._request(handle.cancel_goal_async, watch)
        return self._await(result, watch, "end of the policy's run").result

    def _request(self, send: Callable[[], Future], watch: Watch) -> Future:
        """Has the callback thread send a request of the action client; returns its future."""
        return self._await(self._callbacks.call(send), watch, "call of the action client")

    def _await(self, future: Future, watch: Watch, what: str) -> Any:
        deadline = time.monotonic() + _ANSWER_S
        while not future.done():
            watch()
            if time.monotonic() > deadline:
                raise StackError(f"no answer to the {what} within {_ANSWER_S:g} s")
            self.pause(0.02)
        return future.result()
