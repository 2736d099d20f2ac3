"""Motion from pose to pose and from motion to rest, timed by speed and acceleration limits."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import NANOSECONDS

# Largest speed and acceleration of the unit quintic 10 s^3 - 15 s^4 + 6 s^5 over unit time.
_PEAK_SPEED = 15.0 / 8.0
_PEAK_ACCELERATION = 10.0 / np.sqrt(3.0)


@dataclass(frozen=True)
class PointToPoint:
    """A straight line in joint space with the quintic time law, at rest at both ends.

    Attributes:
        start: shape (joints,) [rad; m for carriages].
        goal: shape (joints,) [rad; m for carriages].
        t_start_ns: when it begins [ns].
        duration_ns: how long it takes [ns].
    """

    start: NDArray[np.float64]
    goal: NDArray[np.float64]
    t_start_ns: int
    duration_ns: int

    @classmethod
    def plan(
        cls,
        start: NDArray[np.float64],
        goal: NDArray[np.float64],
        t_start_ns: int,
        *,
        velocity: NDArray[np.float64],
        acceleration: NDArray[np.float64],
    ) -> PointToPoint:
        """Takes the shortest duration that keeps every joint within its speed and acceleration.

        Args:
            start: shape (joints,) [rad; m for carriages].
            goal: shape (joints,) [rad; m for carriages].
            t_start_ns: when it begins [ns].
            velocity: largest speed, shape (joints,) [rad/s; m/s for carriages], greater than 0.
            acceleration: largest acceleration, shape (joints,) [rad/s^2; m/s^2 for carriages],
                greater than 0.
        """
        distance = np.abs(goal - start)
        by_speed = np.max(distance * _PEAK_SPEED / velocity, initial=0.0)
        by_acceleration = np.max(np.sqrt(distance * _PEAK_ACCELERATION / acceleration), initial=0.0)
        duration_s = max(by_speed, by_acceleration)
        return cls(start.copy(), goal.copy(), t_start_ns, int(np.ceil(duration_s * NANOSECONDS)))

    @property
    def t_end_ns(self) -> int:
        """When the goal is reached [ns]."""
        return self.t_start_ns + self.duration_ns

    def fraction(self, now_ns: int) -> float:
        """Part of the duration that is over, 0..1."""
        if self.duration_ns == 0:
            return 1.0
        return float(np.clip((now_ns - self.t_start_ns) / self.duration_ns, 0.0, 1.0))

    def sample(self, now_ns: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position [rad; m] and velocity [rad/s; m/s] at ``now_ns``, each of shape (joints,)."""
        s = self.fraction(now_ns)
        place = s**3 * (10.0 - 15.0 * s + 6.0 * s**2)
        delta = self.goal - self.start
        if self.duration_ns == 0:
            return self.goal.copy(), np.zeros_like(delta)
        speed = 30.0 * s**2 * (1.0 - s) ** 2 / (self.duration_ns / NANOSECONDS)
        return self.start + place * delta, speed * delta


@dataclass(frozen=True)
class Stop:
    """Coming to rest on a straight line: all joints slow down evenly and stand still together.

    Attributes:
        start: shape (joints,) [rad; m for carriages].
        velocity: at the start, shape (joints,) [rad/s; m/s for carriages].
        t_start_ns: when it begins [ns].
        duration_ns: how long it takes [ns]; 0 when nothing moves.
    """

    start: NDArray[np.float64]
    velocity: NDArray[np.float64]
    t_start_ns: int
    duration_ns: int

    @classmethod
    def plan(
        cls,
        start: NDArray[np.float64],
        velocity: NDArray[np.float64],
        t_start_ns: int,
        *,
        acceleration: NDArray[np.float64],
    ) -> Stop:
        """Takes the shortest duration that keeps every joint within its acceleration.

        Args:
            start: shape (joints,) [rad; m for carriages].
            velocity: at the start, shape (joints,) [rad/s; m/s for carriages].
            t_start_ns: when it begins [ns].
            acceleration: largest deceleration, shape (joints,) [rad/s^2; m/s^2 for carriages],
                greater than 0.
        """
        duration_s = np.max(np.abs(velocity) / acceleration, initial=0.0)
        duration_ns = int(np.ceil(duration_s * NANOSECONDS))
        return cls(start.copy(), velocity.copy(), t_start_ns, duration_ns)

    @property
    def t_end_ns(self) -> int:
        """When everything stands still [ns]."""
        return self.t_start_ns + self.duration_ns

    @property
    def goal(self) -> NDArray[np.float64]:
        """Where everything stands still, shape (joints,) [rad; m for carriages]."""
        return self.start + self.velocity * (self.duration_ns / NANOSECONDS / 2.0)

    def sample(self, now_ns: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Position [rad; m] and velocity [rad/s; m/s] at ``now_ns``, each of shape (joints,)."""
        positions, velocities = self.sample_at(np.array([now_ns]))
        return positions[0], velocities[0]

    def sample_at(
        self, times_ns: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Positions [rad; m] and velocities [rad/s; m/s] at times, each of shape (n, joints)."""
        duration_s = self.duration_ns / NANOSECONDS
        elapsed_s = np.clip((times_ns - self.t_start_ns) / NANOSECONDS, 0.0, duration_s)[:, None]
        moving = 1.0 - elapsed_s / duration_s if self.duration_ns else np.zeros_like(elapsed_s)
        travelled = elapsed_s * (1.0 + moving) / 2.0
        return self.start + travelled * self.velocity, moving * self.velocity


_Motion = TypeVar("_Motion", PointToPoint, Stop)


def shifted(motion: _Motion | None, by_ns: int) -> _Motion | None:
    """The same motion later by ``by_ns`` [ns]; None stays None."""
    if motion is None:
        return None
    return dataclasses.replace(motion, t_start_ns=motion.t_start_ns + by_ns)
