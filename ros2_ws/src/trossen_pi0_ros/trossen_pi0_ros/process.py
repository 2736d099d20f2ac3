"""Runs one node as a process, from start to a clean end."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_core.signals import SignalFlag
from trossen_pi0_ros.callbacks import CallbackThread
from trossen_pi0_ros.managed_node import ManagedNode

EXIT_FAILED = 1
EXIT_USAGE = 2

_SIGNAL_POLL_S = 0.1

PARENT_VARIABLE = "TROSSEN_PI0_PARENT_PID"
"""Environment variable with the process that the node shall not outlive; unset: it stands alone."""

_PR_SET_PDEATHSIG = 1


def run_node(make_node: Callable[[], Node], args: Sequence[str] | None = None) -> int:
    """Makes the node, spins it until SIGINT or SIGTERM, closes it, and returns the exit status.

    The node's callbacks run on one thread, its owner. A managed node that is active then winds
    down on the main thread, while that one goes on. After that thread has ended ``close`` is called
    on the main thread, if the node has one, so that hardware is released on every way out.
    A managed node whose parameters say ``autostart`` is configured and activated before it spins,
    on the same thread; a signal in the meantime sets its ``stopping``. A second signal sets its
    ``hurry``.

    Returns:
        0 after a signal, 1 when the start or a callback failed, 2 when the node could not be made.
    """
    stop, hurry = SignalFlag(), SignalFlag()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: (hurry if stop.is_set() else stop).set())
    _end_with_parent()
    words = list(args) if args is not None else None
    try:
        rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:  # what rclpy raises for ROS arguments it cannot read
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USAGE
    try:
        node = make_node()
    except TrossenPi0Error as error:
        sys.stderr.write(f"error: {error}\n")
        rclpy.try_shutdown()
        return EXIT_USAGE
    if isinstance(node, ManagedNode):
        node.hurry = hurry
    try:
        return _spin(node, stop)
    finally:
        close: Callable[[], Any] | None = getattr(node, "close", None)
        if close:
            close()
        node.destroy_node()
        rclpy.try_shutdown()


def leave_foreign_code(status: int) -> None:
    """Ends the process with this status if a daemon thread is still at work; else returns.

    Such a thread, in a driver's call or a compilation, goes on to the call's end. The interpreter
    would tear it down inside foreign code, which aborts the process. All else must be closed.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _spin(node: Node, stop: SignalFlag) -> int:
    refused = threading.Event()

    def autostart() -> bool:
        if isinstance(node, ManagedNode) and node.wants_autostart and not node.autostart():
            refused.set()
        return not refused.is_set()

    callbacks = CallbackThread(node, first=autostart, on_end=stop.set)
    callbacks.start()
    # Python runs signal handlers on this thread between two waits; one that comes just before a
    # wait without an end would not be noticed.
    while not stop.wait(_SIGNAL_POLL_S):
        pass
    interrupted = callbacks.running and not refused.is_set()
    if isinstance(node, ManagedNode):
        node.stopping.set()
        if callbacks.running and node.active:
            node.wind_down()
    callbacks.stop()
    failure = callbacks.failure
    if failure is not None:
        sys.excepthook(type(failure), failure, failure.__traceback__)
        return EXIT_FAILED
    return EXIT_FAILED if refused.is_set() and not interrupted else 0


def _end_with_parent() -> None:
    """Has the kernel send SIGTERM when the parent ends, where the parent asked for that."""
    parent = os.environ.get(PARENT_VARIABLE)
    if parent is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(parent):  # it ended before the call
        os.kill(os.getpid(), signal.SIGTERM)
