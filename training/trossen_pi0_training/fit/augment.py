"""Changes of the pictures in training, as openpi makes them (``openpi/models/model.py``).

All on the device, for every example its own: cameras that are not at a wrist are cropped to 95 %
of their edges at a random place, brought back to size and turned by up to 5 degrees; then the
brightness, contrast and saturation of all cameras are varied by up to 0.3, 0.4 and 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp

CROPPED = 0.95
LARGEST_TURN_DEG = 5.0
BRIGHTNESS, CONTRAST, SATURATION = 0.3, 0.4, 0.5

_GREY = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in a picture's grey (ITU-R BT.601)."""


def augment(images: jax.Array, key: jax.Array, cameras: Sequence[str]) -> jax.Array:
    """Changes pictures.

    Args:
        images: uint8, shape (batch, cameras, size, size, 3).
        key: of the randomness.
        cameras: names of the model's pictures; those with ``wrist`` in it keep their geometry.

    Returns:
        float32 in [-1, 1], the same shape.
    """
    pictures = []
    for i, camera in enumerate(cameras):
        keys = jax.random.split(jax.random.fold_in(key, i), images.shape[0])
        seen = images[:, i].astype(jnp.float32) / 255.0
        change = _change_colours if "wrist" in camera else _change_all
        pictures.append(jax.vmap(change)(keys, seen))
    return jnp.stack(pictures, axis=1) * 2.0 - 1.0


def _change_all(key: jax.Array, image: jax.Array) -> jax.Array:
    place, colours = jax.random.split(key)
    return _change_colours(colours, _move(place, image))


def _move(key: jax.Array, image: jax.Array) -> jax.Array:
    """Crop, resize and turn in one bilinear look-up; what lies outside takes the edge's colour."""
    size = image.shape[0]
    begin_key, turn_key = jax.random.split(key)
    begin = jax.random.uniform(begin_key, (2,), maxval=(1.0 - CROPPED) * size)
    limit = jnp.deg2rad(LARGEST_TURN_DEG)
    angle = jax.random.uniform(turn_key, (), minval=-limit, maxval=limit)
    middle = (size - 1) / 2.0
    rows, columns = jnp.meshgrid(
        jnp.arange(size) - middle, jnp.arange(size) - middle, indexing="ij"
    )
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    turned = jnp.stack([cos * rows - sin * columns, sin * rows + cos * columns]) + middle
    at = (turned + 0.5) * CROPPED - 0.5 + begin[:, None, None]

    def look_up(channel: jax.Array) -> jax.Array:
        return jax.scipy.ndimage.map_coordinates(channel, [at[0], at[1]], order=1, mode="nearest")

    return jax.vmap(look_up, in_axes=2, out_axes=2)(image)


def _change_colours(key: jax.Array, image: jax.Array) -> jax.Array:
    keys = jax.random.split(key, 3)
    brightness, contrast, saturation = (
        jax.random.uniform(k, (), minval=1.0 - by, maxval=1.0 + by)
        for k, by in zip(keys, (BRIGHTNESS, CONTRAST, SATURATION), strict=True)
    )
    image = image * brightness
    image = (image - image.mean()) * contrast + image.mean()
    grey = (image * jnp.asarray(_GREY)).sum(axis=-1, keepdims=True)
    return jnp.clip((image - grey) * saturation + grey, 0.0, 1.0)
