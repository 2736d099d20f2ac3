"""Scripted motions of a hand that holds a leader arm. Times are seconds of any one clock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Motion(Protocol):
    """Where the hand leads the joints."""

    def sample(self, now_s: float) -> tuple[Array, Array]:
        """Positions [rad; m for the carriage] and velocities [rad/s; m/s], each (joints,)."""
        ...


@dataclass(frozen=True)
class Rest:
    """The hand keeps the arm where it is."""

    positions: Array

    def sample(self, now_s: float) -> tuple[Array, Array]:
        """The same at all times."""
        del now_s
        return self.positions, np.zeros_like(self.positions)


@dataclass(frozen=True)
class Reach:
    """From one pose to another with the least jerk, as people reach (Flash and Hogan, 1985).

    Attributes:
        start: positions at the beginning, shape (joints,) [rad; m].
        goal: positions at the end, likewise.
        start_s: beginning [s].
        duration_s: greater than 0 [s].
    """

    start: Array
    goal: Array
    start_s: float
    duration_s: float

    def sample(self, now_s: float) -> tuple[Array, Array]:
        """Rests before and after."""
        u = min(max((now_s - self.start_s) / self.duration_s, 0.0), 1.0)
        way = self.goal - self.start
        share = u**3 * (10.0 - 15.0 * u + 6.0 * u**2)
        rate = 30.0 * u**2 * (1.0 - u) ** 2 / self.duration_s
        return self.start + share * way, rate * way


@dataclass(frozen=True)
class Swing:
    """To and fro around a pose, each joint at a rate of its own, growing over ``grow_s``.

    Attributes:
        centre: positions at the beginning, shape (joints,) [rad; m].
        amplitudes: shape (joints,) [rad; m].
        frequencies: shape (joints,) [Hz].
        start_s: beginning [s].
        grow_s: time constant of its growth [s].
    """

    centre: Array
    amplitudes: Array
    frequencies: Array
    start_s: float
    grow_s: float = 1.0

    def sample(self, now_s: float) -> tuple[Array, Array]:
        """Rests before."""
        t = max(now_s - self.start_s, 0.0)
        fading = math.exp(-t / self.grow_s)
        # The square makes it begin without a jump of the speed.
        grown, growing = (1.0 - fading) ** 2, 2.0 * (1.0 - fading) * fading / self.grow_s
        w = 2.0 * math.pi * self.frequencies
        wave, slope = np.sin(w * t), w * np.cos(w * t)
        velocities = self.amplitudes * (growing * wave + grown * slope)
        return self.centre + self.amplitudes * grown * wave, velocities * (t > 0.0)
