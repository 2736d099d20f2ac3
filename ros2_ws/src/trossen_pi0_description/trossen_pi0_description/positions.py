"""What the frames are moved by: joint positions, not more often than wanted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.errors import JointError
from trossen_pi0_core.joints import select_joints


class RateLimit:
    """Lets messages pass at a rate on average, judged by their stamps.

    Where time jumps back, such as when a recording begins anew, it begins anew too.
    """

    def __init__(self, rate_hz: float) -> None:
        self._period_ns = round(NANOSECONDS / rate_hz)
        self._due_ns: int | None = None
        self._last_ns = 0

    def passes(self, stamp_ns: int) -> bool:
        """Whether the message of this stamp [ns] passes."""
        jumped = stamp_ns < self._last_ns
        self._last_ns = stamp_ns
        if self._due_ns is None or jumped:
            self._due_ns = stamp_ns
        if stamp_ns < self._due_ns:
            return False
        self._due_ns += self._period_ns
        if self._due_ns <= stamp_ns:  # after a pause, what was missed is not made up for
            self._due_ns = stamp_ns + self._period_ns
        return True


def read_positions(
    names: Sequence[str], positions: ArrayLike, wanted: Sequence[str]
) -> dict[str, float]:
    """Positions of the wanted joints by name [rad; m for carriages], out of joint states.

    Raises:
        JointError: one is missing, stands twice or is not finite, or the counts differ.
    """
    values = select_joints(names, positions, wanted)
    if not np.isfinite(values).all():
        wrong = [wanted[i] for i in np.flatnonzero(~np.isfinite(values))]
        raise JointError(f"positions that are not finite: {wrong}")
    return dict(zip(wanted, values.tolist(), strict=True))
