"""Blocking calls on threads of their own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from queue import SimpleQueue
from typing import TypeVar

from trossen_pi0_core.scheduling import request_realtime

T = TypeVar("T")

_log = logging.getLogger(__name__)

_POLL_S = 0.02


def take_priority(realtime_priority: int) -> None:
    """Gives the calling thread real-time priority, 0: none, or logs why it is not granted."""
    if refusal := request_realtime(realtime_priority):
        _log.info("no real-time priority %d: %s", realtime_priority, refusal)


def run_in_thread(name: str, call: Callable[[], T]) -> Future[T]:
    """Calls on a new thread of this name, which cannot keep the process from ending."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            result = call()
        except BaseException as error:  # noqa: BLE001 - handed to whoever takes the result
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def wait_for_all(futures: Iterable[Future[T]], stopping: threading.Event) -> bool:
    """Waits until all are done, which is True, or ``stopping`` is set, which is False."""
    pending = list(futures)
    while pending:
        if stopping.is_set():
            return False
        pending = list(wait(pending, timeout=_POLL_S).not_done)
    return True


class Team:
    """Threads that do one call each, at the same time, again and again.

    ``run`` belongs to one thread, which does the first call itself. ``start`` and ``stop`` belong
    to the owner.
    """

    def __init__(self, names: Sequence[str]) -> None:
        """Takes a name for each call; the first is done by the caller of ``run``."""
        self._names = names[1:]
        self._calls: list[SimpleQueue[Callable[[], None] | None]] = []
        self._ended: SimpleQueue[BaseException | None] = SimpleQueue()

    def start(self, realtime_priority: int = 0) -> None:
        """Makes the threads, of this priority if it is granted; nothing when there are some."""
        if self._calls:
            return
        for name in self._names:
            calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
            self._calls.append(calls)
            given = calls, realtime_priority
            threading.Thread(target=self._work, args=given, name=name, daemon=True).start()

    def stop(self) -> None:
        """Has the threads end after their present calls."""
        for calls in self._calls:
            calls.put(None)
        self._calls = []

    def run(self, calls: Sequence[Callable[[], None]]) -> None:
        """Does the calls, one for each name, and waits for them; raises what one of them raises."""
        for queue, call in zip(self._calls, calls[1:], strict=True):
            queue.put(call)
        try:
            calls[0]()
        finally:
            errors = [self._ended.get() for _ in self._calls]
        for error in errors:
            if error is not None:
                raise error

    def _work(self, calls: SimpleQueue[Callable[[], None] | None], priority: int) -> None:
        request_realtime(priority)
        while (call := calls.get()) is not None:
            try:
                call()
            except BaseException as error:  # noqa: BLE001 - raised again by `run`
                self._ended.put(error)
            else:
                self._ended.put(None)
