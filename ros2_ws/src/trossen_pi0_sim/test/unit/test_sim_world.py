"""The world: episodes, commands, repeatability."""

from __future__ import annotations

import numpy as np
import pytest

from trossen_pi0_core.errors import JointError, ParameterError
from trossen_pi0_sim.expert import STAGED
from trossen_pi0_sim.scene import OBJECT
from trossen_pi0_sim.tasks import find_variant, start_pose
from trossen_pi0_sim.world import TICK_S, World

WAVE = STAGED + 0.2 * np.sin(np.arange(14))
WAVE[[6, 13]] = 0.03


@pytest.fixture
def world() -> World:
    world = World(seed=3, visuals=False)
    world.place_arms(STAGED)
    return world


def drive(world: World) -> None:
    """Some motion of both arms."""
    for part in np.linspace(0.0, 1.0, 60):
        targets = STAGED + part * (WAVE - STAGED)
        world.command(0, targets[:7])
        world.command(1, targets[7:])
        world.step(2)


def test_commanded_arms_get_there(world: World) -> None:
    drive(world)
    snapshot = world.step(300)
    np.testing.assert_allclose(snapshot.positions, WAVE, atol=0.02)
    np.testing.assert_allclose(snapshot.velocities, 0.0, atol=0.01)


def test_each_arm_takes_its_own_commands(world: World) -> None:
    world.command(1, WAVE[7:])
    snapshot = world.step(300)
    np.testing.assert_allclose(snapshot.positions[:7], STAGED[:7], atol=0.01)
    np.testing.assert_allclose(snapshot.positions[7:], WAVE[7:], atol=0.02)


def test_time_of_ticks(world: World) -> None:
    before = world.snapshot.time_s
    assert world.step(30).time_s - before == pytest.approx(0.1)
    assert pytest.approx(1 / 300) == TICK_S


def test_an_arm_told_to_stop_stays_where_it_is(world: World) -> None:
    world.command(0, WAVE[:7])
    world.step(20)
    stopped = world.snapshot.positions[:7]
    world.command(0, None)
    np.testing.assert_allclose(world.step(300).positions[:7], stopped, atol=0.05)


def test_reset_moves_the_object_and_leaves_the_arms(world: World) -> None:
    drive(world)
    before = world.snapshot.positions
    world.reset(11, "blue_brick")
    np.testing.assert_array_equal(world.snapshot.positions, before)
    expected = start_pose(11, find_variant("blue_brick"))
    np.testing.assert_array_equal(world.snapshot.object_pose, expected)
    truth = world.ground_truth
    assert (truth.variant, truth.seed) == ("blue_brick", 11)
    assert truth.object_half_size == (0.030, 0.016, 0.018)
    world.step(100)
    np.testing.assert_allclose(world.snapshot.object_pose[:3], expected[:3], atol=1e-3)


def test_refused_reset_changes_nothing(world: World) -> None:
    truth = world.ground_truth
    with pytest.raises(ParameterError, match="'green_ball' is not one of"):
        world.reset(4, "green_ball")
    with pytest.raises(ParameterError, match="seed: -4"):
        world.reset(-4, "blue_brick")
    assert (world.ground_truth.variant, world.ground_truth.seed) == (truth.variant, truth.seed)
    np.testing.assert_array_equal(world.ground_truth.object_pose, truth.object_pose)


@pytest.mark.parametrize(
    "bad", [[0.0] * 6, [float("nan")] * 7, [float("inf")] * 7], ids=["short", "nan", "infinite"]
)
def test_bad_commands_are_refused(world: World, bad: list[float]) -> None:
    with pytest.raises(JointError, match="need 7 finite joint positions, got"):
        world.command(0, bad)


def test_object_of_a_variant_is_physical(world: World) -> None:
    world.reset(0, "blue_brick")
    body, geom = world.model.body(OBJECT), world.model.geom(OBJECT)
    assert body.mass[0] == 0.040
    # m/3 (b^2 + c^2) of the half edges 0.030, 0.016 and 0.018 m
    np.testing.assert_allclose(body.inertia, [7.7333e-6, 1.632e-5, 1.5413e-5], rtol=1e-4)
    np.testing.assert_array_equal(geom.size, [0.030, 0.016, 0.018])


def hash_after_motion(world: World, seed: int, variant: str) -> str:
    world.reset(seed, variant)
    world.place_arms(STAGED)
    drive(world)
    return world.state_hash()


def test_state_repeats_exactly(world: World) -> None:
    first = hash_after_motion(world, 5, "wooden_block")
    hash_after_motion(world, 6, "blue_brick")
    assert hash_after_motion(world, 5, "wooden_block") == first
    fresh = World(seed=1, variant="blue_brick", visuals=False)
    assert hash_after_motion(fresh, 5, "wooden_block") == first
    assert hash_after_motion(fresh, 6, "wooden_block") != first


def test_meshes_and_room_do_not_change_the_physics(world: World) -> None:
    assert hash_after_motion(World(), 5, "red_cube") == hash_after_motion(world, 5, "red_cube")


def test_objects_that_fall_off_the_table_fail_the_task(world: World) -> None:
    world._data.qpos[world._object_qpos][:3] = [0.5, 0.0, 0.1]
    for _ in range(60):
        world.step(5)
    assert world.progress.failed
    assert world.progress.reason == "the object fell off the table"
