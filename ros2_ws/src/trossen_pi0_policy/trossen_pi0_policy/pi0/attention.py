"""Attention of both towers, rotary positions and masks."""

from __future__ import annotations

from typing import Literal

import jax
import jax.numpy as jnp

MASKED = -2.3819763e38
"""Logit of a key that may not be seen; finite, so that a row without keys stays finite."""

Fused = Literal["cudnn", "xla"]
"""Of ``attend_first``; ``cudnn`` needs half precision, a Hopper GPU or newer for 256 wide heads."""

Rope = tuple[jax.Array, jax.Array]
"""Cosines and sines, each float32 of shape (batch, tokens, head_dim / 2)."""


def rope_tables(positions: jax.Array, head_dim: int) -> Rope:
    """Rotary position tables (arXiv 2104.09864) with wavelengths up to 10 000.

    Args:
        positions: int, shape (batch, tokens).
        head_dim: of queries and keys.
    """
    exponents = (2.0 / head_dim) * jnp.arange(head_dim // 2, dtype=jnp.float32)
    angles = positions[..., None] / 10_000.0**exponents
    return jnp.cos(angles), jnp.sin(angles)


def apply_rope(x: jax.Array, rope: Rope) -> jax.Array:
    """Rotates queries or keys of shape (batch, tokens, heads, head_dim); computed in float32."""
    cos, sin = rope[0][:, :, None], rope[1][:, :, None]
    first, second = jnp.split(x, 2, axis=-1)
    rotated = (first * cos - second * sin, second * cos + first * sin)
    return jnp.concatenate(rotated, axis=-1).astype(x.dtype)


def attend(
    queries: jax.Array,
    parts: list[tuple[jax.Array, jax.Array, jax.Array]],
) -> jax.Array:
    """Grouped-query attention over keys that lie in several arrays, as if they were joined.

    Args:
        queries: shape (batch, t, heads, head_dim), already scaled.
        parts: keys and values, each (batch, s, kv_heads, head_dim), and which of the keys each
            query may see, bool, broadcastable to (batch, t, s).

    Returns:
        shape (batch, t, heads * head_dim), in the type of the queries; the softmax is float32.
    """
    batch, t, heads, head_dim = queries.shape
    kv_heads = parts[0][0].shape[2]
    grouped = queries.reshape(batch, t, kv_heads, heads // kv_heads, head_dim)
    logits = jnp.concatenate(
        [
            jnp.where(
                mask[:, None, None],
                jnp.einsum("btkgh,bskh->bkgts", grouped, k, preferred_element_type=jnp.float32),
                MASKED,
            )
            for k, _, mask in parts
        ],
        axis=-1,
    )
    weights = jax.nn.softmax(logits, axis=-1).astype(queries.dtype)
    attended, begin = None, 0
    for k, v, _ in parts:
        end = begin + k.shape[1]
        part = jnp.einsum("bkgts,bskh->btkgh", weights[..., begin:end], v)
        attended = part if attended is None else attended + part
        begin = end
    assert attended is not None
    return attended.reshape(batch, t, heads * head_dim)


def attend_first(
    queries: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    lengths: jax.Array,
    implementation: Fused,
) -> jax.Array:
    """Grouped-query attention of every token to the first ones, by a fused kernel.

    Args:
        queries: shape (batch, t, heads, head_dim), already scaled.
        keys: shape (batch, t, kv_heads, head_dim).
        values: as ``keys``.
        lengths: int32, shape (batch,): how many keys may be seen.
        implementation: see ``jax.nn.dot_product_attention``.

    Returns:
        shape (batch, t, heads * head_dim), in the type of the queries.
    """
    attended = jax.nn.dot_product_attention(
        queries,
        keys,
        values,
        scale=1.0,
        key_value_seq_lengths=lengths,
        implementation=implementation,
    )
    return attended.reshape(*queries.shape[:2], -1)


def valid_first(tokens: jax.Array, valid: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Tokens that are there before those that are not, each in their order.

    Args:
        tokens: shape (batch, tokens, width).
        valid: bool, shape (batch, tokens).

    Returns:
        tokens, and which of them are there: the first ones of each row.
    """
    order = jnp.argsort(~valid, axis=1, stable=True)
    moved = jnp.take_along_axis(tokens, order[..., None], axis=1)
    return moved, jnp.take_along_axis(valid, order, axis=1)


def prefix_mask(image_mask: jax.Array, token_mask: jax.Array, image_tokens: int) -> jax.Array:
    """Which tokens of pictures and prompt are there.

    Args:
        image_mask: bool, shape (batch, cameras).
        token_mask: bool, shape (batch, max_token_len).
        image_tokens: tokens of one picture.

    Returns:
        bool, shape (batch, cameras * image_tokens + max_token_len).
    """
    return jnp.concatenate([jnp.repeat(image_mask, image_tokens, axis=1), token_mask], axis=1)


def suffix_mask(length: int, *, state_token: bool) -> jax.Array:
    """Which suffix tokens each suffix token sees: the state only itself, actions everything.

    Returns:
        bool, shape (1, length, length).
    """
    seen = jnp.ones((length, length), dtype=bool)
    if state_token:
        seen = seen.at[0, 1:].set(False)
    return seen[None]
