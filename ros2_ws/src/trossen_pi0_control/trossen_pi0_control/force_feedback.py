"""What the leaders are pushed with, so that the operator feels what the followers touch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import NANOSECONDS

_Array = NDArray[np.float64]

_STALE_NS = NANOSECONDS // 10


class ForceFeedback:
    """Efforts against what the followers measure, limited for each joint, faded in.

    Not thread-safe; times are ROS time [ns].
    """

    def __init__(self, limits: _Array, fade_ns: int) -> None:
        """Nothing is in force.

        Args:
            limits: largest efforts, shape (joints,) [N m; N for carriages].
            fade_ns: time from nothing to all of it [ns].
        """
        self._limits = limits
        self._fade_ns = fade_ns
        self._since_ns: int | None = None
        self._external: _Array | None = None
        self._heard_ns = 0
        self.share = 0.0

    def hear(self, external: _Array, stamp_ns: int) -> None:
        """Takes the followers' external efforts, shape (joints,) [N m; N for carriages]."""
        self._external = external
        self._heard_ns = stamp_ns

    def efforts(self, gain: float, now_ns: int, *, following: bool) -> _Array:
        """Efforts of the leaders, shape (joints,) [N m; N for carriages].

        They are zero without a gain, while the followers do not follow, and when these have not
        been heard for a tenth of a second; afterwards they fade in anew.

        Args:
            gain: part of the external efforts.
            now_ns: present time [ns].
            following: whether the followers follow.
        """
        age_ns = now_ns - self._heard_ns
        external = self._external
        fresh = 0 <= age_ns + _STALE_NS <= 2 * _STALE_NS
        if (
            external is None
            or not (gain > 0.0 and following and fresh)
            or not np.isfinite(external).all()
        ):
            self._since_ns = None
            self.share = 0.0
            return np.zeros_like(self._limits)
        if self._since_ns is None or now_ns < self._since_ns:
            self._since_ns = now_ns
        self.share = min((now_ns - self._since_ns) / self._fade_ns, 1.0)
        return self.share * np.clip(-gain * external, -self._limits, self._limits)
