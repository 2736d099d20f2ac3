"""Gradients of norms, and what stands behind the adapters, of a training, in few passes.

What a product with a widened weight gives the gradient of is ``[x, x @ a]``; nothing as wide as the
residual stream is read or written on the adapter's account. The gradient of a norm takes a pass
over whole rows for its sums and then one by blocks, which finds what the first has read in the L2
cache. (Before those products the compiler's own passes were measured to be the faster ones.)
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from trossen_pi0_policy.pi0.kernels.launching import dot, launch
from trossen_pi0_policy.pi0.kernels.tables import EPSILON


@dataclass(frozen=True)
class Tiling:
    """How a kernel divides its work; any gives the same result.

    Attributes:
        rows: of a block, or the largest power of two that divides those there are.
        columns: taken at a time.
        warps: of a block.
    """

    rows: int
    columns: int = 256
    warps: int = 4


MEASURE = Tiling(rows=8)
NORM_GRADIENT = Tiling(rows=64, columns=128, warps=8)
NARROW = Tiling(rows=64, columns=128, warps=8)
ROTATE = Tiling(rows=16, warps=8)

_LEAST, _WIDEST = 16, 256


def widening_fits(rows: int, width: int, *ranks: int) -> bool:
    """Whether the kernels take such sizes."""
    ranks_fit = all(rank % _LEAST == 0 for rank in ranks)
    return rows % _LEAST == 0 and width % _WIDEST == 0 and ranks_fit


def normalise_widen_gradient(
    total: jax.Array,
    scale: jax.Array,
    a: jax.Array,
    inner: jax.Array,
    d_total: jax.Array,
    d_wide: jax.Array,
    *,
    interpret: bool,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradient of a residual connection, its RMS norm ``n`` and ``[n, n @ a]``.

    Args:
        total: what was normalised, shape (rows, width).
        scale: of the norm, shape (width,).
        a: shape (width, rank).
        inner: ``n @ a``.
        d_total: gradient of ``total``.
        d_wide: of ``[n, n @ a]``, shape (rows, width + rank).
        interpret: run without a GPU.

    Returns:
        gradient of what ``total`` is the sum of; the normalised rows; and the last columns
        of ``d_wide``.
    """
    (rows, width), rank = total.shape, a.shape[1]

    def measure(*refs: Any) -> None:
        total_ref, inner_ref, d_wide_ref, scale_ref, factor_ref, share_ref, d_inner_ref = refs
        square: Any = 0.0
        along: Any = 0.0
        for here in _chunks(width, MEASURE.columns):
            x = _float(total_ref[:, here])
            square += jnp.square(x)
            # By places, so that threads hold of the scale what they hold of the rows.
            places = here.start + jax.lax.broadcasted_iota(jnp.int32, x.shape, 1)
            along += x * _float(d_wide_ref[:, here]) * (1.0 + _float(scale_ref[places]))
        factor = _inverse_root(jnp.sum(square, axis=1), width)
        # Rows times their gradients through the adapter: of the inner products, which are there.
        through = jnp.zeros(factor.shape, jnp.float32)
        for at, n in _powers(rank):
            d_inner = d_wide_ref[:, pl.ds(width + at, n)]
            d_inner_ref[:, pl.ds(at, n)] = d_inner
            through += jnp.sum(_float(d_inner) * _float(inner_ref[:, pl.ds(at, n)]), axis=1)
        factor_ref[...] = factor
        share = jnp.sum(along, axis=1) * factor + through
        share_ref[...] = share * factor / width

    run = _launcher("norm_gradient_measure", MEASURE, rows, interpret=interpret)
    made = [_by_row(total), _by_row(total), jax.ShapeDtypeStruct((rows, rank), d_wide.dtype)]
    factor, share, d_inner = run(measure, [total, inner, d_wide], [scale], made)

    def kernel(*refs: Any) -> None:
        total_ref, d_inner_ref, d_total_ref, d_wide_ref, *more, dx_ref, normed_ref = refs
        factor_ref, share_ref, scale_ref, a_ref = more
        here = _here(NORM_GRADIENT)
        # All of them before the products, whose results are exchanged between threads.
        x, gradient, d_total = (ref[:, here] for ref in (total_ref, d_wide_ref, d_total_ref))
        gradient = _float(gradient)
        weight, factor = _weight(scale_ref, here), factor_ref[...][:, None]
        for at, n in _powers(rank):
            block = a_ref[here, pl.ds(at, n)]
            gradient += dot(d_inner_ref[:, pl.ds(at, n)], block, transposed=True)
        x = _float(x)
        normed_ref[...] = (x * factor * weight).astype(total.dtype)
        dx = (gradient * weight - x * share_ref[...][:, None]) * factor
        dx_ref[...] = (dx + _float(d_total)).astype(total.dtype)

    run = _launcher(
        "norm_gradient", NORM_GRADIENT, rows, interpret=interpret, width=width, is_reversed=True
    )
    given = [total, d_inner, d_total, d_wide, factor, share]
    dx, normed = run(kernel, given, [scale, a], [_like(total)] * 2)
    return dx, normed, d_inner


