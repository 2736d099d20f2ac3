"""Frozen weights with their adapters inside (LoRA, arXiv 2106.09685), for training.

Of a weight at least as wide as its input the adapter's second factor lies in rows below it, of
another its first factor in columns behind it. One product then does for both, and no array of the
wide side's size is read or written on the adapter's account::

    qkv, out   [w; b]            (inputs + rank, outputs)
    gate       [w; b; 0]         (inputs + 2 rank, outputs); up: [w; 0; b]
    down       [w, a]            (inputs, outputs + rank)

A training holds its frozen layers like this, each alone, as products would first copy a layer out
of a stack; and in each step writes the adapters in where they lie. Leaves are by ``/``-joined path,
those of a layer that stands alone with its number behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from trossen_pi0_policy.pi0.adapters import Adapter, Factors, adapters, beside
from trossen_pi0_policy.pi0.config import Pi0Config
from trossen_pi0_policy.pi0.gelu import gelu_and_slope

Leaves = dict[str, Any]
Given = tuple[jax.Array, ...]

INNER = "adapter_inner"
"""Name of the few activations between an adapter's factors."""

HALVES = ("gate", "up")


def widen(path: str, leaf: Any, config: Pi0Config) -> Leaves:
    """A frozen leaf with zeros where its adapter will lie, by the paths that it then has.

    Args:
        path: in the arrangement of ``parameters``.
        leaf: one without an adapter stays as it is; of others each layer stands alone.
        config: sizes.
    """
    folder, _, name = path.rpartition("/")
    adapter = dict(_adapted(config)).get(folder)
    if adapter is None or name != "kernel":
        return {path: leaf}
    if adapter.halves:
        halves = zip(HALVES, jnp.split(leaf, 2, axis=2), strict=True)
        wide = {half: _padded(part, 1, 2 * adapter.rank) for half, part in halves}
    else:
        axis = 1 if leaf.shape[1] <= leaf.shape[2] else 2
        wide = {"kernel": _padded(leaf, axis, adapter.rank)}
    return {
        f"{folder}/{name}/{i}": stack[i] for name, stack in wide.items() for i in range(len(stack))
    }


def narrow(wide: Mapping[str, Any], config: Pi0Config) -> Leaves:
    """Leaves as they were before ``widen``."""
    found = dict(wide)
    for folder, adapter in _adapted(config):
        layers = range(config.language.depth)
        if adapter.halves:
            halves = [[found.pop(f"{folder}/{half}/{i}") for i in layers] for half in HALVES]
            narrowed = [jnp.stack([w[: adapter.inputs] for w in half]) for half in halves]
            found[f"{folder}/kernel"] = jnp.concatenate(narrowed, axis=2)
            continue
        weights = [found.pop(f"{folder}/kernel/{i}") for i in layers]
        rows = weights[0].shape[0] > adapter.inputs
        weights = [w[: adapter.inputs] if rows else w[:, : -adapter.rank] for w in weights]
        found[f"{folder}/kernel"] = jnp.stack(weights)
    return found


def fill(wide: Mapping[str, Any], trained: Mapping[str, Any], config: Pi0Config) -> Leaves:
    """Widened leaves with the adapters written into them."""
    found = dict(wide)
    for folder, adapter in _adapted(config):
        inputs, rank = adapter.inputs, adapter.rank
        for i, (a, b) in enumerate(zip(*_factors(folder, adapter, trained), strict=True)):
            if adapter.halves:
                for n, half in enumerate(HALVES):
                    path, begin = f"{folder}/{half}/{i}", inputs + n * rank
                    rows = slice(begin, begin + rank)
                    found[path] = found[path].at[rows].set(b[n].astype(found[path].dtype))
                continue
            path = f"{folder}/kernel/{i}"
            leaf = found[path]
            if leaf.shape[0] > inputs:
                found[path] = leaf.at[inputs:].set(b.astype(leaf.dtype))
            else:
                found[path] = leaf.at[:, -rank:].set(a.astype(leaf.dtype))
    return found


def joined_adapters(trained: Mapping[str, Any], config: Pi0Config, dtype: Any) -> Leaves:
    """The factors of all adapters as ``Projection`` takes them beside widened weights.

    Of each weight ``a``, shape (layers, inputs, rank), and ``b``, (layers, rank, outputs); of gate
    and up together (layers, inputs, 2 * rank) and (layers, 2, rank, outputs).
    """
    found: Leaves = {}
    for folder, adapter in _adapted(config):
        a, b = _factors(folder, adapter, trained)
        found |= {f"{folder}/a": a.astype(dtype), f"{folder}/b": b.astype(dtype)}
    return found


