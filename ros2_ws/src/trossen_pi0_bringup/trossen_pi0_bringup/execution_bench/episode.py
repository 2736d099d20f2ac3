"""One episode in virtual time, and its figures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_bringup.execution_bench import metrics
from trossen_pi0_bringup.execution_bench.cells import MODES, Cell
from trossen_pi0_bringup.execution_bench.controller_side import ControllerSide
from trossen_pi0_bringup.execution_bench.policy_side import PolicySide
from trossen_pi0_bringup.execution_bench.stand_in import KINDS, Sight, StandIn
from trossen_pi0_core.contract import NANOSECONDS, Observation
from trossen_pi0_core.joints import JointMap
from trossen_pi0_sim.arm_adapter import ControllerFaultError
from trossen_pi0_sim.expert import STAGED, HandoverExpert
from trossen_pi0_sim.world import TICK_S, World

CONTROL_RATE_HZ = 100.0
"""Rate of the control ticks [Hz]."""

# Ticks of the world between two ticks of each clock.
_CONTROL_TICKS = round(1.0 / (CONTROL_RATE_HZ * TICK_S))
_OBSERVATION_TICKS = round(1.0 / (30.0 * TICK_S))
_REPORT_TICKS = round(1.0 / (10.0 * TICK_S))
_START_NS = NANOSECONDS
_LONGEST_S = 60.0
_SETTLE_S = 1.5


@dataclass(frozen=True)
class Figures:
    """What is measured in one episode. Durations in s, angles in rad, carriages in m.

    Attributes:
        seed: of the episode.
        success: the object was handed over and placed.
        reason: why not; empty otherwise.
        duration_s: from the request to the success or the end.
        pause_s: time in which the commands stood still, from the first chunk on.
        jerk: RMS of the commands' third derivative, by group of joints and of all but the
            carriages ("arms").
        measured_jerk: likewise of what the arms measured.
        jump_rad: largest distance between a new chunk and where the arms would have been.
        mean_jump_rad: mean of these distances.
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


class Bench:
    """Runs one episode after the other. Not thread-safe."""

    def __init__(self) -> None:
        self._expert = HandoverExpert()

    def run(self, cell: Cell, seed: int) -> Figures:
        """Runs one episode of a cell."""
        kind, mode = KINDS[cell.policy], MODES[cell.mode]
        world = World(seed, kind.variant, visuals=False)
        world.place_arms(STAGED)
        controller = ControllerSide(world, mode.controller(), _START_NS)
        policy = PolicySide(
            StandIn(kind, self._expert),
            mode.policy(),
            seed=seed,
            delay_s=cell.delay_ms / 1e3,
            send=controller.submit,
            now_ns=_START_NS,
        )
        reason, duration_s = _play(world, controller, policy)
        return _figures(seed, reason, duration_s, controller, policy)


def _play(world: World, controller: ControllerSide, policy: PolicySide) -> tuple[str, float]:
    """Runs until success or failure: why it failed, empty if it did not, and the duration [s]."""
    ended_s: float | None = None
    elapsed_s = 0.0
    for tick in range(round(_LONGEST_S / TICK_S)):
        now_ns = _START_NS + round(tick * TICK_S * NANOSECONDS)
        elapsed_s = tick * TICK_S
        if tick % _OBSERVATION_TICKS == 0:
            policy.observe(*_look(world, controller, now_ns))
        if tick % _REPORT_TICKS == 0:
            policy.hear(controller.report(now_ns), now_ns)
        policy.step(now_ns)
        if tick % _CONTROL_TICKS == 0 and controller.tick(now_ns):
            policy.hear(controller.report(now_ns), now_ns)
        try:
            controller.arms.step()
        except ControllerFaultError as error:
            return f"fault of an arm's controller: {error}", elapsed_s
        if world.progress.success:
            return "", elapsed_s + TICK_S
        if world.progress.failed or controller.halted:
            return controller.halted or world.progress.reason, elapsed_s
        if policy.run.result is not None:
            ended_s = elapsed_s if ended_s is None else ended_s
            if elapsed_s - ended_s >= _SETTLE_S:
                break
    result = policy.run.result
    told = f"the run ended: {result.message}" if result else "the run did not end"
    return f"stage {world.progress.stage.name}; {told}", elapsed_s


def _look(world: World, controller: ControllerSide, now_ns: int) -> tuple[Observation, Sight]:
    """What joints, and for the stand-in the truth, say now."""
    truth = world.ground_truth
    stamp_ns, followed_s = controller.followed(now_ns)
    observation = Observation(now_ns, JointMap().urdf_names, world.snapshot.positions.copy(), {})
    sight = Sight(
        controller.command,
        stamp_ns,
        followed_s,
        truth.object_pose.copy(),
        truth.object_half_size,
    )
    return observation, sight


def _figures(
    seed: int,
    reason: str,
    duration_s: float,
    controller: ControllerSide,
    policy: PolicySide,
) -> Figures:
    commands = np.reshape(controller.commands, (-1, len(metrics.STILL)))
    measured = np.reshape(controller.measured, commands.shape)
    period_s = 1.0 / CONTROL_RATE_HZ
    pause_s = metrics.still_time(commands, period_s, metrics.STILL)

    def jerk(positions: NDArray[np.float64]) -> dict[str, float]:
        return {n: metrics.rms_jerk(positions[:, g], period_s, pause_s) for n, g in groups.items()}

    groups = {"arms": metrics.REVOLUTE, **metrics.GROUPS}
    off = np.abs(commands - measured)[:, metrics.REVOLUTE]
    counters = controller.counters
    jumps = controller.jumps or [0.0]
    return Figures(
        seed=seed,
        success=not reason,
        reason=reason,
        duration_s=duration_s,
        pause_s=pause_s,
        jerk=jerk(commands),
        measured_jerk=jerk(measured),
        jump_rad=max(jumps),
        mean_jump_rad=float(np.mean(jumps)),
        position_events=counters.position_limit_events,
        speed_events=counters.speed_limit_events,
        acceleration_events=counters.acceleration_limit_events,
        slowdown_s=counters.slowdown_ns / NANOSECONDS,
        starvations=counters.starvations,
        rejected=counters.chunks_rejected,
        chunks=policy.run.chunks,
        tracking_rad=float(off.max(initial=0.0)),
        tracking_rms_rad=float(np.sqrt(np.mean(off**2))) if off.size else 0.0,
    )
