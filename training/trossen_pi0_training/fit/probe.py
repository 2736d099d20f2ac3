"""What the device can do."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from trossen_pi0_policy.pi0 import kernels
from trossen_pi0_policy.pi0.attention import FusedAttention
from trossen_pi0_policy.pi0.gelu import gelu_and_slope
from trossen_pi0_policy.pi0.kernels import Passes

_LOG = logging.getLogger(__name__)

_TOLERANCE = 2e-2
"""Relative error of what is computed in bfloat16 on two ways."""


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

    Tried with a few rows, against the same without kernels: what they are written with is still
    changing from one JAX to the next.
    """
    if not kernels.available():
        return "none"
    keys = jax.random.split(jax.random.key(0), 5)
    shapes = (16, 272), (16, 256), (16, 256), (16, 32), (16, 16)
    wide, b, up, inner, d_inner = (
        jax.random.normal(key, shape, jnp.bfloat16) for key, shape in zip(keys, shapes, strict=True)
    )
    product, narrow = wide[:, :256], partial(kernels.narrow, interpret=False)
    plain = product + wide[:, 256:] @ b
    if not _agrees("adapters", lambda: narrow(wide, b)[0], plain):
        return "none"
    if not kernels.has_geglu():
        return "triton"
    _, slope = gelu_and_slope(up)
    d_gate = (product * b * slope).astype(up.dtype)
    wanted = inner[:, :16].T @ d_gate
    given = product, up, b, inner, d_inner
    found = _agrees("GeGLU", lambda: kernels.geglu_gradient(*given)[2][0], wanted)
    return "mosaic" if found else "triton"


def _agrees(what: str, kernel: Callable[[], jax.Array], wanted: jax.Array) -> bool:
    try:
        found = np.asarray(jax.jit(kernel)(), np.float64)
    except (RuntimeError, ValueError, NotImplementedError) as error:
        _LOG.info("no kernel for %s: %s", what, error)
        return False
    right = np.asarray(wanted, np.float64)
    error = np.linalg.norm(found - right) / np.linalg.norm(right)
    if not error < _TOLERANCE:
        _LOG.warning("the kernel for %s is off by %.1e here and left out", what, error)
        return False
    return True
