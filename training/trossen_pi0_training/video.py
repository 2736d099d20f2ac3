"""Videos of data sets: writing them as LeRobot does, joining them, and reading single pictures."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
from av.error import FFmpegError
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from trossen_pi0_core.errors import DatasetError

CODECS = {
    "libsvtav1": {"g": "2", "crf": "30", "preset": "12"},
    "h264": {"g": "2", "crf": "30"},
    "h264_fast": {"g": "2", "crf": "30", "preset": "ultrafast"},
}
"""Codecs and their settings: LeRobot's own, so that data sets of both sources look alike, and one
that takes a third of the time for twice the bytes. A key picture every second one makes any picture
quick to reach."""

_ENCODERS = {"h264_fast": "h264"}
"""Of codecs that are not named as theirs is."""

os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder tells its settings at each start


class VideoWriter:
    """Writes pictures into an MP4 file, one for each frame of the data set. Not thread-safe."""

    def __init__(self, path: Path, fps: int, codec: str = "libsvtav1") -> None:
        """Raises DatasetError for an unknown codec."""
        if codec not in CODECS:
            raise DatasetError(f"codec must be one of {sorted(CODECS)}, got {codec!r}")
        self._path, self._fps, self._codec = path, fps, codec
        self._container: Any = None
        self._stream: Any = None
        self._shape: tuple[int, ...] = ()
        self.frames = 0

    def add(self, image: NDArray[np.uint8]) -> None:
        """Appends a picture, uint8 RGB of shape (height, width, 3).

        Raises:
            DatasetError: it has another size than those before, or cannot be encoded.
        """
        if self._container is None:
            self._open(image.shape)
        if image.shape != self._shape:
            raise DatasetError(f"the camera's pictures change from {self._shape} to {image.shape}")
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = self.frames, Fraction(1, self._fps)
        self._write(frame)
        self.frames += 1

    def close(self) -> None:
        """Ends the file."""
        if self._container is None:
            return
        try:
            self._write(None)
        finally:
            self._container.close()
            self._container = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        elif self._container is not None:  # the file is of no use, and so is what closing it says
            with contextlib.suppress(FFmpegError, DatasetError):
                self.close()  # the AV1 encoder complains of one that was not drained

    def _open(self, shape: tuple[int, ...]) -> None:
        height, width = shape[:2]
        if height % 2 or width % 2:
            raise DatasetError(f"pictures need an even height and width, got {height}x{width}")
        options = dict(CODECS[self._codec])
        if self._codec == "libsvtav1":  # several videos are written side by side, see convert
            options["svtav1-params"] = "lp=1"
        encoder = _ENCODERS.get(self._codec, self._codec)
        self._container = av.open(str(self._path), "w", format="mp4")
        self._stream = self._container.add_stream(encoder, rate=self._fps, options=options)
        self._stream.thread_count = 1
        self._stream.width, self._stream.height = width, height
        self._stream.pix_fmt = "yuv420p"
        self._stream.time_base = Fraction(1, self._fps)
        self._shape = shape

    def _write(self, frame: av.VideoFrame | None) -> None:
        try:
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except FFmpegError as error:
            raise DatasetError(f"{self._path.name}: picture {self.frames}: {error}") from error


class VideoFile:
    """Pictures of an MP4 file, by time. Not thread-safe; a fork must not share an open one."""

    def __init__(self, path: Path) -> None:
        """Raises DatasetError when it is no readable video."""
        self._path = path
        try:
            self._container = av.open(str(path))
            self._stream = self._container.streams.video[0]
        except (FFmpegError, OSError, IndexError) as error:
            raise DatasetError(f"{path} is no readable video: {error}") from error
        self._stream.thread_count = 1  # more take longer for a few pictures than one
        self._colours = VideoReformatter()  # of a frame's own, each sets up anew
        self._coming: Iterator[av.VideoFrame] = iter(())
        self._last: av.VideoFrame | None = None

    @property
    def frames(self) -> int:
        """How many pictures its header tells; 0: it does not."""
        return self._stream.frames

    def picture(self, time_s: float, tolerance_s: float) -> NDArray[np.uint8]:
        """The picture shown at a time.

        Args:
            time_s: since the file's beginning [s].
            tolerance_s: how far its own time may be from that [s].

        Returns:
            uint8 RGB, shape (height, width, 3).

        Raises:
            DatasetError: there is none, or the file is damaged.
        """
        try:
            frame = self._find(time_s, tolerance_s)
        except FFmpegError as error:
            raise DatasetError(f"{self._path} cannot be read at {time_s:.3f} s: {error}") from error
        if frame is None:
            raise DatasetError(f"{self._path} has no picture at {time_s:.3f} s")
        rgb = self._colours.reformat(frame, format="rgb24", threads=1)
        return np.asarray(rgb.to_ndarray(), dtype=np.uint8)

    def close(self) -> None:
        """Closes the file."""
        self._container.close()

    def _find(self, time_s: float, tolerance_s: float) -> av.VideoFrame | None:
        last = None if self._last is None else self._time(self._last)
        if last is None or not last - tolerance_s <= time_s <= last + 1.0:
            start = self._stream.start_time or 0
            ticks = int((time_s - tolerance_s) / float(self._base)) + start
            self._container.seek(max(ticks, start), stream=self._stream)
            self._coming = self._container.decode(self._stream)
        elif self._last is not None and abs(time_s - last) <= tolerance_s:
            return self._last
        for frame in self._coming:
            self._last = frame
            if self._time(frame) >= time_s - tolerance_s:
                return frame if self._time(frame) <= time_s + tolerance_s else None
        self._last = None
        return None

    @property
    def _base(self) -> Fraction:
        return self._stream.time_base or Fraction(1, av.time_base)

    def _time(self, frame: av.VideoFrame) -> float:
        return float(((frame.pts or 0) - (self._stream.start_time or 0)) * self._base)


def describe(path: Path) -> dict[str, Any]:
    """What ``info.json`` says of a video, by LeRobot's names.

    Raises:
        DatasetError: it is no readable video.
    """
    video = VideoFile(path)
    stream = video._stream  # noqa: SLF001
    try:
        return {
            "video.height": stream.height,
            "video.width": stream.width,
            "video.codec": stream.codec.canonical_name,
            "video.pix_fmt": str(stream.pix_fmt),
            "video.is_depth_map": False,
            "video.fps": round(float(stream.average_rate or 0)),
            "video.channels": 3,
            "has_audio": False,
        }
    finally:
        video.close()


def join(parts: Sequence[Path], target: Path, fps: int) -> list[int]:
    """Writes videos one after another into a file, without encoding them anew.

    Args:
        parts: files that ``VideoWriter`` wrote with the same settings.
        target: the file to write.
        fps: of all of them.

    Returns:
        The number of pictures of each part.

    Raises:
        DatasetError: a part is no readable video.
    """
    counts: list[int] = []
    with av.open(str(target), "w", format="mp4", options={"movflags": "faststart"}) as output:
        stream: Any = None
        for part in parts:
            with _opened(part) as source:
                template = source.streams.video[0]
                if stream is None:
                    stream = output.add_stream_from_template(template, opaque=True)
                base = template.time_base
                begins = round(Fraction(sum(counts), fps) / base)
                number = 0
                for packet in source.demux(template):
                    if packet.dts is None:  # the end
                        continue
                    packet.pts, packet.dts = (packet.pts or 0) + begins, packet.dts + begins
                    packet.time_base, packet.stream = base, stream
                    output.mux(packet)
                    number += 1
                counts.append(number)
    return counts


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with av.open(str(path)) as container:
            yield container
    except (FFmpegError, IndexError) as error:
        raise DatasetError(f"{path} is no readable video: {error}") from error
