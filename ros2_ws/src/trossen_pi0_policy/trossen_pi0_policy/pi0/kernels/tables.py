"""What the kernels need besides activations and weights."""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from trossen_pi0_policy.pi0.attention import MASKED

ROWS = 64
"""Rows of the suffix of one observation: state and actions, padded."""

EPSILON = 1e-6
"""Added to mean squares."""


@dataclass(frozen=True)
class Tables:
    """What the kernels of all layers and steps share.

    Attributes:
        cos: of the suffix' positions, float32, shape (batch * ROWS, head_dim / 2).
        sin: likewise.
        bias: added to the logits of the prefix' keys, float32, shape (batch, tokens).
        own_bias: added to the logits of the suffix' own keys, float32, shape (ROWS, ROWS).
        interpret: run the kernels without a GPU.
    """

    cos: jax.Array
    sin: jax.Array
    bias: jax.Array
    own_bias: jax.Array
    interpret: bool = False


@dataclass(frozen=True)
class Modulation:
    """What a norm does to its normalised input: float32 vectors of shape (width,).

    Attributes:
        scale: the normalised input is multiplied by one more than this.
        shift: added to it, in an adaptive norm.
        gate: multiplies what the residual branch behind an adaptive norm adds.
    """

    scale: jax.Array
    shift: jax.Array | None = None
    gate: jax.Array | None = None


def rms_normalise(x: jax.Array) -> jax.Array:
    """Root-mean-square normalisation over the last axis, without a kernel; float32."""
    x32 = x.astype(jnp.float32)
    variance = jnp.mean(jnp.square(x32), axis=-1, keepdims=True)
    return x32 * jnp.reciprocal(jnp.sqrt(variance + EPSILON))


def normalise(x: jax.Array, modulation: Modulation) -> jax.Array:
    """RMS norm of float32 rows, without a kernel; float32."""
    normed = rms_normalise(x) * (1.0 + modulation.scale)
    return normed if modulation.shift is None else normed + modulation.shift


def make_tables(
    cos: jax.Array, sin: jax.Array, valid: jax.Array, own_mask: jax.Array, *, interpret: bool
) -> Tables:
    """Pads what concerns the suffix.

    Args:
        cos: shape (batch, suffix tokens, head_dim / 2).
        sin: likewise.
        valid: which prefix tokens are there, bool, shape (batch, tokens).
        own_mask: which suffix tokens each suffix token sees, bool, shape (tokens, tokens).
        interpret: run the kernels without a GPU.
    """
    gap = ROWS - own_mask.shape[0]
    pad = ((0, 0), (0, gap), (0, 0))
    own = jnp.pad(jnp.where(own_mask, 0.0, MASKED), ((0, gap), (0, gap)), constant_values=MASKED)
    return Tables(
        cos=jnp.pad(cos, pad).reshape(-1, cos.shape[2]),
        sin=jnp.pad(sin, pad).reshape(-1, sin.shape[2]),
        bias=jnp.where(valid, 0.0, MASKED),
        own_bias=own,
        interpret=interpret,
    )
