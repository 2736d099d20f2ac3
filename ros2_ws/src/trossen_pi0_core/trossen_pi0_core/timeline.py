"""Overlapping action chunks merged into one continuous trajectory.

By default a newer chunk takes over at its own time, cross-faded over ``blend_ns``. With an ensemble
coefficient, all chunks that cover the present are averaged with ACT's weights (arXiv 2304.13705),
each faded in after its start and out before its end over ``blend_ns``. Where a chunk leads far away
from what the arms do, it is faded in more slowly, so that the fade keeps the limits by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import NANOSECONDS, ActionChunk
from trossen_pi0_core.curves import ChunkCurve, Places
from trossen_pi0_core.limits import JointLimits
from trossen_pi0_core.motion import Stop, shifted

_MAX_MEMBERS = 64
_LONG_NS = 1 << 60
_LONGEST_FADE_NS = NANOSECONDS
_FADE_ROUNDS = 3
_LEAVING = 2  # members of an ensemble that may end before the next one comes
_FADE_POINTS = 6
_MAX_FADING = 8

_Array = NDArray[np.float64]
_Times = NDArray[np.int64]
# Positions and velocities of the joints at some times, each of shape (n, joints).
_Points = tuple[_Array, _Array]


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


def _smooth(elapsed_ns: _Times, blend_ns: _Times | int) -> tuple[_Array, _Array]:
    """Rises from 0 to 1 over ``blend_ns`` without a kink; the values and their rates [1/s]."""
    blends = np.maximum(blend_ns, 1)  # within 1 ns is at once
    s = np.clip((elapsed_ns + (np.asarray(blend_ns) == 0)) / blends, 0.0, 1.0)
    return s * s * (3.0 - 2.0 * s), 6.0 * s * (1.0 - s) * (NANOSECONDS / blends)


@dataclass(frozen=True)
class _Mixture:
    """Parts of curves and of the hold in the merged trajectory; at each time they sum to 1.

    Attributes:
        weights: of the curves, shape (curves, n).
        rates: of the weights, shape (curves, n) [1/s].
        left: weight of the hold, shape (n,); 0 without one.
        left_rate: its rate, shape (n,) [1/s].
    """

    weights: _Array
    rates: _Array
    left: _Array
    left_rate: _Array

    def positions(self, places: Places, hold: _Points | None) -> _Array:
        """Shape (n, joints) [rad; m for carriages]."""
        mixed = np.einsum("cn,cnj->nj", self.weights, places.positions())
        return mixed if hold is None else mixed + self.left[:, None] * hold[0]

    def velocities(self, places: Places, hold: _Points | None) -> _Array:
        """Shape (n, joints) [rad/s; m/s for carriages]."""
        mixed = np.einsum("cn,cnj->nj", self.weights, places.velocities())
        mixed += np.einsum("cn,cnj->nj", self.rates, places.positions())
        if hold is None:
            return mixed
        return mixed + self.left[:, None] * hold[1] + self.left_rate[:, None] * hold[0]


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
        self._hold_blend_ns = 0
        self._last: NDArray[np.float64] | None = None
        self._curves: list[ChunkCurve] = []

    def __len__(self) -> int:
        return len(self._curves)

    def clear(self) -> None:
        """Forgets all chunks, as between runs."""
        self._curves.clear()

    def delay(self, by_ns: int) -> None:
        """Moves all that is to come in time [ns], as a slow-down does."""
        for curve in self._curves:
            curve.delay(by_ns)
        self._hold_start_ns += by_ns
        self._hold = shifted(self._hold, by_ns)

    @property
    def delay_ns(self) -> int:
        """By how much the rows of the newest chunk are late [ns]; 0 without one."""
        if not self._curves:
            return 0
        newest = self._curves[-1]
        return newest.first_ns - newest.chunk.t_first_ns

    def holds(self, now_ns: int) -> bool:
        """Whether the rows to be executed are over and the arms shall wait for the next chunk."""
        if not self._curves:
            return False
        newest = self._curves[-1]
        return newest.chunk.execute_rows > 0 and newest.hold_ns <= now_ns

    def waits(self, now_ns: int) -> bool:
        """Whether a chunk is still to begin."""
        return any(curve.start_ns > now_ns for curve in self._curves)

    def add(
        self,
        chunk: ActionChunk,
        now_ns: int,
        hold: NDArray[np.float64],
        stop: Stop | None = None,
        limits: JointLimits | None = None,
    ) -> None:
        """Takes a chunk into the trajectory.

        Args:
            chunk: at least one row, none of them all past.
            now_ns: present time [ns].
            hold: last command, shape (joints,); faded from when no chunk covers the present.
            stop: how the arms are coming to rest meanwhile, if they are not at rest in ``hold``.
            limits: the chunk is faded in so slowly that they are kept, unless ``blend_ns`` is 0;
                None: over ``blend_ns`` in any case.
        """
        self._prune(now_ns)
        curve = ChunkCurve(chunk, now_ns)
        held = self.holds(now_ns)
        rests = held or not any(curve.covers(now_ns) for curve in self._curves)
        if rests:
            if not held:
                self._curves = [c for c in self._curves if now_ns < c.start_ns]
            elif math.isnan(self.ensemble_coefficient):
                self._curves.clear()
            self._rest(stop or _at_rest(hold, now_ns), [*self._curves, curve])
            if held:  # the arms rest until the new chunk begins, whatever the others would do
                self._hold_start_ns = curve.start_ns
            self._last = None
        curve.blend_ns = curve.leave_ns = self._blend_for(curve, limits)
        self._part_from(curve, now_ns, limits)
        if rests:
            self._hold_blend_ns = curve.blend_ns
        self._curves.append(curve)
        alone = math.isnan(self.ensemble_coefficient)
        del self._curves[: -(_MAX_FADING if alone else _MAX_MEMBERS)]

    def _blend_for(self, curve: ChunkCurve, limits: JointLimits | None) -> int:
        """How long a new curve is faded in [ns]."""
        if limits is None or not self.blend_ns or not (self._curves or self._hold):
            return self.blend_ns

        def difference(offsets_ns: _Times) -> _Points:
            times_ns = curve.start_ns + offsets_ns
            new, old = Places([curve], times_ns), self._points(times_ns)
            return new.positions()[0] - old[0], new.velocities()[0] - old[1]

        return _fade_within(limits, difference, self.blend_ns)

    def _part_from(self, curve: ChunkCurve, now_ns: int, limits: JointLimits | None) -> None:
        """Sets how long the members of an ensemble that end first are faded out, as one comes."""
        if limits is None or not self.blend_ns or math.isnan(self.ensemble_coefficient):
            return
        for other in self._curves[:_LEAVING]:

            def difference(offsets_ns: _Times, other: ChunkCurve = other) -> _Points:
                places = Places([curve, other], other.end_ns - offsets_ns)
                positions, velocities = places.positions(), places.velocities()
                return positions[0] - positions[1], velocities[0] - velocities[1]

            leave_ns = _fade_within(limits, difference, self.blend_ns)
            other.leave_ns = max(other.leave_ns, min(leave_ns, other.end_ns - now_ns))

    def _points(self, times_ns: _Times) -> _Points:
        """Positions and velocities of the merged trajectory, each of shape (n, joints)."""
        hold = self._hold.sample_at(times_ns) if self._hold else None
        if not self._curves:
            assert hold is not None
            return hold
        mixture = self._mixture(self._curves, times_ns)
        places = Places(self._curves, times_ns)
        return mixture.positions(places, hold), mixture.velocities(places, hold)

    def sample(self, now_ns: int) -> Sample | None:
        """The merged trajectory at ``now_ns``, or None when no chunk covers it.

        While the arms wait for the next chunk (``holds``), the time of the trajectory stands still.
        """
        if self.holds(now_ns):
            self.delay(now_ns - self._curves[-1].hold_ns)
            return None
        self._prune(now_ns)
        begun = [curve for curve in self._curves if curve.start_ns <= now_ns]
        if not any(curve.covers(now_ns) for curve in begun):
            self._pause([curve for curve in self._curves if curve.start_ns > now_ns], now_ns)
            return None
        times_ns = np.array([min(now_ns, self._last_row_ns())])
        mixture, places = self._mixture(begun, times_ns), Places(begun, times_ns)
        hold = self._hold.sample_at(times_ns) if self._hold else None
        positions = mixture.positions(places, hold)[0]
        velocities = mixture.velocities(places, hold)[0]
        self._last = positions
        return Sample(positions, velocities, begun[-1].chunk)

    def path(self, times_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        """Positions of the merged trajectory if no chunk is added, shape (n, joints) [rad; m].

        Args:
            times_ns: not before the time last sampled, shape (n,) [ns]. After the last row the
                arms stay there.
        """
        end_ns = max(curve.end_ns for curve in self._curves) - 1
        times_ns = np.minimum(times_ns, min(end_ns, self._last_row_ns()))
        hold = self._hold.sample_at(times_ns) if self._hold else None
        mixture = self._mixture(self._curves, times_ns)
        return mixture.positions(Places(self._curves, times_ns), hold)

    def _last_row_ns(self) -> int:
        """When the last row to be executed is due, and the end of all times without one [ns]."""
        newest = self._curves[-1]
        if not newest.chunk.execute_rows:
            return newest.end_ns + _LONG_NS
        return newest.hold_ns - newest.chunk.period_ns

    def _mixture(self, curves: list[ChunkCurve], times_ns: _Times) -> _Mixture:
        if math.isnan(self.ensemble_coefficient):
            return self._cross_fade(curves, times_ns)
        return self._ensemble(curves, times_ns)

    def _cross_fade(self, curves: list[ChunkCurve], times_ns: _Times) -> _Mixture:
        """Fades from the hold through each chunk to the newest, in order of arrival."""
        rise, rate = _smooth(times_ns - _starts(curves), _blends(curves))
        if self._hold is None:
            rise[0], rate[0] = 1.0, 0.0
        weights, rates = np.empty_like(rise), np.empty_like(rate)
        left, left_rate = np.ones(len(times_ns)), np.zeros(len(times_ns))
        for i in range(len(curves) - 1, -1, -1):
            weights[i] = left * rise[i]
            rates[i] = left_rate * rise[i] + left * rate[i]
            left, left_rate = left * (1.0 - rise[i]), left_rate * (1.0 - rise[i]) - left * rate[i]
        return _Mixture(weights, rates, left, left_rate)

    def _ensemble(self, curves: list[ChunkCurve], times_ns: _Times) -> _Mixture:
        """Fades from the hold to the mean of all chunks, weighted by exp(-m i).

        ``i`` counts the older members. One that is half faded in or out counts half, so that no
        weight jumps when another member comes or goes.
        """
        rise, rise_rate = _smooth(times_ns - _starts(curves), _blends(curves))
        ends = np.array([curve.end_ns for curve in curves])[:, None]
        leaves = np.array([curve.leave_ns for curve in curves])[:, None]
        fall, fall_rate = _smooth(ends - times_ns, leaves)
        presence, rate = rise * fall, rise_rate * fall - rise * fall_rate
        m = self.ensemble_coefficient
        older = np.cumsum(presence, axis=0) - presence
        share = np.exp(-m * older)
        weights = share * presence
        rates = share * (rate - m * (np.cumsum(rate, axis=0) - rate) * presence)
        weights[:, ~weights.any(axis=0)] = 1.0
        total, total_rate = weights.sum(axis=0), rates.sum(axis=0)
        weights, rates = weights / total, (rates - weights * total_rate / total) / total
        left, left_rate = np.zeros(len(times_ns)), np.zeros(len(times_ns))
        if self._hold is not None:
            fade, fade_rate = _smooth(times_ns - self._hold_start_ns, self._hold_blend_ns)
            left, left_rate = 1.0 - fade, -fade_rate
            weights, rates = fade * weights, fade * rates + fade_rate * weights
        return _Mixture(weights, rates, left, left_rate)

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
        self._hold_blend_ns = max(curve.blend_ns for curve in curves)

    def _prune(self, now_ns: int) -> None:
        """Drops the chunks that no longer have a part in the present or the future."""
        if math.isnan(self.ensemble_coefficient):
            self._drop_faded(now_ns)
        else:
            self._drop_ended(now_ns)
        if self._hold and now_ns - self._hold_start_ns >= self._hold_blend_ns:
            self._hold = None

    def _drop_faded(self, now_ns: int) -> None:
        """Drops the chunks that a newer one has replaced altogether."""
        for i in range(len(self._curves) - 1, 0, -1):
            curve = self._curves[i]
            if now_ns - curve.start_ns >= curve.blend_ns:
                del self._curves[:i]
                return

    def _drop_ended(self, now_ns: int) -> None:
        """Drops the chunks that are over; a later one then begins where they have led."""
        kept = [curve for curve in self._curves if now_ns < curve.end_ns]
        over = len(kept) < len(self._curves)
        if over and kept and all(now_ns <= curve.start_ns for curve in kept):
            stop = self._hold if self._last is None else _at_rest(self._last, now_ns)
            if stop:
                self._rest(stop, kept)
        self._curves = kept


def _fade_within(
    limits: JointLimits, difference: Callable[[_Times], _Points], least_ns: int
) -> int:
    """The time over which a fade takes half of the limits, but no less than ``least_ns`` [ns].

    Args:
        limits: of all joints.
        difference: positions and velocities between two trajectories, each of shape (n, joints), at
            times from one end of the fade on [ns].
        least_ns: shortest fade [ns].
    """
    speed, acceleration = limits.velocity / 2.0, limits.acceleration / 2.0
    fade_ns = least_ns
    for _ in range(_FADE_ROUNDS):
        apart, faster = difference(np.linspace(0, fade_ns, _FADE_POINTS).astype(np.int64))
        distance, gain = np.abs(apart).max(axis=0), np.abs(faster).max(axis=0)
        # Of the smoothstep: speed 3/2 of the way over the time, acceleration 6 over its square.
        needed_s = max(
            float(np.max(1.5 * distance / speed)),
            float(np.max(np.sqrt(6.0 * distance / acceleration))),
            float(np.max(1.5 * gain / acceleration)),
        )
        fade_ns = min(max(fade_ns, round(needed_s * NANOSECONDS)), _LONGEST_FADE_NS)
    return max(fade_ns, least_ns)


def _starts(curves: list[ChunkCurve]) -> _Times:
    """When the curves come into force, shape (curves, 1) [ns]."""
    return np.array([curve.start_ns for curve in curves])[:, None]


def _blends(curves: list[ChunkCurve]) -> _Times:
    """How long the curves are faded in, shape (curves, 1) [ns]."""
    return np.array([curve.blend_ns for curve in curves])[:, None]


def _at_rest(positions: NDArray[np.float64], now_ns: int) -> Stop:
    return Stop(positions.copy(), np.zeros_like(positions), now_ns, 0)
