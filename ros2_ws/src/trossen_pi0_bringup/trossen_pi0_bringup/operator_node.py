"""A command's own ROS node: what an operator has, with waits that can be ended."""

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

from trossen_pi0_bringup.supervisor import StackError
from trossen_pi0_msgs.action import RunPolicy
from trossen_pi0_msgs.srv import ResetSim
from trossen_pi0_ros.callbacks import CallbackThread

Watch = Callable[[], None]
"""Called while something is waited for; raises to end the waiting."""

OUTCOMES = {
    RunPolicy.Result.DONE: "done",
    RunPolicy.Result.TIMEOUT: "timeout",
    RunPolicy.Result.STOPPED: "stopped",
    RunPolicy.Result.FAILED: "failed",
}
"""Names of the outcomes of a policy's run by their numbers."""

_ANSWER_S = 10.0


class OperatorNode:
    """A ROS node on a thread of its own; its methods are called by one other thread.

    Attributes:
        node: subscriptions and clients are made before ``listen``.
        changed: notified by callbacks that somebody may wait for.
    """

    def __init__(self, name: str) -> None:
        """Joins the ROS graph; hears nothing yet."""
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self.node = Node(name)
        self.changed = threading.Condition()
        self._reset = self.node.create_client(ResetSim, "/sim/reset")
        self._run = ActionClient(self.node, RunPolicy, "/policy/run")
        self._callbacks = CallbackThread(self.node)

    def now_ns(self) -> int:
        """ROS time [ns]."""
        return self.node.get_clock().now().nanoseconds

    def listen(self) -> None:
        """Begins to run callbacks."""
        self._callbacks.start()

    def close(self) -> None:
        """Leaves the graph."""
        self._callbacks.stop()
        self.node.destroy_node()
        rclpy.try_shutdown()

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
                raise StackError(f"after {timeout_s:g} s {what()}")
            self.pause(0.05)

    def pause(self, seconds: float) -> None:
        """Waits until something has changed, but no longer than this.

        Raises:
            StackError: a callback has failed.
        """
        if self._callbacks.failure is not None:
            raise StackError(f"a callback failed: {self._callbacks.failure!r}")
        with self.changed:
            self.changed.wait(seconds)

    def answer(self, future: Future, watch: Watch, what: str, timeout_s: float = _ANSWER_S) -> Any:
        """The result of a request that was sent.

        Raises:
            StackError: there is none after ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        while not future.done():
            watch()
            if time.monotonic() > deadline:
                raise StackError(f"no answer to the {what} within {timeout_s:g} s")
            self.pause(0.02)
        return future.result()

    def request(self, send: Callable[[], Future], watch: Watch) -> Future:
        """Has the callback thread send a request of an action client; returns its future."""
        return self.answer(self._callbacks.call(send), watch, "call of the action client")

    # Requests -----------------------------------------------------------------------------------

    def reset_sim(self, seed: int, variant: str, watch: Watch) -> None:
        """Begins an episode of the simulation.

        Raises:
            StackError: it refused.
        """
        sent = self._reset.call_async(ResetSim.Request(seed=seed, variant=variant))
        answer = self.answer(sent, watch, "reset")
        if not answer.success:
            raise StackError(f"the simulation refused the reset: {answer.message}")

    def start_run(
        self, goal: RunPolicy.Goal, watch: Watch, why: Callable[[], str]
    ) -> tuple[ClientGoalHandle, Future]:
        """Begins a run of the policy; returns its goal and its result to come.

        Raises:
            StackError: the policy refused; ``why`` says what is known of that.
        """
        sent = self.request(lambda: self._run.send_goal_async(goal), watch)
        handle = self.answer(sent, watch, "run of the policy")
        if not handle.accepted:
            raise StackError(f"the policy refused to run: {why() or 'it gave no reason'}")
        return handle, self.request(handle.get_result_async, watch)
