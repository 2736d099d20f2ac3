"""Attention of prefix and suffix."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from trossen_pi0_policy.pi0.attention import MASKED
from trossen_pi0_policy.pi0.kernels.launching import dot, launch, plgpu
from trossen_pi0_policy.pi0.kernels.tables import ROWS, Tables

_PREFIX_ROWS = 64
_KEYS = 64


def attend_prefix(
    queries: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    bias: jax.Array,
    *,
    interpret: bool = False,
) -> jax.Array:
    """Attention of the prefix to itself, all heads sharing one key and value head.

    Args:
        queries: scaled, shape (batch, tokens, heads, head_dim).
        keys: shape (batch, tokens, head_dim).
        values: likewise.
        bias: added to the logits of each key, float32, shape (batch, tokens).
        interpret: run without a GPU.

    Returns:
        shape (batch, tokens, heads * head_dim), in the type of the queries.
    """
    batch, length, heads, head_dim = queries.shape
    rows = length * heads  # since the mask is the same for all, heads are rows like tokens
    blocks = pl.cdiv(length, _KEYS)

    def kernel(q_ref: Any, k_ref: Any, v_ref: Any, bias_ref: Any, out_ref: Any) -> None:
        row = pl.program_id(0) * _PREFIX_ROWS + jnp.arange(_PREFIX_ROWS)
        here = pl.ds(pl.program_id(0) * _PREFIX_ROWS, _PREFIX_ROWS)
        is_row = (row < rows)[:, None]
        q = plgpu.load(q_ref.at[here, :], mask=is_row, other=0.0)

        def body(i: Any, carry: Any) -> Any:
            top, total, out = carry
            there = i * _KEYS + jnp.arange(_KEYS) < length
            block = pl.ds(i * _KEYS, _KEYS)
            k = plgpu.load(k_ref.at[block, :], mask=there[:, None], other=0.0)
            v = plgpu.load(v_ref.at[block, :], mask=there[:, None], other=0.0)
            added = plgpu.load(bias_ref.at[block], mask=there, other=MASKED)
            logits = dot(q, k, transposed=True) + added[None, :]
            new = jnp.maximum(top, jnp.max(logits, axis=1))
            weights, fade = jnp.exp(logits - new[:, None]), jnp.exp(top - new)
            out = out * fade[:, None] + dot(weights.astype(v.dtype), v)
            return new, total * fade + jnp.sum(weights, axis=1), out

        start = (
            jnp.full((_PREFIX_ROWS,), MASKED, jnp.float32),
            jnp.zeros((_PREFIX_ROWS,), jnp.float32),
            jnp.zeros((_PREFIX_ROWS, head_dim), jnp.float32),
        )
        _, total, out = jax.lax.fori_loop(0, blocks, body, start)
        plgpu.store(out_ref.at[here, :], (out / total[:, None]).astype(out_ref.dtype), mask=is_row)

    whole = pl.BlockSpec((None, rows, head_dim), lambda _r, b: (b, 0, 0))
    cache = pl.BlockSpec((None, length, head_dim), lambda _r, b: (b, 0, 0))
    attended = launch(
        kernel,
        "attend_prefix",
        (pl.cdiv(rows, _PREFIX_ROWS), batch),
        [whole, cache, cache, pl.BlockSpec((None, length), lambda _r, b: (b, 0))],
        whole,
        jax.ShapeDtypeStruct((batch, rows, head_dim), queries.dtype),
        interpret=interpret,
        stages=3,
    )(queries.reshape(batch, rows, head_dim), keys, values, bias)
    return attended.reshape(batch, length, heads * head_dim)


def attend_cached(
    qkv: jax.Array, keys: jax.Array, values: jax.Array, tables: Tables, *, heads: int
) -> jax.Array:
    """Attention of the suffix over the cached prefix and itself, split over the keys.

    Args:
        qkv: from ``project_rope`` with one key and value head, shape (batch * ROWS, columns).
        keys: of the prefix, shape (batch, tokens, head_dim).
        values: likewise.
        tables: masks.
        heads: query heads.

    Returns:
        shape (batch * ROWS, heads * head_dim), in the type of ``qkv``.
    """
    batch, length, head_dim = keys.shape
    blocks = pl.cdiv(length, ROWS)
    splits, rows = blocks + 1, batch * ROWS
    room = 1 << (splits - 1).bit_length()  # blocks are a power of two; the rest is not written

    def kernel(
        q_ref: Any,
        own_k: Any,
        own_v: Any,
        k_ref: Any,
        v_ref: Any,
        bias: Any,
        own_bias: Any,
        *out: Any,
    ) -> None:
        split = pl.program_id(1)

        def cached() -> Any:
            index = split * ROWS + jnp.arange(ROWS)
            here, there = pl.ds(split * ROWS, ROWS), index < length
            k = plgpu.load(k_ref.at[here, :], mask=there[:, None], other=0.0)
            v = plgpu.load(v_ref.at[here, :], mask=there[:, None], other=0.0)
            added = plgpu.load(bias.at[here], mask=there, other=MASKED)
            return k, v, jnp.broadcast_to(added[None, :], (ROWS, ROWS))

        def own() -> Any:
            return own_k[...], own_v[...], own_bias[...]

        k, v, added = jax.lax.cond(split < blocks, cached, own)
        logits = dot(q_ref[...], k, transposed=True) + added
        top = jnp.max(logits, axis=1)
        weights = jnp.exp(logits - top[:, None])
        out[0][...] = dot(weights.astype(v.dtype), v).astype(out[0].dtype)
        out[1][...] = top
        out[2][...] = jnp.sum(weights, axis=1)

    cache = pl.BlockSpec((None, length, head_dim), lambda _h, _s, b: (b, 0, 0))
    number = pl.BlockSpec((None, None, ROWS), lambda h, s, b: (s, h, b))
    numbers = jax.ShapeDtypeStruct((room, heads, rows), jnp.float32)
    part, top, total = launch(
        kernel,
        "attend_cached",
        (heads, splits, batch),
        [
            pl.BlockSpec((ROWS, head_dim), lambda h, _s, b: (b, h)),
            pl.BlockSpec((ROWS, head_dim), lambda _h, _s, b: (b, heads)),
            pl.BlockSpec((ROWS, head_dim), lambda _h, _s, b: (b, heads + 1)),
            cache,
            cache,
            pl.BlockSpec((None, length), lambda _h, _s, b: (b, 0)),
            pl.BlockSpec((ROWS, ROWS), lambda _h, _s, _b: (0, 0)),
        ],
        [pl.BlockSpec((None, ROWS, head_dim), lambda h, s, b: (s, b, h)), number, number],
        [jax.ShapeDtypeStruct((room, rows, heads * head_dim), qkv.dtype), numbers, numbers],
        interpret=tables.interpret,
    )(qkv, qkv, qkv, keys, values, tables.bias, tables.own_bias)
    return _join_splits(part, top, total, splits, tables)


def _join_splits(
    part: jax.Array, top: jax.Array, total: jax.Array, splits: int, tables: Tables
) -> jax.Array:
    """Attention from that over each block of keys.

    Args:
        part: weighted values, not normalised, shape (room, rows, heads * head_dim).
        top: largest logits, which the weights are relative to, shape (room, heads, rows).
        total: sums of the weights, of that shape.
        splits: blocks of keys; what is behind them in the arrays is undefined.
        tables: for ``interpret``.
    """
    room, heads, rows = top.shape
    head_dim, step = part.shape[2] // heads, 4

    def kernel(part_ref: Any, top_ref: Any, total_ref: Any, out_ref: Any) -> None:
        there = jnp.arange(room) < splits
        tops = plgpu.load(top_ref.at[:, :], mask=there[:, None], other=MASKED)
        totals = plgpu.load(total_ref.at[:, :], mask=there[:, None], other=0.0)
        weights = jnp.exp(tops - jnp.max(tops, axis=0)[None, :])
        weights = weights / jnp.sum(weights * totals, axis=0)[None, :]
        parts = plgpu.load(part_ref.at[:, :, :], mask=there[:, None, None], other=0.0)
        joined = jnp.sum(parts.astype(jnp.float32) * weights[:, :, None], axis=0)
        out_ref[...] = joined.astype(out_ref.dtype)

    number = pl.BlockSpec((room, None, step), lambda r, h: (0, h, r))
    return launch(
        kernel,
        "join_splits",
        (rows // step, heads),
        [pl.BlockSpec((room, step, head_dim), lambda r, h: (0, r, h)), number, number],
        pl.BlockSpec((step, head_dim), lambda r, h: (r, h)),
        jax.ShapeDtypeStruct(part.shape[1:], part.dtype),
        interpret=tables.interpret,
    )(part, top, total)
