"""Gradient of a gated feed-forward layer together with those of its adapters, in one kernel.

Each of the three wide arrays is read once and each of the two wide gradients written once; what the
adapters need of them never leaves the registers. A warp goes down the rows of a strip of columns,
sixteen rows at a time. Its threads hold just those elements that the tensor cores want of them, so
that nothing is exchanged between threads: of the 16 x 8 operand whose column is the thread's group,
four rows of each of its eight neighbouring columns, taken as eight operands of every eighth column.

Written with Mosaic GPU, thread by thread; for Hopper GPUs and newer, in bfloat16.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from trossen_pi0_policy.pi0.gelu import CUBE, EXPONENT, SCALE

try:
    from trossen_pi0_policy.pi0.kernels import ptx as _ptx

    ptx: Any = _ptx
except ImportError:  # a JAX without Mosaic GPU
    ptx = None

Value = Any

RANK = 16
"""Of the adapters."""

_ROWS = 16  # of a product of the tensor cores
_COLUMNS = 8  # of a thread, 16 bytes of each row
_LANES = 32
_WARPS = 4  # of a block, side by side
_STRIP = 8 * _COLUMNS  # columns of a warp
_AT = (0, 1, 8, 9)  # rows of a thread, from twice its number in its group
_BLOCKS = 512  # four for each multiprocessor of an H100 or H200, two at a time
_PIECE = _LANES * 16  # bytes that a warp loads by one instruction
_WORDS = 4  # of a thread by such an instruction


def has_geglu() -> bool:
    """Whether this JAX has what the kernel is written with."""
    return ptx is not None


def geglu_fits(rows: int, columns: int, rank: int, dtype: Any) -> bool:
    """Whether the kernel takes such sizes and numbers."""
    sizes_fit = rows % _ROWS == 0 and columns % (_WARPS * _STRIP) == 0 and rank == RANK
    return sizes_fit and dtype == jnp.bfloat16


def geglu_gradient(
    d_hidden: jax.Array, gate: jax.Array, up: jax.Array, inner: jax.Array, d_inner: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Gradients behind ``hidden = gelu(gate) * up``, with those of the adapters around it.

    Args:
        d_hidden: gradient of ``hidden``, bfloat16, shape (rows, columns).
        gate: likewise.
        up: likewise.
        inner: what the second factors of the adapters of gate and up multiply, side by side,
            shape (rows, 2 * RANK).
        d_inner: gradient of what the first factor of the adapter behind gives, (rows, RANK).

    Returns:
        gradients of gate and up; of the second factors of their adapters, shape
        (2, RANK, columns); and of the first factor of the one behind, (columns, RANK).
    """
    rows, columns = gate.shape
    parts = jnp.stack([*jnp.split(inner, 2, axis=1), d_inner])
    d_gate, d_up, sums = _built(rows, columns)(d_hidden, gate, up, fragments(parts))
    products = sums.sum(axis=0).astype(gate.dtype)
    return d_gate, d_up, products[:2], products[2].T


def fragments(parts: jax.Array) -> jax.Array:
    """Narrow arrays transposed, as the threads of a warp hold a 16 x 16 operand (``Thread.mma``).

    Args:
        parts: shape (count, rows, RANK).

    Returns:
        shape (rows / 16, count, lanes, 8).
    """
    # row: upper or lower half, thread in group, even or odd; column: upper or lower half, group
    split = parts.reshape(len(parts), -1, 2, 4, 2, 2, 8)
    return split.transpose(1, 0, 6, 3, 2, 5, 4).reshape(-1, len(parts), _LANES, 8)


