"""Runs augmax as openpi chains it and writes what it makes of small pictures.

By hand, in an environment with ``augmax==0.4.1`` (the version in openpi's ``uv.lock``), on a CPU::

    PYTHONPATH=tools JAX_PLATFORMS=cpu python -m peers.make_augment_goldens FILE

The file holds ``seed`` of the key, ``cameras``, ``images`` of uint8 and what they became,
``changed``, float32 in [-1, 1], both of shape (batch, cameras, size, size, 3).
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import augmax  # pyright: ignore[reportMissingImports]
import jax
import jax.numpy as jnp
import numpy as np

CAMERAS = ("base_0_rgb", "left_wrist_0_rgb")
EXAMPLES, SIZE, SEED = 5, 12, 7

_LOG = logging.getLogger(__name__)


def pictures() -> np.ndarray:
    """Coloured noise, with a grey row, a black one and a white one."""
    shape = (EXAMPLES, len(CAMERAS), SIZE, SIZE, 3)
    found = np.random.default_rng(SEED).integers(0, 256, shape).astype(np.uint8)
    found[:, :, 2], found[:, :, 5], found[:, :, 8] = 90, 0, 255
    return found


def changed(images: np.ndarray, key: jax.Array) -> np.ndarray:
    """What openpi's chain of transforms makes of them."""
    found = []
    for i, camera in enumerate(CAMERAS):
        size = images.shape[2]
        chain = [augmax.ColorJitter(brightness=0.3, contrast=0.4, saturation=0.5)]
        if "wrist" not in camera:
            crop = augmax.RandomCrop(int(size * 0.95), int(size * 0.95))
            chain = [crop, augmax.Resize(size, size), augmax.Rotate((-5, 5)), *chain]
        keys = jax.random.split(key, len(images))
        seen = jnp.asarray(images[:, i], jnp.float32) / 255.0
        found.append(jax.vmap(augmax.Chain(*chain))(keys, seen))
    return np.asarray(jnp.stack(found, axis=1) * 2.0 - 1.0)


def main(arguments: Sequence[str] | None = None) -> None:
    """Writes the file."""
    parser = argparse.ArgumentParser(prog="make_augment_goldens", description=__doc__)
    parser.add_argument("file", type=Path)
    file = parser.parse_args(arguments).file
    images = pictures()
    result = changed(images, jax.random.key(SEED))
    np.savez_compressed(file, seed=SEED, cameras=CAMERAS, images=images, changed=result)
    _LOG.info("wrote %s, %.1f kB", file, file.stat().st_size / 1e3)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    main()
