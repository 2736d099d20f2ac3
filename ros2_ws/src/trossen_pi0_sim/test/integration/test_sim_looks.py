"""Other looks of the same world, and commands that are pushed off the plan."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import mujoco
import numpy as np
import pytest

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_sim.expert import STAGED, HandoverExpert
from trossen_pi0_sim.looks import LookRanges, Looks
from trossen_pi0_sim.rollout import EpisodeResult, Sway, expert_rows
from trossen_pi0_sim.scene import CLUTTER
from trossen_pi0_sim.tasks import GOAL_HALF_SIZE, GOAL_XY, VARIANTS, episode_rng
from trossen_pi0_sim.world import World


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


@pytest.fixture
def looks(world: World) -> Iterator[Looks]:
    made = Looks(world.model)
    yield made
    made.restore()


def begin(world: World, variant: str = "red_cube") -> None:
    world.reset(3, variant)
    world.place_arms(STAGED)


def pictures(world: World) -> dict[str, np.ndarray]:
    return {camera: world.render(camera, 64, 48).copy() for camera in CAMERAS}


def followed(
    rows: Generator[np.ndarray, None, EpisodeResult], ended: list[EpisodeResult]
) -> Iterator[np.ndarray]:
    ended.append((yield from rows))


def test_every_camera_sees_another_look_and_then_the_old_one(world: World, looks: Looks) -> None:
    begin(world)
    own = pictures(world)
    looks.draw(episode_rng(0, 2))
    first = pictures(world)
    looks.draw(episode_rng(1, 2))
    second = pictures(world)
    for camera in CAMERAS:
        for one, other in ((own, first), (first, second)):
            assert np.abs(one[camera].astype(int) - other[camera]).mean() > 3, camera
    looks.draw(episode_rng(0, 2))
    again = pictures(world)
    looks.restore()
    back = pictures(world)
    for camera in CAMERAS:
        np.testing.assert_array_equal(again[camera], first[camera])
        np.testing.assert_array_equal(back[camera], own[camera])


def test_the_object_stays_what_it_is_called(world: World, looks: Looks) -> None:
    for variant in ("red_cube", "blue_brick", "wooden_block"):
        for seed in range(20):
            begin(world, variant)
            looks.draw(episode_rng(seed, 2))
            found, wanted = world.model.geom("object"), VARIANTS[variant]
            assert np.abs(found.rgba[:3] - wanted.rgba[:3]).max() < 0.2
            np.testing.assert_array_equal(found.size, wanted.half_size)


def test_nothing_moves_otherwise(world: World, looks: Looks) -> None:
    hashes = []
    for drawn in (False, True):
        begin(world)
        if drawn:
            looks.draw(episode_rng(5, 2))
        world.step(30)
        hashes.append(world.state_hash())
    assert hashes[0] == hashes[1]


def test_clutter_lies_on_the_table_and_out_of_the_way(world: World) -> None:
    looks = Looks(world.model, LookRanges(clutter=len(CLUTTER)))
    lying = 0
    for seed in range(30):
        begin(world)
        looks.draw(episode_rng(seed, 2))
        for name in CLUTTER:
            geom = world.model.geom(name)
            assert geom.contype[0] == geom.conaffinity[0] == 0
            if geom.pos[2] > 0:
                lying += 1
                away = np.hypot(*(geom.pos[:2] - world.ground_truth.object_pose[:2]))
                assert away > 0.05
                assert np.hypot(*(geom.pos[:2] - GOAL_XY)) > GOAL_HALF_SIZE
                assert 0.03 < geom.pos[2] < 0.06
                mujoco.mj_forward(world.model, world._data)
                turned = np.zeros(9)
                mujoco.mju_quat2Mat(turned, geom.quat)
                np.testing.assert_allclose(world._data.geom_xmat[geom.id], turned, atol=1e-9)
    looks.restore()
    assert 20 < lying < 30 * len(CLUTTER)


def test_a_swayed_expert_succeeds_off_its_plan(world: World) -> None:
    expert = HandoverExpert()
    states, actions = {}, {}
    for size in (0.0, 0.012):
        begin(world)
        sway = Sway(episode_rng(3, 3), size) if size else None
        ended: list[EpisodeResult] = []
        seen, told = [], []
        for row in followed(expert_rows(world, expert, sway=sway), ended):
            told.append(row)
            seen.append(world.snapshot.positions)
        assert ended[0].success
        states[size], actions[size] = np.array(seen), np.array(told)
    n = min(map(len, actions.values()))
    arm_joints = [i for i in range(14) if i % 7 != 6]
    np.testing.assert_allclose(actions[0.0][:n], actions[0.012][:n], atol=1e-9)
    apart = np.abs(states[0.0][:n] - states[0.012][:n])[:, arm_joints]
    assert 0.003 < apart.mean() < 0.03
