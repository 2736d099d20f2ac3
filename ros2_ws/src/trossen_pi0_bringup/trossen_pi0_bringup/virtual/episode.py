"""One episode in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from trossen_pi0_bringup.virtual.controller import ControllerSide
from trossen_pi0_bringup.virtual.policy import PolicySide, Sight
from trossen_pi0_core.contract import NANOSECONDS, Observation
from trossen_pi0_sim.arm_adapter import ControllerFaultError
from trossen_pi0_sim.progress import Stage
from trossen_pi0_sim.world import TICK_S, World

CONTROL_RATE_HZ = 100.0
"""Rate of the control ticks [Hz]."""

OBSERVATION_RATE_HZ = 30.0
"""Rate of the cameras [Hz]."""

START_NS = NANOSECONDS
"""When an episode begins [ns]."""

# Ticks of the world between two ticks of each clock.
_CONTROL_TICKS = round(1.0 / (CONTROL_RATE_HZ * TICK_S))
_OBSERVATION_TICKS = round(1.0 / (OBSERVATION_RATE_HZ * TICK_S))
_REPORT_TICKS = round(1.0 / (10.0 * TICK_S))
_SETTLE_S = 1.5

Look = Callable[[int], "tuple[Observation, Sight]"]
"""What joints say at a time [ns], and what else the policy is given."""


@dataclass(frozen=True)
class Ending:
    """How an episode ended.

    Attributes:
        reason: why it failed; empty if it did not.
        stage: furthest stage of the task.
        duration_s: from the request to the success or the end [s].
    """

    reason: str
    stage: Stage
    duration_s: float


def play(
    world: World,
    controller: ControllerSide,
    policy: PolicySide[Sight],
    look: Look[Sight],
    longest_s: float,
) -> Ending:
    """Runs until success or failure, from ``START_NS`` on.

    Args:
        world: reset, its arms at rest where the run begins.
        controller: of the arms.
        policy: its run.
        look: called at the rate of the cameras.
        longest_s: the episode fails after so long, whatever the run does [s].
    """

    def end(reason: str, elapsed_s: float) -> Ending:
        return Ending(reason, world.progress.stage, elapsed_s)

    ended_s: float | None = None
    elapsed_s = 0.0
    for tick in range(round(longest_s / TICK_S)):
        now_ns = START_NS + round(tick * TICK_S * NANOSECONDS)
        elapsed_s = tick * TICK_S
        if tick % _OBSERVATION_TICKS == 0:
            policy.observe(*look(now_ns))
        if tick % _REPORT_TICKS == 0:
            policy.hear(controller.report(now_ns), now_ns)
        policy.step(now_ns)
        if tick % _CONTROL_TICKS == 0 and controller.tick(now_ns):
            policy.hear(controller.report(now_ns), now_ns)
        try:
            controller.arms.step()
        except ControllerFaultError as error:
            return end(f"fault of an arm's controller: {error}", elapsed_s)
        if world.progress.success:
            return end("", elapsed_s + TICK_S)
        if world.progress.failed or controller.halted:
            return end(controller.halted or world.progress.reason, elapsed_s)
        if policy.run.result is not None:
            ended_s = elapsed_s if ended_s is None else ended_s
            if elapsed_s - ended_s >= _SETTLE_S:
                break
    result = policy.run.result
    told = f"the run ended: {result.message}" if result else "the run did not end"
    return end(f"stage {world.progress.stage.name}; {told}", elapsed_s)
