"""What the device can do."""

from __future__ import annotations

import functools
import logging
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from trossen_pi0_policy.pi0 import kernels
from trossen_pi0_policy.pi0.attention import FusedAttention
from trossen_pi0_policy.pi0.kernels import Passes
from trossen_pi0_policy.pi0.widened_steps import feed_forward, normalised, without_inner

_LOG = logging.getLogger(__name__)

_TOLERANCE = 2e-2
"""Relative difference between two ways to compute in bfloat16."""


@functools.cache
def cudnn_attends(heads: int, head_dim: int) -> bool:
    """Whether cuDNN's attention and its gradients run with so many heads over one of keys.

    Heads as wide as Gemma's need a Hopper GPU or newer; tried with a few tokens.
    """
    shape = (1, 64, heads, head_dim)
    queries, keys = (jnp.ones((*shape[:2], n, head_dim), jnp.bfloat16) for n in (heads, 1))
    lengths = jnp.array([40], jnp.int32)

    def total(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        attended = FusedAttention("cudnn", "attended")(q, k, v, lengths)
        return attended.astype(jnp.float32).sum()

    try:
        jax.block_until_ready(jax.jit(jax.grad(total, (0, 1, 2)))(queries, keys, keys))
    except (RuntimeError, ValueError) as error:
        _LOG.info("no fused attention in the language model: %s", error)
        return False
    return True


@functools.cache
def kernel_passes() -> Passes:
    """By which kernels a training's passes over its activations can be made here.

    Tried against the same without kernels: what they are written with is still changing from one
    JAX to the next.
    """
    can: list[Passes] = ["mosaic"] if kernels.has_geglu() else []
    for passes in (*can, "triton") if kernels.available() else ():
        if passes_agree(passes):
            return passes
    return "none"


def passes_agree(passes: Passes, rows: int = 16 * 1100) -> bool:
    """Whether they run here, and give what is given without kernels.

    Args:
        passes: to be tried.
        rows: of the activations, a multiple of 64; so many that each kernel goes through several.
    """
    try:
        found = [np.asarray(x, np.float64) for x in _layer(passes, rows)]
    except (RuntimeError, ValueError, NotImplementedError) as error:
        _LOG.info("no kernels (%s): %s", passes, error)
        return False
    for x, right in zip(found, _layer("none", rows), strict=True):
        wanted = np.asarray(right, np.float64)
        error = np.linalg.norm(x - wanted) / np.linalg.norm(wanted)
        if not error < _TOLERANCE:
            _LOG.warning("the kernels (%s) are off by %.1e here and left out", passes, error)
            return False
    return True


def _layer(passes: Passes, rows: int) -> list[jax.Array]:
    """A norm and a feed-forward layer with adapters, and the gradients of both."""
    width, mlp, rank = 256, 256, 16
    rest = (width, 2 * rank), (2, rank, mlp), (mlp, rank), (rank, width)
    trained = (rows, width), (rows, width), *rest
    frozen = (width,), (width + 2 * rank, mlp), (width + 2 * rank, mlp), (mlp, width + rank)
    keys = iter(jax.random.split(jax.random.key(0), len(trained) + len(frozen)))

    def drawn(shape: tuple[int, ...]) -> jax.Array:
        spread = 1.0 if shape[0] == rows else shape[-1] ** -0.5
        return spread * jax.random.normal(next(keys), shape, jnp.bfloat16)

    scale, gate, up, down = (drawn(shape) for shape in frozen)

    def layer(
        x: jax.Array, y: jax.Array, a: jax.Array, b: jax.Array, *of_down: jax.Array
    ) -> jax.Array:
        down_a, down_b = of_down
        made: Any = normalised(passes, "tried", x, y, scale, a)
        total, wide, inner = made
        both: Any = feed_forward(passes, "tried", wide, inner, (gate, up, b), (down, down_a))
        out: Any = without_inner(passes, both, down_b, total)
        return out

    @jax.jit
    def tried(*given: jax.Array) -> list[jax.Array]:
        out, pull = jax.vjp(layer, *given)
        return [out, *pull(jnp.cos(out))]

    return tried(*map(drawn, trained))
