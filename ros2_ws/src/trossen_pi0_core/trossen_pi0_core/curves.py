"""Action chunks as curves with continuous acceleration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import ActionChunk

_Array = NDArray[np.float64]
_Times = NDArray[np.int64]

# The uniform cubic B-spline: weight of each of four rows over the powers 1, f, f^2, f^3 of the
# fraction f of the way from the second to the third of them.
_BASIS = np.array([[1, -3, 3, -1], [4, 0, -6, 3], [1, 3, 3, -3], [0, 0, 0, 1]]) / 6.0
_SLOPES = np.array([[-3, 6, -3], [0, -12, 9], [3, 6, -9], [0, 0, 3]]) / 6.0


class ChunkCurve:
    """A chunk as a curve over time; before the first row and after the last it rests there.

    The uniform cubic B-spline whose control points are the rows. It begins at the first row and
    ends at the last one, goes nowhere that the rows do not surround, and at row i is
    (r[i-1] + 4 r[i] + r[i+1]) / 6: rows of an even motion are reached, and what jitters from row to
    row is damped to a third, where a curve through the rows would turn it into accelerations.

    Attributes:
        chunk: the chunk.
        first_ns: when row 0 is due, delays included [ns].
        start_ns: when the curve comes into force [ns]; earlier rows are never executed.
        blend_ns: how long it is faded in [ns].
        leave_ns: how long it is faded out of an ensemble [ns].
        control: control points, shape (max(horizon, 2) + 2, joints) [rad; m for carriages].
    """

    def __init__(self, chunk: ActionChunk, accepted_ns: int) -> None:
        """Args:
        chunk: at least one row.
        accepted_ns: when it arrived [ns].
        """
        self.chunk = chunk
        self.first_ns = chunk.t_first_ns
        self.start_ns = max(chunk.t_first_ns, accepted_ns)
        self.blend_ns = self.leave_ns = 0
        rows = chunk.positions
        if chunk.horizon == 1:
            rows = np.repeat(rows, 2, axis=0)
        # Rows before the first and after the last on straight lines make the ends be reached.
        before, after = 2.0 * rows[:1] - rows[1:2], 2.0 * rows[-1:] - rows[-2:-1]
        self.control = np.concatenate([before, rows, after])

    @property
    def end_ns(self) -> int:
        """When the last row has been in force for one period [ns]."""
        return self.first_ns + self.chunk.horizon * self.chunk.period_ns

    @property
    def hold_ns(self) -> int:
        """When the last row to be executed has been in force for one period [ns]."""
        return self.first_ns + self.chunk.t_hold_ns - self.chunk.t_first_ns

    def delay(self, by_ns: int) -> None:
        """Moves what is to come in time [ns]."""
        self.first_ns += by_ns
        self.start_ns += by_ns

    def covers(self, now_ns: int) -> bool:
        """Whether a row is in force at ``now_ns``, had the chunk arrived in time."""
        return self.first_ns <= now_ns < self.end_ns

    def sample(self, now_ns: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position [rad; m] and velocity [rad/s; m/s] at ``now_ns``, each of shape (joints,)."""
        places = Places([self], np.array([now_ns]))
        return places.positions()[0, 0], places.velocities()[0, 0]


class Places:
    """Where some curves are at some times, for all of them at once."""

    def __init__(self, curves: Sequence[ChunkCurve], times_ns: NDArray[np.int64]) -> None:
        """Takes curves of the same joints, at least one, and times [ns], shape (n,)."""
        first_ns = np.array([curve.first_ns for curve in curves])[:, None]
        period_ns = np.array([curve.chunk.period_ns for curve in curves])[:, None]
        last = np.array([curve.chunk.horizon - 1 for curve in curves])[:, None]
        row = (times_ns - first_ns) / period_ns
        inside = np.clip(row, 0.0, last)
        segment = np.minimum(inside.astype(np.int64), np.maximum(last - 1, 0))
        sizes = [len(curve.control) for curve in curves]
        offsets = np.cumsum([0, *sizes[:-1]])[:, None]
        control = np.concatenate([curve.control for curve in curves])
        self._points = control[(offsets + segment)[..., None] + np.arange(4)]
        self._fraction = inside - segment
        self._moving = (row >= 0.0) & (row < last)
        self._period_ns = period_ns

    def positions(self) -> NDArray[np.float64]:
        """Shape (curves, n, joints) [rad; m for carriages]."""
        f = self._fraction
        powers = np.stack([np.ones_like(f), f, f**2, f**3], axis=-1)
        return np.einsum("cnk,cnkj->cnj", powers @ _BASIS.T, self._points)

    def velocities(self) -> NDArray[np.float64]:
        """Shape (curves, n, joints) [rad/s; m/s for carriages]."""
        f = self._fraction
        powers = np.stack([np.ones_like(f), f, f**2], axis=-1)
        per_row = np.einsum("cnk,cnkj->cnj", powers @ _SLOPES.T, self._points)
        scale = self._moving * (1e9 / self._period_ns)
        return per_row * scale[..., None]
