"""Other looks of the same world, for policies that shall not depend on one (domain randomisation,
arXiv 1703.06907): light, colours, cameras, things that lie about and textures.
"""

from __future__ import annotations

import colorsys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_sim.scene import CLUTTER, OBJECT, OUT_OF_SIGHT, TABLE_GEOM
from trossen_pi0_sim.tasks import (
    GOAL_HALF_SIZE,
    GOAL_XY,
    START_X,
    START_Y,
    TABLE_HALF_SIZE,
    TABLE_TOP_Z,
)
from trossen_pi0_sim.textures import THINGS, TILES_M, material_ids

_WALLS = ("wall_front", "wall_back", "wall_left", "wall_right")
_ROOM = (*_WALLS, "floor", "ceiling")
_LAMP = "lamp"
_CLUTTER_HALF_M = (0.012, 0.035)
"""Half sizes of what lies about [m]."""

_OF_GEOMS = (
    "geom_rgba",
    "geom_pos",
    "geom_quat",
    "geom_size",
    "geom_rbound",
    "geom_matid",
    "geom_sameframe",
)
"""What a look changes of geoms; of the object's they are its scenario's."""

_OF_LIGHTS_AND_CAMERAS = ("light_dir", "light_diffuse", "cam_pos", "cam_quat", "cam_fovy")

_CLEAR_M = 0.07
"""So far clutter lies from where the object starts and ends [m]."""


@dataclass(frozen=True)
class LookRanges:
    """How far looks differ from the model's own.

    Attributes:
        brightness: factor of all light, from and to.
        tint: of the light, each of its colours by at most this part.
        lamp_rad: the lamp's direction turns by so much, standard deviation [rad].
        colour: hue [turns], saturation and value of room, table and goal change by at most this.
        object_colour: likewise of the object, which is known by its colour.
        camera_m: a camera moves by so much along each axis, standard deviation [m].
        camera_rad: and turns about each axis [rad].
        fovy: and sees a wider or narrower field by at most this part.
        clutter: most things that lie about; the model has ``len(scene.CLUTTER)``.
        plain: share of looks in which nothing has a texture.
        textured: in the others, share of surfaces that have one: the table, the walls together, the
            floor, and each thing that lies about. Ceiling, goal and object never have.
    """

    brightness: tuple[float, float] = (0.65, 1.3)
    tint: float = 0.08
    lamp_rad: float = 0.25
    colour: float = 0.12
    object_colour: float = 0.03
    camera_m: float = 0.004
    camera_rad: float = 0.012
    fovy: float = 0.015
    clutter: int = 4
    plain: float = 0.4
    textured: float = 0.5


