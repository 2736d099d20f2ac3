"""What a signal handler may set."""

from __future__ import annotations

import queue


class SignalFlag:
    """As ``threading.Event``, for signal handlers too, on whichever thread waits.

    Python runs a handler on the main thread, between any two of its steps. Where that thread holds
    the lock of an ``Event``, as in ``wait`` or in another handler's ``set``, the handler's ``set``
    waits for ever. ``SimpleQueue.put`` may be called at any time (Python's documentation).
    """

    def __init__(self) -> None:
        self._is_set = False
        self._news: queue.SimpleQueue[None] = queue.SimpleQueue()

    def is_set(self) -> bool:
        """Whether it has been set."""
        return self._is_set

    def set(self) -> None:
        """Sets it for good, and wakes those who wait."""
        self._is_set = True
        self._news.put(None)

    def wait(self, timeout_s: float) -> bool:
        """Waits until it is set, at most for so long [s]; returns whether it is."""
        try:
            self._news.get(timeout=timeout_s)
        except queue.Empty:
            return self._is_set
        self._news.put(None)  # for others who wait
        return True
