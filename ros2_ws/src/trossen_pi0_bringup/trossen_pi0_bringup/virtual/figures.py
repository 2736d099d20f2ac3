"""What is measured in an episode."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trossen_pi0_bringup.virtual import metrics
from trossen_pi0_bringup.virtual.controller import ControllerSide
from trossen_pi0_bringup.virtual.episode import CONTROL_RATE_HZ, Ending
from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.execution import Counters


@dataclass(frozen=True)
class Figures:
    """What is measured in one episode. Durations in s, angles in rad, carriages in m.

    Attributes:
        seed: of the episode.
        success: the object was handed over and placed.
        reason: why not; empty otherwise.
        stage: furthest stage of the task, its number in ``trossen_pi0_sim.progress.Stage``.
        duration_s: from the request to the success or the end.
        pause_s: time in which the commands stood still, from the first chunk on.
        jerk: RMS of the commands' third derivative, by group of joints and of all but the
            carriages ("arms").
        measured_jerk: likewise of what the arms measured.
        jump_rad: largest distance between a new chunk and where the arms would have been; NaN
            where it was not measured.
        mean_jump_rad: mean of these distances, likewise.
        position_events: ticks in which the position limits changed a command.
        speed_events: likewise the speed limits.
        acceleration_events: likewise the acceleration limits.
        slowdown_s: by how much limits delayed the motion.
        starvations: how often no row covered the present.
        rejected: chunks that the controller refused.
        chunks: chunks that were published.
        tracking_rad: largest distance between command and measurement.
        tracking_rms_rad: its root mean square.
    """

    seed: int
    success: bool
    reason: str
    stage: int
    duration_s: float
    pause_s: float
    jerk: dict[str, float]
    measured_jerk: dict[str, float]
    jump_rad: float
    mean_jump_rad: float
    position_events: int
    speed_events: int
    acceleration_events: int
    slowdown_s: float
    starvations: int
    rejected: int
    chunks: int
    tracking_rad: float
    tracking_rms_rad: float

    @property
    def limit_events(self) -> int:
        """Ticks in which a limit changed a command; one that several changed counts for each."""
        return self.position_events + self.speed_events + self.acceleration_events


def figures_of(seed: int, ending: Ending, controller: ControllerSide, chunks: int) -> Figures:
    """Figures of an episode in virtual time."""
    return measured_figures(
        seed,
        ending,
        controller.commands,
        controller.measured,
        CONTROL_RATE_HZ,
        controller.jumps,
        controller.counters,
        chunks,
    )


def measured_figures(
    seed: int,
    ending: Ending,
    commands: ArrayLike,
    measured: ArrayLike,
    rate_hz: float,
    jumps: Sequence[float] | None,
    counters: Counters,
    chunks: int,
) -> Figures:
    """Figures of an episode.

    Args:
        seed: of the episode.
        ending: how it ended.
        commands: from the first chunk on, shape (n, 14) [rad; m for carriages].
        measured: what the arms measured when those were sent, likewise.
        rate_hz: of both [Hz].
        jumps: how far each chunk but the first began from the arms' way [rad]; None: unknown.
        counters: of the arm controller, over the episode.
        chunks: published.
    """
    sent = np.reshape(np.asarray(commands, dtype=float), (-1, len(metrics.STILL)))
    seen = np.reshape(np.asarray(measured, dtype=float), sent.shape)
    period_s = 1.0 / rate_hz
    pause_s = metrics.still_time(sent, period_s, metrics.STILL)
    groups = {"arms": metrics.REVOLUTE, **metrics.GROUPS}

    def jerk(positions: NDArray[np.float64]) -> dict[str, float]:
        return {n: metrics.rms_jerk(positions[:, g], period_s, pause_s) for n, g in groups.items()}

    off = np.abs(sent - seen)[:, metrics.REVOLUTE]
    known_jumps = [math.nan] if jumps is None else list(jumps) or [0.0]
    return Figures(
        seed=seed,
        success=not ending.reason,
        reason=ending.reason,
        stage=int(ending.stage),
        duration_s=ending.duration_s,
        pause_s=pause_s,
        jerk=jerk(sent),
        measured_jerk=jerk(seen),
        jump_rad=max(known_jumps),
        mean_jump_rad=float(np.mean(known_jumps)),
        position_events=counters.position_limit_events,
        speed_events=counters.speed_limit_events,
        acceleration_events=counters.acceleration_limit_events,
        slowdown_s=counters.slowdown_ns / NANOSECONDS,
        starvations=counters.starvations,
        rejected=counters.chunks_rejected,
        chunks=chunks,
        tracking_rad=float(off.max(initial=0.0)),
        tracking_rms_rad=float(np.sqrt(np.mean(off**2))) if off.size else 0.0,
    )
