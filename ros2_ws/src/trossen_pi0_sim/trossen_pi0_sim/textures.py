"""Patterns of surfaces, made here with NumPy; they repeat without a seam.

All are compiled into the model, and a look chooses which of them a geom has: of these things
MuJoCo's renderers read ``geom_matid`` at each picture, but copy the pictures of the textures and
the ``mat_tex...`` of the materials when they are made. What is seen is the texture times the geom's
colour.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import ParameterError

Array = NDArray[np.float64]

TILES_M = {"table": (0.3, 0.6, 1.2), "room": (0.8, 1.6, 3.2)}
"""Lengths of one repeat of a pattern on flat geoms whose normal is their z axis, by what is covered
[m]."""

THINGS = "things"
"""What is covered on all sides, by one repeat a side, whatever its shape and size."""

_SIZE, _SMALL = 256, 64
"""Pixels along a side of a texture, and of one for things."""

_DEFAULT_RGBA = (0.5, 0.5, 0.5, 1.0)
"""Of geoms; where a geom has it, MuJoCo shows its material's colour, which is hence the same."""


def add_materials(spec: mujoco.MjSpec) -> None:
    """Adds the textures, and a material for each with each length of a repeat."""
    for pattern in PATTERNS:
        flat = _add_texture(spec, pattern, mujoco.mjtTexture.mjTEXTURE_2D)
        for surface, tiles in TILES_M.items():
            for tile in tiles:
                # A repeat is 2 / texrepeat long, see settexture in MuJoCo's render_gl3.c.
                _add_material(spec, f"{surface}_{pattern}_{tile}", flat, 2 / tile)
        sides = _add_texture(spec, pattern, mujoco.mjtTexture.mjTEXTURE_CUBE)
        _add_material(spec, f"{THINGS}_{pattern}", sides)


def material_ids(model: mujoco.MjModel, surface: str) -> list[int]:
    """The materials for a surface.

    Args:
        model: made with visuals.
        surface: a key of ``TILES_M``, or ``THINGS``.

    Raises:
        ParameterError: there are none.
    """
    names = [model.material(i).name for i in range(model.nmat)]
    found = [i for i, name in enumerate(names) if name.startswith(f"{surface}_")]
    if not found:
        raise ParameterError(
            f"surface: the model has no textures for {surface!r}; one made with visuals has them "
            f"for {[*TILES_M, THINGS]}"
        )
    return found


def _add_texture(spec: mujoco.MjSpec, pattern: str, kind: mujoco.mjtTexture) -> str:
    cube = kind == mujoco.mjtTexture.mjTEXTURE_CUBE
    image = picture(pattern, _SMALL if cube else _SIZE)
    if cube:
        image = np.tile(image, (6, 1, 1))
    texture = spec.add_texture(name=f"{pattern}_{'cube' if cube else '2d'}", type=kind, nchannel=3)
    texture.height, texture.width = image.shape[:2]
    texture.data = image.tobytes()
    return texture.name


def _add_material(spec: mujoco.MjSpec, name: str, texture: str, repeat: float = 0.0) -> None:
    material = spec.add_material(name=name, rgba=_DEFAULT_RGBA)
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = texture
    if repeat:
        material.texuniform = True
        material.texrepeat = [repeat, repeat]


@functools.cache
def picture(pattern: str, size: int) -> NDArray[np.uint8]:
    """The texture of a pattern, RGB of shape (size, size, 3), the same at each call.

    Args:
        pattern: of ``PATTERNS``.
        size: along a side [pixels].
    """
    made = PATTERNS[pattern]
    y, x = np.mgrid[:size, :size] / size
    light = np.clip(made.light(x, y, np.random.default_rng(list(PATTERNS).index(pattern))), 0, 1)
    dark = np.array(made.dark)
    image = np.rint(255 * (dark + (1 - dark) * light[..., None])).astype(np.uint8)
    image.setflags(write=False)
    return image


@dataclass(frozen=True)
class _Pattern:
    """How light a surface is in each place, 0..1, and its colour where that is 0; at 1 it is white.

    Attributes:
        light: of the coordinates x and y, 0..1 each.
        dark: red, green and blue.
    """

    light: Callable[[Array, Array, np.random.Generator], Array]
    dark: tuple[float, float, float]


