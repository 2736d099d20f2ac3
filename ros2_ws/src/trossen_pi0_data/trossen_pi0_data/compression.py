"""Compresses recorded pictures, each camera on a thread of its own. ROS-free."""

from __future__ import annotations

import functools
import logging
import threading
from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from trossen_pi0_core.errors import EpisodeError, ImageError
from trossen_pi0_data.definitions import BUILT_IN, COMPRESSED_VIDEO
from trossen_pi0_data.write_queue import Sample, SampleSink

_LOG = logging.getLogger(__name__)

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"

_CHANNELS = {"rgb8": 3, "bgr8": 3, "mono8": 1}
_KEY_PICTURES = 15  # a reader that begins anywhere decodes at most so many for the first
_MOST_WAITING = 60  # pictures of a camera


@functools.cache
def typestore() -> Any:
    """Knows the messages of pictures."""
    store = get_typestore(Stores.ROS2_JAZZY)
    store.register(get_types_from_msg(BUILT_IN[COMPRESSED_VIDEO], COMPRESSED_VIDEO))
    return store


@dataclass(frozen=True)
class Picture:
    """A sensor_msgs/Image.

    Attributes:
        header: stamp and frame.
        encoding: such as rgb8.
        width: in pixels.
        height: likewise.
        pixels: uint8, shape (height, width, 3), or (height, width) for mono8; the message's memory.
    """

    header: Any
    encoding: str
    width: int
    height: int
    pixels: NDArray[np.uint8]


def read_picture(data: bytes) -> Picture:
    """Reads a serialised sensor_msgs/Image.

    Raises:
        ImageError: the encoding cannot be compressed, or the data does not fit the size.
    """
    message = typestore().deserialize_cdr(data, IMAGE)
    if message.encoding not in _CHANNELS:
        raise ImageError(
            f"pictures in {message.encoding!r} cannot be compressed, {list(_CHANNELS)} can; "
            "record them with image_compression 'none'"
        )
    channels = _CHANNELS[message.encoding]
    height, width, step = message.height, message.width, message.step
    if not height or not width or step < width * channels or len(message.data) != height * step:
        raise ImageError(
            f"a {width}x{height} picture in {message.encoding} has steps of at least "
            f"{width * channels} and {height} of them, got step {step} and "
            f"{len(message.data)} bytes"
        )
    rows = message.data.reshape(height, step)[:, : width * channels]
    shape = (height, width, channels) if channels > 1 else (height, width)
    return Picture(message.header, message.encoding, width, height, rows.reshape(shape))


def picture_format(data: bytes) -> tuple[int, int, str]:
    """Width and height [pixels] and encoding of a serialised sensor_msgs/Image.

    Raises:
        EpisodeError: it cannot be read.
    """
    try:
        message = typestore().deserialize_cdr(data, IMAGE)
    except Exception as error:  # whatever malformed data makes the reader raise
        raise EpisodeError(f"a picture cannot be read: {error!r}") from error
    return message.width, message.height, message.encoding


class PictureEncoder(Protocol):
    """Makes a compressed message of each picture. For one thread, in order."""

    type: str
    suffix: str

    def encode(self, picture: Picture) -> bytes:
        """The compressed picture as a serialised message of ``type``."""
        ...


class JpegEncoder:
    """sensor_msgs/CompressedImage; each picture stands by itself."""

    type = COMPRESSED_IMAGE
    suffix = "/compressed"

    def __init__(self, quality: int) -> None:
        """``quality`` is 1 to 100."""
        self._options = [cv2.IMWRITE_JPEG_QUALITY, quality]

    def encode(self, picture: Picture) -> bytes:
        """The compressed picture as a serialised message."""
        pixels = np.ascontiguousarray(picture.pixels)
        if picture.encoding == "rgb8":
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        done, data = cv2.imencode(".jpg", pixels, self._options)
        if not done:
            raise ImageError(f"a {picture.width}x{picture.height} picture became no JPEG")
        stored = "mono8" if picture.encoding == "mono8" else "bgr8"
        store = typestore()
        message = store.types[COMPRESSED_IMAGE](
            picture.header, f"{picture.encoding}; jpeg compressed {stored}", data.reshape(-1)
        )
        return bytes(store.serialize_cdr(message, COMPRESSED_IMAGE))


