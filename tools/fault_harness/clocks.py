"""The ROS time that nodes and kit live in: the system's, or one that jumps and stops."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class SystemTime:
    """ROS time as it is without a simulation."""

    def now_ns(self) -> int:
        """Now [ns]."""
        return time.time_ns()

    def close(self) -> None:
        """Nothing to end."""


class PublishedTime(SystemTime):
    """A time that is published as /clock, 250 times a second, on a thread of its own."""

    def __init__(self, publish: Callable[[int], None]) -> None:
        """Takes what publishes a time [ns]."""
        self._publish = publish
        self._offset_ns = time.time_ns() - time.monotonic_ns()
        self._stopped_ns: int | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def now_ns(self) -> int:
        """Now [ns]."""
        stopped_ns = self._stopped_ns
        return time.monotonic_ns() + self._offset_ns if stopped_ns is None else stopped_ns

    def jump(self, seconds: float) -> None:
        """Sets the clock forward, or back when negative [s]."""
        self._offset_ns += round(seconds * 1e9)

    def stop(self) -> None:
        """The time stands still; it is still published."""
        self._stopped_ns = self.now_ns()

    def go_on(self) -> None:
        """The time goes on from where it stopped."""
        if self._stopped_ns is not None:
            self._offset_ns = self._stopped_ns - time.monotonic_ns()
            self._stopped_ns = None

    def close(self) -> None:
        """Ends the thread."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.004):
            self._publish(self.now_ns())
