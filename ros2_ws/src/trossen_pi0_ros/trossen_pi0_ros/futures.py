"""Waiting in a node's coroutines for work on other threads."""

from __future__ import annotations

import concurrent.futures
from typing import TypeVar

from rclpy.node import Node
from rclpy.task import Future

T = TypeVar("T")


def awaitable(node: Node, work: concurrent.futures.Future[T]) -> Future:
    """Makes work on another thread something that a callback of the node can await.

    While the coroutine waits, it keeps its callback group busy: a service that awaits needs a group
    of its own. Awaiting raises what the work raises.
    """
    result = Future()

    def hand_over(done: concurrent.futures.Future[T]) -> None:
        error = done.exception()
        if error is None:
            result.set_result(done.result())
        else:
            result.set_exception(error)
        # A coroutine goes on when its executor turns, which setting the result does not cause.
        if node.executor is not None:
            node.executor.wake()

    work.add_done_callback(hand_over)
    return result
