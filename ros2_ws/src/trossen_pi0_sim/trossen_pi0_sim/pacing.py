"""Keeps simulated time in step with wall time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable


class Pacer:
    """Says when ticks are due, and how well they keep up.

    A tick that comes late is caught up, up to ``catch_up_s``; what lies further back is lost and
    shows in the real-time factor. Starting the clock anew at every delay instead loses 1 to 3 %.
    Belongs to one thread, apart from ``real_time_factor``.
    """

    def __init__(
        self,
        tick_s: float,
        clock: Callable[[], float],
        *,
        catch_up_s: float = 0.1,
        window_s: float = 1.0,
    ) -> None:
        """Begins now.

        Args:
            tick_s: simulated time of a tick [s].
            clock: monotonic wall time [s].
            catch_up_s: longest delay that is made up for [s].
            window_s: time over which the real-time factor is measured [s].
        """
        self._tick_s = tick_s
        self._clock = clock
        self._catch_up_s = catch_up_s
        self._window_s = window_s
        self._due_s = clock()
        self._history: deque[tuple[float, int]] = deque([(self._due_s, 0)])
        self._ticks = 0
        self.real_time_factor = 1.0

    @property
    def due_s(self) -> float:
        """Wall time at which the present tick was or is due [s]."""
        return self._due_s

    def ticks_due(self) -> int:
        """How many ticks to run now; 0 while the next one lies ahead. Counts them as run."""
        now = self._clock()
        self._due_s = max(self._due_s, now - self._catch_up_s)
        count = max(0, int((now - self._due_s) / self._tick_s) + 1) if now >= self._due_s else 0
        self._due_s += count * self._tick_s
        self._ticks += count
        self._measure(now)
        return count

    def wait_s(self) -> float:
        """Time until the next tick is due [s], at least 0."""
        return max(0.0, self._due_s - self._clock())

    def _measure(self, now: float) -> None:
        """Simulated over wall time, from the first entry of the window to now."""
        history = self._history
        if now - history[-1][0] >= self._window_s / 10:
            history.append((now, self._ticks))
            while len(history) > 2 and now - history[1][0] >= self._window_s:
                history.popleft()
            began, ticks = history[0]
            self.real_time_factor = (self._ticks - ticks) * self._tick_s / (now - began)
