"""What the policy node hears from the arm controller and asks of it."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.node import Node
from rclpy.task import Future

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.execution import State
from trossen_pi0_msgs.action import MoveTo
from trossen_pi0_msgs.msg import ControllerStatus
from trossen_pi0_policy.ros.ticker import Ticker
from trossen_pi0_policy.state import ControllerReport
from trossen_pi0_ros.convert import time_ns
from trossen_pi0_ros.qos import STATUS

MOVE_ACTION = "/arm_controller/move_to"
STATUS_TOPIC = "/arm_controller/status"


class ArmControllerLink:
    """Status of the arm controller, and moves to a pose. The node's callback thread alone."""

    def __init__(
        self, node: Node, ticker: Ticker, on_report: Callable[[ControllerReport], None]
    ) -> None:
        """Args:
        node: owner of subscription and action client.
        ticker: what coroutines wait by.
        on_report: called with each status.
        """
        self._node = node
        self._ticker = ticker
        self._on_report = on_report
        self._report: ControllerReport | None = None
        self._subscription = node.create_subscription(
            ControllerStatus, STATUS_TOPIC, self._on_status, STATUS
        )
        self._client = ActionClient(node, MoveTo, MOVE_ACTION)

    def close(self) -> None:
        """Ends subscription and client."""
        self._node.destroy_subscription(self._subscription)
        self._client.destroy()

    async def move_to(self, pose: str, silence_s: float, given_up: Callable[[], bool]) -> str:
        """Moves the arms to a named pose; returns why it failed, or nothing.

        Args:
            pose: name of a pose of the arm controller.
            silence_s: longest time without a sign of life of the controller [s].
            given_up: when it becomes true the move is cancelled.
        """
        patience = _Patience(self._node, silence_s, given_up)
        await self._ticker.until(lambda: self._client.server_is_ready() or patience.is_over())
        if patience.is_over():
            return f"there is no action {MOVE_ACTION}"
        goal = MoveTo.Goal(pose=pose)
        asked = self._client.send_goal_async(goal, feedback_callback=patience.renew)
        asked.add_done_callback(patience.renew)
        await self._ticker.until(lambda: asked.done() or patience.is_over())
        if not asked.done():
            asked.add_done_callback(_cancel_late)
            return f"{MOVE_ACTION} does not answer"
        handle: ClientGoalHandle | None = asked.result()
        if handle is None or not handle.accepted:
            return f"the arm controller refused the move{self._why()}"
        finished = handle.get_result_async()
        await self._ticker.until(lambda: finished.done() or patience.is_over())
        if not finished.done():
            handle.cancel_goal_async()
            return "given up" if given_up() else f"no sign of life for {silence_s:g} s"
        result: MoveTo.Result = finished.result().result
        return "" if result.success else result.message or "the move failed"

    def _on_status(self, message: ControllerStatus) -> None:
        self._report = ControllerReport(
            stamp_ns=time_ns(message.header.stamp),
            state=State(message.state),
            reason=message.reason,
            run_id=message.run_id,
            rejections=message.chunks_rejected,
            last_rejection=message.last_rejection,
            chunk_id=message.chunk_id,
            chunk_delay_ns=round(message.chunk_delay_s * NANOSECONDS),
        )
        self._on_report(self._report)

    def _why(self) -> str:
        report = self._report
        if report is None or report.state == State.HOLDING:
            return ""
        return f"; it is in {report.state.name}: {report.reason}".rstrip(": ")


class _Patience:
    """How long to wait for the next sign of life, on the node's clock."""

    def __init__(self, node: Node, silence_s: float, given_up: Callable[[], bool]) -> None:
        self._clock = node.get_clock()
        self._silence_ns = round(silence_s * 1e9)
        self._given_up = given_up
        self.renew()

    def renew(self, _: object = None) -> None:
        """A sign of life."""
        self._heard_ns = self._clock.now().nanoseconds

    def is_over(self) -> bool:
        """Nothing was heard for too long, or the wait was given up."""
        waited_ns = self._clock.now().nanoseconds - self._heard_ns
        return self._given_up() or waited_ns > self._silence_ns


def _cancel_late(asked: Future) -> None:
    """Cancels a move whose acceptance came when nobody waited for it any more."""
    handle = asked.result()
    if handle is not None and handle.accepted:
        handle.cancel_goal_async()
