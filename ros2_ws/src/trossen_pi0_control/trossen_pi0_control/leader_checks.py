"""What leaders may not do: stand apart from the followers at the start, and jump."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_control.leader_chunks import LeaderReading
from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.joints import ARM_JOINTS, JOINTS_PER_ARM

_Array = NDArray[np.float64]

_NAMED = 3
_CARRIAGE = ARM_JOINTS.index("left_carriage_joint")


def differences(names: Sequence[str], apart: _Array, tolerances: _Array) -> list[str]:
    """Those that are too large, the worst first: which joint, by how much, what is allowed.

    Args:
        names: of the joints.
        apart: leaders minus followers, shape (joints,) [rad; m for carriages].
        tolerances: largest allowed, likewise.
    """
    excess = np.abs(apart) / tolerances
    worst = [i for i in np.argsort(-excess) if excess[i] > 1.0]
    return [
        f"{names[i]} by {apart[i]:+.4g} {_unit(i)} (allowed: {tolerances[i]:g} {_unit(i)})"
        for i in worst
    ]


def misaligned(apart: Sequence[str]) -> str:
    """The same in one sentence, which does not name all of many."""
    more = len(apart) - _NAMED
    return ", ".join(apart[:_NAMED]) + (f" and {more} more" if more > 0 else "")


class JumpWatch:
    """Tells when a leader goes further between two readings than it can. Not thread-safe."""

    def __init__(self, names: Sequence[str], speeds: _Array, margins: _Array) -> None:
        """Args:
        names: of the joints.
        speeds: largest, shape (joints,) [rad/s; m/s for carriages].
        margins: added to what they allow, shape (joints,) [rad; m].
        """
        self._names = names
        self._speeds = speeds
        self._margins = margins
        self._last: LeaderReading | None = None

    def forget(self) -> None:
        """The next reading may be anywhere."""
        self._last = None

    def check(self, reading: LeaderReading) -> str:
        """Takes a reading; says which joint has jumped, or nothing."""
        last, self._last = self._last, reading
        if last is None:
            return ""
        elapsed_s = max(reading.stamp_ns - last.stamp_ns, 0) / NANOSECONDS
        allowed = self._speeds * elapsed_s + self._margins
        way = reading.positions - last.positions
        joint = int(np.argmax(np.abs(way) / allowed))
        if abs(way[joint]) <= allowed[joint]:
            return ""
        return (
            f"{self._names[joint]} jumped by {way[joint]:+.4g} {_unit(joint)} in "
            f"{1e3 * elapsed_s:.1f} ms, allowed are {allowed[joint]:.4g} {_unit(joint)}"
        )


def _unit(joint: int) -> str:
    return "m" if joint % JOINTS_PER_ARM == _CARRIAGE else "rad"
