"""Which observations are new enough for a run."""

from __future__ import annotations


class Freshness:
    """Refuses old observations, and waits a little for the next pictures.

    What was there when an inference became due is almost a camera period old on average. Times are
    ROS time [ns].

    Attributes:
        not_before_ns: older observations show what no longer counts.
    """

    def __init__(self) -> None:
        self.not_before_ns = 0
        self._used_ns = -1
        self._passed: tuple[int, int] | None = None

    def allows(self, stamp_ns: int, now_ns: int, *, not_before_ns: int, patience_ns: int) -> bool:
        """Whether to infer from an observation.

        Args:
            stamp_ns: its stamp.
            now_ns: present time.
            not_before_ns: older ones do not do, here in particular.
            patience_ns: longest wait for a newer one.
        """
        if self._passed is None:
            self._passed = (stamp_ns, now_ns)
        if stamp_ns < max(self.not_before_ns, not_before_ns) or stamp_ns <= self._used_ns:
            return False
        passed_ns, since_ns = self._passed
        return stamp_ns > passed_ns or now_ns - since_ns >= patience_ns

    def raise_to(self, stamp_ns: int) -> None:
        """Observations from before this time no longer count."""
        self.not_before_ns = max(self.not_before_ns, stamp_ns)

    def began(self) -> None:
        """An inference has begun: the next one waits anew."""
        self._passed = None

    def used(self, stamp_ns: int) -> None:
        """A chunk was made of an observation: the next one has to be newer."""
        self._used_ns = stamp_ns

    def restart(self, now_ns: int) -> None:
        """Nothing from before counts, whatever its stamp."""
        self.not_before_ns = now_ns
        self._used_ns = -1
        self._passed = None
