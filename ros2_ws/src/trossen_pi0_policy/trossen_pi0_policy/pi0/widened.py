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

from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from trossen_pi0_policy.pi0.adapters import Adapter, Factors, adapters
from trossen_pi0_policy.pi0.config import Pi0Config

Leaves = dict[str, Any]

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
