"""Overlapping action chunks merged into one continuous trajectory.

By default a newer chunk takes over at its own time, cross-faded over ``blend_ns``. With an ensemble
coefficient, all chunks that cover the present are averaged with ACT's weights (arXiv 2304.13705),
each faded in after its start and out before its end over ``blend_ns``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from trossen_pi0_core.contract import NANOSECONDS, ActionChunk
from trossen_pi0_core.motion import Stop

_MAX_CHUNKS = 64

# Positions and velocities of the joints at one instant, each of shape (joints,).
_Point = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class Sample:
    """The merged trajectory at one instant.

    Attributes:
        positions: shape (joints,) [rad; m for carriages].
        velocities: shape (joints,) [rad/s; m/s for carriages].
        chunk: newest chunk that has a part in it.
    """

    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    chunk: ActionChunk


class ChunkCurve:
    """A chunk as a curve: monotone cubic between rows, without overshoot; holds its last row."""

    def __init__(self, chunk: ActionChunk, accepted_ns: int) -> None:
        """Args:
        chunk: at least one row.
        accepted_ns: when it arrived [ns]; earlier rows are never executed.
        """
        self.chunk = chunk
        self.start_ns = max(chunk.t_first_ns, accepted_ns)
        period_s = chunk.period_ns / NANOSECONDS
        if chunk.horizon > 1:
            times = np.arange(chunk.horizon) * period_s
            # Steps next to zero overflow in the harmonic mean of slopes, which then rightly is 0.
            with np.errstate(over="ignore"):
                self._position = PchipInterpolator(times, chunk.positions)
            self._velocity = self._position.derivative()

    def sample(self, now_ns: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position and velocity at ``now_ns``; outside the rows the nearest row, at rest."""
        chunk = self.chunk
        elapsed_ns = now_ns - chunk.t_first_ns
        if elapsed_ns < 0 or chunk.horizon == 1:
            return chunk.positions[0].copy(), np.zeros(chunk.positions.shape[1])
        if elapsed_ns >= (chunk.horizon - 1) * chunk.period_ns:
            return chunk.positions[-1].copy(), np.zeros(chunk.positions.shape[1])
        elapsed_s = elapsed_ns / NANOSECONDS
        return self._position(elapsed_s), self._velocity(elapsed_s)

    def fade(self, now_ns: int, blend_ns: int) -> tuple[float, float]:
        """Weight of this curve in its cross-fade, 0..1, and the weight's rate [1/s]."""
        return _smooth(now_ns - self.start_ns, blend_ns)

    def fade_out(self, now_ns: int, blend_ns: int) -> tuple[float, float]:
        """Weight of this curve towards its end, 1..0, and the weight's rate [1/s]."""
        weight, rate = _smooth(self.chunk.t_end_ns - now_ns, blend_ns)
        return weight, -rate


def _smooth(elapsed_ns: int, blend_ns: int) -> tuple[float, float]:
    """Rises from 0 to 1 over ``blend_ns`` without a kink; the value and its rate [1/s]."""
    if blend_ns == 0:
        return float(elapsed_ns >= 0), 0.0
    s = elapsed_ns / blend_ns
    if s <= 0.0 or s >= 1.0:
        return float(s >= 1.0), 0.0
    return s * s * (3.0 - 2.0 * s), 6.0 * s * (1.0 - s) * NANOSECONDS / blend_ns


def _mixed(old: _Point, new: _Point, fade: tuple[float, float]) -> _Point:
    """Part of the way from one trajectory to another, with the velocity that this makes."""
    weight, rate = fade
    positions = (1.0 - weight) * old[0] + weight * new[0]
    velocities = (1.0 - weight) * old[1] + weight * new[1] + rate * (new[0] - old[0])
    return positions, velocities


