"""Follows the merged trajectory inside the limits, slowing the whole arm along its path.

The trajectory's time passes at a rate of 0 to 1. It is 1 as long as the trajectory itself keeps the
limits; otherwise the largest rate from which the arms could still brake on the path. To know that,
the path is looked at ahead for the time that braking takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.envelope import Envelope, next_speeds
from trossen_pi0_core.limits import JointLimits
from trossen_pi0_core.timeline import ChunkTimeline

_Array = NDArray[np.float64]

# Differences below this are arithmetic and no event to report [rad; m].
_ROUNDING = 1e-9
_TOLERANCE = 1e-3  # of the limits, when looking ahead
_BRAKING_SHARE = (
    0.9  # of the acceleration is for braking on a straight path, the rest for its bends
)
_CHANGES = np.linspace(1.0, -1.0, 9)  # of the rate, of the largest one in a tick
_RATES = np.append(0.7 ** np.arange(16), 0.0)
_RETURN_SHARE = 0.5  # of the acceleration is for the return to a path that was left
_RETURN_TICKS = 3.0  # the return takes no fewer


@dataclass(frozen=True)
class Followed:
    """The next step along a trajectory.

    Attributes:
        velocity: speeds of the step, shape (joints,) [rad/s; m/s for carriages].
        rate: of the trajectory's time, 0..1.
        position_limited: the trajectory leaves the position limits now.
        speed_limited: a speed limit slows the arms.
        acceleration_limited: an acceleration limit does.
    """

    velocity: _Array
    rate: float
    position_limited: bool
    speed_limited: bool
    acceleration_limited: bool


@dataclass(frozen=True)
class Present:
    """The last command.

    Attributes:
        position: shape (joints,) [rad; m for carriages].
        velocity: of the step that led there, shape (joints,) [rad/s; m/s].
        dt_s: length of that step [s].
    """

    position: _Array
    velocity: _Array
    dt_s: float


@dataclass(frozen=True)
class Braking:
    """How the time of a trajectory may come to a stand.

    Attributes:
        rate: at which it passes in this step, 0..1.
        slope: by which the rate falls with each further step.
    """

    rate: float
    slope: float


class PathGovernor:
    """Chooses steps along a timeline.

    Remembers how it would brake: what could be braked a step ago can still be braked now.
    """

    def __init__(self) -> None:
        self._braking: Braking | None = None

    def restart(self) -> None:
        """Another motion was under way."""
        self._braking = None

    def follow(
        self,
        timeline: ChunkTimeline,
        limits: JointLimits,
        present: Present,
        now_ns: int,
        dt_ns: int,
        period_ns: int,
    ) -> Followed:
        """The step from the last command to where the trajectory leads.

        Args:
            timeline: covers ``now_ns``.
            limits: of all joints.
            present: last command.
            now_ns: end of the step [ns].
            dt_ns: length of the step [ns].
            period_ns: usual length of a step, for looking ahead [ns].
        """
        look = _Look(timeline, limits, present, now_ns, dt_ns, period_ns)
        ahead = look.ahead()
        before, self._braking = self._braking, None
        if ahead.possible:
            return look.result(ahead.step, 1.0, ahead)
        slowed = look.slowed(before)
        if slowed is not None:
            self._braking, step = slowed
            return look.result(step, self._braking.rate, ahead)
        rate, step = look.back()
        return look.result(step, rate, ahead)


@dataclass(frozen=True)
class _Ahead:
    """What following at the full rate would ask for."""

    step: _Array
    possible: bool
    too_fast: bool
    too_hard: bool


class _Look:
    """One look at the path from one command."""

    def __init__(
        self,
        timeline: ChunkTimeline,
        limits: JointLimits,
        present: Present,
        now_ns: int,
        dt_ns: int,
        period_ns: int,
    ) -> None:
        self._timeline = timeline
        self._limits = limits
        self._present = present
        self._from_ns = now_ns - dt_ns
        self._dt_ns, self._period_ns = dt_ns, period_ns
        self._dt_s, self._period_s = dt_ns / NANOSECONDS, period_ns / NANOSECONDS
        slowest_s = float(np.max(limits.velocity / limits.acceleration)) / _BRAKING_SHARE
        self._ticks = int(np.ceil(slowest_s / self._period_s)) + 1
        self._envelope: Envelope = next_speeds(
            limits, present.position, present.velocity, self._dt_s, present.dt_s
        )
        times = np.concatenate([[self._from_ns], now_ns + np.arange(self._ticks + 1) * period_ns])
        raw = timeline.path(times)
        self._path = self._inside(raw)
        outside = np.abs(raw - self._path) > _ROUNDING
        self._position_limited = bool(outside[1].any())
        # A joint that is led beyond its limits leaves the path; it brakes by itself.
        self._on_path = ~outside.any(axis=0)

    def result(self, step: _Array, rate: float, ahead: _Ahead) -> Followed:
        return Followed(
            velocity=self._envelope.clipped(step),
            rate=rate,
            position_limited=self._position_limited,
            speed_limited=ahead.too_fast,
            acceleration_limited=ahead.too_hard,
        )

    def ahead(self) -> _Ahead:
        """Following at the full rate, for as long as braking would take."""
        step = (self._path[1] - self._present.position) / self._dt_s
        speeds = np.vstack([step, np.diff(self._path[1:], axis=0) / self._period_s])
        fast, hard = self._excess(speeds[None])
        on = self._on_path
        first = bool(self._envelope.contains(step)[on].all())
        too_fast = bool(fast[0, on].any())
        too_hard = bool(hard[0, on].any()) or (not first and not too_fast)
        step = np.where(on, step, self._returning(self._path[1], self._path_speed(), 1.0))
        return _Ahead(step, first and not (too_fast or too_hard), too_fast, too_hard)

    def slowed(self, before: Braking | None) -> tuple[Braking, _Array] | None:
        """The largest rate from which the arms can brake on the path, and its step.

        Args:
            before: how they could brake a step ago.
        """
        on = self._on_path
        rates, slopes = self._brakings(before)
        # Time along the path when it passes more and more slowly until it stands still.
        falling = np.maximum(rates[:, None] - slopes[:, None] * np.arange(1, self._ticks + 1), 0.0)
        first = rates[:, None] * self._dt_s
        times_s = np.hstack([first, first + np.cumsum(falling, axis=1) * self._period_s])
        times_ns = self._from_ns + np.rint(times_s * NANOSECONDS).astype(np.int64)
        path = self._inside(self._timeline.path(times_ns.reshape(-1)))
        path = path.reshape(*times_ns.shape, -1)
        steps = (path[:, 0] - self._present.position) / self._dt_s
        speeds = np.concatenate([steps[:, None], np.diff(path, axis=1) / self._period_s], axis=1)
        fast, hard = self._excess(speeds)
        possible = self._envelope.contains(steps)[:, on].all(axis=1)
        possible &= ~(fast | hard)[:, on].any(axis=1)
        if not possible.any():
            return None
        i = int(np.argmax(np.where(possible, rates, -1.0)))
        braking = Braking(float(rates[i]), float(slopes[i]))
        returning = self._returning(path[i, 0], self._path_speed(), braking.rate)
        return braking, np.where(on, steps[i], returning)

    def _brakings(self, before: Braking | None) -> tuple[_Array, _Array]:
        """Rates and slopes to try: around the present rate, and all over the range."""
        on = self._on_path
        change = self._limits.acceleration[on] * self._dt_s
        at_full = (self._path[1] - self._path[0])[on] / self._dt_s / change
        speed = self._present.velocity[on] / change
        largest = np.max(np.abs(at_full), initial=1e-9)
        present = float(at_full @ speed) / max(float(at_full @ at_full), 1e-9)
        near = np.clip(present + _CHANGES / largest, 0.0, 1.0)
        rates = np.concatenate([near, _RATES])
        slopes = rates / (self._ticks - 1)
        if before is not None:
            rates = np.append(rates, max(before.rate - before.slope, 0.0))
            slopes = np.append(slopes, before.slope)
        return rates, slopes

    def back(self) -> tuple[float, _Array]:
        """The step back towards a path that the arms have left, and the rate meanwhile."""
        speed = self._path_speed()
        excess = np.max(np.abs(speed) / (_RETURN_SHARE * self._limits.velocity), initial=1.0)
        rate = float(1.0 / excess)
        at_ns = self._from_ns + round(rate * self._dt_ns)
        target = self._inside(self._timeline.path(np.array([at_ns])))[0]
        return rate, self._evenly(self._returning(target, speed, rate, together=True))

    def _evenly(self, wanted: _Array) -> _Array:
        """As far towards the wanted speeds as all joints can go alike.

        Those that have to brake for a limit, and those off the path, go by themselves.
        """
        before = self._present.velocity
        alike = self._on_path & self._envelope.contains(before)
        change = wanted - before
        room = np.where(change > 0.0, self._envelope.high, self._envelope.low) - before
        counts = alike & (np.abs(change) > 1e-12)
        part = max(float(np.min(room[counts] / change[counts], initial=1.0)), 0.0)
        return np.where(alike, before + part * change, wanted)

    def _inside(self, positions: _Array) -> _Array:
        return np.clip(positions, self._limits.lower, self._limits.upper)

    def _path_speed(self) -> _Array:
        """Speed of the path at the full rate after this step, shape (joints,)."""
        return (self._path[2] - self._path[1]) / self._period_s

    def _returning(
        self, target: _Array, path_speed: _Array, rate: float, *, together: bool = False
    ) -> _Array:
        """Speeds that bring the joints back to a moving target without overshoot.

        Args:
            target: where the path is at the end of the step, shape (joints,).
            path_speed: of the path at the full rate.
            rate: at which it passes.
            together: on a straight line; otherwise each joint by itself.
        """
        limits = self._limits
        speed = rate * path_speed
        error = target - speed * self._dt_s - self._present.position
        size = np.maximum(np.abs(error), 1e-12)
        gain = np.minimum(
            np.sqrt(2.0 * _RETURN_SHARE * limits.acceleration / size),
            1.0 / (_RETURN_TICKS * self._period_s),
        )
        room = np.maximum(limits.velocity - np.abs(speed), 0.0)
        gain = np.minimum(gain, np.maximum(room, 1e-6) / size)
        if together:
            gain = np.full_like(gain, gain.min())
        return speed + gain * error

    def _excess(self, speeds: _Array) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which joints' speeds and accelerations are too large anywhere.

        Args:
            speeds: of consecutive steps, the first of them the next one, shape (n, steps, joints).

        Returns:
            two arrays of shape (n, joints); the first acceleration is left to the envelope.
        """
        limits = self._limits
        fast = np.any(np.abs(speeds) > limits.velocity * (1.0 + _TOLERANCE), axis=1)
        changes = np.abs(np.diff(speeds, axis=1)) / self._period_s
        changes[:, 0] *= 2.0 * self._period_s / (self._dt_s + self._period_s)
        hard = np.any(changes > limits.acceleration * (1.0 + _TOLERANCE), axis=1)
        return fast, hard
