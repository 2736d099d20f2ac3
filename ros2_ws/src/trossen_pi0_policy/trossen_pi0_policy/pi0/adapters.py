"""Products with a weight and a low-rank adapter beside it (LoRA, arXiv 2106.09685).

The adapter widens the weight by its few rows or columns, so that one product does for both and no
array of the wide side's size is written or read on the adapter's account.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from trossen_pi0_policy.pi0.config import ExpertConfig

Factors = tuple[jax.Array, jax.Array]
"""Of an adapter: shapes (inputs, rank) and (rank, outputs)."""


@dataclass(frozen=True)
class Adapter:
    """Of one weight.

    Attributes:
        shapes: of its parameters by name, as openpi shapes them.
        join: its factors, from those parameters.
        inputs: of the weight.
        rank: of the joined factors; with ``halves`` of each.
        halves: either half of the weight's outputs has an adapter of its own.
    """

    shapes: Mapping[str, tuple[int, ...]]
    join: Callable[[Mapping[str, jax.Array]], Factors]
    inputs: int
    rank: int
    halves: bool = False


def adapters(config: ExpertConfig) -> dict[str, Adapter]:
    """The adapters of a layer's weights, by name of the weight; empty for an expert without."""
    lora = config.lora
    if lora is None:
        return {}
    n, k, h = config.num_heads, config.num_kv_heads, config.head_dim
    d, f, r = config.width, config.mlp_dim, lora.rank

    def qkv(p: Mapping[str, jax.Array]) -> Factors:
        a = jnp.concatenate([p["q_lora_a"], p["kv_lora_a"].reshape(-1, d, r)])
        b = jnp.concatenate([p["q_lora_b"], p["kv_lora_b"].reshape(-1, r, h)])
        return _side_by_side(a), _block_diagonal(b) * lora.scale

    def out(p: Mapping[str, jax.Array]) -> Factors:
        # the second factor is summed over the heads, as in openpi's einsum
        return p["lora_a"].reshape(n * h, r), p["lora_b"].sum(axis=0) * lora.scale

    return {
        "qkv": Adapter(
            {
                "q_lora_a": (n, d, r),
                "q_lora_b": (n, r, h),
                "kv_lora_a": (2, k, d, r),
                "kv_lora_b": (2, k, r, h),
            },
            qkv,
            d,
            (n + 2 * k) * r,
        ),
        "out": Adapter({"lora_a": (n, h, r), "lora_b": (n, r, d)}, out, n * h, r),
        "gate_up": Adapter(
            {"lora_a": (2, d, r), "lora_b": (2, r, f)},
            lambda p: (_side_by_side(p["lora_a"]), _block_diagonal(p["lora_b"])),
            d,
            r,
            halves=True,
        ),
        "down": Adapter({"lora_a": (f, r), "lora_b": (r, d)}, _factors, f, r),
    }


def adapted_halves(
    x: jax.Array, w: jax.Array, parameters: Mapping[str, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    """The product with ``gate_up``, of each half by itself: neither is cut out of the whole.

    Args:
        x: shape (..., inputs).
        w: shape (inputs, 2 * outputs).
        parameters: of its adapter.

    Returns:
        gate and up, each of shape (..., outputs).
    """
    halves = zip(jnp.split(w, 2, axis=1), *_factors(parameters), strict=True)
    gate, up = (adapted_product(x, *half) for half in halves)
    return gate, up


def _factors(parameters: Mapping[str, jax.Array]) -> Factors:
    return parameters["lora_a"], parameters["lora_b"]


@jax.custom_vjp
def adapted_product(x: jax.Array, w: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """``x @ w + (x @ a) @ b``, computed in the type of ``x``.

    Gradients of ``w``, ``a`` and ``b`` have those arrays' own types.

    Args:
        x: shape (..., inputs).
        w: shape (inputs, outputs).
        a: shape (inputs, rank).
        b: shape (rank, outputs).

    Returns:
        shape (..., outputs), in the type of ``x``.
    """
    w, a, b = (part.astype(x.dtype) for part in (w, a, b))
    if _widens(w):
        return beside(x, x @ a) @ jnp.concatenate([w, b])
    both = x @ beside(w, a)
    outputs = w.shape[1]
    return both[..., :outputs] + both[..., outputs:] @ b


def _side_by_side(blocks: jax.Array) -> jax.Array:
    """Shape (n, rows, columns) to (rows, n * columns)."""
    return blocks.swapaxes(0, 1).reshape(blocks.shape[1], -1)


def _block_diagonal(blocks: jax.Array) -> jax.Array:
    """Blocks along the diagonal of zeros; shape (n, rows, columns) to (n * rows, n * columns)."""
    n, rows, columns = blocks.shape
    wide = blocks[:, :, None, :] * jnp.eye(n, dtype=blocks.dtype)[:, None, :, None]
    return wide.reshape(n * rows, n * columns)


def _widens(w: jax.Array) -> bool:
    """Whether the output is the wider side, to which the adapter then adds nothing."""
    return w.shape[0] <= w.shape[1]


def beside(left: jax.Array, right: jax.Array) -> jax.Array:
    """Both along the last axis."""
    return jnp.concatenate([left, right], axis=-1)


_Saved = tuple[jax.Array, jax.Array, jax.Array, jax.Array]


def _forward(x: jax.Array, w: jax.Array, a: jax.Array, b: jax.Array) -> tuple[jax.Array, _Saved]:
    return adapted_product(x, w, a, b), (x, w, a, b)


def _backward(saved: _Saved, dy: jax.Array) -> _Saved:
    x, w, a, b = saved
    low_w, low_a, low_b = (part.astype(x.dtype) for part in (w, a, b))
    inputs = w.shape[0]
    # Of the forward pass nothing but x is wanted: where it is worked out again, the wide product is
    # left out.
    inner = x @ low_a
    if _widens(w):
        both = dy @ jnp.concatenate([low_w, low_b]).T
        d_inner = both[..., inputs:]
        dx = both[..., :inputs] + d_inner @ low_a.T
    else:
        d_inner = dy @ low_b.T
        dx = beside(dy, d_inner) @ beside(low_w, low_a).T
    return dx, _outer(x, dy, w), _outer(x, d_inner, a), _outer(inner, dy, b)


def _outer(x: jax.Array, dy: jax.Array, like: jax.Array) -> jax.Array:
    """Gradient of the matrix between ``x`` and ``dy``."""
    return jnp.einsum("...i,...o->io", x, dy, preferred_element_type=like.dtype)


adapted_product.defvjp(_forward, _backward)
