"""GELU with what stands before or behind it, and its gradient with that of a bias, a pass each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from trossen_pi0_policy.pi0.gelu import CUBE, EXPONENT, SCALE
from trossen_pi0_policy.pi0.kernels.launching import launch, plgpu

_ROWS, _COLUMNS = 64, 128
_WARPS = 8


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

    made = [jax.ShapeDtypeStruct(gate.shape, gate.dtype)]
    (value,) = _launch(kernel, "gated_gelu", [gate, up], made, interpret=interpret)
    return value


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

    made = [jax.ShapeDtypeStruct(product.shape, product.dtype)]
    (value,) = _launch(kernel, "bias_gelu", [product, bias], made, interpret=interpret)
    return value


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
        bend = 2.0 * SCALE * (1.0 + 3.0 * CUBE * x * x)
        dx = (d * (share + value * (1.0 - share) * bend)).astype(product.dtype)
        plgpu.store(dx_ref.at[:, here], dx, mask=there[None])
        plgpu.store(value_ref.at[:, here], value.astype(product.dtype), mask=there[None])
        total = jnp.sum(dx.astype(jnp.float32), axis=0)
        plgpu.store(sum_ref.at[pl.program_id(0), here], total, mask=there)

    wide = jax.ShapeDtypeStruct(product.shape, product.dtype)
    sums = jax.ShapeDtypeStruct((rows // _ROWS, columns), jnp.float32)
    given, made = [d_value, product, bias], [wide, wide, sums]
    dx, value, total = _launch(kernel, "bias_gelu_gradient", given, made, interpret=interpret)
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
    return 1.0 / (1.0 + jnp.exp2(x * (EXPONENT * (1.0 + CUBE * x * x))))


def _columns(count: int) -> tuple[Any, jax.Array]:
    """Those of the program, and which of them are there."""
    begin = pl.program_id(1) * _COLUMNS
    return pl.ds(begin, _COLUMNS), begin + jnp.arange(_COLUMNS) < count


def _launch(
    kernel: Callable[..., None],
    name: str,
    given: Sequence[jax.Array],
    made: Sequence[jax.ShapeDtypeStruct],
    *,
    interpret: bool,
) -> list[jax.Array]:
    """Runs a kernel over the rows and columns of what is given first; other arrays are whole."""
    rows, columns = given[0].shape

    def spec(array: Any) -> pl.BlockSpec:
        if array.shape == (rows, columns):
            return pl.BlockSpec((_ROWS, columns), lambda i, _: (i, 0))
        return pl.BlockSpec(array.shape, lambda *_: (0,) * array.ndim)

    run = launch(
        kernel,
        name,
        (rows // _ROWS, -(-columns // _COLUMNS)),
        [spec(array) for array in given],
        [spec(array) for array in made],
        list(made),
        interpret=interpret,
        warps=_WARPS,
    )
    return run(*given)
