"""What the device can do."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from trossen_pi0_policy.pi0 import kernels
from trossen_pi0_policy.pi0.attention import FusedAttention
from trossen_pi0_policy.pi0.kernels import Passes

_LOG = logging.getLogger(__name__)


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

    Tried with a few rows: what they are written with is still changing from one JAX to the next.
    """
    if not kernels.available():
        return "none"
    x, a = jnp.ones((16, 256), jnp.bfloat16), jnp.ones((256, 16), jnp.bfloat16)
    if not _runs("norms", lambda: kernels.widen(x, a, interpret=False)):
        return "none"
    if not kernels.has_geglu():
        return "triton"
    inner = jnp.ones((16, 32), jnp.bfloat16)
    runs = _runs("GeGLU", lambda: kernels.geglu_gradient(x, x, x, inner, inner[:, :16]))
    return "mosaic" if runs else "triton"


def _runs(what: str, kernel: Callable[[], Any]) -> bool:
    try:
        jax.block_until_ready(jax.jit(kernel)())
    except (RuntimeError, ValueError, NotImplementedError) as error:
        _LOG.info("no kernel for %s: %s", what, error)
        return False
    return True
