"""Runs a node's callbacks on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future


class CallbackThread:
    """The thread that owns a node's callbacks, from ``start`` to ``stop``.

    Not on an EventsExecutor: in rclpy 7.1 its ``spin`` without a time limit answers nothing, it
    turns a pending await into a busy loop, and it refuses coroutines as service callbacks.

    Where the node has a ``callback_period_s``, one callback at most is run in each such time [s],
    which saves the wake-ups between: for a node with one busy topic, of which it wants the newest.

    Attributes:
        failure: what a callback raised, which has ended the thread.
    """

    def __init__(
        self,
        node: Node,
        *,
        first: Callable[[], bool] | None = None,
        on_end: Callable[[], None] | None = None,
    ) -> None:
        """Nothing runs yet.

        Args:
            node: whose callbacks run.
            first: called on the thread before any callback; no callback runs if it returns False.
            on_end: called on the thread when it ends, for whatever reason.
        """
        self.failure: BaseException | None = None
        self._node = node
        self._first = first
        self._on_end = on_end
        self._period_s: float = getattr(node, "callback_period_s", 0.0)
        self._stopping = threading.Event()
        self._executor = SingleThreadedExecutor(context=node.context)
        self._executor.add_node(node)
        # A daemon, so that a callback that never returns cannot keep the process.
        self._thread = threading.Thread(
            target=self._run, name=f"{node.get_name()}-callbacks", daemon=True
        )

    @property
    def running(self) -> bool:
        """Whether the thread has not ended."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Begins to run callbacks."""
        self._thread.start()

    def call(self, function: Callable[[], Any]) -> Future:
        """Has the thread call a function; may be called from any thread. Keeps no order.

        Requests of an action client belong here: rclpy's sends them before it knows that it waits
        for an answer, and drops an answer that another thread has taken by then.

        Returns:
            What the function returns; a future that it returns is not waited for.
        """
        return self._executor.create_task(function)

    def stop(self, timeout_s: float = 2.0) -> None:
        """Lets the callback under way end and waits for the thread, but not for ever."""
        self._stopping.set()
        # A task ends spin_once: rclpy has a race where an executor is shut down while it spins.
        self._executor.create_task(lambda: None)
        self._thread.join(timeout_s)
        if not self.running:
            self._executor.shutdown()

    def _run(self) -> None:
        try:
            if self._first and not self._first():
                return
            while not self._stopping.is_set():
                if self._period_s:
                    self._stopping.wait(self._period_s)
                    self._executor.spin_once(timeout_sec=0.0)
                else:
                    self._executor.spin_once()
        except ExternalShutdownException:
            return
        except BaseException as error:  # noqa: BLE001 - any end of this thread is told its owner
            self.failure = error
            self._node.get_logger().fatal(f"a callback failed: {error!r}")
        finally:
            if self._on_end:
                self._on_end()
