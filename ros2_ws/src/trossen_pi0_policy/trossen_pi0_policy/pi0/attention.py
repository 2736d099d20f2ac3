"""Attention of both towers, rotary positions and masks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

MASKED = -2.3819763e38
"""Logit of a key that may not be seen; finite, so that a row without keys stays finite."""

Fused = Literal["cudnn", "xla"]
"""``cudnn`` needs half precision, and for heads 256 wide a Hopper GPU or newer."""

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
    cos, sin = (table[:, :, None, None] for table in rope)
    halves = x.reshape(*x.shape[:-1], 2, -1)
    signed = sin * jnp.array([[-1.0], [1.0]])
    rotated = halves * cos + jnp.flip(halves, axis=-2) * signed
    return rotated.reshape(x.shape).astype(x.dtype)


def attend(
    queries: jax.Array,
    parts: list[tuple[jax.Array, jax.Array, jax.Array]],
    name: str = "attention",
) -> jax.Array:
    """Grouped-query attention over keys that lie in several arrays.

    Args:
        queries: shape (batch, t, heads, head_dim), already scaled.
        parts: keys and values, each (batch, s, kv_heads, head_dim), and which of the keys each
            query may see, bool, broadcastable to (batch, t, s).
        name: of the weights of the keys, for what is kept for the backward pass.

    Returns:
        shape (batch, t, heads * head_dim), in the type of the queries; the softmax is float32.
    """
    batch, t, heads, head_dim = queries.shape
    keys, values = (jnp.concatenate([part[i] for part in parts], axis=1) for i in (0, 1))
    masks = [jnp.broadcast_to(mask, (batch, t, k.shape[1])) for k, _, mask in parts]
    kv_heads = keys.shape[2]
    grouped = queries.reshape(batch, t, kv_heads, -1, head_dim).swapaxes(1, 2)
    mask = jnp.concatenate(masks, axis=-1)[:, None, :, None]
    logits = jnp.einsum("bktgh,bskh->bktgs", grouped, keys, preferred_element_type=jnp.float32)
    weights = jax.nn.softmax(jnp.where(mask, logits, MASKED), axis=-1)
    weights = checkpoint_name(weights, name).astype(queries.dtype)
    attended = jnp.einsum("bktgs,bskh->bktgh", weights, values)
    return attended.swapaxes(1, 2).reshape(batch, t, heads * head_dim)


@dataclass(frozen=True)
class FusedAttention:
    """Grouped-query attention of every token to the first ones, by a fused kernel.

    Attributes:
        implementation: see ``jax.nn.dot_product_attention``.
        name: of what the backward pass needs besides the arguments.
        scale: of the logits.
    """

    implementation: Fused
    name: str
    scale: float = 1.0

    def __call__(
        self, queries: jax.Array, keys: jax.Array, values: jax.Array, lengths: jax.Array | None
    ) -> jax.Array:
        """Attends.

        Args:
            queries: shape (batch, t, heads, head_dim).
            keys: shape (batch, t, kv_heads, head_dim).
            values: as ``keys``.
            lengths: int32, shape (batch,): how many keys may be seen; None: all.

        Returns:
            shape (batch, t, heads * head_dim), in the type of the queries.
        """
        attended: Any = _attend_keeping(self, (queries, keys, values), lengths)
        return attended.reshape(*queries.shape[:2], -1)


_Qkv = tuple[jax.Array, jax.Array, jax.Array]


def _attend(how: FusedAttention, qkv: _Qkv, lengths: jax.Array | None) -> jax.Array:
    return jax.nn.dot_product_attention(
        *qkv,
        scale=how.scale,
        key_value_seq_lengths=lengths,
        implementation=how.implementation,
    )


def _attend_forward(
    how: FusedAttention, qkv: _Qkv, lengths: jax.Array | None
) -> tuple[jax.Array, Any]:
    out, pull = jax.vjp(lambda given: _attend(how, given, lengths), qkv)
    named = checkpoint_name(out, how.name)

    def kept(leaf: jax.Array) -> jax.Array:
        if leaf is out:
            return named  # one array, kept once
        return leaf if any(leaf is x for x in qkv) else checkpoint_name(leaf, how.name)

    return named, jax.tree.map(kept, pull)


def _attend_backward(how: FusedAttention, pull: Any, d_out: jax.Array) -> tuple[Any, None]:
    del how
    return (*pull(d_out), None)


_attend_keeping = jax.custom_vjp(_attend, nondiff_argnums=(0,))
_attend_keeping.defvjp(_attend_forward, _attend_backward)


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
