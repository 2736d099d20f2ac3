"""Instructions of NVIDIA GPUs by name, for kernels that are written thread by thread (PTX ISA)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.experimental.mosaic.gpu as mosaic
from jax.experimental.mosaic.gpu import utils
from jax.interpreters import mlir
from jaxlib.mlir import ir
from jaxlib.mlir.dialects import arith, gpu, llvm, scf

Value = Any
"""A number that a thread has at run time."""


def make_kernel(
    body: Callable[..., None],
    name: str,
    *,
    blocks: tuple[int, int],
    threads: int,
    given: Sequence[jax.ShapeDtypeStruct],
    made: Sequence[jax.ShapeDtypeStruct],
) -> Callable[..., tuple[jax.Array, ...]]:
    """A kernel as a function of arrays.

    Args:
        body: emits what a thread does; takes a ``Thread`` and the arrays.
        name: what profiles show.
        blocks: how many, by axis.
        threads: of a block, a multiple of 128.
        given: inputs.
        made: outputs.
    """

    def emit(_: Any, *arrays: Any) -> None:
        body(Thread(), *arrays[:-1])  # the last one is shared memory, of which there is none

    with mlir.make_ir_context(), ir.Location.unknown():
        return mosaic.as_gpu_kernel(
            emit,
            (*blocks, 1),
            (threads, 1, 1),
            tuple(given),
            tuple(made),
            (),
            module_name=name,
            kernel_name=name,
        )


class Thread:
    """Emits what one thread does, at the insertion point of the surrounding MLIR context.

    Addresses are 64 bits wide. A word is two bfloat16 numbers in 32 bits, the first one low.
    """

    def __init__(self) -> None:
        """Looks the types up in the surrounding context."""
        self.i32 = ir.IntegerType.get_signless(32)
        self.i64 = ir.IntegerType.get_signless(64)
        self.f32 = ir.F32Type.get()

    # Integers -----------------------------------------------------------------------------------

    def int32(self, number: int) -> Value:
        """A constant."""
        return arith.constant(self.i32, number)

    def int64(self, number: int) -> Value:
        """A constant."""
        return arith.constant(self.i64, number)

    def sum(self, first: Value, *others: Value) -> Value:
        """Of integers of one width."""
        for other in others:
            first = arith.addi(first, other)
        return first

    def times(self, number: Value, factor: int) -> Value:
        """Of a 32 bit number with a constant."""
        return arith.muli(number, self.int32(factor))

    def bytes(self, count: Value, each: int) -> Value:
        """Of so many things, in 64 bits."""
        return arith.muli(arith.extui(self.i64, count), self.int64(each))

    def quotient(self, number: Value, bits: int) -> Value:
        """Of a number that is not negative by two to the power of ``bits``."""
        return arith.shrui(number, self.int32(bits))

    def remainder(self, number: Value, bits: int) -> Value:
        """Behind ``quotient``."""
        return arith.andi(number, self.int32((1 << bits) - 1))

    def least(self, one: Value, other: Value) -> Value:
        """The smaller one."""
        return arith.minsi(one, other)

    def if_less(self, a: Value, b: Value, then: Value, otherwise: Value) -> Value:
        """Chooses by whether ``a < b``, of 32 bits."""
        return arith.select(arith.cmpi(arith.CmpIPredicate.slt, a, b), then, otherwise)

    def index(self) -> Value:
        """Of the thread in its block."""
        return arith.index_cast(self.i32, gpu.thread_id(gpu.Dimension.x))

    def block(self) -> tuple[Value, Value]:
        """Indices of the block."""
        axes = (gpu.Dimension.x, gpu.Dimension.y)
        x, y = (arith.index_cast(self.i32, gpu.block_id(axis)) for axis in axes)
        return x, y

    def loop(
        self,
        first: Value,
        last: Value,
        carried: Sequence[Value],
        body: Callable[[list[Value]], Sequence[Value]],
    ) -> list[Value]:
        """Runs ``body`` so many times on what it gave the last time, and returns that."""
        made = scf.ForOp(first, last, self.int32(1), list(carried))
        with ir.InsertionPoint(made.body):
            scf.yield_(list(body(list(made.inner_iter_args))))
        return list(made.results)

    # Numbers ------------------------------------------------------------------------------------

    def number(self, value: float) -> Value:
        """A float32 constant."""
        return arith.constant(self.f32, ir.FloatAttr.get(self.f32, value))

    def mul(self, *factors: Value) -> Value:
        """Product from left to right."""
        product = factors[0]
        for factor in factors[1:]:
            product = arith.mulf(product, factor)
        return product

    def add(self, a: Value, b: Value) -> Value:
        """Sum."""
        return arith.addf(a, b)

    def less(self, a: Value, b: Value) -> Value:
        """``a - b``."""
        return arith.subf(a, b)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """``a * b + c``."""
        return self._one("fma.rn.f32 $0, $1, $2, $3;", self.f32, "=f,f,f,f", a, b, c)

    def exp2(self, a: Value) -> Value:
        """Two to the power of it; 2 ulp."""
        return self._one("ex2.approx.ftz.f32 $0, $1;", self.f32, "=f,f", a)

    def reciprocal(self, a: Value) -> Value:
        """1 ulp; zero of infinity."""
        return self._one("rcp.approx.ftz.f32 $0, $1;", self.f32, "=f,f", a)

    def packed(self, low: Value, high: Value) -> Value:
        """Two float32 numbers, rounded, as a word."""
        return self._one("cvt.rn.bf16x2.f32 $0, $1, $2;", self.i32, "=r,f,f", high, low)

    def unpacked(self, word: Value) -> tuple[Value, Value]:
        """The two numbers of a word as float32."""
        low = arith.shli(word, self.int32(16))
        high = arith.andi(word, self.int32(-(1 << 16)))
        return arith.bitcast(self.f32, low), arith.bitcast(self.f32, high)

    def mma(self, a: Sequence[Value], b: Sequence[Value], c: Sequence[Value]) -> list[Value]:
        """``a @ b + c`` of a warp: (16, 16) bfloat16 by (16, 8), on (16, 8) float32.

        Of the thread ``4 g + t`` of a warp (PTX ISA, "Matrix Fragments for mma.m16n8k16"):

        Args:
            a: words of columns 2 t and 2 t + 1, at rows and columns (g, 0), (g + 8, 0), (g, + 8),
                (g + 8, + 8).
            b: words of rows 2 t and 2 t + 1, and of rows 2 t + 8 and 2 t + 9, of column g.
            c: rows g, g, g + 8, g + 8 of columns 2 t, 2 t + 1, 2 t, 2 t + 1.
        """
        text = (
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
            "{$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};"
        )
        kinds = ",".join(["=f"] * 4 + ["r"] * 6 + ["f"] * 4)
        return self._several(text, [self.f32] * 4, kinds, *a, *b, *c)

    # Memory -------------------------------------------------------------------------------------

    def address(self, array: Any) -> Value:
        """Of an array in global memory."""
        return llvm.ptrtoint(self.i64, utils.memref_ptr(array))

    def store(self, address: Value, values: Sequence[Value]) -> None:
        """Four words or float32 numbers to global memory that nobody reads soon."""
        kind = "f" if values[0].type == self.f32 else "r"
        text = "st.global.cs.v4.b32 [$0], {$1,$2,$3,$4};"
        kinds = f"l,{','.join([kind] * 4)},~{{memory}}"
        nothing = ir.Type.parse("!llvm.void")
        llvm.inline_asm(nothing, [address, *values], text, kinds, has_side_effects=True)

    def load(self, address: Value, *, shared_by_warps: bool = False) -> list[Value]:
        """Four words of global memory that nobody writes meanwhile.

        Args:
            address: where they begin.
            shared_by_warps: others want the same: keep them in the first-level cache.
        """
        kept = "" if shared_by_warps else ".L1::no_allocate"
        text = f"ld.global.nc{kept}.v4.b32 {{$0,$1,$2,$3}}, [$4];"
        return self._several(text, [self.i32] * 4, "=r,=r,=r,=r,l", address)

    # Emission -----------------------------------------------------------------------------------

    def _one(self, text: str, kind: Any, constraints: str, *operands: Value) -> Value:
        return llvm.inline_asm(kind, operands, text, constraints, has_side_effects=False)

    def _several(
        self, text: str, kinds: list[Any], constraints: str, *operands: Value
    ) -> list[Value]:
        both = llvm.StructType.get_literal(kinds)
        found: Any = llvm.inline_asm(both, operands, text, constraints, has_side_effects=False)
        return [llvm.extractvalue(kind, found, [i]) for i, kind in enumerate(kinds)]
