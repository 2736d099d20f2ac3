"""The speeds that a command may have next: the last word of the safety filter.

Each joint by itself, so that no combination of limits can leave a command without a way out: from
every command inside the envelope the joint can be stopped before its position limits without
exceeding its acceleration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.limits import JointLimits

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Envelope:
    """Allowed speeds of the next step, each of shape (joints,) [rad/s; m/s for carriages].

    Attributes:
        low: smallest.
        high: largest, not below ``low``.
    """

    low: _Array
    high: _Array

    def clipped(self, velocity: _Array) -> _Array:
        """The nearest allowed speeds."""
        return np.clip(velocity, self.low, self.high)

    def contains(self, velocity: _Array) -> NDArray[np.bool_]:
        """Which joints' speeds are allowed, but for rounding; shape (..., joints)."""
        margin = 1e-9 + 1e-6 * np.abs(velocity)
        return (velocity >= self.low - margin) & (velocity <= self.high + margin)


def next_speeds(
    limits: JointLimits, position: _Array, velocity: _Array, dt_s: float, last_dt_s: float
) -> Envelope:
    """What the step from a command to the next may be.

    Position limits come before speed limits, and those before acceleration limits, should they
    ever contradict each other (a longer step than the one before, at full speed towards a limit).

    Args:
        limits: limits of all joints.
        position: last command, inside the limits, shape (joints,) [rad; m for carriages].
        velocity: of the step that led there, shape (joints,) [rad/s; m/s].
        dt_s: length of the next step [s].
        last_dt_s: length of the last step [s].
    """
    change = limits.acceleration * (dt_s + last_dt_s) / 2.0
    high = np.minimum(velocity + change, limits.velocity)
    low = np.maximum(velocity - change, -limits.velocity)
    # From speed v the joint needs v dt for this step and v^2 / 2a to come to rest afterwards.
    up = _stoppable(limits.upper - position, limits.acceleration, dt_s)
    down = -_stoppable(position - limits.lower, limits.acceleration, dt_s)
    low, high = np.clip(low, -limits.velocity, limits.velocity), np.maximum(high, -limits.velocity)
    high = np.maximum(np.minimum(high, up), low)
    low = np.minimum(np.maximum(low, down), high)
    # Never beyond the positions, even if braking were too hard for that.
    most, least = (limits.upper - position) / dt_s, (limits.lower - position) / dt_s
    return Envelope(np.clip(low, least, most), np.clip(high, least, most))


def _stoppable(room: _Array, acceleration: _Array, dt_s: float) -> _Array:
    """The largest speed from which a joint stops within ``room`` [rad; m], each (joints,)."""
    room = np.maximum(room, 0.0)
    return acceleration * (np.sqrt(dt_s**2 + 2.0 * room / acceleration) - dt_s)
