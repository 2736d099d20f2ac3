"""A video of the four cameras, side by side, as an episode goes on."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

TILE = (320, 240)
"""Width and height of one camera's picture in the video [pixels]."""

RATE_HZ = 10
"""Pictures a second."""

_FIRST_PICTURES_S = 1.0


class MosaicFile:
    """H.264 in MP4, a picture of all cameras after the other. Not thread-safe."""

    def __init__(self, path: Path, cameras: tuple[str, ...], rate_hz: int = RATE_HZ) -> None:
        """Begins the file.

        Args:
            path: to write.
            cameras: names, in the order of the tiles: row by row, two a row.
            rate_hz: pictures a second.
        """
        self._cameras = cameras
        self._container = av.open(str(path), "w")
        rows = (len(cameras) + 1) // 2
        self._stream = self._container.add_stream("libx264", rate=rate_hz)
        self._stream.width, self._stream.height = 2 * TILE[0], rows * TILE[1]
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = Fraction(1, rate_hz)
        self._stream.options = {"preset": "ultrafast", "crf": "24"}
        self._stream.codec_context.thread_count = 1

    def add(self, number: int, images: Mapping[str, NDArray[np.uint8]], caption: str) -> None:
        """Adds a picture.

        Args:
            number: of the picture, which says when it is shown; higher than the last one's.
            images: by camera, uint8 RGB (height, width, 3); those that are missing stay black.
            caption: written below.
        """
        frame = av.VideoFrame.from_ndarray(self._mosaic(images, caption), format="rgb24")
        frame.pts = number
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def close(self) -> None:
        """Ends the file."""
        for packet in self._stream.encode():
            self._container.mux(packet)
        self._container.close()

    def _mosaic(self, images: Mapping[str, NDArray[np.uint8]], caption: str) -> NDArray[np.uint8]:
        canvas = np.zeros((self._stream.height, self._stream.width, 3), dtype=np.uint8)
        for i, camera in enumerate(self._cameras):
            left, top = (i % 2) * TILE[0], (i // 2) * TILE[1]
            tile = canvas[top : top + TILE[1], left : left + TILE[0]]
            image = images.get(camera)
            if image is not None:
                tile[:] = cv2.resize(image, TILE, interpolation=cv2.INTER_AREA)
            _write(tile, camera, 14)
        _write(canvas, caption, self._stream.height - 6)
        return canvas


class MosaicVideo:
    """Encodes the newest picture of each camera at a steady rate.

    It begins when there is a picture of each camera; a camera that has none yet after a second
    stays black until it has. It has one frame at least. ``update`` and ``caption`` may be set from
    any thread; encoding runs on a thread of its own.
    """

    def __init__(self, path: Path, cameras: tuple[str, ...], rate_hz: int = RATE_HZ) -> None:
        """Begins the video; the arguments are those of ``MosaicFile``."""
        self.caption = ""
        self.frames = 0  # length so far, in frames
        self._file = MosaicFile(path, cameras, rate_hz)
        self._cameras = cameras
        self._rate_hz = rate_hz
        self._newest: dict[str, NDArray[np.uint8]] = {}
        self._complete = threading.Event()  # or nothing more is waited for
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="video")
        self._thread.start()

    def update(self, camera: str, image: NDArray[np.uint8]) -> None:
        """Sets a camera's newest picture, uint8 RGB (height, width, 3); the array is kept."""
        self._newest[camera] = image
        if len(self._newest) == len(self._cameras):
            self._complete.set()

    def close(self) -> None:
        """Ends the video and the file."""
        self._stop.set()
        self._complete.set()
        self._thread.join()
        self._file.close()

    def _run(self) -> None:
        self._complete.wait(_FIRST_PICTURES_S)
        start = time.monotonic()
        stopped = False
        while not stopped:
            self._file.add(self.frames, self._newest, self.caption)
            # A late frame keeps its place in time: the ones that were missed are skipped.
            self.frames = max(self.frames, int((time.monotonic() - start) * self._rate_hz)) + 1
            due_s = start + self.frames / self._rate_hz
            stopped = self._stop.wait(max(0.0, due_s - time.monotonic()))


def _write(image: NDArray[np.uint8], text: str, baseline: int) -> None:
    """Writes white text on a dark outline at the left edge."""
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(
            image, text, (5, baseline), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, width, cv2.LINE_AA
        )
