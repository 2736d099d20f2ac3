"""A picture of the kit from outside, as a person would stand before it, with lines in space."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from trossen_pi0_core.joints import JOINTS_PER_ARM
from trossen_pi0_sim.rendering import RenderError
from trossen_pi0_sim.scene import ARMS, JOINT_NAMES, OBJECT, build_model, set_variant
from trossen_pi0_sim.tasks import find_variant
from trossen_pi0_sim.world import checked_positions

Array = NDArray[np.float64]

_FINER = 2  # rendered so many times as large and reduced: smooth edges without the GPU's help
_MOST_SEGMENTS = 4000
_SHINES_THROUGH = 0.45  # of the lines behind the arms
_SHADOW_SIZE = 4096

# Over the table's front edge, a little from the right, towards the camera gantry.
_LOOKS_AT = (0.0, 0.0, 0.13)
_DISTANCE_M, _AZIMUTH_DEG, _ELEVATION_DEG, _FOVY_DEG = 1.42, 165.0, -30.0, 38.0

_IN_THE_LIGHT = ("wall_front", "wall_left", "wall_right", "ceiling")
"""Parts of the room that would shade the table or cut the picture; the rest is made larger."""

_ROOM_HALF_M = 8.0
_ARM_BRIGHTNESS = 2.0  # the arms are black: shapes and paths before them would not be seen
_LIGHT_DIRECTION = (-0.35, 0.25, -1.0)


@dataclass(frozen=True)
class Tube:
    """A round line through points, or one between each two of them.

    Attributes:
        points: shape (n, 3), world frame [m].
        rgba: colour, each 0..1.
        radius: [m].
        pairs: points 0 and 1 are joined, 2 and 3, and so on.
    """

    points: Array
    rgba: tuple[float, float, float, float]
    radius: float
    pairs: bool = False


class OverviewRenderer:
    """Renders the kit with shadows. Not for pictures in real time: one takes some seconds.

    All calls must come from the thread that made it, since an OpenGL context belongs to a thread.
    """

    def __init__(self, width: int = 1280, height: int = 720) -> None:
        """Makes a model and an OpenGL context of its own.

        Args:
            width: of the pictures [pixels].
            height: of the pictures [pixels].

        Raises:
            RenderError: there is no OpenGL.
        """
        self._size = (width, height)
        self._model = model = build_model()
        visual = model.vis
        visual.global_.offwidth, visual.global_.offheight = _FINER * width, _FINER * height
        visual.global_.fovy = _FOVY_DEG
        visual.quality.shadowsize = _SHADOW_SIZE
        visual.quality.offsamples = 4
        _set_light(model)
        model.stat.center[:] = _LOOKS_AT
        self._arm_materials = _arm_materials(model)
        self._data = mujoco.MjData(model)
        try:
            self._renderer = mujoco.Renderer(
                model, _FINER * height, _FINER * width, max_geom=model.ngeom + _MOST_SEGMENTS
            )
        except Exception as error:
            raise RenderError(
                f"no OpenGL context for {width}x{height} pictures: {error}"
            ) from error
        self._shown = mujoco.MjvOption()
        self._shown.sitegroup[:] = 0
        self._camera = mujoco.MjvCamera()
        self._camera.lookat[:] = _LOOKS_AT
        self._camera.distance = _DISTANCE_M
        self._camera.azimuth, self._camera.elevation = _AZIMUTH_DEG, _ELEVATION_DEG

    def render(
        self,
        joints: ArrayLike,
        object_pose: ArrayLike | None = None,
        variant: str = "red_cube",
        tubes: Iterable[Tube] = (),
    ) -> NDArray[np.uint8]:
        """One picture, uint8 RGB of shape (height, width, 3).

        Args:
            joints: positions of both arms, shape (14,) [rad; m for carriages].
            object_pose: position [m] and quaternion, w first, shape (7,); None: out of sight.
            variant: of the task, whose object is shown.
            tubes: lines to draw.

        Raises:
            JointError: wrong count, or values that are not finite.
            ParameterError: unknown variant.
        """
        set_variant(self._model, find_variant(variant))
        self._place(checked_positions(joints, len(JOINT_NAMES)), object_pose)
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        lines = list(tubes)
        picture = self._shot(lines, arms=True)
        if lines:
            bare, drawn = self._shot([], arms=False), self._shot(lines, arms=False)
            hidden = (drawn != bare).any(axis=2) & (drawn != picture).any(axis=2)
            mixed = picture[hidden] * (1.0 - _SHINES_THROUGH) + drawn[hidden] * _SHINES_THROUGH
            picture[hidden] = mixed.astype(np.uint8)
        return cv2.resize(picture, self._size, interpolation=cv2.INTER_AREA).astype(np.uint8)

    def _shot(self, tubes: Sequence[Tube], *, arms: bool) -> NDArray[np.uint8]:
        """The present state, larger than asked for."""
        for material in self._arm_materials:
            self._model.mat_rgba[material, 3] = float(arms)
        self._renderer.update_scene(self._data, self._camera, self._shown)
        scene = self._renderer.scene
        scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 1
        scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        for tube in tubes:
            _add_tube(scene, tube)
        return self._renderer.render().copy()

    def close(self) -> None:
        """Frees the OpenGL context."""
        self._renderer.close()

    def _place(self, joints: Array, object_pose: ArrayLike | None) -> None:
        qpos = self._data.qpos
        for name, position in zip(JOINT_NAMES, joints, strict=True):
            qpos[self._model.joint(name).qposadr[0]] = position
        for arm, carriage in zip(ARMS, joints[JOINTS_PER_ARM - 1 :: JOINTS_PER_ARM], strict=True):
            qpos[self._model.joint(f"{arm.prefix}right_carriage_joint").qposadr[0]] = carriage
        start = self._model.joint(OBJECT).qposadr[0]
        away = (0.0, 0.0, -5.0, 1.0, 0.0, 0.0, 0.0)
        qpos[start : start + 7] = away if object_pose is None else object_pose


def _set_light(model: mujoco.MjModel) -> None:
    model.light_castshadow[:] = 1
    model.light_dir[:] = np.array(_LIGHT_DIRECTION) / np.linalg.norm(_LIGHT_DIRECTION)
    model.light_diffuse[:] = 0.55
    model.vis.headlight.ambient[:] = 0.45
    for name in _IN_THE_LIGHT:
        model.geom(name).rgba[3] = 0.0
    for name, axes in (("wall_back", (1, 2)), ("floor", (0, 1))):
        model.geom(name).size[list(axes)] = _ROOM_HALF_M
    for material in _arm_materials(model):
        model.mat_rgba[material, :3] *= _ARM_BRIGHTNESS


def _arm_materials(model: mujoco.MjModel) -> list[int]:
    return [i for i in range(model.nmat) if "trossen_black" in model.mat(i).name]


def _add_tube(scene: mujoco.MjvScene, tube: Tube) -> None:
    step = 2 if tube.pairs else 1
    ends: Sequence[tuple[Array, Array]] = list(
        zip(tube.points[:-1:step], tube.points[1::step], strict=False)
    )
    for begin, end in ends[: scene.maxgeom - scene.ngeom]:
        geom = scene.geoms[scene.ngeom]
        mujoco.mjv_initGeom(
            geom,
            mujoco.mjtGeom.mjGEOM_CAPSULE,
            np.zeros(3),
            np.zeros(3),
            np.eye(3).ravel(),
            np.array(tube.rgba, dtype=np.float32),
        )
        mujoco.mjv_connector(geom, mujoco.mjtGeom.mjGEOM_CAPSULE, tube.radius, begin, end)
        geom.emission = 0.6
        scene.ngeom += 1
