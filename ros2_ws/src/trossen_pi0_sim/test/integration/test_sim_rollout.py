"""The expert drives the world without ROS and without wall clock."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from trossen_pi0_core.errors import BackendError
from trossen_pi0_sim.astray import go_astray
from trossen_pi0_sim.expert import STAGED, HandoverExpert
from trossen_pi0_sim.progress import Stage
from trossen_pi0_sim.rollout import (
    EpisodeResult,
    ExpertDriver,
    Sway,
    begin,
    expert_rows,
    run_episode,
)
from trossen_pi0_sim.tasks import VARIANTS, episode_rng
from trossen_pi0_sim.world import TICK_S, World


@pytest.fixture(scope="module")
def world() -> World:
    return World(visuals=False)


@pytest.fixture(scope="module")
def expert() -> HandoverExpert:
    return HandoverExpert()


@pytest.mark.parametrize("variant", VARIANTS)
def test_expert_hands_over(world: World, expert: HandoverExpert, variant: str) -> None:
    result = run_episode(world, expert, 0, variant)
    assert result.success, result
    assert result.stage == Stage.PLACED
    assert (result.plans > 1) == (variant == "disturbance")
    assert world.snapshot.object_pose[:2] == pytest.approx([0.0, 0.20], abs=0.03)
    np.testing.assert_allclose(world.snapshot.positions, STAGED, atol=0.02)


def test_an_episode_is_the_same_to_the_bit_on_a_used_world(expert: HandoverExpert) -> None:
    def values(world: World) -> NDArray[np.float64]:
        begin(world, 4, "disturbance")
        rows = expert_rows(world, expert, sway=Sway(episode_rng(4, 3), 0.012))
        return np.array([np.concatenate([row, world.snapshot.positions]) for row in rows])

    used = World(visuals=False)
    fresh = values(used)
    run_episode(used, expert, 7, "blue_brick")
    np.testing.assert_array_equal(values(used), fresh)


def mended(world: World, expert: HandoverExpert, seed: int, variant: str) -> EpisodeResult | None:
    """The episode after the wrong aim; None where that was no failed grasp."""
    begin(world, seed, variant)
    try:
        motion = go_astray(world, expert, episode_rng(seed, 4))
        rows = expert_rows(world, expert, motion=motion)
        first = next(rows)
    except BackendError:
        return None
    np.testing.assert_allclose(first, motion.positions, atol=1e-9)
    assert np.abs(first - STAGED).max() > 0.1
    while True:
        try:
            next(rows)
        except StopIteration as end:
            return end.value


def test_the_expert_mends_what_has_gone_astray(world: World, expert: HandoverExpert) -> None:
    results = [mended(world, expert, seed, "red_cube") for seed in range(6)]
    found = [result for result in results if result]
    assert len(found) >= 3
    assert all(result.success for result in found), found


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_how_often_it_mends(world: World, expert: HandoverExpert, variant: str) -> None:
    results = [mended(world, expert, seed, variant) for seed in range(60)]
    found = [result for result in results if result]
    assert len(found) >= 40
    assert sum(result.success for result in found) >= 0.95 * len(found)


def test_without_planning_anew_a_push_defeats_the_expert(
    world: World, expert: HandoverExpert, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trossen_pi0_sim.rollout.MOVED_M", 1.0)
    result = run_episode(world, expert, 0, "disturbance")
    assert not result.success
    assert result.plans == 1


def test_rows_held_instead_of_interpolated_do_not_lose_the_object(
    world: World, expert: HandoverExpert
) -> None:
    assert run_episode(world, expert, 1, "blue_brick", interpolate=False).success


def test_object_does_not_slip_in_the_hand(world: World, expert: HandoverExpert) -> None:
    begin(world, 0, "red_cube")
    began = world.snapshot.time_s
    driver = ExpertDriver(world, expert)
    site = world.model.site("right_grasp").id
    held: list[NDArray[np.float64]] = []
    while world.snapshot.time_s - began < driver.plan.trajectory.time_of("taken"):
        world.command_both(driver.targets(TICK_S))
        world.step()
        if world.snapshot.time_s - began > driver.plan.trajectory.time_of("grasped"):
            turned = world._data.site_xmat[site].reshape(3, 3)
            held.append(turned.T @ (world.snapshot.object_pose[:3] - world._data.site_xpos[site]))
    assert np.ptp(held, axis=0).max() < 0.003


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_success_rate(world: World, expert: HandoverExpert, variant: str) -> None:
    lost = [s for s in range(50) if not run_episode(world, expert, s, variant).success]
    assert len(lost) <= 1, lost
