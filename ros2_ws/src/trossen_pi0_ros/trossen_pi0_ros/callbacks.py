"""Runs a node's callbacks on a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node


class CallbackThread:
    """The thread that owns a node's callbacks, from ``start`` to ``stop``.

    rclpy's EventsExecutor is not used: in rclpy 7.1 its ``spin`` without a time limit answers
    nothing, and it turns a pending await into a busy loop.

    Attributes:
        failure: what a callback raised; it ends the thread.
    """

    def __init__(self, node: Node, on_end: Callable[[], None] | None = None) -> None:
        """Args:
        node: whose callbacks run.
        on_end: called on the thread when it ends, for whatever reason.
        """
        self.failure: BaseException | None = None
        self._stopping = threading.Event()
        self._on_end = on_end
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(node)
        # Wakes spin_once in its own thread: to shut an executor down while it spins is a race.
        self._wake = node.create_guard_condition(lambda: None)
        # A daemon, so that a callback that never returns cannot keep the process.
        self._thread = threading.Thread(
            target=self._run, name=f"{node.get_name()}-callbacks", daemon=True
        )

    def start(self) -> None:
        """Begins to run callbacks."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> bool:
        """Lets the callback under way end; returns whether the thread has ended in time."""
        self._stopping.set()
        self._wake.trigger()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._executor.spin_once()
        except ExternalShutdownException:
            return
        except BaseException as error:  # noqa: BLE001 - handed to the owner, who reports it
            self.failure = error
        finally:
            if self._on_end:
                self._on_end()
