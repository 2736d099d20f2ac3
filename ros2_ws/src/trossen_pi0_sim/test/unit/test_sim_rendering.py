"""Pictures of the four cameras."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import mujoco
import numpy as np
import pytest
from numpy.typing import NDArray

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_sim.cameras import intrinsics
from trossen_pi0_sim.expert import STAGED
from trossen_pi0_sim.world import World


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World(seed=1)
    world.place_arms(STAGED)
    yield world
    world.close()


def reddish(picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    red, green, blue = np.moveaxis(picture.astype(int), 2, 0)
    return (red > 100) & (green < red // 3) & (blue < red // 3)


@pytest.mark.parametrize("camera", CAMERAS)
def test_pictures_show_dark_arms_before_a_light_room(world: World, camera: str) -> None:
    picture = world.render(camera, 320, 240)
    assert picture.shape == (240, 320, 3)
    assert picture.dtype == np.uint8
    brightness = picture.mean(axis=2)
    assert (brightness < 1).mean() < 0.001
    assert 0.02 < (brightness < 60).mean() < 0.6
    assert (brightness > 100).mean() > 0.35


@pytest.mark.parametrize("camera", ["cam_high", "cam_low"])
def test_cube_is_where_the_intrinsics_say(world: World, camera: str) -> None:
    width, height = 640, 480
    rows, columns = np.nonzero(reddish(world.render(camera, width, height)))
    assert len(rows) > 50
    model, data = world.model, world._data
    eye, axes = data.camera(camera).xpos, data.camera(camera).xmat.reshape(3, 3)
    x, y, z = axes.T @ (world.snapshot.object_pose[:3] - eye)
    # MuJoCo's cameras look along -z with y up, optical frames along z with y down.
    u, v, w = intrinsics(model, camera, width, height).matrix @ [x, -y, -z]
    assert np.median(columns) == pytest.approx(u / w, abs=4)
    assert np.median(rows) == pytest.approx(v / w, abs=4)


def test_wrist_camera_sees_the_cube_between_the_fingers(world: World) -> None:
    other = World(seed=1)
    other.place_arms(STAGED)
    site = other._data.site_xpos[other._grasp_sites[1]]
    other._data.qpos[other._object_qpos][:3] = site
    mujoco.mj_forward(other.model, other._data)
    seen = {camera: reddish(other.render(camera, 160, 120)).mean() for camera in CAMERAS}
    other.close()
    assert seen["cam_right_wrist"] > 0.01
    assert seen["cam_right_wrist"] > 3 * seen["cam_left_wrist"]


def test_colour_of_the_object_follows_the_variant(world: World) -> None:
    world.reset(1, "blue_brick")
    picture = world.render("cam_high").astype(int)
    world.reset(1, "red_cube")
    assert not reddish(picture.astype(np.uint8)).any()
    assert ((picture[..., 2] > 80) & (picture[..., 0] < 40)).sum() > 50


def test_nothing_is_drawn_that_is_not_there(world: World) -> None:
    before = {camera: world.render(camera, 160, 120) for camera in CAMERAS}
    world.model.site_rgba[:] = [0.0, 1.0, 0.0, 1.0]
    for camera, picture in before.items():
        np.testing.assert_array_equal(world.render(camera, 160, 120), picture)


def test_pixels_repeat_exactly(world: World) -> None:
    def digest() -> str:
        return hashlib.sha256(world.render("cam_high").tobytes()).hexdigest()

    first = digest()
    world.render("cam_low")
    assert digest() == first


def test_unknown_camera_names_the_known_ones(world: World) -> None:
    with pytest.raises(ParameterError, match=r"'cam_top' is not one of .*'cam_high'"):
        world.render("cam_top")
