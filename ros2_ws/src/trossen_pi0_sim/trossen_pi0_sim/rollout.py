"""Runs episodes of the scripted expert in the world, without ROS and without wall clock."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.joints import JOINTS_PER_ARM
from trossen_pi0_sim.astray import Motion
from trossen_pi0_sim.expert import STAGED, HandoverExpert, Plan
from trossen_pi0_sim.progress import Stage
from trossen_pi0_sim.world import TICK_S, World

ROW_RATE_HZ = 30.0
"""Rate of a policy's rows [Hz]."""

MOVED_M = 0.005
"""The object is looked at again when it has moved further than this before the grasp [m]."""

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

    def __init__(self, world: World, expert: HandoverExpert, motion: Motion | None = None) -> None:
        """Plans from where the arms are.

        Args:
            world: an episode that is under way.
            expert: makes the plans.
            motion: how the arms move; None: they stand still.

        Raises:
            BackendError: the object cannot be reached or held.
        """
        self._world = world
        self._expert = expert
        self.plans = 0
        self.plan = (
            self._make_plan(motion.positions, motion.velocities)
            if motion
            else self._make_plan(world.snapshot.positions, None)
        )
        self._began_s = world.episode_s

    def _make_plan(
        self, joints: NDArray[np.float64], velocities: NDArray[np.float64] | None
    ) -> Plan:
        self.plans += 1
        truth = self._world.ground_truth
        return self._expert.plan(joints, truth.object_pose, truth.object_half_size, velocities)

    @property
    def done(self) -> bool:
        """The plan has ended."""
        return self._world.episode_s - self._began_s >= self.plan.duration_s

    def passed(self, label: str) -> bool:
        """The plan's way point of that label lies behind."""
        elapsed = self._world.episode_s - self._began_s
        return elapsed >= self.plan.trajectory.time_of(label)

    def targets(self, ahead_s: float) -> NDArray[np.float64]:
        """Targets of the 14 joints at a time after now [s], shape (14,) [rad; m]."""
        elapsed = self._world.episode_s - self._began_s
        if elapsed < self.plan.grasp_time_s - _REPLAN_LEAD_S and self._moved():
            row, speed = self.plan.sample(elapsed)[0], self.plan.velocity(elapsed)[0]
            self.plan = self._make_plan(row, speed)
            self._began_s = self._world.episode_s
            elapsed = 0.0
        return self.plan.sample(elapsed + ahead_s)[0]

    def _moved(self) -> bool:
        offset = self._world.ground_truth.object_pose[:3] - self.plan.object_pose[:3]
        return float(np.linalg.norm(offset)) > MOVED_M


class Sway:
    """A slow random offset of the commands, so that a recorded expert is seen correcting itself
    (DART, arXiv 1703.09327): the state is off the plan, the recorded action is the plan's.

    An Ornstein-Uhlenbeck process for each joint; the grippers' carriages are left alone, since
    an object would slip.
    """

    def __init__(self, rng: np.random.Generator, size_rad: float, period_s: float = 0.6) -> None:
        """Args:
        rng: of the episode.
        size_rad: standard deviation of a joint's offset [rad].
        period_s: the offset forgets itself in this time [s].
        """
        self._rng = rng
        self._size = np.full(2 * JOINTS_PER_ARM, size_rad)
        self._size[JOINTS_PER_ARM - 1 :: JOINTS_PER_ARM] = 0.0
        self._keep = float(np.exp(-1.0 / (period_s * ROW_RATE_HZ)))
        self._offset = np.zeros(2 * JOINTS_PER_ARM)

    def next(self) -> NDArray[np.float64]:
        """The offset at the next row, shape (14,) [rad; m for carriages]."""
        fresh = self._rng.normal(size=len(self._size)) * self._size
        self._offset = self._keep * self._offset + np.sqrt(1 - self._keep**2) * fresh
        return self._offset


def begin(world: World, seed: int, variant: str) -> None:
    """Begins an episode with both arms staged; no drivers may be attached.

    Args:
        world: to reset.
        seed: of the episode.
        variant: scenario.
    """
    world.reset(seed, variant)
    world.place_arms(STAGED)


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
    begin(world, seed, variant)
    rows = expert_rows(world, expert, interpolate=interpolate)
    while True:
        try:
            next(rows)
        except StopIteration as end:
            return end.value


def expert_rows(
    world: World,
    expert: HandoverExpert,
    *,
    interpolate: bool = True,
    sway: Sway | None = None,
    motion: Motion | None = None,
    until: str = "",
) -> Generator[NDArray[np.float64], None, EpisodeResult]:
    """Runs an episode from where the arms are to the end of the plan or to failure, row by row.

    Yields the expert's targets, shape (14,) [rad; m for carriages], at the moment they are due and
    before the world goes on, so that state and pictures of that moment can be taken; returns how it
    ended.

    Args:
        world: no drivers may be attached; ``begin`` has begun the episode.
        expert: makes the plans.
        interpolate: see ``run_episode``.
        sway: added to what the arms are told, not to what is yielded.
        motion: of the arms, where they do not stand still.
        until: label of the plan's way point where it ends; empty: at the plan's end.

    Raises:
        BackendError: the object cannot be reached or held.
    """
    began_s = world.episode_s
    driver = ExpertDriver(world, expert, motion)
    ticks = round(1.0 / (ROW_RATE_HZ * TICK_S))
    row = driver.targets(0.0)
    sent = row
    while not (driver.passed(until) if until else driver.done) and not world.progress.failed:
        yield row
        row = driver.targets(1.0 / ROW_RATE_HZ)
        following = row + sway.next() if sway else row
        for tick in range(ticks):
            part = (tick + 1) / ticks if interpolate else 1.0
            world.command_both(sent + part * (following - sent))
            world.step()
        sent = following
    progress = world.progress
    return EpisodeResult(
        seed=world.seed,
        variant=world.variant.name,
        success=progress.success,
        stage=progress.stage,
        reason=progress.reason,
        duration_s=world.episode_s - began_s,
        plans=driver.plans,
    )
