"""Processes that make episodes beside each other."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from trossen_pi0_core.errors import DatasetError

_WATCH_S = 0.1


@contextlib.contextmanager
def process_pool(
    workers: int, most: int, task: str, go_on: str = "", option: str = "--workers"
) -> Iterator[ProcessPoolExecutor]:
    """Processes that end with this one; what has not begun at the end is not done any more.

    Args:
        workers: that were asked for.
        most: no more than are of use.
        task: what they do, for a message.
        go_on: how to go on when one was killed, for a message.
        option: that asks for workers, for a message.

    Raises:
        DatasetError: one was killed.
    """
    # Spawned: a forked process would share the locks and the OpenGL of this one.
    context = multiprocessing.get_context("spawn")
    others = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(workers, most), mp_context=context, initializer=_start)
    try:
        yield pool
    except BrokenProcessPool as error:
        # One that was begun while the pool broke is not ended by it, but waited for without end.
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        raise DatasetError(
            f"a process of the {task} was killed, perhaps for lack of memory: try fewer "
            f"{option} than {workers}{go_on}"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start() -> None:
    """Makes a new process end with its parent, and quietly at Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = os.getppid()
    watch = threading.Thread(target=_end_with, args=(parent,), name="parent-watch", daemon=True)
    watch.start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH_S)
    os._exit(1)