@jax.custom_vjp
def widened_product(x: jax.Array, wide: jax.Array, a: jax.Array, b: jax.Array) -> jax.Array:
    """``x @ w + (x @ a) @ b``; the weight has no gradient.

    Args:
        x: shape (..., inputs).
        wide: the weight with ``b`` below it or ``a`` behind it.
        a: shape (inputs, rank).
        b: shape (rank, outputs).

    Returns:
        shape (..., outputs), in the type of ``x``.
    """
    return _product(x, wide, a, b)[0]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def widened_feed_forward(name: str, x: jax.Array, gate_up: Given, down: Given) -> jax.Array:
    """A feed-forward layer, ``down(gelu(gate(x)) * up(x))``; the weights have no gradient.

    Its gradients are in one place, so that what all of them read is read once.

    Args:
        name: of gate and up, for what is kept for the backward pass.
        x: shape (..., width).
        gate_up: gate, up (each (width + 2 * rank, mlp_dim)), their first factors side by side
            (width, 2 * rank), and their second ones (2, rank, mlp_dim).
        down: the weight (mlp_dim, width + rank) and its factors.

    Returns:
        shape (..., width), in the type of ``x``.
    """
    return _feed_forward(name, x, gate_up, down)[0]


def _product(x: jax.Array, wide: jax.Array, a: jax.Array, b: jax.Array) -> tuple[jax.Array, Any]:
    if wide.shape[0] > x.shape[-1]:
        inner = checkpoint_name(x @ a, INNER)
        y = beside(x, inner) @ wide
    else:
        both = x @ wide
        outputs = b.shape[1]
        inner = checkpoint_name(both[..., outputs:], INNER)
        y = both[..., :outputs] + inner @ b
    return y, (x, inner, wide, a, b)


def _product_backward(saved: Any, dy: jax.Array) -> tuple[Any, ...]:
    x, inner, wide, a, b = saved
    inputs = x.shape[-1]
    if wide.shape[0] > inputs:
        both = dy @ wide.T
        d_inner = both[..., inputs:]
        dx = both[..., :inputs] + d_inner @ a.T
    else:
        d_inner = dy @ b.T
        dx = beside(dy, d_inner) @ wide.T
    dx, da, db = _at_once(dx, _outer(x, d_inner), _outer(inner, dy))
    return dx, None, da, db


def _feed_forward(name: str, x: jax.Array, gate_up: Given, down: Given) -> tuple[jax.Array, Any]:
    gate_weight, up_weight, a, _ = gate_up
    inner = checkpoint_name(x @ a, INNER)
    widened = beside(x, inner)
    gate, up = (checkpoint_name(widened @ w, name) for w in (gate_weight, up_weight))
    y, (_, inner_down, *_) = _product(nn.gelu(gate) * up, *down)
    return y, (x, inner, gate, up, inner_down, gate_up, down)


def _feed_forward_backward(name: str, saved: Any, dy: jax.Array) -> tuple[Any, ...]:
    del name
    x, inner, gate, up, inner_down, gate_up, (down_weight, _, down_b) = saved
    d_inner_down = dy @ down_b.T
    d_hidden = beside(dy, d_inner_down) @ down_weight.T
    value, slope = gelu_and_slope(gate)
    hidden = (value * up).astype(x.dtype)
    d_gate = (d_hidden * up * slope).astype(x.dtype)
    d_up = (d_hidden * value).astype(x.dtype)

    gate_weight, up_weight, a, _ = gate_up
    both = d_gate @ gate_weight.T + d_up @ up_weight.T
    d_inner = both[..., x.shape[-1] :]
    dx = both[..., : x.shape[-1]] + d_inner @ a.T
    inners = jnp.split(inner, 2, axis=-1)
    db = jnp.stack([_outer(part, d) for part, d in zip(inners, (d_gate, d_up), strict=True)])
    dx, *others = _at_once(
        dx, _outer(x, d_inner), db, _outer(hidden, d_inner_down), _outer(inner_down, dy)
    )
    return dx, (None, None, *others[:2]), (None, *others[2:])


widened_product.defvjp(_product, _product_backward)
widened_feed_forward.defvjp(_feed_forward, _feed_forward_backward)


def _at_once(*gradients: jax.Array) -> Sequence[jax.Array]:
    # Else those of the adapters would be worked out behind all layers, and what they are made of
    # would be held until then.
    return jax.lax.optimization_barrier(gradients)


def _outer(x: jax.Array, dy: jax.Array) -> jax.Array:
    return jnp.einsum("...i,...o->io", x, dy)


def _adapted(config: Pi0Config) -> Iterator[tuple[str, Adapter]]:
    """Folder and adapter of each weight that has one."""
    for expert in ("language", "action"):
        for name, adapter in adapters(getattr(config, expert)).items():
            yield f"layers/{expert}/{name}", adapter


def _factors(folder: str, adapter: Adapter, trained: Mapping[str, Any]) -> Factors:
    given = {name: trained[f"{folder}/{name}"] for name in adapter.shapes}
    if adapter.halves:
        a = given["lora_a"].swapaxes(1, 2)
        return a.reshape(*a.shape[:2], -1), given["lora_b"]
    return jax.vmap(adapter.join)(given)


def _padded(leaf: Any, axis: int, more: int) -> jax.Array:
    return jnp.pad(leaf, [(0, more if i == axis else 0) for i in range(leaf.ndim)])