def _noise(shape: tuple[int, ...], rng: np.random.Generator, fall: float, along: float) -> Array:
    """Noise of mean 0 and deviation 1 whose amplitude falls with this power of the frequency.

    Args:
        shape: of the texture, rows and columns [pixels].
        rng: for it.
        fall: the power.
        along: so many times the patches are longer in x than in y.
    """
    v, u = (np.fft.fftfreq(n, 1 / n) for n in shape)
    frequency = np.maximum(np.hypot(u[None] * along, v[:, None]), 1.0)
    waves = np.fft.fft2(rng.normal(size=shape)) / frequency**fall
    noise = np.fft.ifft2(waves).real
    return (noise - noise.mean()) / noise.std()


def _wood(x: Array, y: Array, rng: np.random.Generator) -> Array:
    """Grain along x."""
    rings = np.sin(2 * np.pi * 6 * y + 1.5 * _noise(x.shape, rng, 2.5, 5.0))
    return 0.6 + 0.18 * rings + 0.13 * _noise(x.shape, rng, 1.0, 12.0)


def _planks(x: Array, _y: Array, rng: np.random.Generator) -> Array:
    """Four boards along y, each of its own shade."""
    board = (4 * x).astype(int)
    shades = rng.uniform(0.45, 0.85, 4)
    grain = 0.12 * _noise(x.shape, rng, 1.2, 12.0).T
    return np.where(4 * x % 1 < 0.04, 0.0, shades[board] + grain)


def _checks(x: Array, y: Array, rng: np.random.Generator) -> Array:
    return ((4 * x).astype(int) + (4 * y).astype(int)) % 2 + 0.05 * rng.normal(size=x.shape)


def _stripes(x: Array, _y: Array, rng: np.random.Generator) -> Array:
    """Along y, of several widths."""
    edges = np.sort(rng.uniform(0, 1, 10))
    return np.searchsorted(edges, x) % 2 + 0.03 * _noise(x.shape, rng, 1.0, 1.0)


def _tiles(x: Array, y: Array, rng: np.random.Generator) -> Array:
    """Three by three, with joints."""
    shades = rng.uniform(0.75, 1.0, (3, 3))[(3 * y).astype(int), (3 * x).astype(int)]
    return np.where(np.minimum(3 * x % 1, 3 * y % 1) < 0.06, 0.0, shades)


def _marble(x: Array, y: Array, rng: np.random.Generator) -> Array:
    veins = np.abs(np.sin(2 * np.pi * (x + y) + 1.3 * _noise(x.shape, rng, 1.8, 1.0)))
    return veins**0.4 + 0.04 * _noise(x.shape, rng, 1.5, 1.0)


def _clouds(x: Array, _y: Array, rng: np.random.Generator) -> Array:
    return 0.55 + 0.22 * _noise(x.shape, rng, 1.6, 1.0)


def _speckles(x: Array, _y: Array, rng: np.random.Generator) -> Array:
    """Some darker, some much."""
    noise = _noise(x.shape, rng, 0.6, 1.0)
    return np.where(noise > 1.4, 0.0, np.where(noise < -1.2, 0.5, 0.9))


PATTERNS: Mapping[str, _Pattern] = {
    "wood": _Pattern(_wood, (0.58, 0.46, 0.36)),
    "planks": _Pattern(_planks, (0.42, 0.32, 0.26)),
    "checks": _Pattern(_checks, (0.42, 0.46, 0.55)),
    "faint_checks": _Pattern(_checks, (0.84, 0.80, 0.72)),
    "stripes": _Pattern(_stripes, (0.50, 0.62, 0.66)),
    "faint_stripes": _Pattern(_stripes, (0.86, 0.80, 0.80)),
    "tiles": _Pattern(_tiles, (0.55, 0.52, 0.48)),
    "marble": _Pattern(_marble, (0.52, 0.54, 0.58)),
    "clouds": _Pattern(_clouds, (0.45, 0.48, 0.45)),
    "speckles": _Pattern(_speckles, (0.38, 0.36, 0.36)),
}
"""By name."""
