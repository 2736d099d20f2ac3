"""Four camera streams from one world, in the manner of real cameras."""

from __future__ import annotations

import array
import math
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Union

import mujoco
import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_sim.physics_messages import Report
from trossen_pi0_sim.rendering import CameraRenderer, RenderError
from trossen_pi0_sim.scene import set_variant
from trossen_pi0_sim.tasks import find_variant

_START_TIMEOUT_S = 60.0

WritableBuffer = Union[bytearray, memoryview, "array.array[int]"]
"""What a picture can be rendered into."""


@dataclass(frozen=True)
class Intrinsics:
    """A pinhole camera without distortion; pixel centres have whole coordinates.

    Attributes:
        width: of the picture [pixels].
        height: of the picture [pixels].
        focal: focal length [pixels], the same both ways.
        centre: column and row of the optical axis [pixels].
    """

    width: int
    height: int
    focal: float
    centre: tuple[float, float]

    @property
    def matrix(self) -> NDArray[np.float64]:
        """K, shape (3, 3)."""
        return np.array(
            [[self.focal, 0.0, self.centre[0]], [0.0, self.focal, self.centre[1]], [0.0, 0.0, 1.0]]
        )


def intrinsics(model: mujoco.MjModel, camera: str, width: int, height: int) -> Intrinsics:
    """Intrinsics of a camera of the kit at a picture size [pixels]."""
    half_angle = math.radians(float(model.camera(camera).fovy[0])) / 2
    return Intrinsics(
        width, height, height / 2 / math.tan(half_angle), ((width - 1) / 2, (height - 1) / 2)
    )


class FrameClock:
    """When sets of pictures are due. A late one is taken at once; those missed are skipped."""

    def __init__(self, fps: float, now_s: float) -> None:
        """Begins now: the first set is due at once."""
        self._period_s = 1.0 / fps
        self._due_s = now_s
        self.skipped = 0

    def wait_s(self, now_s: float) -> float:
        """Time until the next set is due [s], at least 0."""
        return max(0.0, self._due_s - now_s)

    def take(self, now_s: float) -> None:
        """A set is taken now; sets whose time has passed altogether count as skipped."""
        missed = max(0, math.floor((now_s - self._due_s) / self._period_s))
        self.skipped += missed
        self._due_s += (missed + 1) * self._period_s


class CameraStreams:
    """Renders all cameras at a fixed rate on a thread of its own.

    Each camera's pictures go into one buffer, such as the data of a message that is published again
    and again.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        source: Callable[[], Report],
        size: tuple[int, int],
        fps: float,
        buffers: Mapping[str, WritableBuffer],
        publish: Callable[[str, Report], None],
    ) -> None:
        """Nothing is rendered yet.

        Args:
            model: made with visuals; changed with the scenario while it renders.
            source: gives the newest state.
            size: width and height of the pictures [pixels].
            fps: sets of pictures a second [Hz].
            buffers: camera -> where its pictures go: width x height x 3 writable bytes.
            publish: called on the rendering thread for each picture, with its camera and state;
                the picture lies in its buffer until it returns.
        """
        width, height = size
        self._pictures = {
            camera: np.frombuffer(buffers[camera], dtype=np.uint8).reshape(height, width, 3)
            for camera in CAMERAS
        }
        self._model = model
        self._source = source
        self._size = size
        self._fps = fps
        self._publish = publish
        self._running = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cameras")
        self._frames = FrameClock(fps, 0.0)
        self.published = 0
        self.failure: BaseException | None = None

    @property
    def skipped(self) -> int:
        """Pictures that were due and were not rendered in time, over all cameras."""
        return self._frames.skipped * len(CAMERAS)

    def start(self) -> None:
        """Begins to render.

        Raises:
            RenderError: there is no OpenGL.
        """
        self._running = True
        self._thread.start()
        if not self._ready.wait(_START_TIMEOUT_S):
            raise RenderError(f"no picture within {_START_TIMEOUT_S:.0f} s of the start")
        if self.failure is not None:
            raise self.failure

    def stop(self) -> None:
        """Ends the thread."""
        self._running = False
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            renderer = CameraRenderer(self._model, *self._size)
            try:
                self._stream(renderer)
            finally:
                renderer.close()
        except BaseException as error:  # noqa: BLE001 - reported by the owner, who sees `failure`
            self.failure = error
        finally:
            self._ready.set()

    def _stream(self, renderer: CameraRenderer) -> None:
        # The first pictures take long, since shaders are compiled; they are thrown away.
        for camera, picture in self._pictures.items():
            renderer.render(self._source().qpos, camera, picture)
        self._ready.set()
        self._frames = FrameClock(self._fps, time.monotonic())
        shown: Report | None = None
        while self._running:
            time.sleep(self._frames.wait_s(time.monotonic()))
            self._frames.take(time.monotonic())
            newest = self._source()
            if shown is not None and newest.time_s <= shown.time_s:  # the physics is held up
                self._frames.skipped += 1
                continue
            if shown is None or newest.variant != shown.variant:
                set_variant(self._model, find_variant(newest.variant))
            shown = newest
            for camera, picture in self._pictures.items():
                renderer.render(newest.qpos, camera, picture)
                self._publish(camera, newest)
                self.published += 1