class Looks:
    """Changes how a compiled model looks, never how it moves. Its renderers stay valid."""

    def __init__(self, model: mujoco.MjModel, ranges: LookRanges | None = None) -> None:
        """Args:
        model: made with visuals, looking as it was built.
        ranges: how far looks differ.
        """
        self._model = model
        self._ranges = ranges or LookRanges()
        self._own = {
            name: getattr(model, name).copy() for name in (*_OF_GEOMS, *_OF_LIGHTS_AND_CAMERAS)
        }
        headlight = model.vis.headlight
        self._headlight = headlight.ambient.copy(), headlight.diffuse.copy()
        self._materials = {name: material_ids(model, name) for name in (*TILES_M, THINGS)}
        self._object = model.geom(OBJECT).id
        self._undrawn = self._drawn = model.geom_rgba[self._object].copy()

    def restore(self) -> None:
        """The model's own look, and the object's in its scenario."""
        rgba = self._model.geom_rgba[self._object]
        if np.array_equal(rgba, self._drawn):  # else a reset has given it another since
            rgba[:] = self._undrawn
        kept = {name: getattr(self._model, name)[self._object].copy() for name in _OF_GEOMS}
        for name, value in self._own.items():
            getattr(self._model, name)[:] = value
        for name, value in kept.items():
            getattr(self._model, name)[self._object] = value
        headlight = self._model.vis.headlight
        headlight.ambient[:], headlight.diffuse[:] = self._headlight

    def draw(self, rng: np.random.Generator) -> None:
        """A look of equal chance within the ranges, from the model's own and the object's colour.

        Call it after the world was reset, which gives the object the colour of its scenario.
        """
        self.restore()
        self._undrawn = self._model.geom_rgba[self._object].copy()
        self._light(rng)
        self._colours(rng)
        self._drawn = self._model.geom_rgba[self._object].copy()
        self._cameras(rng)
        self._clutter(rng)
        self._textures(rng)

    def _light(self, rng: np.random.Generator) -> None:
        model, ranges = self._model, self._ranges
        tint = 1.0 + rng.uniform(-ranges.tint, ranges.tint, 3)
        headlight = model.vis.headlight
        for part in (headlight.ambient, headlight.diffuse, model.light(_LAMP).diffuse):
            part[:] = np.clip(part * tint * rng.uniform(*ranges.brightness), 0.0, 1.0)
        direction = model.light(_LAMP).dir
        turned = direction + np.linalg.norm(direction) * rng.normal(0.0, ranges.lamp_rad, 3)
        direction[:] = turned / np.linalg.norm(turned)

    def _colours(self, rng: np.random.Generator) -> None:
        for name in (*_ROOM, TABLE_GEOM, "goal_patch"):
            _recolour(self._model.geom(name).rgba, self._ranges.colour, rng)
        _recolour(self._model.geom_rgba[self._object], self._ranges.object_colour, rng)

    def _cameras(self, rng: np.random.Generator) -> None:
        model, ranges = self._model, self._ranges
        for name in CAMERAS:
            at = model.camera(name).id
            model.cam_pos[at] += rng.normal(0.0, ranges.camera_m, 3)
            turn, turned = np.zeros(4), np.zeros(4)
            vector = rng.normal(0.0, ranges.camera_rad, 3)
            angle = float(np.linalg.norm(vector))
            mujoco.mju_axisAngle2Quat(turn, vector / angle if angle else vector, angle)
            mujoco.mju_mulQuat(turned, model.cam_quat[at], turn)
            model.cam_quat[at] = turned
            model.cam_fovy[at] *= 1.0 + rng.uniform(-ranges.fovy, ranges.fovy)

    def _clutter(self, rng: np.random.Generator) -> None:
        count = int(rng.integers(0, self._ranges.clutter + 1))
        places = _free_places(rng)
        for i, name in enumerate(CLUTTER):
            geom = self._model.geom(name)
            if i >= count:
                geom.pos[:] = OUT_OF_SIGHT
                continue
            geom.size[:] = rng.uniform(*_CLUTTER_HALF_M, 3)
            geom.rbound[:] = np.linalg.norm(geom.size)
            yaw = rng.uniform(0.0, np.pi)
            geom.quat[:] = [np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)]
            geom.sameframe[:] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE  # else the turn is not heeded
            geom.pos[:] = [*next(places), TABLE_TOP_Z + _height(geom)]
            geom.rgba[:3] = self._other_colour(rng)

    def _textures(self, rng: np.random.Generator) -> None:
        if rng.uniform() < self._ranges.plain:
            return
        surfaces = [((TABLE_GEOM,), "table"), (_WALLS, "room"), (("floor",), "room")]
        surfaces += [((name,), THINGS) for name in CLUTTER]
        for names, surface in surfaces:
            if rng.uniform() < self._ranges.textured:
                material = rng.choice(self._materials[surface])
                for name in names:
                    self._model.geom(name).matid[:] = material
                if names == _WALLS:
                    self._turn_walls()

    def _turn_walls(self) -> None:
        """Turns their z axis, along which flat textures are laid on, into the normal; each stays
        the same box in the same place.
        """
        for name in _WALLS:
            geom = self._model.geom(name)
            normal = int(np.argmin(geom.size[:2]))
            geom.quat[:] = _Z_TO_X if normal == 0 else _Z_TO_Y
            geom.size[:] = geom.size[[1, 2, 0] if normal == 0 else [0, 2, 1]]
            geom.sameframe[:] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE  # else the turn is not heeded

    def _other_colour(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """A colour that is not the object's."""
        mine = colorsys.rgb_to_hsv(*self._model.geom_rgba[self._object][:3])[0]
        hue = (mine + rng.uniform(0.15, 0.85)) % 1.0
        return np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.2, 1.0), rng.uniform(0.2, 0.95)))


_SQRT_HALF = 0.5**0.5
_Z_TO_X = (0.5, 0.5, 0.5, 0.5)
_Z_TO_Y = (_SQRT_HALF, -_SQRT_HALF, 0.0, 0.0)
"""Turns after which x is level and y upright."""

_HALF_HEIGHT = {mujoco.mjtGeom.mjGEOM_SPHERE: 0, mujoco.mjtGeom.mjGEOM_CYLINDER: 1}
"""Which of a geom's sizes is its half height; of others the third."""


def _height(geom: Any) -> float:
    """Of a geom's centre above what it lies on [m]."""
    return float(geom.size[_HALF_HEIGHT.get(mujoco.mjtGeom(int(geom.type[0])), 2)])


def _free_places(rng: np.random.Generator) -> Iterator[tuple[float, float]]:
    """Places on the table, away from where the object starts and ends [m]."""
    half = np.array(TABLE_HALF_SIZE) - 0.06
    while True:
        x, y = rng.uniform(-half, half)
        start = START_X[0] - _CLEAR_M < x < START_X[1] + _CLEAR_M
        start = start and START_Y[0] - _CLEAR_M < y < START_Y[1] + _CLEAR_M
        goal = np.hypot(x - GOAL_XY[0], y - GOAL_XY[1]) < GOAL_HALF_SIZE + _CLEAR_M
        if not start and not goal:
            yield float(x), float(y)


def _recolour(rgba: NDArray[np.float64], amount: float, rng: np.random.Generator) -> None:
    hue, saturation, value = colorsys.rgb_to_hsv(*(float(part) for part in rgba[:3]))
    shift = rng.uniform(-amount, amount, 3)
    hue = (hue + shift[0]) % 1.0
    saturation, value = np.clip([saturation + shift[1], value + shift[2]], 0.0, 1.0)
    rgba[:3] = colorsys.hsv_to_rgb(hue, float(saturation), float(value))
