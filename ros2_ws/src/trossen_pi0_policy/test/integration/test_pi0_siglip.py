"""What the picture tower does before its layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate

from trossen_pi0_policy.pi0.config import VisionConfig
from trossen_pi0_policy.pi0.siglip import VisionTower

STEM = VisionConfig(width=8, depth=0, mlp_dim=16, num_heads=2, patch_size=4, stem=(8, 16))
KEYS = jax.random.split(jax.random.key(3), 2)
PICTURE = jax.random.uniform(KEYS[0], (1, 12, 12, 3), minval=-1.0)


def tower(config):
    """A tower in float32 whose layers stand alone, and its parameters from scratch."""
    made = VisionTower(config, 12, 7, jnp.float32, stacked=False)
    return made, made.init(KEYS[1], PICTURE)["params"]


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def convolved(x, kernel, stride):
    """By scipy, one channel after the other; an even size is padded more behind, as in SAME."""
    size = kernel.shape[0]
    whole = -(-x.shape[0] // stride) * stride
    total = max(whole - stride + size - x.shape[0], 0)
    before = total // 2
    padded = np.pad(x, ((before, total - before), (before, total - before), (0, 0)))
    outputs = [
        correlate(padded, kernel[..., c], mode="valid")[::stride, ::stride, 0]
        for c in range(kernel.shape[-1])
    ]
    return np.stack(outputs, axis=-1)


def grouped(x, scale, bias):
    """Groups of eight channels, each of mean 0 and variance 1 over its picture."""
    groups = [x[..., i : i + 8] for i in range(0, x.shape[-1], 8)]
    normed = [(g - g.mean()) / np.sqrt(g.var() + 1e-6) for g in groups]
    return np.concatenate(normed, axis=-1) * scale + bias


def test_a_stem_convolves_before_the_patches():
    made, params = tower(STEM)
    leaves = {name: np.asarray(value, np.float64) for name, value in params.items()}
    for name in ("stem_0_bias", "stem_1_bias", "patch_bias"):
        leaves[name] = np.linspace(-0.3, 0.4, leaves[name].size, dtype=np.float64)
    for name in ("stem_0_scale", "stem_1_scale"):
        leaves[name] = np.linspace(1.5, 0.5, leaves[name].size, dtype=np.float64)
    x = np.asarray(PICTURE[0], np.float64)
    for i in range(2):
        kernel, scale, bias = (leaves[f"stem_{i}_{part}"] for part in ("kernel", "scale", "bias"))
        x = gelu(grouped(convolved(x, kernel, 2), scale, bias))
    assert x.shape == (3, 3, 16)
    patches = x.reshape(9, 16)
    tokens = patches @ leaves["patch_kernel"] + leaves["patch_bias"] + leaves["positions"]
    mean, deviation = tokens.mean(axis=1, keepdims=True), tokens.std(axis=1, keepdims=True)
    wanted = (tokens - mean) / deviation @ leaves["head_kernel"]
    given = {name: jnp.asarray(value, jnp.float32) for name, value in leaves.items()}
    with jax.default_matmul_precision("highest"):
        found = made.apply({"params": given}, PICTURE)[0]
    np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_positions_from_scratch_tell_rows_and_columns():
    _, params = tower(STEM)
    grid = np.asarray(params["positions"]).reshape(3, 3, 8)
    assert np.square(grid).mean() == pytest.approx(0.5)
    # The first quarters of each half are of the column, the others of the row.
    column = grid[:, :, [0, 1, 4, 5]]
    row = grid[:, :, [2, 3, 6, 7]]
    np.testing.assert_array_equal(column, np.broadcast_to(column[:1], column.shape))
    np.testing.assert_array_equal(row, np.broadcast_to(row[:, :1], row.shape))
    np.testing.assert_allclose(column[0, :, 0], np.sin([0.0, 1.0, 2.0]), atol=1e-6)
    np.testing.assert_allclose(row[:, 0, 2], np.cos([0.0, 1.0, 2.0]), atol=1e-6)
    assert len(np.unique(grid.reshape(9, 8).round(6), axis=0)) == 9
