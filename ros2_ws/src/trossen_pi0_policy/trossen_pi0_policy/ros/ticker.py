"""Lets coroutines of a node wait for conditions."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.task import Future

TICK_S = 0.02


class Ticker:
    """A timer that looks at conditions; used by the node's callback thread alone.

    It runs on the steady clock: it goes on when ROS time stands still or is set.
    """

    def __init__(self, node: Node, on_tick: Callable[[], None]) -> None:
        """Args:
        node: owner of the timer.
        on_tick: called first at each tick.
        """
        self._node = node
        self._on_tick = on_tick
        self._waiting: list[tuple[Callable[[], bool], Future]] = []
        self._timer = node.create_timer(
            TICK_S, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def close(self) -> None:
        """Ends the timer; what still waits is never woken."""
        self._node.destroy_timer(self._timer)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns at the first tick at which the condition holds; at once if it does now."""
        if not condition():
            future = Future()
            self._waiting.append((condition, future))
            await future

    def _tick(self) -> None:
        self._on_tick()
        waiting, self._waiting = self._waiting, []
        for condition, future in waiting:
            if condition():
                future.set_result(None)
            else:
                self._waiting.append((condition, future))
