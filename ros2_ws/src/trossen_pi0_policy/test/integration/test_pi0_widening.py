"""Passes around the products of a training: by kernels as without."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trossen_pi0_policy.pi0 import kernels
from trossen_pi0_policy.pi0.attention import rope_tables
from trossen_pi0_policy.pi0.gelu import gelu
from trossen_pi0_policy.pi0.siglip import gelu_product
from trossen_pi0_policy.pi0.widened_steps import (
    feed_forward,
    normalised,
    rotated,
    wide_product,
    with_inner,
    without_inner,
)

WIDTH = 512

pytestmark = pytest.mark.skipif(
    not kernels.available(), reason="Pallas for Triton has no masked loads in this JAX"
)


def drawn(*shapes):
    keys = jax.random.split(jax.random.key(0), len(shapes))
    return [
        jax.random.normal(key, shape) * shape[-1] ** (-0.5 if len(shape) == 2 else 0.0)
        for key, shape in zip(keys, shapes, strict=True)
    ]


def same_by_kernels(make, *given, tolerance=2e-5):
    """Compares results and gradients of a step by kernels and without."""
    found = []
    for passes in ("interpret", "none"):
        with jax.default_matmul_precision("highest"):
            values, pull = jax.vjp(lambda *given, passes=passes: make(passes, *given), *given)
            keys = iter(jax.random.split(jax.random.key(1), 9))
            d = jax.tree.map(lambda y, keys=keys: jax.random.normal(next(keys), y.shape), values)
            found.append(jax.tree.leaves((values, pull(d))))
    assert len(found[0]) == len(found[1])
    for ours, plain in zip(*found, strict=True):
        assert ours.dtype == plain.dtype
        np.testing.assert_allclose(
            ours, plain, rtol=tolerance, atol=tolerance * np.abs(plain).max()
        )


@pytest.mark.parametrize("rank", [16, 32, 160])
@pytest.mark.parametrize("is_alone", [True, False])
def test_norms(rank, is_alone):
    x, y, a = drawn((2, 24, WIDTH), (2, 24, WIDTH), (WIDTH, rank))
    scale = jnp.linspace(-0.5, 0.5, WIDTH)

    def make(passes, a, x, y):
        return normalised(passes, "between", x, None if is_alone else y, scale, a)

    same_by_kernels(make, a, x, y)


@pytest.mark.parametrize("rank", [16, 48])
def test_adapters_before_a_product(rank):
    x, a = drawn((2, 16, WIDTH), (WIDTH, rank))
    same_by_kernels(with_inner, x, a)


@pytest.mark.parametrize("is_alone", [True, False])
def test_adapters_behind_a_product(is_alone):
    x, b, residual = drawn((3, 16, WIDTH + 16), (16, WIDTH), (3, 16, WIDTH))

    def make(passes, x, b, residual):
        return without_inner(passes, x, b, None if is_alone else residual)

    same_by_kernels(make, x, b, residual)


@pytest.mark.parametrize("batch", [1, 3])
def test_rotations(batch):
    (heads,) = drawn((3, 16, 6, 32))
    rope = rope_tables(jnp.arange(16 * batch).reshape(batch, 16), 32)
    same_by_kernels(lambda passes, heads: rotated(passes, (4, 1), heads, rope), heads)


def test_a_norm_s_gradients_are_those_of_what_it_says():
    """Against JAX's own gradients, through a product behind it."""
    x, y, a, b, w = drawn((2, 8, WIDTH), (2, 8, WIDTH), (WIDTH, 16), (16, 32), (WIDTH, 32))
    scale = jnp.linspace(-0.5, 0.5, WIDTH)
    weight = jnp.concatenate([w, b])

    def ours(x, y, a, b):
        made: Any = normalised("interpret", "between", x, y, scale, a)
        total, *wide = made
        return total, wide_product(*wide, weight, b)

    def plain(x, y, a, b):
        total = x + y
        mean = jnp.mean(jnp.square(total), axis=-1, keepdims=True)
        normed = total / jnp.sqrt(mean + 1e-6) * (1.0 + scale)
        return total, normed @ w + (normed @ a) @ b

    found = []
    for make in (ours, plain):
        with jax.default_matmul_precision("highest"):
            values, pull = jax.vjp(make, x, y, a, b)
            found.append((*values, *pull(jax.tree.map(jnp.cos, values))))
    for mine, right in zip(*found, strict=True):
        np.testing.assert_allclose(mine, right, rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize(("rows", "width", "rank"), [(17, 512, 16), (16, 500, 16), (16, 512, 8)])
def test_sizes_that_do_not_fit_are_made_without_kernels(rows, width, rank):
    assert kernels.widening_fits(16, 512, 16)
    assert not kernels.widening_fits(rows, width, rank)
    x, a = drawn((1, rows, width), (width, rank))
    same_by_kernels(with_inner, x, a)


def test_there_may_be_as_many_rows_as_columns():
    x, y, a = drawn((1, WIDTH, WIDTH), (1, WIDTH, WIDTH), (WIDTH, 16))
    scale = jnp.linspace(-0.5, 0.5, WIDTH)
    same_by_kernels(lambda passes, *given: normalised(passes, "between", *given), x, y, scale, a)


@pytest.mark.parametrize("columns", [128, 300])
def test_the_tower_s_gelu(columns):
    x, bias, kernel = drawn((2, 64, columns), (columns,), (columns, 48))

    def make(passes, x, bias, kernel):
        if passes == "none":
            return gelu(x + bias) @ kernel
        return gelu_product(passes, x, bias, kernel)

    same_by_kernels(make, 3.0 * x, bias, kernel)
    assert not kernels.gelu_fits(63)


def test_the_feed_forward_layer():
    shapes = (2, 64, 64), (2, 64, 32), (96, 128), (96, 128), (2, 16, 128), (128, 80), (128, 16)
    x, inner, gate, up, b, down, a = drawn(*shapes)

    def make(passes, x, inner, b, a):
        return feed_forward(passes, "middle", x, inner, (gate, up, b), (down, a))

    same_by_kernels(make, jnp.concatenate([x, inner], axis=-1), inner, b, a)
