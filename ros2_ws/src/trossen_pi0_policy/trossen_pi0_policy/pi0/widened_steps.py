"""What a layer whose weights are ``widened`` consists of, with gradients for its adapters alone.

A step takes or gives activations with the few numbers between an adapter's factors beside them
("inner"), so that each is one product, or one pass over the activations. Passes are made by kernels
where ``Passes`` say so. What a gradient needs is the input of a norm or an adapter, and ``inner``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from trossen_pi0_policy.pi0 import kernels
from trossen_pi0_policy.pi0.adapters import beside
from trossen_pi0_policy.pi0.attention import Rope, apply_rope
from trossen_pi0_policy.pi0.gelu import gelu_and_slope
from trossen_pi0_policy.pi0.kernels import Passes

Given = tuple[jax.Array, ...]

_LARGE = 64  # rank, from which on the compiler's own passes are the faster ones

INNER = "adapter_inner"
"""Name of ``inner`` for what is kept for the backward pass."""


# Steps ------------------------------------------------------------------------------------------


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def normalised(
    passes: Passes, name: str, x: jax.Array, y: jax.Array | None, scale: jax.Array, a: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """A residual connection and the RMS norm behind it; the scale has no gradient.

    Args:
        passes: who makes them.
        name: of the sum, for what is kept for the backward pass.
        x: shape (..., width).
        y: added to ``x``; None: nothing is.
        scale: of the norm, shape (width,).
        a: first factor of the adapter behind, shape (width, rank).

    Returns:
        the sum; the normalised sum with its inner beside it, shape (..., width + rank); and that
        inner by itself, which has no gradient.
    """
    return _normalised(passes, name, x, y, scale, a)[0]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def with_inner(passes: Passes, x: jax.Array, a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``[x, x @ a]`` and ``x @ a``, which has no gradient by itself.

    Args:
        passes: who makes them.
        x: shape (..., width).
        a: shape (width, rank).
    """
    return _with_inner(passes, x, a)[0]


@jax.custom_vjp
def wide_product(x: jax.Array, inner: jax.Array, weight: jax.Array, b: jax.Array) -> jax.Array:
    """A product of an input with its inner beside it.

    Args:
        x: shape (..., inputs + rank).
        inner: the last columns of ``x``; its gradient is in that of ``x``.
        weight: with ``b`` below it, shape (inputs + rank, outputs); has no gradient.
        b: second factor of the adapter, shape (rank, outputs).
    """
    return _wide_product(x, inner, weight, b)[0]


@jax.custom_vjp
def product_with_inner(x: jax.Array, weight: jax.Array, a: jax.Array) -> jax.Array:
    """A product that gives its inner too, shape (..., outputs + rank).

    Args:
        x: shape (..., inputs).
        weight: with ``a`` behind it, shape (inputs, outputs + rank); has no gradient.
        a: first factor of the adapter, shape (inputs, rank).
    """
    return _product_with_inner(x, weight, a)[0]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def without_inner(
    passes: Passes, x: jax.Array, b: jax.Array, residual: jax.Array | None = None
) -> jax.Array:
    """``product + inner @ b``, and a residual.

    Args:
        passes: who makes it.
        x: product and inner, shape (..., outputs + rank).
        b: second factor of the adapter, shape (rank, outputs).
        residual: added, shape (..., outputs).
    """
    return _without_inner(passes, x, b, residual)[0]


def adapted(
    passes: Passes, x: jax.Array, weight: jax.Array, a: jax.Array, b: jax.Array
) -> jax.Array:
    """``x @ w + (x @ a) @ b`` by a weight that is widened by one of the two factors."""
    if weight.shape[0] > x.shape[-1]:
        wide: Any = with_inner(passes, x, a)
        return wide_product(*wide, weight, b)
    return without_inner(passes, product_with_inner(x, weight, a), b)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def feed_forward(
    passes: Passes, name: str, x: jax.Array, inner: jax.Array, gate_up: Given, down: Given
) -> jax.Array:
    """``down(gelu(gate(x)) * up(x))`` before ``without_inner``; the weights have no gradient.

    Its gradients are in one place, so that what all of them read is read once.

    Args:
        passes: who makes them.
        name: of gate and up, for what is kept for the backward pass.
        x: with the inners of gate and up beside it, shape (..., width + 2 * rank).
        inner: those by themselves; their gradient is in that of ``x``.
        gate_up: gate, up (each (width + 2 * rank, mlp_dim)) and the second factors of their
            adapters, (2, rank, mlp_dim).
        down: the weight (mlp_dim, width + rank), and the first factor of its adapter.

    Returns:
        shape (..., width + rank), in the type of ``x``.
    """
    return _feed_forward(passes, name, x, inner, gate_up, down)[0]


