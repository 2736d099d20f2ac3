"""How operators begin and end runs: the action /policy/run, /policy/start and /policy/stop."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from rclpy.action import ActionServer, CancelResponse, GoalResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from std_srvs.srv import Trigger

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.errors import BackendError
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_msgs.action import RunPolicy
from trossen_pi0_policy.ros.arm_controller_link import ArmControllerLink
from trossen_pi0_policy.ros.reports import is_due
from trossen_pi0_policy.ros.ticker import Ticker
from trossen_pi0_policy.runner import PolicyRunner
from trossen_pi0_policy.state import Outcome, RunRequest, RunResult


class RunServer:
    """Runs, one at a time. The node's callback thread alone."""

    def __init__(
        self,
        node: Node,
        runner: PolicyRunner,
        link: ArmControllerLink,
        ticker: Ticker,
        parameters: Callable[[], PolicyParameters],
    ) -> None:
        """Args:
        node: owner of action server and services.
        runner: does the runs.
        link: brings the arms to the start pose.
        ticker: what coroutines wait by.
        parameters: present parameters of the node.
        """
        self._node = node
        self._runner = runner
        self._link = link
        self._ticker = ticker
        self._parameters = parameters
        self._random = np.random.default_rng()
        self._action = ActionServer(
            node,
            RunPolicy,
            "/policy/run",
            execute_callback=self._execute,
            goal_callback=self._on_goal,
            cancel_callback=self._on_cancel,
        )
        self._services = [
            node.create_service(Trigger, "/policy/start", self._on_start),
            node.create_service(Trigger, "/policy/stop", self._on_stop),
        ]

    def close(self) -> None:
        """Ends action server and services."""
        self._action.destroy()
        while self._services:
            self._node.destroy_service(self._services.pop())

    # Action -------------------------------------------------------------------------------------

    def _on_goal(self, goal: RunPolicy.Goal) -> GoalResponse:
        problem = ""
        if not math.isfinite(goal.max_duration_s) or goal.max_duration_s < 0.0:
            problem = f"max_duration_s must be finite and not negative, got {goal.max_duration_s}"
        elif goal.prompt and not goal.prompt.strip():
            problem = f"prompt must be empty or an instruction, got {goal.prompt!r}"
        elif self._runner.busy:
            problem = "a run is under way; cancel it or call /policy/stop first"
        elif not self._runner.enabled:
            problem = "the policy node is not active"
        if problem:
            self._node.get_logger().warning(f"run refused: {problem}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _on_cancel(self, _: ServerGoalHandle) -> CancelResponse:
        self._runner.end(Outcome.STOPPED, "cancelled")
        return CancelResponse.ACCEPT

    async def _execute(self, handle: ServerGoalHandle) -> RunPolicy.Result:
        goal: RunPolicy.Goal = handle.request
        try:
            run_id = self._begin(goal.prompt, goal.max_duration_s)
        except BackendError as error:
            handle.abort()
            return RunPolicy.Result(outcome=RunPolicy.Result.FAILED, message=str(error))
        feedback = _Feedback(handle, self._runner, 1.0 / self._parameters().status_rate)
        result = await self._drive(run_id, lambda: feedback.publish_if_due(self._now_ns()))
        if handle.is_cancel_requested:
            handle.canceled()
        elif result.outcome in (Outcome.DONE, Outcome.TIMEOUT):
            handle.succeed()
        else:
            handle.abort()
        return _result_message(result)

    # Services -----------------------------------------------------------------------------------

    def _on_start(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            run_id = self._begin("", 0.0)
        except BackendError as error:
            response.message = str(error)
            return response
        executor = self._node.executor
        assert executor is not None, "callbacks come from an executor"
        executor.create_task(self._drive(run_id, lambda: None))
        response.success = True
        response.message = f"run {run_id} begins"
        return response

    def _on_stop(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self._runner.end(Outcome.STOPPED, "stopped by the operator")
        response.message = "stopped" if response.success else "no run is under way"
        return response

    # Runs ---------------------------------------------------------------------------------------

    def _begin(self, prompt: str, max_duration_s: float) -> str:
        seed = int(self._random.integers(2**31))
        return self._runner.begin(RunRequest(prompt, round(max_duration_s * NANOSECONDS), seed))

    async def _drive(self, run_id: str, on_wait: Callable[[], None]) -> RunResult:
        """Brings the arms to the start pose, releases the run, and waits for its end."""

        def ended() -> bool:
            if self._runner.result(run_id) is None:
                on_wait()
                return False
            return True

        pose = self._parameters().start_pose
        if pose and not ended():
            problem = await self._link.move_to(pose, self._parameters().stall_timeout_s, ended)
            if problem:
                self._runner.end(Outcome.FAILED, f"start pose {pose!r}: {problem}", run_id)
        self._runner.release(run_id)
        await self._ticker.until(ended)
        result = self._runner.result(run_id)
        assert result is not None
        return result

    def _now_ns(self) -> int:
        return self._node.get_clock().now().nanoseconds


class _Feedback:
    """Feedback of one goal at a limited rate."""

    def __init__(self, handle: ServerGoalHandle, runner: PolicyRunner, period_s: float) -> None:
        self._handle = handle
        self._runner = runner
        self._period_ns = round(period_s * NANOSECONDS)
        self._due_ns = 0

    def publish_if_due(self, now_ns: int) -> None:
        """Publishes unless the last one was a moment ago."""
        if not is_due(self._due_ns, self._period_ns, now_ns):
            return
        self._due_ns = now_ns + self._period_ns
        status = self._runner.status()
        self._handle.publish_feedback(
            RunPolicy.Feedback(
                elapsed_s=status.elapsed_ns / NANOSECONDS,
                chunk_id=status.chunk_id,
                inference_latency_s=status.latency.inference_s,
                state=int(status.state),
                reason=status.reason,
            )
        )


def _result_message(result: RunResult) -> RunPolicy.Result:
    return RunPolicy.Result(
        outcome=int(result.outcome),
        message=result.message,
        run_id=result.run_id,
        duration_s=result.duration_ns / NANOSECONDS,
        chunks=result.chunks,
    )
