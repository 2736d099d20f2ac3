"""Projections, residual connections and norms of the padded suffix."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from trossen_pi0_policy.pi0.config import ExpertConfig
from trossen_pi0_policy.pi0.gelu import CUBE, SCALE
from trossen_pi0_policy.pi0.kernels.launching import DEPTH, launch, products
from trossen_pi0_policy.pi0.kernels.tables import EPSILON, ROWS, Modulation, Tables

_QKV_COLUMNS = 16
_MLP_COLUMNS = 32
_SPLIT_COLUMNS = 64
_SPLITS = 8


def fits(config: ExpertConfig, suffix_len: int) -> bool:
    """Whether the kernels can run an expert: one key head, few rows, sizes that divide well."""
    half, width = config.head_dim // 2, config.width
    return (
        config.num_kv_heads == 1
        and suffix_len <= ROWS
        and half >= _QKV_COLUMNS
        and half & (half - 1) == 0
        and width & (width - 1) == 0
        and width % _SPLIT_COLUMNS == 0
        and config.mlp_dim % (_SPLITS * DEPTH) == 0
        and config.num_heads * config.head_dim % (_SPLITS * DEPTH) == 0
    )


def project_rope(
    x: jax.Array, weight: jax.Array, tables: Tables, *, heads: int, kv_heads: int
) -> jax.Array:
    """Projection to queries, keys and values, and rotary positions.

    Args:
        x: normalised rows, shape (batch * ROWS, width).
        weight: shape (width, (heads + 2 * kv_heads) * head_dim).
        tables: positions.
        heads: query heads.
        kv_heads: key and value heads.

    Returns:
        queries (scaled), keys and values side by side, in the type of ``x``.
    """
    half = tables.cos.shape[1]
    blocks = half // _QKV_COLUMNS

    def kernel(x_ref: Any, w_ref: Any, cos_ref: Any, sin_ref: Any, out_ref: Any) -> None:
        head = pl.program_id(0) // blocks
        column = (pl.program_id(0) % blocks) * _QKV_COLUMNS
        first = head * 2 * half + column
        a, b = products(x_ref, w_ref, (first, first + half), _QKV_COLUMNS)
        # the rotation takes the rounded products, as where nothing is joined
        a, b = (y.astype(out_ref.dtype).astype(jnp.float32) for y in (a, b))
        is_rotated = (head < heads + kv_heads).astype(jnp.float32)  # values are not
        here = pl.ds(column, _QKV_COLUMNS)
        cos = 1.0 + (cos_ref[:, here] - 1.0) * is_rotated
        sin = sin_ref[:, here] * is_rotated
        scale = 1.0 + ((2 * half) ** -0.5 - 1.0) * (head < heads).astype(jnp.float32)
        for begin, y in ((first, a * cos - b * sin), (first + half, b * cos + a * sin)):
            out_ref[:, pl.ds(begin, _QKV_COLUMNS)] = (y * scale).astype(out_ref.dtype)

    columns = weight.shape[1]
    return launch(
        kernel,
        "project_rope",
        (columns // 2 // _QKV_COLUMNS, x.shape[0] // ROWS),
        [_rows(x), _whole(weight), _rows(tables.cos), _rows(tables.sin)],
        pl.BlockSpec((ROWS, columns), lambda _, b: (b, 0)),
        jax.ShapeDtypeStruct((x.shape[0], columns), x.dtype),
        interpret=tables.interpret,
        stages=6,
    )(x, weight, tables.cos, tables.sin)


def project_geglu(x: jax.Array, weight: jax.Array, tables: Tables) -> jax.Array:
    """Gate and up projection, and GeGLU.

    Args:
        x: normalised rows, shape (batch * ROWS, width).
        weight: gate and up side by side, shape (width, 2 * mlp_dim).
        tables: for ``interpret``.

    Returns:
        shape (batch * ROWS, mlp_dim), in the type of ``x``.
    """
    half = weight.shape[1] // 2

    def kernel(x_ref: Any, w_ref: Any, out_ref: Any) -> None:
        first = pl.program_id(0) * _MLP_COLUMNS
        gate, up = products(x_ref, w_ref, (first, half + first), _MLP_COLUMNS)
        out_ref[:, pl.ds(first, _MLP_COLUMNS)] = (_gelu(gate) * up).astype(out_ref.dtype)

    return launch(
        kernel,
        "project_geglu",
        (half // _MLP_COLUMNS, x.shape[0] // ROWS),
        [_rows(x), _whole(weight)],
        pl.BlockSpec((ROWS, half), lambda _, b: (b, 0)),
        jax.ShapeDtypeStruct((x.shape[0], half), x.dtype),
        interpret=tables.interpret,
        stages=6,
    )(x, weight)


def project_parts(x: jax.Array, weight: jax.Array, tables: Tables) -> jax.Array:
    """Products with the depth in parts, so that enough blocks read a narrow weight.

    Args:
        x: rows, shape (batch * ROWS, depth).
        weight: shape (depth, width).
        tables: for ``interpret``.

    Returns:
        what to sum over the first axis, float32, shape (parts, batch * ROWS, width).
    """
    depth, width = weight.shape
    part = depth // _SPLITS

    def kernel(x_ref: Any, w_ref: Any, out_ref: Any) -> None:
        first = pl.program_id(0) * _SPLIT_COLUMNS
        begin = pl.program_id(1) * part
        (product,) = products(x_ref, w_ref, (first,), _SPLIT_COLUMNS, begin, part)
        out_ref[:, pl.ds(first, _SPLIT_COLUMNS)] = product

    return launch(
        kernel,
        "project_parts",
        (width // _SPLIT_COLUMNS, _SPLITS, x.shape[0] // ROWS),
        [
            pl.BlockSpec((ROWS, depth), lambda _, _s, b: (b, 0)),
            pl.BlockSpec((depth, width), lambda _, _s, _b: (0, 0)),
        ],
        pl.BlockSpec((None, ROWS, width), lambda _, s, b: (s, b, 0)),
        jax.ShapeDtypeStruct((_SPLITS, x.shape[0], width), jnp.float32),
        interpret=tables.interpret,
        stages=5,
    )(x, weight)


def add_normalise(
    x: jax.Array,
    parts: jax.Array,
    tables: Tables,
    branch: Modulation,
    behind: Modulation,
    dtype: Any,
) -> tuple[jax.Array, jax.Array]:
    """Residual connection and the RMS norm behind it.

    Args:
        x: residual stream, float32, shape (batch * ROWS, width), a power of two wide.
        parts: from ``project_parts``.
        tables: for ``interpret``.
        branch: of the norm that the branch began with; its gate is used.
        behind: of the norm behind the connection.
        dtype: of the normalised rows.

    Returns:
        the residual stream, float32, and its normalised rows.
    """
    splits, rows, width = parts.shape
    vectors = [v for v in (branch.gate, behind.scale, behind.shift) if v is not None]

    def kernel(x_ref: Any, parts_ref: Any, *refs: Any) -> None:
        inputs = iter(refs)
        added = parts_ref[0]
        for i in range(1, splits):
            added = added + parts_ref[i]
        if branch.gate is not None:
            added = added * next(inputs)[...][None]
        total = x_ref[...] + added
        square = jnp.sum(total * total, axis=1, keepdims=True) / width
        normed = total * jax.lax.rsqrt(square + EPSILON) * (1.0 + next(inputs)[...][None])
        if behind.shift is not None:
            normed = normed + next(inputs)[...][None]
        refs[-2][...] = total
        refs[-1][...] = normed.astype(dtype)

    row = pl.BlockSpec((1, width), lambda r: (r, 0))
    return launch(
        kernel,
        "add_normalise",
        (rows,),
        [
            row,
            pl.BlockSpec((splits, 1, width), lambda r: (0, r, 0)),
            *[pl.BlockSpec((width,), lambda _r: (0,)) for _ in vectors],
        ],
        [row, row],
        [jax.ShapeDtypeStruct((rows, width), t) for t in (jnp.float32, dtype)],
        interpret=tables.interpret,
        warps=8,
    )(x, parts, *vectors)


def _gelu(x: jax.Array) -> jax.Array:
    """The tanh form, by an exponential."""
    inner = SCALE * (x + CUBE * x * x * x)
    return x / (1.0 + jnp.exp(-2.0 * inner))


def _rows(x: jax.Array) -> pl.BlockSpec:
    """All columns of the rows of one observation, on a grid (columns, batch)."""
    return pl.BlockSpec((ROWS, x.shape[1]), lambda _, b: (b, 0))


def _whole(weight: jax.Array) -> pl.BlockSpec:
    return pl.BlockSpec(weight.shape, lambda _, _b: (0, 0))
