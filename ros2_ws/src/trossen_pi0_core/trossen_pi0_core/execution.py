"""What the motion executor is told and what it says."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.limits import JointLimits


class State(enum.IntEnum):
    """What the controller does; the values are those of ControllerStatus."""

    HOLDING = 0
    RAMPING = 1
    EXECUTING = 2
    STARVED = 3
    MOVING = 4
    FAULT = 5
    ESTOP = 6


@dataclass(frozen=True)
class ExecutorConfig:
    """How motion is executed.

    Attributes:
        limits: positions, speeds and accelerations that commands keep.
        move_limits: speeds and accelerations of MoveTo and ramps.
        start_tolerance_s: a run whose first row lies further away at the speed of ``move_limits``
            begins with a ramp [s].
        max_chunk_age_ns: chunks of older observations are refused, and the arms hold when the one
            in force gets older [ns].
        max_tick_ns: longest time that one tick accounts for, two control periods [ns]; a late tick
            moves no further.
    """

    limits: JointLimits
    move_limits: JointLimits
    start_tolerance_s: float
    max_chunk_age_ns: int
    max_tick_ns: int

    @property
    def period_ns(self) -> int:
        """The control period [ns]."""
        return self.max_tick_ns // 2


@dataclass
class Counters:
    """Events since activation; each is a field of ControllerStatus."""

    chunks_accepted: int = 0
    chunks_rejected: int = 0
    last_rejection: str = ""
    starvations: int = 0
    pauses: int = 0
    chunk_timeouts: int = 0
    clock_jumps: int = 0
    faults: int = 0
    estops: int = 0
    position_limit_events: int = 0
    speed_limit_events: int = 0
    acceleration_limit_events: int = 0
    slowdown_ns: int = 0
    effort_events: int = 0
    round_trip_events: int = 0


@dataclass(frozen=True)
class Command:
    """What the arms shall do now.

    Attributes:
        positions: shape (joints,) [rad; m for carriages]; always finite and inside the limits.
        velocities: rate of change of the commands, shape (joints,) [rad/s; m/s for carriages].
        state: state after the tick.
        active: False when the arms shall be left alone (fault or e-stop).
    """

    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]
    state: State
    active: bool
