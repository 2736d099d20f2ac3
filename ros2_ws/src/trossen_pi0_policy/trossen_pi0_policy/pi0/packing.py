"""Parameters as the sampler is served: one array a layer and weight, nothing left to work out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from trossen_pi0_policy.pi0.adapters import adapters
from trossen_pi0_policy.pi0.config import ExpertConfig, Pi0Config
from trossen_pi0_policy.pi0.flow import embedded_steps
from trossen_pi0_policy.pi0.model import Pi0
from trossen_pi0_policy.pi0.parameters import Tree
from trossen_pi0_policy.pi0.siglip import vector_sizes

_ALIGNMENT = 128
"""Columns of the vision layers are padded to a multiple, which GPU kernels are fast with."""


def serving_config(config: Pi0Config, *, align: bool) -> Pi0Config:
    """The model that packed parameters belong to: no adapters, vision layers perhaps padded."""
    vision = config.vision
    if align:
        padded = -(-vision.mlp_dim // _ALIGNMENT) * _ALIGNMENT
        vision = replace(vision, mlp_dim=padded)
    return replace(
        config,
        vision=vision,
        language=replace(config.language, lora=None),
        action=replace(config.action, lora=None),
    )


def pack(
    tree: Mapping[str, Any], config: Pi0Config, *, steps: int, dtype: Any, align: bool
) -> Tree:
    """Parameters for a model with ``serving_steps``.

    Adapters are merged, and what depends only on the flow step is worked out; in float32, and
    rounded once.

    Args:
        tree: parameters as ``from_openpi`` arranges them; numpy arrays are moved to the device
            leaf by leaf.
        config: of these parameters.
        steps: Euler steps of the sampler.
        dtype: of the transformers' weights; what is small and matters more stays float32.
        align: as given to ``serving_config``.
    """
    with jax.default_matmul_precision("highest"):
        packed: Tree = {
            "vision": _pack_vision(tree["vision"], config, dtype=dtype, align=align),
            "embedding": jnp.asarray(tree["embedding"], dtype),
            "action_in": _float32(tree["action_in"]),
            "action_out": _float32(tree["action_out"]),
        }
        embedded = embedded_steps(steps, config.action.width)
        time_in, time_out = _float32(tree["time_in"]), _float32(tree["time_out"])
        condition = None
        if config.pi05:
            condition = nn.swish(_dense(nn.swish(_dense(embedded, time_in)), time_out))
            packed["action_norm"] = _modulations(tree["action_norm"], condition)
        else:
            packed["action_norm"] = _float32(tree["action_norm"])
            packed["state_in"] = _float32(tree["state_in"])
            packed["time_out"] = time_out
            packed |= _pack_steps(packed["action_in"], time_in, embedded)
        fold = jax.jit(partial(_pack_layer, config=config, dtype=dtype))
        for i in range(config.language.depth):
            layer = jax.tree.map(lambda x, i=i: jnp.asarray(x[i]), tree["layers"])
            packed[f"layers_{i}"] = fold(layer, condition)
    return packed


def _float32(tree: Any) -> Any:
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), tree)


def _dense(x: jax.Array, dense: Mapping[str, jax.Array]) -> jax.Array:
    return x @ dense["kernel"] + dense["bias"]


def _modulations(norm: Any, condition: jax.Array) -> Tree:
    return {"modulations": _dense(condition, _float32(norm["modulation"]))}


def _pack_steps(action_in: Tree, time_in: Tree, embedded: jax.Array) -> Tree:
    """The first layer behind actions and time, which is linear in both, for each step and 0."""
    width = embedded.shape[1]
    of_actions, of_time = time_in["kernel"][:width], time_in["kernel"][width:]
    bias = action_in["bias"] @ of_actions + embedded @ of_time + time_in["bias"]
    return {
        "action_in": {
            "kernel": action_in["kernel"] @ of_actions,
            "bias": jnp.zeros_like(action_in["bias"]),
        },
        "step_bias": bias,
    }


def _pack_layer(layer: Any, condition: jax.Array | None, config: Pi0Config, dtype: Any) -> Tree:
    return {
        "language": _pack_expert(layer["language"], None, config.language, dtype),
        "action": _pack_expert(layer["action"], condition, config.action, dtype),
    }


def _pack_expert(layer: Any, condition: jax.Array | None, config: ExpertConfig, dtype: Any) -> Tree:
    layer = _float32(layer)
    kernels = _merge_adapters(layer, config)
    packed: Tree = {}
    for norm in ("attention_norm", "mlp_norm"):
        is_plain = condition is None
        packed[norm] = layer[norm] if is_plain else _modulations(layer[norm], condition)
    return packed | {name: {"kernel": k.astype(dtype)} for name, k in kernels.items()}


def _merge_adapters(layer: Any, config: ExpertConfig) -> Tree:
    """The weights with their adapters added, float32."""
    kernels = {name: layer[name]["kernel"] for name in ("qkv", "out", "gate_up", "down")}
    for name, adapter in adapters(config).items():
        a, b = adapter.join(layer[name])
        kernels[name] += a @ b
    return kernels


def _pack_vision(tree: Any, config: Pi0Config, *, dtype: Any, align: bool) -> Tree:
    c = config.vision
    padded = serving_config(config, align=align).vision
    extra = padded.mlp_dim - c.mlp_dim
    packed: Tree = {}
    for name, value in tree.items():
        if name != "blocks":
            half = name.startswith("head")
            packed[name] = jnp.asarray(value, dtype if half else jnp.float32)
    blocks = tree["blocks"]
    up_end = sum(list(vector_sizes(c).values())[:-1])
    for i in range(c.depth):
        vectors = jnp.asarray(blocks["vectors"][i], jnp.float32)
        bias_gap = jnp.zeros(extra, jnp.float32)
        packed[f"block_{i}"] = {
            "qkv": jnp.asarray(blocks["qkv"][i], dtype),
            "out": jnp.asarray(blocks["out"][i], dtype),
            "up": jnp.pad(jnp.asarray(blocks["up"][i], dtype), ((0, 0), (0, extra))),
            "down": jnp.pad(jnp.asarray(blocks["down"][i], dtype), ((0, extra), (0, 0))),
            "vectors": jnp.concatenate([vectors[:up_end], bias_gap, vectors[up_end:]]),
        }
    return packed


def serving_model(
    config: Pi0Config,
    *,
    steps: int,
    dtype: Any,
    align: bool,
    cudnn: bool = False,
    kernels: Literal["none", "triton", "interpret"] = "none",
) -> Pi0:
    """The model for packed parameters."""
    return Pi0(serving_config(config, align=align), dtype, steps, cudnn, kernels)