def narrow(
    wide: jax.Array,
    b: jax.Array,
    residual: jax.Array | None = None,
    *,
    interpret: bool,
    transposed: bool = False,
) -> tuple[jax.Array, jax.Array]:
    """``w + inner @ b`` of ``wide = [w, inner]``, with a residual, and ``inner`` by itself.

    Args:
        wide: shape (rows, width + rank).
        b: shape (rank, width), or its transpose.
        residual: added, shape (rows, width).
        interpret: run without a GPU.
        transposed: which of the two ``b`` is.
    """
    rank = b.shape[1 if transposed else 0]
    rows, width = wide.shape[0], wide.shape[1] - rank
    more = [] if residual is None else [residual]

    def kernel(wide_ref: Any, *refs: Any) -> None:
        *added, b_ref, out_ref, inner_ref = refs
        here = _here(NARROW)
        parts = [(pl.ds(at, n), wide_ref[:, pl.ds(width + at, n)]) for at, n in _powers(rank)]
        total = _float(wide_ref[:, here])
        for ref in added:
            total += _float(ref[:, here])
        for there, inner in parts:
            block = b_ref[here, there] if transposed else b_ref[there, here]
            total += dot(inner, block, transposed=transposed)
        out_ref[...] = total.astype(wide.dtype)

        @pl.when(pl.program_id(1) == 0)
        def _() -> None:
            for there, inner in parts:
                inner_ref[:, there] = inner

    run = _launcher("narrow", NARROW, rows, interpret=interpret, width=width)
    made = [jax.ShapeDtypeStruct((rows, n), wide.dtype) for n in (width, rank)]
    out, inner = run(kernel, [wide, *more], [b], made)
    return out, inner


def rotation_fits(positions: int, head_dim: int) -> bool:
    """Whether ``rotate_back`` takes such sizes."""
    return positions % _LEAST == 0 and head_dim & (head_dim - 1) == 0


def rotate_back(
    d_queries: jax.Array,
    d_keys: jax.Array,
    d_values: jax.Array,
    cos: jax.Array,
    sin: jax.Array,
    *,
    head_dim: int,
    interpret: bool,
) -> jax.Array:
    """Gradient of rotated queries, scaled by ``head_dim ** -0.5``, and keys; the values beside.

    Args:
        d_queries: shape (rows, heads * head_dim).
        d_keys: shape (rows, kv_heads * head_dim).
        d_values: likewise.
        cos: float32, shape (positions, head_dim / 2): of the first rows, of the next ones, and
            so on.
        sin: likewise.
        head_dim: of a head.
        interpret: run without a GPU.

    Returns:
        shape (rows, (heads + 2 * kv_heads) * head_dim).
    """
    half, scale = head_dim // 2, head_dim**-0.5
    given = [d_queries, d_keys, d_values]

    def kernel(*refs: Any) -> None:
        *d_refs, cos_ref, sin_ref, out_ref = refs
        cos, sin = cos_ref[...], sin_ref[...]
        to = 0
        for d_ref, factor in zip(d_refs, (scale, 1.0, None), strict=True):
            for at in range(0, d_ref.shape[1], head_dim):
                places = pl.ds(at, half), pl.ds(at + half, half)
                a, b = (_float(d_ref[:, here]) for here in places)
                if factor is not None:
                    a, b = (a * cos + b * sin) * factor, (b * cos - a * sin) * factor
                for begin, part in ((to, a), (to + half, b)):
                    out_ref[:, pl.ds(begin, half)] = part.astype(out_ref.dtype)
                to += head_dim

    rows, columns = d_queries.shape[0], sum(d.shape[1] for d in given)
    made = [jax.ShapeDtypeStruct((rows, columns), d_queries.dtype)]
    run = _launcher("rotate_back", ROTATE, rows, interpret=interpret, period=cos.shape[0])
    (out,) = run(kernel, given, [cos, sin], made)
    return out


