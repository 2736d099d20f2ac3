"""How the kernels are launched, and the products that most of them are made of."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl

from trossen_pi0_policy.pi0.kernels.tables import ROWS

try:
    from jax.experimental.pallas import triton

    plgpu: Any = triton
except ImportError:  # a JAX without this backend
    plgpu = None

Passes = Literal["none", "triton", "mosaic", "interpret"]
"""By which kernels the passes of a training are made: none, those for GPUs, with those for Hopper
GPUs besides, or without a GPU."""

DEPTH = 64
"""Columns of the rows that are multiplied at a time."""


def available() -> bool:
    """Whether this JAX has what the kernels are written with."""
    return all(hasattr(plgpu, name) for name in ("CompilerParams", "load", "store"))


def launch(
    kernel: Callable[..., None],
    name: str,
    grid: tuple[int, ...],
    in_specs: list[pl.BlockSpec],
    out_specs: Any,
    out_shape: Any,
    *,
    interpret: bool,
    warps: int = 4,
    stages: int = 1,
) -> Callable[..., Any]:
    """The kernel as a function of arrays.

    Args:
        kernel: takes references to the blocks of inputs and outputs.
        name: what profiles show.
        grid: how many blocks, by axis.
        in_specs: which block of each input a program sees.
        out_specs: likewise of the outputs.
        out_shape: shapes and types of the outputs.
        interpret: run without a GPU.
        warps: of 32 threads in a program.
        stages: blocks in flight in a loop.
    """
    kernel.__name__ = name
    return functools.partial(
        pl.pallas_call,
        grid=grid,
        in_specs=in_specs,
        out_specs=out_specs,
        out_shape=out_shape,
        compiler_params=plgpu.CompilerParams(num_warps=warps, num_stages=stages),
        interpret=interpret,
        name=name,
    )(kernel)


def products(
    x_ref: Any,
    w_ref: Any,
    columns: tuple[Any, ...],
    count: int,
    begin: Any = 0,
    depth: int | None = None,
) -> tuple[jax.Array, ...]:
    """Rows times several groups of ``count`` columns, each float32 of shape (ROWS, count)."""

    def body(i: Any, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        here = pl.ds(begin + i * DEPTH, DEPTH)
        x = x_ref[:, here]
        return tuple(
            y + dot(x, w_ref[here, pl.ds(first, count)])
            for y, first in zip(sums, columns, strict=True)
        )

    zeros = tuple(jnp.zeros((ROWS, count), jnp.float32) for _ in columns)
    return jax.lax.fori_loop(0, (depth or x_ref.shape[1]) // DEPTH, body, zeros)


def dot(a: jax.Array, b: jax.Array, *, transposed: bool = False) -> jax.Array:
    """Product in float32, of ``b`` or its transpose."""
    dimensions = (((1,), (1 if transposed else 0,)), ((), ()))
    return jax.lax.dot_general(a, b, dimensions, preferred_element_type=jnp.float32)
