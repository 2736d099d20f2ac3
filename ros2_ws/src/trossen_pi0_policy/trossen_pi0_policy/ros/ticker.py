"""Lets coroutines of a node wait for conditions."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from rclpy.task import Future

TICK_S = 0.04


class Ticker:
    """A timer that looks at conditions; used by the node's callback thread alone."""

    def __init__(self, node: Node, on_tick: Callable[[], None]) -> None:
        """Args:
        node: owner of the timer.
        on_tick: called first at each tick.
        """
        self._node = node
        self._on_tick = on_tick
        self._waiting: list[tuple[Callable[[], bool], Future]] = []
        self._timer = node.create_timer(TICK_S, self._tick)

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
