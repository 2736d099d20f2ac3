"""Handovers that have gone wrong before the expert takes over, so that it is seen mending them.

Recordings of an expert who never errs do not show how to come back from an error (DAgger, arXiv
1011.0686). So the right arm first goes for a place beside the object, and is stopped anywhere
between its first approach and its offer of an empty hand; from there on the expert is in charge.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import BackendError
from trossen_pi0_sim.expert import HandoverExpert
from trossen_pi0_sim.progress import Stage
from trossen_pi0_sim.world import TICK_S, World

OFF_M = (0.01, 0.06)
"""How far beside the object the wrong aim lies, horizontally, from and to [m]."""

OFF_TURN_RAD = 0.5
"""How far it is turned at most [rad]."""

_FIRST_PART = 0.5  # of the way to the hover


@dataclass(frozen=True)
class Motion:
    """What both arms are told at a moment.

    Attributes:
        positions: shape (14,) [rad; m for carriages].
        velocities: shape (14,) [rad/s; m/s].
    """

    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]


def go_astray(world: World, expert: HandoverExpert, rng: np.random.Generator) -> Motion:
    """Lets the right arm go wrong and returns how the arms move when it is stopped.

    Args:
        world: an episode that has just begun, both arms staged.
        expert: makes the plan.
        rng: draws where it aims and when it is stopped.

    Raises:
        BackendError: the wrong place cannot be reached, or the object was held or lost all the
            same. Draw again.
    """
    aim = _beside(world.ground_truth.object_pose, rng)
    plan = expert.plan(world.snapshot.positions, aim, world.ground_truth.object_half_size)
    last_s = plan.trajectory.time_of("offered")
    stop_s = rng.uniform(_FIRST_PART * plan.descent_time_s, last_s)
    for tick in range(1, round(stop_s / TICK_S) + 1):
        world.command_both(plan.sample(tick * TICK_S)[0])
        world.step()
    if world.progress.stage >= Stage.LIFTED or world.progress.failed:
        raise BackendError(f"the wrong aim came as far as {world.progress.stage.name}")
    return Motion(plan.sample(stop_s)[0], plan.velocity(stop_s)[0])


def _beside(pose: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    """A pose near that one, on the same face, shape (7,)."""
    way, away = rng.uniform(-math.pi, math.pi), rng.uniform(*OFF_M)
    yaw = 2 * math.atan2(pose[6], pose[3]) + rng.uniform(-OFF_TURN_RAD, OFF_TURN_RAD)
    beside = pose.copy()
    beside[:2] += away * math.cos(way), away * math.sin(way)
    beside[3:] = math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)
    return beside
