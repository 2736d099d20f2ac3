"""The kernel of a feed-forward layer's gradients: run on warps in NumPy, lowered, and on a GPU."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trossen_pi0_policy.pi0.gelu import gelu_and_slope
from trossen_pi0_policy.pi0.kernels import geglu

BF16 = np.dtype(jnp.bfloat16)
LANE = np.arange(32)
GROUP, MEMBER = LANE // 4, LANE % 4

needs_mosaic = pytest.mark.skipif(not geglu.has_geglu(), reason="no Mosaic GPU in this JAX")


class Memory:
    """Arrays apart from each other; whoever reaches between them is told."""

    def __init__(self, *arrays: np.ndarray) -> None:
        self.arrays = arrays
        ends = np.cumsum([array.nbytes + 4096 for array in arrays])
        self.begins = [int(end) - array.nbytes for end, array in zip(ends, arrays, strict=True)]

    def at(self, address: int, size: int) -> np.ndarray:
        assert address % size == 0, "not aligned"
        for begin, array in zip(self.begins, self.arrays, strict=True):
            if begin <= address and address + size <= begin + array.nbytes:
                return array.reshape(-1).view(np.uint8)[address - begin :][:size]
        raise AssertionError(f"nothing lies at {address}")


class Warp32:
    """What ``ptx.Thread`` emits, done for the 32 threads of a warp."""

    def __init__(self, memory: Memory, block: tuple[int, int], warp: int) -> None:
        self._memory, self._block, self._warp = memory, block, warp

    def int32(self, number):
        return np.full(32, number, np.int64)

    int64 = int32

    def sum(self, first, *others):
        return first + sum(others)

    def times(self, number, factor):
        return number * factor

    bytes = times

    def quotient(self, number, bits):
        return number >> bits

    def remainder(self, number, bits):
        return number & ((1 << bits) - 1)

    def least(self, one, other):
        return np.minimum(one, other)

    def if_less(self, a, b, then, otherwise):
        return np.where(a < b, then, otherwise)

    def index(self):
        return 32 * self._warp + LANE

    def block(self):
        x, y = self._block
        return self.int32(x), self.int32(y)

    def loop(self, first, last, carried, body):
        for _ in range(int(first[0]), int(last[0])):
            carried = list(body(carried))
        return carried

    def number(self, value):
        return np.full(32, value, np.float32)

    def mul(self, *factors):
        product = factors[0]
        for factor in factors[1:]:
            product = product * factor
        return product

    def add(self, a, b):
        return a + b

    def less(self, a, b):
        return a - b

    def fma(self, a, b, c):
        return (a.astype(np.float64) * b + c).astype(np.float32)

    def exp2(self, a):
        with np.errstate(over="ignore"):
            return np.exp2(a)

    def reciprocal(self, a):
        return np.float32(1.0) / a

    def packed(self, low, high):
        halves = (x.astype(BF16).view(np.uint16).astype(np.uint32) for x in (low, high))
        first, second = halves
        return first | (second << 16)

    def unpacked(self, word):
        halves = (word & 0xFFFF, word >> 16)
        low, high = ((half << 16).astype(np.uint32).view(np.float32) for half in halves)
        return low, high

    def mma(self, a, b, c):
        left, right, both = np.zeros((16, 16)), np.zeros((16, 8)), np.zeros((16, 8))
        for number, word in enumerate(a):
            row, column = GROUP + 8 * (number % 2), 2 * MEMBER + 8 * (number // 2)
            left[row, column], left[row, column + 1] = self.unpacked(word)
        for number, word in enumerate(b):
            row = 2 * MEMBER + 8 * number
            right[row, GROUP], right[row + 1, GROUP] = self.unpacked(word)
        places = [(GROUP + 8 * (n // 2), 2 * MEMBER + n % 2) for n in range(4)]
        for place, number in zip(places, c, strict=True):
            both[place] = number
        both = (both + left @ right).astype(np.float32)
        return [both[place] for place in places]

    def address(self, array):
        return self.int32(self._memory.begins[array])

    def store(self, address, values):
        numbers = np.stack(values, axis=1)
        for at, mine in zip(address, numbers, strict=True):
            self._memory.at(at, 16)[:] = np.ascontiguousarray(mine).view(np.uint8)

    def load(self, address, *, shared_by_warps=False):
        del shared_by_warps
        words = np.stack([self._memory.at(at, 16).view(np.uint32) for at in address])
        return list(words.T.copy())


def drawn(rows: int, columns: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    wide = [rng.normal(size=(rows, columns)) * spread for spread in (0.1, 2.0, 1.0)]
    narrow = [rng.normal(size=(rows, width * geglu.RANK)) for width in (2, 1)]
    given = [array.astype(BF16) for array in (*wide, *narrow)]
    given[1][0, :4] = [-300.0, 300.0, -9.0, 9.0]  # where the exponential is infinite, and beside it
    return given


def exact(d_hidden, gate, up, inner, d_inner):
    d_hidden, gate, up, inner, d_inner = (
        jnp.asarray(x, jnp.float32) for x in (d_hidden, gate, up, inner, d_inner)
    )
    value, slope = gelu_and_slope(gate)
    d_gate, d_up = d_hidden * up * slope, d_hidden * value
    inners = jnp.split(inner, 2, axis=1)
    db = jnp.stack([i.T @ d for i, d in zip(inners, (d_gate, d_up), strict=True)])
    return d_gate, d_up, db, (value * up).T @ d_inner


def near(found, wanted, tolerance):
    found, wanted = (np.asarray(x, np.float64) for x in (found, wanted))
    assert np.isfinite(found).all()
    assert np.linalg.norm(found - wanted) < tolerance * np.linalg.norm(wanted)


@pytest.mark.parametrize(("rows", "steps"), [(80, 3), (32, 2), (16, 1)])
def test_warps_make_all_gradients(rows, steps):
    """The last block of rows of the first case has fewer than the others."""
    columns, chunks = 512, -(-rows // 16 // steps)
    given = drawn(rows, columns)
    parts = np.stack([*np.split(given[3], 2, axis=1), given[4]])
    held = np.asarray(geglu.fragments(jnp.asarray(parts)))
    nothing = np.full((rows, columns), np.nan, BF16)
    made = [nothing, nothing.copy(), np.full((chunks, 3, geglu.RANK, columns), np.nan, np.float32)]
    memory = Memory(*given[:3], held, *made)
    for x in range(columns // 256):
        for y in range(chunks):
            for warp in range(4):
                thread = Warp32(memory, (x, y), warp)
                geglu.Warp(thread, range(7), rows, columns, steps).run()
    sums = made[2].sum(axis=0)
    wanted = exact(*given)
    for found, right in zip((made[0], made[1], sums[:2], sums[2].T), wanted, strict=True):
        near(found, right, 4e-3)


@needs_mosaic
def test_real_sizes_lower_for_gpus():
    shapes = (6528, 16384), (6528, 16384), (6528, 16384), (6528, 32), (6528, 16)
    given = [jax.ShapeDtypeStruct(shape, jnp.bfloat16) for shape in shapes]
    lowered = jax.jit(geglu.geglu_gradient).trace(*given).lower(lowering_platforms=("cuda",))
    found = [(x.shape, x.dtype) for x in lowered.out_info]
    assert found == [(x, jnp.bfloat16) for x in (*shapes[:2], (2, 16, 16384), (16384, 16))]
    assert "mosaic_gpu" in lowered.as_text()


@pytest.mark.parametrize(
    ("rows", "columns", "rank", "fits"),
    [
        (6528, 16384, 16, True),
        (16, 256, 16, True),
        (6520, 16384, 16, False),
        (6528, 16384, 32, False),
        (6528, 4304, 16, False),
    ],
)
def test_sizes_that_fit(rows, columns, rank, fits):
    assert geglu.geglu_fits(rows, columns, rank, jnp.bfloat16) == fits
    assert not geglu.geglu_fits(rows, columns, rank, jnp.float32)


@pytest.mark.skipif(jax.default_backend() != "gpu", reason="needs a Hopper GPU or a newer one")
@pytest.mark.parametrize(("rows", "columns"), [(6528, 16384), (80, 512), (16, 256)])
def test_a_gpu_makes_all_gradients(rows, columns):
    given = [jnp.asarray(array) for array in drawn(rows, columns)]
    for found, wanted in zip(jax.jit(geglu.geglu_gradient)(*given), exact(*given), strict=True):
        near(found, wanted, 4e-3)
