"""Changes of the pictures in training: those of openpi, the same ones by the same key.

openpi (``models/model.py``) chains transforms of augmax 0.4.1. Here they are one pass on the
device, for every example its own. Cameras that are not at a wrist are cropped to 95 % of their
edges at a random place, brought back to size and turned by up to 5 degrees, in one bilinear
look-up; outside is black. Then half of the pictures get other colours, in HSV: the value's
brightness varies by up to 0.3 and its contrast by up to 0.4, the hue by up to a tenth of the
circle. The saturation stays: openpi asks for 0.5, which augmax draws and does not apply.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

OPENPI, COLOURS = "openpi", "colours"
"""Kinds of changes."""

CROPPED = 0.95
LARGEST_TURN_DEG = 5.0
BRIGHTNESS, CONTRAST, HUE = 0.3, 0.4, 0.1
RECOLOURED = 0.5
"""Share of the pictures that get other colours."""

_COLOUR_KEYS = 5
"""So many augmax makes of a picture's key; those of brightness, contrast and hue come first."""


def augment(
    images: jax.Array, key: jax.Array, cameras: Sequence[str], kind: str = OPENPI
) -> jax.Array:
    """Changes pictures.

    Args:
        images: uint8, shape (batch, cameras, size, size, 3).
        key: of the randomness; the cameras of an example share it, as in openpi.
        cameras: names of the model's pictures; those with ``wrist`` in it keep their geometry.
        kind: ``OPENPI``; with ``COLOURS`` the others' keep it too.

    Returns:
        float32 in [-1, 1], the same shape.
    """
    keys = jax.random.split(key, images.shape[0])
    pictures = []
    for i, camera in enumerate(cameras):
        still = kind == COLOURS or "wrist" in camera
        change = _change_colours if still else _change_all
        pictures.append(jax.vmap(change)(keys, images[:, i]))
    return jnp.stack(pictures, axis=1) * 2.0 - 1.0


def _change_all(key: jax.Array, image: jax.Array) -> jax.Array:
    """Key of an example and uint8 RGB; float32 in [0, 1]."""
    place, colours = jax.random.split(key)
    return _recolour(jax.random.split(colours, 1)[0], _move(place, image))


def _change_colours(key: jax.Array, image: jax.Array) -> jax.Array:
    colours = jax.random.split(jax.random.split(key, 1)[0], 1)[0]
    return _recolour(colours, image.astype(jnp.float32) / 255.0)


def _move(key: jax.Array, image: jax.Array) -> jax.Array:
    """Crop, resize and turn; every pixel of the result is looked up where it comes from."""
    size = image.shape[0]
    crop_key, _, turn_key = jax.random.split(key, 3)
    cropped = int(size * CROPPED)
    room = (size - cropped) / 2.0
    shift = jax.random.uniform(crop_key, (2,), minval=-room, maxval=room)
    limit = math.radians(LARGEST_TURN_DEG)
    angle = jax.random.uniform(turn_key, (), minval=-limit, maxval=limit)
    middle = (size - 1) / 2.0
    away = jnp.arange(size) - middle
    cos, sin = jnp.cos(angle) * (cropped / size), jnp.sin(angle) * (cropped / size)
    rows = cos * away[:, None] + sin * away + shift[0] + middle
    columns = cos * away - sin * away[:, None] + shift[1] + middle
    return _look_up(image, rows, columns)


def _look_up(image: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Bilinear, black outside.

    Args:
        image: uint8, shape (size, size, channels).
        rows: of the pixels wanted, any shape.
        columns: likewise.

    Returns:
        float32 in [0, 1], shape (*rows.shape, channels).
    """
    found = jnp.zeros((*rows.shape, image.shape[2]))
    for row, row_share in _neighbours(rows, image.shape[0]):
        for column, column_share in _neighbours(columns, image.shape[1]):
            found += (row_share * column_share)[..., None] * image[row, column]
    return found / 255.0


def _neighbours(at: jax.Array, size: int) -> list[tuple[jax.Array, jax.Array]]:
    """Whole places on either side, and their shares; a place outside has none."""
    below = jnp.floor(at)
    found = []
    for place, share in ((below, 1.0 - (at - below)), (below + 1.0, at - below)):
        inside = (place >= 0) & (place < size)
        found.append((jnp.clip(place, 0, size - 1).astype(jnp.int32), jnp.where(inside, share, 0)))
    return found


def _recolour(key: jax.Array, image: jax.Array) -> jax.Array:
    brightness, contrast, hue = (
        jax.random.uniform(each, (), minval=-by, maxval=by)
        for each, by in zip(
            jax.random.split(key, _COLOUR_KEYS), (BRIGHTNESS, CONTRAST, HUE), strict=False
        )
    )
    changed = _other_colours(image, brightness, contrast, hue)
    return jnp.where(jax.random.bernoulli(key, RECOLOURED), changed, image)


def _other_colours(
    image: jax.Array, brightness: jax.Array, contrast: jax.Array, hue: jax.Array
) -> jax.Array:
    """Of a picture in [0, 1]; ``hue`` is a share of the circle."""
    r, g, b = image[..., 0], image[..., 1], image[..., 2]
    value = jnp.maximum(jnp.maximum(r, g), b)
    spread = value - jnp.minimum(jnp.minimum(r, g), b)
    divisor = jnp.where(spread == 0, 1.0, spread)
    sixths = jnp.where(
        r == value,
        (g - b) / divisor,
        jnp.where(g == value, 2.0 + (b - r) / divisor, 4.0 + (r - g) / divisor),
    )
    saturation = spread / jnp.where(value == 0, 1.0, value)
    value = jnp.where(
        brightness < 0, value * (1.0 + brightness), value * (1.0 - brightness) + brightness
    )
    value = _contrasted(value, contrast)
    turned = jnp.where(spread == 0, 0.0, sixths) + 6.0 * hue
    place = jnp.mod(jnp.asarray([5.0, 3.0, 1.0]) + turned[..., None], 6.0)
    less = jnp.clip(jnp.minimum(place, 4.0 - place), 0.0, 1.0)
    return value[..., None] * (1.0 - saturation[..., None] * less)


def _contrasted(value: jax.Array, contrast: jax.Array) -> jax.Array:
    """Three lines from (0, 0) by (1/2, 1/2) to (1, 1), the outer ones as flat as it is steep."""
    slope = jnp.tan((contrast + 1.0) * (math.pi / 4.0))
    bend = slope / (2.0 * (1.0 + slope))
    middle = slope * (value - 0.5) + 0.5
    low, high = value / slope, 1.0 - (1.0 - value) / slope
    return jnp.where(value < bend, low, jnp.where(value > 1.0 - bend, high, middle))