class ChunkTimeline:
    """Holds the chunks of one run and samples the trajectory they make together.

    Not thread-safe. Times are arguments, in ROS time [ns].
    """

    def __init__(self, *, blend_ns: int = 0, ensemble_coefficient: float = math.nan) -> None:
        """Args:
        blend_ns: length of a cross-fade [ns]; 0 switches at once.
        ensemble_coefficient: ACT's m in exp(-m i), i = 0 for the oldest chunk; NaN for none.
        """
        self.blend_ns = blend_ns
        self.ensemble_coefficient = ensemble_coefficient
        self._hold: Stop | None = None
        self._hold_start_ns = 0
        self._last: NDArray[np.float64] | None = None
        self._curves: list[ChunkCurve] = []

    def __len__(self) -> int:
        return len(self._curves)

    def clear(self) -> None:
        """Forgets all chunks, as between runs."""
        self._curves.clear()

    def add(
        self,
        chunk: ActionChunk,
        now_ns: int,
        hold: NDArray[np.float64],
        stop: Stop | None = None,
    ) -> None:
        """Takes a chunk into the trajectory.

        Args:
            chunk: at least one row, none of them all past.
            now_ns: present time [ns].
            hold: last command, shape (joints,); faded from when no chunk covers the present.
            stop: how the arms are coming to rest meanwhile, if they are not at rest in ``hold``.
        """
        self._prune(now_ns)
        curve = ChunkCurve(chunk, now_ns)
        if not any(curve.chunk.covers(now_ns) for curve in self._curves):
            self._curves = [c for c in self._curves if now_ns < c.start_ns]
            self._rest(stop or _at_rest(hold, now_ns), [*self._curves, curve])
            self._last = None
        self._curves.append(curve)
        del self._curves[:-_MAX_CHUNKS]

    def sample(self, now_ns: int) -> Sample | None:
        """The merged trajectory at ``now_ns``, or None when no chunk covers it."""
        self._prune(now_ns)
        begun = [curve for curve in self._curves if curve.start_ns <= now_ns]
        if not any(curve.chunk.covers(now_ns) for curve in begun):
            self._pause([curve for curve in self._curves if curve.start_ns > now_ns], now_ns)
            return None
        if math.isnan(self.ensemble_coefficient):
            positions, velocities = self._cross_fade(begun, now_ns)
        else:
            positions, velocities = self._ensemble(begun, now_ns)
        self._last = positions
        return Sample(positions, velocities, begun[-1].chunk)

    def _cross_fade(self, begun: list[ChunkCurve], now_ns: int) -> _Point:
        """Fades from the hold through each chunk to the newest, in order of arrival."""
        point = begun[0].sample(now_ns) if self._hold is None else self._hold.sample(now_ns)
        for curve in begun:
            point = _mixed(point, curve.sample(now_ns), curve.fade(now_ns, self.blend_ns))
        return point

    def _ensemble(self, begun: list[ChunkCurve], now_ns: int) -> _Point:
        """Fades from the hold to the mean of all chunks, weighted by exp(-m i).

        ``i`` counts the older members. One that is half faded in or out counts half, so that no
        weight jumps when another member comes or goes.
        """
        m = self.ensemble_coefficient
        weights: list[float] = []
        rates: list[float] = []
        older, older_rate = 0.0, 0.0
        for curve in begun:
            rise, rise_rate = curve.fade(now_ns, self.blend_ns)
            fall, fall_rate = curve.fade_out(now_ns, self.blend_ns)
            presence, presence_rate = rise * fall, rise_rate * fall + rise * fall_rate
            share = math.exp(-m * older)
            weights.append(share * presence)
            rates.append(share * (presence_rate - m * older_rate * presence))
            older, older_rate = older + presence, older_rate + presence_rate
        if not any(weights):
            weights, rates = [1.0] * len(begun), [0.0] * len(begun)
        mean = _weighted_mean([c.sample(now_ns) for c in begun], weights, rates)
        if self._hold is None:
            return mean
        fade = _smooth(now_ns - self._hold_start_ns, self.blend_ns)
        return _mixed(self._hold.sample(now_ns), mean, fade)

    def _pause(self, later: list[ChunkCurve], now_ns: int) -> None:
        """The arms hold what was sampled last until the ``later`` chunks begin."""
        if later and self._last is not None:
            self._curves = later
            self._rest(_at_rest(self._last, now_ns), later)
            self._last = None

    def _rest(self, stop: Stop, curves: list[ChunkCurve]) -> None:
        """The first of ``curves`` to begin shall fade in from a stop."""
        self._hold = stop
        self._hold_start_ns = min(curve.start_ns for curve in curves)

    def _prune(self, now_ns: int) -> None:
        """Drops the chunks that no longer have a part in the present or the future."""
        if math.isnan(self.ensemble_coefficient):
            self._drop_faded(now_ns)
        else:
            self._drop_ended(now_ns)
        if self._hold and _smooth(now_ns - self._hold_start_ns, self.blend_ns)[0] >= 1.0:
            self._hold = None

    def _drop_faded(self, now_ns: int) -> None:
        """Drops the chunks that a newer one has replaced altogether."""
        for i in range(len(self._curves) - 1, 0, -1):
            if self._curves[i].fade(now_ns, self.blend_ns)[0] >= 1.0:
                del self._curves[:i]
                return

    def _drop_ended(self, now_ns: int) -> None:
        """Drops the chunks that are over; a later one then begins where they have led."""
        kept = [curve for curve in self._curves if now_ns < curve.chunk.t_end_ns]
        over = len(kept) < len(self._curves)
        if over and kept and all(now_ns <= curve.start_ns for curve in kept):
            stop = self._hold if self._last is None else _at_rest(self._last, now_ns)
            if stop:
                self._rest(stop, kept)
        self._curves = kept


def _at_rest(positions: NDArray[np.float64], now_ns: int) -> Stop:
    return Stop(positions.copy(), np.zeros_like(positions), now_ns, 0)


def _weighted_mean(points: list[_Point], weights: list[float], rates: list[float]) -> _Point:
    """Mean of trajectories with weights that change at ``rates`` [1/s], of which not all are 0."""
    w, r = np.array(weights), np.array(rates)
    places = np.array([place for place, _ in points])
    speeds = np.array([speed for _, speed in points])
    total = w.sum()
    positions = w @ places / total
    return positions, (r @ (places - positions) + w @ speeds) / total
