"""Pictures of the kit's cameras."""

from __future__ import annotations

import mujoco
import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import ParameterError, TrossenPi0Error


class RenderError(TrossenPi0Error):
    """Pictures cannot be rendered on this machine."""


class CameraRenderer:
    """Renders a model at given joint positions, without shadows, reflections or anti-aliasing.

    Each of those costs three to ten times the rendering without a GPU. All calls must come from the
    thread that made it, since an OpenGL context belongs to a thread. It has a MuJoCo state of its
    own and never touches the live one.
    """

    def __init__(self, model: mujoco.MjModel, width: int = 640, height: int = 480) -> None:
        """Makes an OpenGL context.

        Args:
            model: made with visuals.
            width: of the pictures [pixels].
            height: of the pictures [pixels].

        Raises:
            RenderError: there is no OpenGL.
        """
        self._model = model
        self._data = mujoco.MjData(model)
        try:
            self._renderer = mujoco.Renderer(model, height, width, max_geom=model.ngeom + 16)
        except Exception as error:
            raise RenderError(
                f"no OpenGL context for {width}x{height} pictures: {error}; without a display "
                "MUJOCO_GL must be 'egl' (Debian packages libegl1 and libgl1-mesa-dri) or 'osmesa'"
            ) from error
        self._shown = mujoco.MjvOption()
        self._shown.sitegroup[:] = 0
        flags = self._renderer.scene.flags
        flags[:] = 0
        flags[mujoco.mjtRndFlag.mjRND_CULL_FACE] = 1

    def render(
        self, qpos: NDArray[np.float64], camera: str, out: NDArray[np.uint8] | None = None
    ) -> NDArray[np.uint8]:
        """One picture, uint8 RGB of shape (height, width, 3).

        Args:
            qpos: joint positions of the model, shape (nq,).
            camera: one of ``trossen_pi0_core.contract.CAMERAS``.
            out: where the picture goes; a new array if not given.

        Raises:
            ParameterError: unknown camera.
        """
        if camera not in CAMERAS:
            raise ParameterError(f"camera: {camera!r} is not one of {list(CAMERAS)}")
        self._data.qpos[:] = qpos
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        self._renderer.update_scene(self._data, camera, self._shown)
        return self._renderer.render(out=out)

    def close(self) -> None:
        """Frees the OpenGL context."""
        self._renderer.close()