def rotated(passes: Passes, counts: tuple[int, int], heads: jax.Array, rope: Rope) -> Given:
    """Queries (scaled), keys and values, the first two rotated.

    Args:
        passes: who makes the gradient.
        counts: heads of queries and of keys.
        heads: of queries, keys and values, shape (batch, tokens, heads, head_dim).
        rope: of the tokens.
    """
    if passes == "none":  # derivatives along a direction are asked for too
        return _rotate(counts, heads, rope)
    turned: Any = _rotated_by_kernel(passes, counts, heads, rope)
    return turned


# Their gradients --------------------------------------------------------------------------------


def _normalised(
    passes: Passes, name: str, x: jax.Array, y: jax.Array | None, scale: jax.Array, a: jax.Array
) -> tuple[tuple[jax.Array, jax.Array, jax.Array], Any]:
    del passes
    total = x if y is None else checkpoint_name(x + y, name)
    normed = _norm(total, scale)
    inner = normed @ a
    wide = beside(normed, inner)
    inner = checkpoint_name(inner, INNER)
    return (total, wide, inner), (total, scale, a, inner, y is None)


def _normalised_backward(
    passes: Passes, name: str, saved: Any, gradients: Given
) -> tuple[Any, ...]:
    del name
    (total, scale, a, inner, is_alone), (d_total, d_wide, _) = saved, gradients
    width = total.shape[-1]
    if _by_kernel(passes, total, a.shape[1]) and a.shape[1] <= _LARGE:
        made = kernels.normalise_widen_gradient(
            *(_flat(total), scale, a, _flat(inner), _flat(d_total), _flat(d_wide)),
            interpret=passes == "interpret",
        )
        dx, normed, d_inner = (part.reshape(*total.shape[:-1], -1) for part in made)
    else:
        d_inner = d_wide[..., width:]
        normed, pull = jax.vjp(partial(_norm, scale=scale), total)
        dx = d_total + pull(d_wide[..., :width] + d_inner @ a.T)[0]
    dx, da = _at_once(dx, _outer(normed, d_inner))
    return dx, None if is_alone else dx, None, da


def _with_inner(
    passes: Passes, x: jax.Array, a: jax.Array
) -> tuple[tuple[jax.Array, jax.Array], Any]:
    del passes
    wide, inner = _widen(x, a)
    return (wide, checkpoint_name(inner, INNER)), (x, a)


def _with_inner_backward(passes: Passes, saved: Any, gradients: Given) -> tuple[Any, ...]:
    (x, a), (d_wide, _) = saved, gradients
    dx, d_inner = _narrow(passes, d_wide, a, None, transposed=True)
    return tuple(_at_once(dx, _outer(x, d_inner)))


def _wide_product(
    x: jax.Array, inner: jax.Array, weight: jax.Array, b: jax.Array
) -> tuple[jax.Array, Any]:
    del b
    return x @ weight, (inner, weight)


def _wide_product_backward(saved: Any, dy: jax.Array) -> tuple[Any, ...]:
    inner, weight = saved
    dx, db = _at_once(dy @ weight.T, _outer(inner, dy))
    return dx, None, None, db


def _product_with_inner(x: jax.Array, weight: jax.Array, a: jax.Array) -> tuple[jax.Array, Any]:
    return x @ weight, (x, weight, a.shape[1])


def _product_with_inner_backward(saved: Any, dy: jax.Array) -> tuple[Any, ...]:
    x, weight, rank = saved
    dx, da = _at_once(dy @ weight.T, _outer(x, dy[..., -rank:]))
    return dx, None, da


def _without_inner(
    passes: Passes, x: jax.Array, b: jax.Array, residual: jax.Array | None
) -> tuple[jax.Array, Any]:
    y, inner = _narrow(passes, x, b, residual)
    return y, (checkpoint_name(inner, INNER), b, residual is None)


def _without_inner_backward(passes: Passes, saved: Any, dy: jax.Array) -> tuple[Any, ...]:
    del passes
    inner, b, is_alone = saved
    dx, db = _at_once(_widen(dy, b.T)[0], _outer(inner, dy))
    return dx, db, None if is_alone else dy


