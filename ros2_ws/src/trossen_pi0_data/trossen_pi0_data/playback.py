"""Where in an episode playback is. ROS-free and pure: times are arguments."""

from __future__ import annotations

from trossen_pi0_core.contract import NANOSECONDS

_LARGEST_LAG_NS = NANOSECONDS // 10


class Playback:
    """Maps real time to episode time: at a rate, with pauses and steps.

    Begins paused. Episode times are log times of the messages [ns], ``now_ns`` is a clock that is
    never set. Not thread-safe.

    Attributes:
        lag_ns: real time by which it fell behind its rate, since messages were published late [ns].
    """

    def __init__(self, start_ns: int, rate: float) -> None:
        """Args:
        start_ns: where it begins.
        rate: episode time over real time; 0: messages are due at once.
        """
        self.lag_ns = 0
        self._at_ns = start_ns
        self._since_ns: int | None = None
        self._rate = rate

    @property
    def running(self) -> bool:
        """Whether episode time passes."""
        return self._since_ns is not None

    @property
    def rate(self) -> float:
        """Episode time over real time; 0: messages are due at once."""
        return self._rate

    def set_rate(self, rate: float, now_ns: int) -> None:
        """Goes on from here at another rate."""
        self._anchor(now_ns)
        self._rate = rate

    def position_ns(self, now_ns: int) -> int:
        """The present episode time."""
        if self._since_ns is None or not self._rate:
            return self._at_ns
        return self._at_ns + max(0, round((now_ns - self._since_ns) * self._rate))

    def wait_ns(self, log_ns: int, now_ns: int) -> int | None:
        """Real time until a message is due; 0: now; None: not before something is told."""
        ahead_ns = log_ns - self.position_ns(now_ns)
        if ahead_ns <= 0 or (self.running and not self._rate):
            return 0
        return max(1, round(ahead_ns / self._rate)) if self.running else None

    def published(self, log_ns: int, now_ns: int) -> None:
        """The message of this log time is out.

        When it was too late, playback does not hurry after the lost time.
        """
        if not self._rate:
            self._at_ns = max(self._at_ns, log_ns)
            return
        allowed_ns = round(_LARGEST_LAG_NS * self._rate)
        over_ns = self.position_ns(now_ns) - log_ns - allowed_ns
        if self.running and over_ns > 0:
            self.lag_ns += round(over_ns / self._rate)
            self._at_ns, self._since_ns = log_ns + allowed_ns, now_ns

    def resume(self, now_ns: int) -> None:
        """Lets episode time pass."""
        self._anchor(now_ns)
        self._since_ns = now_ns

    def pause(self, now_ns: int) -> None:
        """Lets it stand still."""
        self._anchor(now_ns)
        self._since_ns = None

    def step(self, by_ns: int) -> None:
        """Moves the time that stands still; all messages up to there are due."""
        self._at_ns += by_ns

    def seek(self, at_ns: int, now_ns: int) -> None:
        """Goes on, or stands still, at another episode time."""
        self._at_ns = at_ns
        if self.running:
            self._since_ns = now_ns

    def _anchor(self, now_ns: int) -> None:
        self._at_ns = self.position_ns(now_ns)
        if self.running:
            self._since_ns = now_ns
