"""What the device can do."""

from __future__ import annotations

import functools
import logging

import jax
import jax.numpy as jnp

from trossen_pi0_policy.pi0.attention import FusedAttention

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