@functools.cache
def _built(rows: int, columns: int) -> Any:
    """The kernel for these sizes."""
    strips, steps = columns // (_WARPS * _STRIP), rows // _ROWS
    each = -(-steps // max(1, _BLOCKS // strips))
    chunks = -(-steps // each)
    wide = jax.ShapeDtypeStruct((rows, columns), jnp.bfloat16)
    narrow = jax.ShapeDtypeStruct((rows // _ROWS, 3, _LANES, 8), jnp.bfloat16)
    sums = jax.ShapeDtypeStruct((chunks, 3, RANK, columns), jnp.float32)

    def body(thread: Any, *arrays: Any) -> None:
        Warp(thread, arrays, rows, columns, each).run()

    return ptx.make_kernel(
        body,
        "geglu_gradient",
        blocks=(strips, chunks),
        threads=_WARPS * _LANES,
        given=(wide, wide, wide, narrow),
        made=(wide, wide, sums),
    )


class Warp:
    """What a thread does, as a part of its warp."""

    def __init__(
        self, thread: Any, arrays: Sequence[Any], rows: int, columns: int, steps: int
    ) -> None:
        """Args:
        thread: a ``ptx.Thread``, which emits it.
        arrays: inputs and outputs of the kernel.
        rows: of the wide arrays.
        columns: likewise.
        steps: of sixteen rows, of a block; no block has none.
        """
        self._t = t = thread
        self._columns, self._row = columns, 2 * columns  # bytes
        addresses = [t.address(array) for array in arrays]
        self._wide, self._narrow = addresses[:3], addresses[3]
        self._gradients, self._sums = addresses[4:6], addresses[6]
        number, (strip, self._chunk) = t.index(), t.block()
        warp, self._lane = t.quotient(number, 5), t.remainder(number, 5)
        self._group, self._member = t.quotient(self._lane, 2), t.remainder(self._lane, 2)
        self._strip = t.sum(t.times(strip, _WARPS * _STRIP), t.times(warp, _STRIP))
        self._first = t.times(self._chunk, steps)
        self._last = t.least(t.sum(self._first, t.int32(steps)), t.int32(rows // _ROWS))

    def run(self) -> None:
        """Goes down the rows of the chunk and writes the sums over them."""
        t = self._t
        row = t.sum(t.times(self._first, _ROWS), t.times(self._member, 2))
        column = t.sum(self._strip, t.times(self._group, _COLUMNS))
        wide = t.sum(t.bytes(row, self._row), t.bytes(column, 2))
        narrow = t.sum(t.bytes(self._first, 3 * _PIECE), t.bytes(self._lane, 16))
        nothing = [t.number(0.0)] * (3 * _COLUMNS * 4)
        begin = [self._first, wide, narrow, *self._load(wide, narrow), *nothing]
        count = len(begin) - len(nothing)
        self._write_sums(t.loop(self._first, self._last, begin, self._next)[count:])

    def _next(self, carried: list[Value]) -> list[Value]:
        """Loads what the next step needs, behind the last one that again, and does this one."""
        t, (step, wide, narrow, *rest) = self._t, carried
        count = _WORDS * (3 * len(_AT) + 3)
        words, sums = rest[:count], rest[count:]
        following = t.sum(step, t.int32(1))
        ahead = [
            t.sum(at, t.if_less(following, self._last, t.int64(size), t.int64(0)))
            for at, size in ((wide, _ROWS * self._row), (narrow, 3 * _PIECE))
        ]
        loaded = self._load(*ahead)
        return [following, *ahead, *loaded, *self._step(wide, words, sums)]

    def _load(self, wide: Value, narrow: Value) -> list[Value]:
        """Words of a step."""
        t = self._t
        words: list[Value] = []
        for array in self._wide:
            for at in _AT:
                words += t.load(t.sum(array, wide, t.int64(at * self._row)))
        for number in range(3):
            at = t.sum(self._narrow, narrow, t.int64(number * _PIECE))
            words += t.load(at, shared_by_warps=True)
        return words

    def _step(self, wide: Value, words: Sequence[Value], sums: Sequence[Value]) -> list[Value]:
        """Writes the gradients of sixteen rows and adds to the sums."""
        t = self._t
        pieces = [words[n : n + _WORDS] for n in range(0, len(words), _WORDS)]
        rows = [[x for word in piece for x in t.unpacked(word)] for piece in pieces[:-3]]
        arrays = [rows[n : n + len(_AT)] for n in range(0, len(rows), len(_AT))]
        found = [
            [self._gradient(*given) for given in zip(*row, strict=True)]
            for row in zip(*arrays, strict=True)
        ]
        for number, address in enumerate(self._gradients):
            for at, row in zip(_AT, found, strict=True):
                numbers = [x[number] for x in row]
                pairs = [t.packed(*numbers[n : n + 2]) for n in range(0, _COLUMNS, 2)]
                t.store(t.sum(address, wide, t.int64(at * self._row)), pairs)
        added: list[Value] = []
        for number, a in enumerate(pieces[-3:]):
            for column in range(_COLUMNS):
                x = [row[column][number] for row in found]
                b = [t.packed(*x[:2]), t.packed(*x[2:])]
                c = sums[len(added) : len(added) + 4]
                added += t.mma(a, b, c)
        return added

    def _gradient(self, d_hidden: Value, gate: Value, up: Value) -> tuple[Value, Value, Value]:
        """Gradients of gate and up, and ``hidden``; by the sigmoid form of ``gelu.gelu``."""
        t = self._t
        square = t.mul(gate, gate)
        exponent = t.mul(gate, t.fma(square, t.number(EXPONENT * CUBE), t.number(EXPONENT)))
        share = t.reciprocal(t.add(t.number(1.0), t.exp2(exponent)))
        value = t.mul(gate, share)
        bend = t.fma(square, t.number(6.0 * SCALE * CUBE), t.number(2.0 * SCALE))
        slope = t.fma(t.mul(value, t.less(t.number(1.0), share)), bend, share)
        return t.mul(d_hidden, up, slope), t.mul(d_hidden, value), t.mul(value, up)

    def _write_sums(self, sums: Sequence[Value]) -> None:
        """Rows group and group + 8 of each product, sixteen neighbouring columns of either."""
        t = self._t
        column = t.sum(self._strip, t.times(self._member, 2 * _COLUMNS))
        for number in range(3):
            for half in range(2):
                row = t.sum(
                    t.times(self._chunk, 3 * RANK),
                    t.int32(number * RANK + 8 * half),
                    self._group,
                )
                at = t.sum(self._sums, t.bytes(row, 4 * self._columns), t.bytes(column, 4))
                mine = [
                    sums[4 * (number * _COLUMNS + n) + 2 * half + odd]
                    for odd in range(2)
                    for n in range(_COLUMNS)
                ]
                for n in range(0, len(mine), 4):
                    t.store(t.sum(at, t.int64(4 * n)), mine[n : n + 4])
