"""Textures of looks, as the renderers show them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import mujoco
import numpy as np
import pytest

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_sim.expert import STAGED
from trossen_pi0_sim.looks import LookRanges, Looks
from trossen_pi0_sim.scene import CLUTTER, TABLE_GEOM, build_model
from trossen_pi0_sim.tasks import VARIANTS, episode_rng
from trossen_pi0_sim.textures import PATTERNS, picture
from trossen_pi0_sim.world import World

ONLY_TEXTURES = LookRanges(
    brightness=(1.0, 1.0),
    tint=0.0,
    lamp_rad=0.0,
    colour=0.0,
    object_colour=0.0,
    camera_m=0.0,
    camera_rad=0.0,
    fovy=0.0,
    clutter=0,
    plain=0.0,
    textured=1.0,
)
WALLS = ("wall_front", "wall_back", "wall_left", "wall_right")
TEXTURED = {TABLE_GEOM, *WALLS, "floor", *CLUTTER}


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    made = World()
    yield made
    made.close()


def seen(world: World, looks: Looks | None, seed: int) -> np.ndarray:
    """The pictures of all cameras at the start of an episode, shape (4, 48, 64, 3)."""
    world.reset(seed, "red_cube")
    world.place_arms(STAGED)
    if looks:
        looks.draw(episode_rng(seed, 2))
    return np.stack([world.render(camera, 64, 48).copy() for camera in CAMERAS]).astype(int)


def has_texture(world: World) -> set[str]:
    geoms = (world.model.geom(i) for i in range(world.model.ngeom))
    names = [world.model.material(i).name for i in range(world.model.nmat)]
    own = [i for i, name in enumerate(names) if name.split("_")[0] in ("table", "room", "things")]
    return {geom.name for geom in geoms if geom.matid[0] in own}


def test_live_renderers_show_textures_and_then_none(world: World) -> None:
    looks = Looks(world.model, ONLY_TEXTURES)
    own = seen(world, None, 7)
    views = [seen(world, looks, 7)]
    assert has_texture(world) == TEXTURED
    looks.restore()
    np.testing.assert_array_equal(seen(world, None, 7), own)
    assert not has_texture(world)
    for seed in (8, 9):
        views.append(seen(world, looks, seed))
        looks.restore()
    for one, other in ((own, views[0]), (views[0], views[1]), (views[1], views[2])):
        assert (np.abs(one - other).mean(axis=(1, 2, 3)) > 3).all()


def test_walls_that_are_turned_stay_where_they_are(world: World) -> None:
    spans = []
    for ranges in (replace(ONLY_TEXTURES, plain=1.0), ONLY_TEXTURES):
        looks, data = Looks(world.model, ranges), mujoco.MjData(world.model)
        looks.draw(episode_rng(0, 2))
        mujoco.mj_kinematics(world.model, data)
        turns = [data.geom(name).xmat.reshape(3, 3) for name in WALLS]
        sizes = [world.model.geom(name).size for name in WALLS]
        spans.append([np.abs(turn @ size) for turn, size in zip(turns, sizes, strict=True)])
        if ranges is ONLY_TEXTURES:
            assert all(size[2] == size.min() for size in sizes)
        looks.restore()
    np.testing.assert_allclose(spans[0], spans[1], atol=1e-9)


def test_a_seed_looks_the_same_in_any_world_after_any_other(world: World) -> None:
    ranges = replace(LookRanges(), plain=0.0, textured=0.8)
    looks = Looks(world.model, ranges)
    first = {seed: seen(world, looks, seed) for seed in (1, 2, 3)}
    fresh = World()
    try:
        others = Looks(fresh.model, ranges)
        for seed in (3, 1, 2, 1):
            np.testing.assert_array_equal(seen(fresh, others, seed), first[seed])
    finally:
        fresh.close()
        looks.restore()


def test_textures_change_nothing_else_of_a_look(world: World) -> None:
    drawn = []
    for plain in (1.0, 0.0):
        looks = Looks(world.model, LookRanges(plain=plain, textured=1.0))
        seen(world, looks, 4)
        model = world.model
        moved = {"pos": model.geom_pos, "rgba": model.geom_rgba, "rbound": model.geom_rbound}
        moved |= {"light": model.light_dir, "camera": model.cam_quat}
        drawn.append({name: value.copy() for name, value in moved.items()})
        looks.restore()
    for name, value in drawn[0].items():
        np.testing.assert_array_equal(value, drawn[1][name], err_msg=name)


def test_the_share_of_looks_and_surfaces(world: World) -> None:
    looks, found = Looks(world.model), []
    for seed in range(200):
        world.reset(seed, "red_cube")
        looks.draw(episode_rng(seed, 2))
        found.append(has_texture(world))
        assert found[-1] <= TEXTURED
    looks.restore()
    assert 0.3 < np.mean([not each for each in found]) < 0.5
    assert 0.2 < np.mean([TABLE_GEOM in each for each in found]) < 0.4


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_object_has_its_colour_and_no_texture(world: World, variant: str) -> None:
    looks = Looks(world.model, ONLY_TEXTURES)
    world.reset(3, variant)
    looks.draw(episode_rng(3, 2))
    found = world.model.geom("object")
    assert found.matid[0] == -1
    np.testing.assert_allclose(found.rgba, VARIANTS[variant].rgba, atol=1e-6)
    looks.restore()


def test_what_is_seen_is_texture_times_colour(world: World) -> None:
    looks = Looks(world.model, ONLY_TEXTURES)
    world.reset(3, "red_cube")
    world.place_arms(STAGED)
    looks.draw(episode_rng(3, 2))
    rgba = world.model.geom(TABLE_GEOM).rgba
    for colour in ((0.9, 0.0, 0.0), (0.0, 0.9, 0.0), (0.5, 0.5, 0.5)):
        rgba[:3] = colour
        near = world.render("cam_low", 64, 48)[-8:].reshape(-1, 3).astype(float)
        assert near.std() > 2
        dark = np.array(colour) == 0
        assert (near[:, dark] == 0).all()
        assert (near[:, ~dark].mean(axis=0) > 40).all()
    looks.restore()


def test_a_model_without_visuals_has_no_textures() -> None:
    model = build_model(visuals=False)
    assert model.ntex == 0
    with pytest.raises(ParameterError, match="the model has no textures for 'table'"):
        Looks(model)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_are_light_and_do_not_end(pattern: str) -> None:
    image = picture(pattern, 128).astype(float)
    assert image.shape == (128, 128, 3)
    assert image.mean() > 150
    assert image.std() > 4
    for side in (image, image.swapaxes(0, 1)):
        steps = np.abs(np.diff(np.concatenate([side, side[:1]]), axis=0)).mean(axis=(1, 2))
        assert steps[-1] <= 1.5 * steps[:-1].max()
