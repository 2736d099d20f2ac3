"""Pictures as policies take them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from trossen_pi0_core.errors import ImageError

POLICY_IMAGE_SIZE = (224, 224)
"""Height and width of the pictures that openpi's models take."""

_FORWARD, _BACKWARD = slice(0, 3), slice(2, None, -1)

_COLOURS = {
    "rgb8": (3, _FORWARD),
    "bgr8": (3, _BACKWARD),
    "rgba8": (4, _FORWARD),
    "bgra8": (4, _BACKWARD),
}
"""Encoding -> number of its channels, and where red, green and blue are among them."""

COLOUR_ENCODINGS = tuple(_COLOURS)
"""Encodings of ``sensor_msgs/Image`` that are pictures in colour."""


def rgb_from_raw(encoding: str, width: int, height: int, step: int, data: Any) -> NDArray[np.uint8]:
    """The picture of a ``sensor_msgs/Image``.

    Args:
        encoding: of its pixels, one of rgb8, bgr8, rgba8 and bgra8.
        width: of the picture [pixels].
        height: of the picture [pixels].
        step: from one row to the next [B]; rows may end in padding.
        data: the rows, a buffer of bytes.

    Returns:
        uint8 RGB, shape (height, width, 3); may share memory with ``data``.

    Raises:
        ImageError: no colour encoding, or the data does not fit the size.
    """
    if encoding not in _COLOURS:
        raise ImageError(
            f"encoding {encoding!r} is not one of {list(_COLOURS)}; is this the colour topic?"
        )
    channels, rgb = _COLOURS[encoding]
    used = width * channels
    if not height or not width or step < used or len(data) != height * step:
        raise ImageError(
            f"a {width}x{height} picture in {encoding} has pixels, a step of at least "
            f"{used} and {height} steps of data, got step {step} and {len(data)} bytes"
        )
    rows = np.frombuffer(data, np.uint8).reshape(height, step)
    pixels = rows[:, :used].reshape(height, width, channels)
    return np.ascontiguousarray(pixels[..., rgb])


def rgb_from_compressed(data: Any) -> NDArray[np.uint8]:
    """The picture of a ``sensor_msgs/CompressedImage``.

    Args:
        data: JPEG or PNG, a buffer of bytes.

    Returns:
        uint8 RGB, shape (height, width, 3).

    Raises:
        ImageError: it is neither, or damaged.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as picture:
            return np.asarray(picture.convert("RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ImageError(
            f"{len(data)} bytes are no JPEG or PNG picture, or a damaged one: {error}"
        ) from error


def resize_with_pad(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Scales a picture to fit and pads it with black; the aspect ratio is kept.

    Bilinear by PIL with rounding to uint8, as openpi resizes (``openpi_client/image_tools.py``).

    Args:
        image: uint8 RGB, shape (h, w, 3); one of the right size is returned as it is.
        height: of the result [pixels].
        width: of the result [pixels].

    Returns:
        uint8 RGB, shape (height, width, 3).
    """
    if image.shape[:2] == (height, width):
        return image
    ratio = max(image.shape[1] / width, image.shape[0] / height)
    scaled_height = max(1, int(image.shape[0] / ratio))
    scaled_width = max(1, int(image.shape[1] / ratio))
    planes = image[..., 0].flags.c_contiguous  # the channels lie apart in memory, as on the wire
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    if planes:
        canvas = np.zeros((3, height, width), dtype=np.uint8).transpose(1, 2, 0)
    top, left = max(0, (height - scaled_height) // 2), max(0, (width - scaled_width) // 2)
    inside = canvas[top : top + scaled_height, left : left + scaled_width]
    size = (scaled_width, scaled_height)
    if planes:  # one by one is twice as fast
        for channel in range(3):
            inside[..., channel] = _scaled(image[..., channel], size)
    else:
        inside[:] = _scaled(image, size)
    return canvas


def picture_from_request(image: object, camera: str) -> NDArray[np.uint8]:
    """The picture of a request as RGB rows.

    Args:
        image: array, shape (3, h, w) as on the wire, or (h, w, 3); uint8, or float in [0, 1],
            which becomes whole numbers as in openpi: times 255, cut off.
        camera: name in the error.

    Returns:
        uint8 RGB, shape (h, w, 3); may share memory with ``image``.

    Raises:
        ImageError: another type, another shape, or one that could be either of the two.
    """
    if not isinstance(image, np.ndarray):
        raise ImageError(f"{camera}: a picture must be an array, got {type(image).__name__}")
    if image.ndim != 3 or 0 in image.shape or 3 not in (image.shape[0], image.shape[2]):
        raise ImageError(
            f"{camera}: a picture must have shape (3, height, width) or (height, width, 3), "
            f"got {image.shape}"
        )
    if image.shape[0] == image.shape[2]:
        raise ImageError(
            f"{camera}: shape {image.shape} may mean (3, height, width) or (height, width, 3); "
            "a picture must be higher or wider than 3 pixels"
        )
    rows = image.transpose(1, 2, 0) if image.shape[0] == 3 else image
    return rows if rows.dtype == np.uint8 else _whole_numbers(rows, camera)


def _scaled(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    scaled = Image.fromarray(image).resize(size, resample=Image.Resampling.BILINEAR)
    return np.asarray(scaled)


def _whole_numbers(image: NDArray[Any], camera: str) -> NDArray[np.uint8]:
    if image.dtype.kind != "f":
        raise ImageError(f"{camera}: a picture must be uint8 or float in [0, 1], got {image.dtype}")
    lowest, highest = image.min(), image.max()
    if not (lowest >= 0 and highest <= 1):
        raise ImageError(
            f"{camera}: a picture of {image.dtype} must lie in [0, 1], got {lowest} to {highest}"
        )
    return (255 * image).astype(np.uint8)
