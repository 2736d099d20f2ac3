"""GELU with what stands before or behind it, and its gradient with that of a bias, a pass each."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from trossen_pi0_policy.pi0.kernels.launching import launch, plgpu

_ROWS, _COLUMNS = 64, 128
_WARPS = 8

_SCALE, _CUBE = math.sqrt(2.0 / math.pi), 0.044715
_EXPONENT = -2.0 * _SCALE * math.log2(math.e)


def gelu_fits(rows: int) -> bool:
    """Whether the kernels take so many rows."""
    return rows % _ROWS == 0


def gated_gelu(gate: jax.Array, up: jax.Array, *, interpret: bool) -> jax.Array:
    """``gelu(gate) * up``; shapes (rows, columns), in the type of ``gate``."""

    def kernel(gate_ref: Any, up_ref: Any, out_ref: Any) -> None:
        here, there = _columns(gate.shape[1])
        x, y = (
            plgpu.load(ref.at[:, here], mask=there[None], other=0.0).astype(jnp.float32)
            for ref in (gate_ref, up_ref)
        )
        value = (x * _share(x) * y).astype(gate.dtype)
        plgpu.store(out_ref.at[:, here], value, mask=there[None])

    made = jax.ShapeDtypeStruct(gate.shape, gate.dtype)
    run = _launcher(kernel, "gated_gelu", gate, [_by_rows(gate), _by_rows(up)], interpret=interpret)
    return run(_by_rows(gate), made)(gate, up)


def bias_gelu(product: jax.Array, bias: jax.Array, *, interpret: bool) -> jax.Array:
    """``gelu(product + bias)``, the sum rounded to the type of ``product``.

    Args:
        product: shape (rows, columns).
        bias: shape (columns,), in the type of ``product``.
        interpret: run without a GPU.
    """

    def kernel(product_ref: Any, bias_ref: Any, value_ref: Any) -> None:
        here, there = _columns(product.shape[1])
        x, share = _shares(product_ref, bias_ref, here, there)
        plgpu.store(value_ref.at[:, here], (x * share).astype(product.dtype), mask=there[None])

    made = jax.ShapeDtypeStruct(product.shape, product.dtype)
    in_specs = [_by_rows(product), _whole(bias)]
    run = _launcher(kernel, "bias_gelu", product, in_specs, interpret=interpret)
    return run(_by_rows(product), made)(product, bias)


def bias_gelu_gradient(
    d_value: jax.Array, product: jax.Array, bias: jax.Array, *, interpret: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Gradients of ``bias_gelu``, and its value again.

    Args:
        d_value: gradient of the value, shape (rows, columns).
        product: as there.
        bias: as there.
        interpret: run without a GPU.

    Returns:
        gradient of ``product``, the value, and the gradient of ``bias``, float32.
    """
    rows, columns = product.shape

    def kernel(*refs: Any) -> None:
        d_ref, product_ref, bias_ref, dx_ref, value_ref, sum_ref = refs
        here, there = _columns(columns)
        d = plgpu.load(d_ref.at[:, here], mask=there[None], other=0.0).astype(jnp.float32)
        x, share = _shares(product_ref, bias_ref, here, there)
        value = x * share
        bend = 2.0 * _SCALE * (1.0 + 3.0 * _CUBE * x * x)
        dx = (d * (share + value * (1.0 - share) * bend)).astype(product.dtype)
        plgpu.store(dx_ref.at[:, here], dx, mask=there[None])
        plgpu.store(value_ref.at[:, here], value.astype(product.dtype), mask=there[None])
        total = jnp.sum(dx.astype(jnp.float32), axis=0)
        plgpu.store(sum_ref.at[pl.program_id(0), here], total, mask=there)

    wide = jax.ShapeDtypeStruct(product.shape, product.dtype)
    sums = jax.ShapeDtypeStruct((rows // _ROWS, columns), jnp.float32)
    in_specs = [_by_rows(d_value), _by_rows(product), _whole(bias)]
    out_specs = [_by_rows(product), _by_rows(product), _whole(sums)]
    run = _launcher(kernel, "bias_gelu_gradient", product, in_specs, interpret=interpret)
    dx, value, total = run(out_specs, [wide, wide, sums])(d_value, product, bias)
    return dx, value, total.sum(axis=0)


def _shares(product_ref: Any, bias_ref: Any, here: Any, there: Any) -> tuple[jax.Array, jax.Array]:
    """The argument of the GELU, rounded, and what share of it is its value; float32."""
    product = plgpu.load(product_ref.at[:, here], mask=there[None], other=0.0)
    bias = plgpu.load(bias_ref.at[here], mask=there, other=0.0)
    x = (product.astype(jnp.float32) + bias.astype(jnp.float32)[None]).astype(product.dtype)
    x = x.astype(jnp.float32)
    return x, _share(x)


def _share(x: jax.Array) -> jax.Array:
    """Of a number that its GELU is."""
    return 1.0 / (1.0 + jnp.exp2(x * (_EXPONENT * (1.0 + _CUBE * x * x))))


def _columns(count: int) -> tuple[Any, jax.Array]:
    """Those of the program, and which of them are there."""
    begin = pl.program_id(1) * _COLUMNS
    return pl.ds(begin, _COLUMNS), begin + jnp.arange(_COLUMNS) < count


def _launcher(
    kernel: Any, name: str, wide: jax.Array, in_specs: list[pl.BlockSpec], *, interpret: bool
) -> Any:
    rows, columns = wide.shape
    grid = rows // _ROWS, -(-columns // _COLUMNS)

    def run(out_specs: Any, out_shape: Any) -> Any:
        how = {"interpret": interpret, "warps": _WARPS}
        return launch(kernel, name, grid, in_specs, out_specs, out_shape, **how)

    return run


def _by_rows(array: Any) -> pl.BlockSpec:
    return pl.BlockSpec((_ROWS, array.shape[1]), lambda i, _: (i, 0))


def _whole(array: Any) -> pl.BlockSpec:
    return pl.BlockSpec(array.shape, lambda *_: (0,) * len(array.shape))
