"""Grading for /diagnostics: which figures are fine, which are worth a look, which are wrong."""

from __future__ import annotations

import enum
import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from trossen_pi0_core.contract import NANOSECONDS


class Level(enum.IntEnum):
    """How something is; the values are those of DiagnosticStatus."""

    OK = 0
    WARN = 1
    ERROR = 2
    STALE = 3


@dataclass(frozen=True)
class Bounds:
    """From where on a figure is a warning and an error; NaN: never.

    Attributes:
        warn: first value of a warning.
        error: first value of an error.
    """

    warn: float
    error: float

    def high(self, value: float) -> Level:
        """The level of a figure that should be small; OK where it is NaN."""
        if value >= self.error:
            return Level.ERROR
        return Level.WARN if value >= self.warn else Level.OK

    def low(self, value: float) -> Level:
        """The level of a figure that should be large; OK where it is NaN."""
        if value <= self.error:
            return Level.ERROR
        return Level.WARN if value <= self.warn else Level.OK


class Aspect:
    """One entry of /diagnostics in the making: figures, and what is to be said about them.

    Its level is the worst that was said, and its message says why, the worst first.

    Attributes:
        name: of the aspect, such as 'timing'; the node's name comes before it.
        hardware_id: what it is about, such as an address.
        values: figures by name with unit, in order.
    """

    def __init__(self, name: str, hardware_id: str = "", *, fine: str = "OK") -> None:
        """Args:
        name: of the aspect.
        hardware_id: what it is about.
        fine: the message while nothing is wrong.
        """
        self.name = name
        self.hardware_id = hardware_id
        self.values: dict[str, object] = {}
        self._fine = fine
        self._said: list[tuple[Level, str]] = []

    @property
    def level(self) -> Level:
        """The worst that was said."""
        return max((level for level, _ in self._said), default=Level.OK)

    @property
    def message(self) -> str:
        """Why, the worst first."""
        said = sorted(self._said, key=lambda item: -item[0])  # equals stay in order
        return "; ".join(text for _, text in said) or self._fine

    def figures(self, values: Mapping[str, object]) -> None:
        """Adds figures that are not graded."""
        self.values.update(values)

    def say(self, level: Level, text: str) -> None:
        """Adds a finding; one that is OK only counts where nothing else is said."""
        if level == Level.OK:
            self._fine = text
        else:
            self._said.append((level, text))

    def say_state(self, level: Level, state: str, reason: str) -> None:
        """Says the state that something is in, and why, if there is a reason."""
        self.say(level, f"{state}: {reason}" if reason else state)

    def high(self, key: str, value: float, bounds: Bounds) -> None:
        """Adds a figure that should be small.

        Args:
            key: name and unit, as 'age [s]'.
            value: the figure; NaN: not known, which is no fault.
            bounds: from where on it is a warning and an error.
        """
        self._grade(key, value, bounds, bounds.high(value), "from")

    def low(self, key: str, value: float, bounds: Bounds) -> None:
        """Adds a figure that should be large; as ``high``."""
        self._grade(key, value, bounds, bounds.low(value), "at or below")

    def _grade(self, key: str, value: float, bounds: Bounds, level: Level, side: str) -> None:
        self.values[key] = value
        if level != Level.OK:
            bound = bounds.error if level == Level.ERROR else bounds.warn
            text = f"{key} is {value:.4g}, {level.name} {side} {bound:.4g}"
            self._said.append((level, text))


class RecentCounts:
    """How much counters have risen of late. Not thread-safe."""

    def __init__(self, window_s: float = 60.0) -> None:
        """Takes how far back it looks [s]."""
        self._window_s = window_s
        self._seen: deque[tuple[float, dict[str, int]]] = deque()

    def risen(self, totals: Mapping[str, int], now_s: float) -> dict[str, int]:
        """By how much each counter has risen within the window; called once a second or so.

        What the first call finds is not taken for recent. Counters that were set back begin anew.

        Args:
            totals: the counters at present.
            now_s: present time on a clock that never jumps [s].
        """
        seen = self._seen
        if seen and any(totals.get(name, 0) < count for name, count in seen[-1][1].items()):
            seen.clear()
            seen.append((now_s, dict.fromkeys(totals, 0)))
        seen.append((now_s, dict(totals)))
        while len(seen) > 1 and seen[1][0] <= now_s - self._window_s:
            seen.popleft()
        before = seen[0][1]
        return {name: count - before.get(name, 0) for name, count in totals.items()}


class StreamWatch:
    """Rate and age of the messages of a topic. One thread adds, any may ask."""

    def __init__(self, window_s: float = 2.0) -> None:
        """Takes over which time the rate is measured [s]."""
        self._window_s = window_s
        self._arrivals: deque[float] = deque(maxlen=4096)
        self._first_s = math.nan
        self._stamp_ns: int | None = None

    @property
    def ever(self) -> bool:
        """Whether there was a message."""
        return self._stamp_ns is not None

    def took(self, stamp_ns: int, now_s: float) -> None:
        """Counts a message.

        Args:
            stamp_ns: its stamp, ROS time [ns].
            now_s: present time on a clock that never jumps [s].
        """
        if math.isnan(self._first_s):
            self._first_s = now_s
        self._stamp_ns = stamp_ns
        self._arrivals.append(now_s)

    def rate_hz(self, now_s: float) -> float:
        """Messages of the last window over its length [Hz]; NaN until it has passed once."""
        if not self._first_s <= now_s - self._window_s:
            return math.nan
        begins_s = now_s - self._window_s
        return sum(arrived > begins_s for arrived in list(self._arrivals)) / self._window_s

    def age_s(self, now_ns: int) -> float:
        """Age of the newest message by its stamp and ROS time [s]; NaN before the first."""
        return math.nan if self._stamp_ns is None else (now_ns - self._stamp_ns) / NANOSECONDS

    def grade(
        self, aspect: Aspect, rate: Bounds, age: Bounds, *, now_s: float, now_ns: int
    ) -> None:
        """Adds rate and age to an entry, which is STALE while nothing has come at all.

        Args:
            aspect: the entry.
            rate: bounds of the rate [Hz].
            age: bounds of the age [s].
            now_s: present time on a clock that never jumps [s].
            now_ns: present ROS time [ns].
        """
        if not self.ever:
            aspect.say(Level.STALE, "nothing has come yet")
            return
        aspect.low("rate [Hz]", self.rate_hz(now_s), rate)
        aspect.high("age [s]", self.age_s(now_ns), age)
