"""The filter that every command passes before it is sent, whatever it comes from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.envelope import next_speeds
from trossen_pi0_core.execution import Counters, ExecutorConfig
from trossen_pi0_core.governor import PathGovernor, Present
from trossen_pi0_core.motion import PointToPoint, Stop, shifted
from trossen_pi0_core.timeline import ChunkTimeline

_Array = NDArray[np.float64]


class SafetyFilter:
    """Keeps the last command and makes the next one inside all limits.

    Attributes:
        config: limits.
        counters: limit events are counted here.
    """

    def __init__(self, config: ExecutorConfig, counters: Counters, position: _Array) -> None:
        """Args:
        config: limits.
        counters: where limit events are counted.
        position: first command, inside the limits, shape (joints,) [rad; m for carriages].
        """
        self.config = config
        self.counters = counters
        self._governor = PathGovernor()
        self._step_ns = 0
        self._position = position.copy()
        self._velocity = np.zeros_like(position)
        self._stop: Stop | None = None

    @property
    def position(self) -> _Array:
        """Last command, shape (joints,) [rad; m for carriages]."""
        return self._position.copy()

    @property
    def velocity(self) -> _Array:
        """Speed of the step that led there, shape (joints,) [rad/s; m/s for carriages]."""
        return self._velocity.copy()

    def inside(self, positions: _Array) -> _Array:
        """Positions moved inside their limits, shape (joints,) [rad; m for carriages]."""
        return np.clip(positions, self.config.limits.lower, self.config.limits.upper)

    def rest(self, position: _Array | None = None) -> None:
        """At rest, at a position, shape (joints,), or at the last command."""
        if position is not None:
            self._position = position.copy()
        self._velocity = np.zeros_like(self._position)
        self._stop = None
        self._governor.restart()

    def delay(self, by_ns: int) -> None:
        """Moves a coming to rest in time [ns]."""
        self._stop = shifted(self._stop, by_ns)

    def stopping(self, began_ns: int) -> Stop:
        """How the arms come to rest, from the last command at ``began_ns`` if they do not yet.

        Within a step where that is enough.
        """
        if self._stop is not None:
            return self._stop
        acceleration, step_ns = self.config.limits.acceleration, self._step_ns
        stop = Stop.plan(self._position, self._velocity, began_ns, acceleration=acceleration)
        if stop.duration_ns > step_ns:
            return stop
        at_rest = np.zeros_like(self._velocity)
        return Stop(self._position, at_rest, began_ns, step_ns if stop.duration_ns else 0)

    def plan(self, goal: _Array, began_ns: int, now_ns: int, scale: float) -> PointToPoint:
        """A move that begins where and when the arms come to rest.

        Args:
            goal: inside the limits, shape (joints,) [rad; m for carriages].
            began_ns: time of the last command [ns].
            now_ns: present time [ns].
            scale: part of the speeds and accelerations of moves.
        """
        limits = self.config.move_limits
        stop = self._stop = self.stopping(began_ns)
        return PointToPoint.plan(
            self.inside(stop.goal),
            goal,
            max(now_ns, stop.t_end_ns),
            velocity=limits.velocity * scale,
            acceleration=limits.acceleration * scale,
        )

    def brake(self, now_ns: int, step_ns: int) -> None:
        """One step of coming to rest, or of resting.

        Args:
            now_ns: end of the step [ns].
            step_ns: its length, greater than 0 [ns].
        """
        stop = self.stopping(now_ns - step_ns)
        self.toward(stop.sample(now_ns)[0], step_ns)
        self._stop = stop

    def toward(self, target: _Array, step_ns: int) -> None:
        """One step to a target of a motion that keeps the limits by itself.

        Args:
            target: finite, shape (joints,) [rad; m for carriages].
            step_ns: length of the step, greater than 0 [ns].
        """
        wanted = (self.inside(target) - self._position) / (step_ns / NANOSECONDS)
        last_ns = self._step_ns or step_ns
        envelope = next_speeds(
            self.config.limits,
            self._position,
            self._velocity,
            step_ns / NANOSECONDS,
            last_ns / NANOSECONDS,
        )
        self._governor.restart()
        self._take(envelope.clipped(wanted), step_ns)

    def along(self, timeline: ChunkTimeline, now_ns: int, step_ns: int) -> int:
        """One step along a trajectory; returns by how much it is to be delayed [ns].

        Args:
            timeline: covers ``now_ns``, with finite positions.
            now_ns: end of the step [ns].
            step_ns: length of the step, greater than 0 [ns].
        """
        present = Present(self._position, self._velocity, (self._step_ns or step_ns) / NANOSECONDS)
        followed = self._governor.follow(
            timeline, self.config.limits, present, now_ns, step_ns, self.config.period_ns
        )
        delay_ns = round((1.0 - followed.rate) * step_ns)
        counters = self.counters
        counters.position_limit_events += followed.position_limited
        counters.speed_limit_events += followed.speed_limited
        counters.acceleration_limit_events += followed.acceleration_limited
        counters.slowdown_ns += delay_ns
        self._take(followed.velocity, step_ns)
        return delay_ns

    def _take(self, velocity: _Array, step_ns: int) -> None:
        moved = self._position + velocity * (step_ns / NANOSECONDS)
        self._position = self.inside(moved)  # rounding alone
        self._velocity = velocity
        self._step_ns = step_ns
        self._stop = None