def _launcher(
    name: str,
    tiling: Tiling,
    rows: int,
    *,
    interpret: bool,
    width: int | None = None,
    is_reversed: bool = False,
    period: int | None = None,
) -> Callable[..., list[jax.Array]]:
    """What runs a kernel of arrays by blocks of rows, whole arrays and results, in this order.

    Args:
        name: what profiles show.
        tiling: of the work.
        rows: of the results.
        interpret: run without a GPU.
        width: results with so many columns are given by blocks of some of them; None: all.
        is_reversed: the last rows first, which a pass before has left in the cache.
        period: what else were whole arrays are given by blocks of so many rows, again and again.
    """
    high = math.gcd(period or rows, tiling.rows)
    count = rows // high

    def block(array: Any, columns: int | None = None) -> pl.BlockSpec:
        def row(i: Any) -> Any:
            return count - 1 - i if is_reversed else i

        if array.ndim == 1:
            return pl.BlockSpec((high,), lambda i, *_: (row(i),))
        if columns is None or array.shape[1] != width:
            return pl.BlockSpec((high, array.shape[1]), lambda i, *_: (row(i), 0))
        return pl.BlockSpec((high, columns), lambda i, j: (row(i), j))

    def whole_block(array: Any) -> pl.BlockSpec:
        if period is None:
            return pl.BlockSpec(array.shape, lambda *_: (0,) * array.ndim)
        blocks = period // high
        return pl.BlockSpec((high, array.shape[1]), lambda i: (i % blocks, 0))

    def run(
        kernel: Callable[..., None],
        given: Sequence[jax.Array],
        whole: Sequence[jax.Array],
        made: Sequence[jax.ShapeDtypeStruct],
    ) -> list[jax.Array]:
        by_column = () if width is None else (width // tiling.columns,)
        columns = None if width is None else tiling.columns
        launched = launch(
            kernel,
            name,
            (count, *by_column),
            [*map(block, given), *map(whole_block, whole)],
            [block(array, columns) for array in made],
            list(made),
            interpret=interpret,
            warps=tiling.warps,
        )
        return launched(*given, *whole)

    return run


def _here(tiling: Tiling) -> Any:
    """Columns of the block."""
    return pl.ds(pl.program_id(1) * tiling.columns, tiling.columns)


def _chunks(width: int, columns: int) -> list[Any]:
    return [pl.ds(at, columns) for at in range(0, width, columns)]


@functools.cache
def _powers(rank: int) -> tuple[tuple[int, int], ...]:
    """Begins and lengths of parts, each a power of two."""
    parts, at = [], 0
    for bit in reversed(range(rank.bit_length())):
        if rank >> bit & 1:
            parts.append((at, 1 << bit))
            at += 1 << bit
    return tuple(parts)


def _like(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


def _by_row(x: jax.Array) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape[:1], jnp.float32)


def _weight(scale_ref: Any, here: Any) -> jax.Array:
    return (1.0 + _float(scale_ref[here]))[None]


def _inverse_root(square: jax.Array, width: int) -> jax.Array:
    return jax.lax.rsqrt(square / width + EPSILON)


def _float(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float32)