def _feed_forward(
    passes: Passes, name: str, x: jax.Array, inner: jax.Array, gate_up: Given, down: Given
) -> tuple[jax.Array, Any]:
    gate, up = (checkpoint_name(x @ weight, name) for weight in gate_up[:2])
    if passes != "none" and kernels.gelu_fits(gate.size // gate.shape[-1]):
        halves = (_flat(half) for half in (gate, up))
        hidden = kernels.gated_gelu(*halves, interpret=passes == "interpret")
        hidden = hidden.reshape(gate.shape)
    else:
        hidden = nn.gelu(gate) * up
    return hidden @ down[0], (inner, gate, up, gate_up[:2], down)


def _feed_forward_backward(passes: Passes, name: str, saved: Any, dy: jax.Array) -> tuple[Any, ...]:
    del name
    inner, gate, up, (gate_weight, up_weight), (down_weight, down_a) = saved
    rank = down_a.shape[1]
    d_inner = dy[..., -rank:]
    d_hidden = dy @ down_weight.T
    rows = gate.size // gate.shape[-1]
    if passes == "mosaic" and kernels.geglu_fits(rows, gate.shape[-1], rank, gate.dtype):
        d_gate, d_up, db, da = kernels.geglu_gradient(
            *(_flat(given) for given in (d_hidden, gate, up, inner, d_inner))
        )
        d_gate, d_up = (d.reshape(gate.shape) for d in (d_gate, d_up))
    else:
        value, slope = gelu_and_slope(gate)
        hidden = (value * up).astype(gate.dtype)
        d_gate = (d_hidden * up * slope).astype(gate.dtype)
        d_up = (d_hidden * value).astype(gate.dtype)
        inners = zip(jnp.split(inner, 2, axis=-1), (d_gate, d_up), strict=True)
        db = jnp.stack([_outer(part, d) for part, d in inners])
        da = _outer(hidden, d_inner)
    dx = d_gate @ gate_weight.T + d_up @ up_weight.T
    dx, db, da = _at_once(dx, db, da)
    return dx, None, (None, None, db), (None, da)


def _rotate(counts: tuple[int, int], heads: jax.Array, rope: Rope) -> Given:
    queries, keys = counts
    q, k, v = jnp.split(heads, [queries, queries + keys], axis=2)
    q = apply_rope(q, rope) * jnp.asarray(heads.shape[-1] ** -0.5, heads.dtype)
    return q, apply_rope(k, rope), v


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _rotated_by_kernel(
    passes: Passes, counts: tuple[int, int], heads: jax.Array, rope: Rope
) -> Given:
    del passes
    return _rotate(counts, heads, rope)


def _rotated(
    passes: Passes, counts: tuple[int, int], heads: jax.Array, rope: Rope
) -> tuple[Given, Rope]:
    del passes
    return _rotate(counts, heads, rope), rope


def _rotated_backward(
    passes: Passes, counts: tuple[int, int], rope: Rope, gradients: Given
) -> tuple[jax.Array, None]:
    q = gradients[0]
    rows = q.shape[0] * q.shape[1]
    tables = [_flat(x) for x in rope]
    if kernels.rotation_fits(len(tables[0]), q.shape[-1]):
        made = kernels.rotate_back(
            *(x.reshape(rows, -1) for x in gradients),
            *tables,
            head_dim=q.shape[-1],
            interpret=passes == "interpret",
        )
        return made.reshape(*q.shape[:2], -1, q.shape[-1]), None
    shape = (*q.shape[:2], sum(counts) + counts[1], q.shape[-1])
    _, back = jax.vjp(lambda heads: _rotate(counts, heads, rope), jnp.zeros(shape, q.dtype))
    return back(gradients)[0], None


normalised.defvjp(_normalised, _normalised_backward)
with_inner.defvjp(_with_inner, _with_inner_backward)
wide_product.defvjp(_wide_product, _wide_product_backward)
product_with_inner.defvjp(_product_with_inner, _product_with_inner_backward)
without_inner.defvjp(_without_inner, _without_inner_backward)
feed_forward.defvjp(_feed_forward, _feed_forward_backward)
_rotated_by_kernel.defvjp(_rotated, _rotated_backward)


# Passes -----------------------------------------------------------------------------------------


def _widen(x: jax.Array, a: jax.Array) -> tuple[jax.Array, jax.Array]:
    inner = x @ a
    return beside(x, inner), inner


def _narrow(
    passes: Passes,
    x: jax.Array,
    b: jax.Array,
    residual: jax.Array | None,
    *,
    transposed: bool = False,
) -> tuple[jax.Array, jax.Array]:
    rank, width = b.shape[::-1] if transposed else b.shape
    if _by_kernel(passes, x, rank, width):
        added = None if residual is None else _flat(residual)
        interpret = passes == "interpret"
        made = kernels.narrow(_flat(x), b, added, transposed=transposed, interpret=interpret)
        y, inner = (part.reshape(*x.shape[:-1], -1) for part in made)
        return y, inner
    inner = x[..., width:]
    y = x[..., :width] + inner @ (b.T if transposed else b)
    return y if residual is None else residual + y, inner


def _by_kernel(passes: Passes, x: jax.Array, rank: int, width: int | None = None) -> bool:
    rows, given = x.size // x.shape[-1], width or x.shape[-1]
    return passes != "none" and kernels.widening_fits(rows, given, rank)


def _norm(x: jax.Array, scale: jax.Array) -> jax.Array:
    return (kernels.rms_normalise(x) * (1.0 + scale.astype(jnp.float32))).astype(x.dtype)


def _flat(x: jax.Array) -> jax.Array:
    return x.reshape(-1, x.shape[-1])


def _at_once(*gradients: jax.Array) -> Sequence[jax.Array]:
    # Else those of the adapters would be worked out behind all layers, and what they are made of
    # would be held until then.
    return jax.lax.optimization_barrier(gradients)


def _outer(x: jax.Array, dy: jax.Array) -> jax.Array:
    return jnp.einsum("...i,...o->io", x, dy)