class H264Encoder:
    """foxglove_msgs/CompressedVideo; each picture needs those since the last key picture."""

    type = COMPRESSED_VIDEO
    suffix = "/compressed_video"

    def __init__(self, crf: int) -> None:
        """``crf`` is the constant rate factor, 0 to 51."""
        self._crf = crf
        self._codec: Any = None
        self._size = (0, 0)
        self._count = 0

    def encode(self, picture: Picture) -> bytes:
        """The compressed picture as a serialised message."""
        import av  # takes a tenth of a second

        if self._size != (picture.width, picture.height):
            if picture.width % 2 or picture.height % 2:
                raise ImageError(
                    f"H.264 needs an even width and height, got {picture.width}x{picture.height}"
                )
            self._size = (picture.width, picture.height)
            self._codec = self._make_codec(av)
        kind = {"rgb8": "rgb24", "bgr8": "bgr24", "mono8": "gray"}[picture.encoding]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture.pixels), format=kind)
        frame.pts = self._count
        self._count += 1
        packets = self._codec.encode(frame)
        if len(packets) != 1:
            raise ImageError(f"the encoder made {len(packets)} packets of one picture")
        store = typestore()
        message = store.types[COMPRESSED_VIDEO](
            picture.header.stamp,
            picture.header.frame_id,
            np.frombuffer(bytes(packets[0]), np.uint8),
            "h264",
        )
        return bytes(store.serialize_cdr(message, COMPRESSED_VIDEO))

    def _make_codec(self, av: Any) -> Any:
        codec = av.CodecContext.create("libx264", "w")
        codec.width, codec.height = self._size
        codec.pix_fmt = "yuv420p"
        codec.time_base = Fraction(1, 30)
        codec.gop_size = _KEY_PICTURES
        codec.max_b_frames = 0
        codec.thread_count = 1
        # Every picture comes out at once, so that a killed recorder loses none that it had.
        codec.options = {"preset": "superfast", "tune": "zerolatency", "crf": str(self._crf)}
        return codec


def make_encoder(compression: str, jpeg_quality: int, h264_crf: int) -> PictureEncoder:
    """The encoder for ``jpeg`` or ``h264``."""
    return JpegEncoder(jpeg_quality) if compression == "jpeg" else H264Encoder(h264_crf)


class CompressorThread:
    """Compresses one camera's pictures, in order, and hands them on.

    A picture that finds too many waiting, or cannot be compressed, is dropped and counted.
    """

    def __init__(self, encoder: PictureEncoder, topic: str, sink: SampleSink) -> None:
        """Starts the thread.

        Args:
            encoder: the thread's.
            topic: of the compressed pictures.
            sink: takes them.
        """
        self.topic = topic
        self.dropped = 0
        self.problem = ""
        self._encoder = encoder
        self._sink = sink
        self._changed = threading.Condition()
        self._waiting: deque[Sample] = deque()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"compress{topic}", daemon=True)
        self._thread.start()

    def put(self, sample: Sample) -> bool:
        """Takes a sample with a sensor_msgs/Image; returns False when it is dropped."""
        with self._changed:
            if self._closing or len(self._waiting) >= _MOST_WAITING:
                self.dropped += 1
                return False
            self._waiting.append(sample)
            self._changed.notify()
        return True

    def close(self) -> None:
        """Compresses what waits and ends the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closing)
                if not self._waiting:
                    return
                sample = self._waiting.popleft()
            self._compress(sample)

    def _compress(self, sample: Sample) -> None:
        try:
            data = self._encoder.encode(read_picture(sample.data))
        except Exception as error:  # noqa: BLE001 - whatever the codec raises costs one picture
            problem = str(error) if isinstance(error, ImageError) else repr(error)
            if not self.problem:
                _LOG.error("%s: a picture is not recorded: %s", self.topic, problem)
            self.problem = problem
            with self._changed:
                self.dropped += 1
            return
        self._sink.put(Sample(self.topic, data, sample.log_ns, sample.publish_ns, sample.sequence))
