"""Runs episodes of the scripted expert in the world, without ROS and without wall clock."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_sim.expert import STAGED, HandoverExpert, Plan
from trossen_pi0_sim.progress import Stage
from trossen_pi0_sim.world import TICK_S, World

ROW_RATE_HZ = 30.0
"""Rate of a policy's rows [Hz]."""

MOVED_M = 0.005
"""The object is looked at again when it has moved further than this before the grasp [m]."""

_SETTLE_S = 1.0
_REPLAN_LEAD_S = 0.1


@dataclass(frozen=True)
class EpisodeResult:
    """How an episode ended.

    Attributes:
        seed: of the episode.
        variant: scenario.
        success: the object was handed over and placed.
        stage: furthest stage.
        reason: why it failed; empty otherwise.
        duration_s: simulated time [s].
        plans: how often was planned.
    """

    seed: int
    variant: str
    success: bool
    stage: Stage
    reason: str
    duration_s: float
    plans: int


class ExpertDriver:
    """Follows the expert's plan and plans anew when the object moves before the grasp."""

    def __init__(self, world: World, expert: HandoverExpert) -> None:
        self._world = world
        self._expert = expert
        self.plans = 0
        self.plan = self._make_plan(world.snapshot.positions, None)
        self._began_s = world.snapshot.time_s

    def _make_plan(
        self, joints: NDArray[np.float64], velocities: NDArray[np.float64] | None
    ) -> Plan:
        self.plans += 1
        truth = self._world.ground_truth
        return self._expert.plan(joints, truth.object_pose, truth.object_half_size, velocities)

    @property
    def done(self) -> bool:
        """The plan has ended."""
        return self._world.snapshot.time_s - self._began_s >= self.plan.duration_s

    def targets(self, ahead_s: float) -> NDArray[np.float64]:
        """Targets of the 14 joints at a time after now [s], shape (14,) [rad; m]."""
        elapsed = self._world.snapshot.time_s - self._began_s
        if elapsed < self.plan.grasp_time_s - _REPLAN_LEAD_S and self._moved():
            row, speed = self.plan.sample(elapsed)[0], self.plan.velocity(elapsed)[0]
            self.plan = self._make_plan(row, speed)
            self._began_s = self._world.snapshot.time_s
            elapsed = 0.0
        return self.plan.sample(elapsed + ahead_s)[0]

    def _moved(self) -> bool:
        offset = self._world.ground_truth.object_pose[:3] - self.plan.object_pose[:3]
        return float(np.linalg.norm(offset)) > MOVED_M


def run_episode(
    world: World, expert: HandoverExpert, seed: int, variant: str, *, interpolate: bool = True
) -> EpisodeResult:
    """Runs one episode from the staged pose to the end of the plan or to failure.

    Args:
        world: no drivers may be attached.
        expert: makes the plans.
        seed: of the episode.
        variant: scenario.
        interpolate: between the rows, which come at ``ROW_RATE_HZ``; otherwise each row is held
            until the next.
    """
    world.reset(seed, variant)
    world.place_arms(STAGED)
    began_s = world.snapshot.time_s
    driver = ExpertDriver(world, expert)
    ticks = round(1.0 / (ROW_RATE_HZ * TICK_S))
    row = driver.targets(0.0)
    while not (driver.done or world.progress.failed or world.progress.success):
        following = driver.targets(1.0 / ROW_RATE_HZ)
        for tick in range(ticks):
            part = (tick + 1) / ticks if interpolate else 1.0
            _send(world, row + part * (following - row))
            world.step()
        row = following
    settle_until = world.snapshot.time_s + _SETTLE_S
    while world.snapshot.time_s < settle_until and not world.progress.success:
        world.step()
    progress = world.progress
    return EpisodeResult(
        seed=seed,
        variant=variant,
        success=progress.success,
        stage=progress.stage,
        reason=progress.reason,
        duration_s=world.snapshot.time_s - began_s,
        plans=driver.plans,
    )


def _send(world: World, targets: NDArray[np.float64]) -> None:
    world.command(0, targets[:7])
    world.command(1, targets[7:])
