"""Arrangements of the parameters: openpi's checkpoints and what the model trains with.

Ours joins what is multiplied together: queries, keys and values of a layer in one weight, the
biases and norm scales of a vision layer in one vector. Both arrangements hold the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_policy.pi0.config import ExpertConfig, Pi0Config
from trossen_pi0_policy.pi0.model import ModelBatch, Pi0
from trossen_pi0_policy.pi0.siglip import vector_sizes

Shape = tuple[int, ...]
Tree = dict[str, Any]


@dataclass(frozen=True)
class Part:
    """One leaf of openpi's tree inside one of ours.

    Attributes:
        path: openpi's, joined by ``/``.
        shape: openpi's.
        order: axes of openpi's array in the order they have in ours.
    """

    path: str
    shape: Shape
    order: tuple[int, ...]


@dataclass(frozen=True)
class Leaf:
    """One leaf of our tree: its parts, each transposed and flattened to ``shape``, then joined.

    Attributes:
        path: ours, joined by ``/``.
        lead: leading axes that the parts share.
        parts: joined along the last axis.
    """

    path: str
    lead: Shape
    parts: tuple[Part, ...]

    def columns(self, part: Part) -> int:
        """Length of a part along the last axis."""
        return math.prod(part.shape) // math.prod(self.lead)

    @property
    def shape(self) -> Shape:
        """Shape of the leaf."""
        return (*self.lead, sum(self.columns(part) for part in self.parts))


def _plain(path: str, theirs: str, shape: Shape) -> Leaf:
    return Leaf(path, shape[:-1], (Part(theirs, shape, tuple(range(len(shape)))),))


def _reshaped(path: str, theirs: str, shape: Shape, lead: Shape) -> Leaf:
    return Leaf(path, lead, (Part(theirs, shape, tuple(range(len(shape)))),))


def _vision_leaves(config: Pi0Config) -> Iterator[Leaf]:
    c, theirs, ours = config.vision, "PaliGemma/img", "vision"
    patch, n = c.patch_shape, config.image_tokens
    w, depth, heads = c.width, c.depth, c.num_heads
    head = w // heads
    for i, shape in enumerate(c.stem_kernels):
        yield _plain(f"{ours}/stem_{i}_kernel", f"{theirs}/stem_{i}/kernel", shape)
        yield _plain(f"{ours}/stem_{i}_scale", f"{theirs}/stem_{i}/scale", shape[-1:])
        yield _plain(f"{ours}/stem_{i}_bias", f"{theirs}/stem_{i}/bias", shape[-1:])
    yield _reshaped(
        f"{ours}/patch_kernel", f"{theirs}/embedding/kernel", (*patch, w), (math.prod(patch),)
    )
    yield _plain(f"{ours}/patch_bias", f"{theirs}/embedding/bias", (w,))
    yield _reshaped(f"{ours}/positions", f"{theirs}/pos_embedding", (1, n, w), (n,))
    block = f"{theirs}/Transformer/encoderblock"
    attention, mlp = f"{block}/MultiHeadDotProductAttention_0", f"{block}/MlpBlock_0"
    qkv = ("query", "key", "value")
    yield Leaf(
        f"{ours}/blocks/qkv",
        (depth, w),
        tuple(
            Part(f"{attention}/{name}/kernel", (depth, w, heads, head), (0, 1, 2, 3))
            for name in qkv
        ),
    )
    yield Leaf(
        f"{ours}/blocks/out",
        (depth, w),
        (Part(f"{attention}/out/kernel", (depth, heads, head, w), (0, 1, 2, 3)),),
    )
    yield _plain(f"{ours}/blocks/up", f"{mlp}/Dense_0/kernel", (depth, w, c.mlp_dim))
    yield _plain(f"{ours}/blocks/down", f"{mlp}/Dense_1/kernel", (depth, c.mlp_dim, w))
    vectors = {
        "norm1_scale": [f"{block}/LayerNorm_0/scale"],
        "norm1_bias": [f"{block}/LayerNorm_0/bias"],
        "qkv_bias": [f"{attention}/{name}/bias" for name in qkv],
        "out_bias": [f"{attention}/out/bias"],
        "norm2_scale": [f"{block}/LayerNorm_1/scale"],
        "norm2_bias": [f"{block}/LayerNorm_1/bias"],
        "up_bias": [f"{mlp}/Dense_0/bias"],
        "down_bias": [f"{mlp}/Dense_1/bias"],
    }
    parts = []
    for name, size in vector_sizes(c).items():
        for path in vectors[name]:
            shape = (depth, heads, head) if name == "qkv_bias" else (depth, size)
            parts.append(Part(path, shape, tuple(range(len(shape)))))
    yield Leaf(f"{ours}/blocks/vectors", (depth,), tuple(parts))
    yield _plain(f"{ours}/norm_scale", f"{theirs}/Transformer/encoder_norm/scale", (w,))
    yield _plain(f"{ours}/norm_bias", f"{theirs}/Transformer/encoder_norm/bias", (w,))
    features = config.language.width
    yield _plain(f"{ours}/head_kernel", f"{theirs}/head/kernel", (w, features))
    yield _plain(f"{ours}/head_bias", f"{theirs}/head/bias", (features,))


def _norm_leaf(ours: str, theirs: str, lead: Shape, width: int, *, adaptive: bool) -> list[Leaf]:
    if not adaptive:
        return [_plain(f"{ours}/scale", f"{theirs}/scale", (*lead, width))]
    kernel = _plain(
        f"{ours}/modulation/kernel", f"{theirs}/Dense_0/kernel", (*lead, width, 3 * width)
    )
    return [kernel, _plain(f"{ours}/modulation/bias", f"{theirs}/Dense_0/bias", (*lead, 3 * width))]


def _expert_leaves(c: ExpertConfig, ours: str, suffix: str, *, adaptive: bool) -> Iterator[Leaf]:
    layers = "PaliGemma/llm/layers"
    depth, d, f, n, k, h = c.depth, c.width, c.mlp_dim, c.num_heads, c.num_kv_heads, c.head_dim
    q, kv, out = (
        f"{layers}/attn/{name}{suffix}" for name in ("q_einsum", "kv_einsum", "attn_vec_einsum")
    )
    mlp = f"{layers}/mlp{suffix}"
    for name, theirs in (
        ("attention_norm", "pre_attention_norm"),
        ("mlp_norm", "pre_ffw_norm"),
    ):
        path = f"{layers}/{theirs}{suffix}"
        yield from _norm_leaf(f"{ours}/{name}", path, (depth,), d, adaptive=adaptive)
    yield Leaf(
        f"{ours}/qkv/kernel",
        (depth, d),
        (
            Part(f"{q}/w", (depth, n, d, h), (0, 2, 1, 3)),
            Part(f"{kv}/w", (depth, 2, k, d, h), (0, 3, 1, 2, 4)),
        ),
    )
    yield _reshaped(f"{ours}/out/kernel", f"{out}/w", (depth, n, h, d), (depth, n * h))
    gating = Part(f"{mlp}/gating_einsum", (depth, 2, d, f), (0, 2, 1, 3))
    yield Leaf(f"{ours}/gate_up/kernel", (depth, d), (gating,))
    yield _plain(f"{ours}/down/kernel", f"{mlp}/linear", (depth, f, d))
    if c.lora is None:
        return
    r = c.lora.rank
    for name, theirs, shape in (
        ("qkv/q_lora_a", f"{q}/lora_a", (n, d, r)),
        ("qkv/q_lora_b", f"{q}/lora_b", (n, r, h)),
        ("qkv/kv_lora_a", f"{kv}/lora_a", (2, k, d, r)),
        ("qkv/kv_lora_b", f"{kv}/lora_b", (2, k, r, h)),
        ("out/lora_a", f"{out}/lora_a", (n, h, r)),
        ("out/lora_b", f"{out}/lora_b", (n, r, d)),
        ("gate_up/lora_a", f"{mlp}/gating_einsum_lora_a", (2, d, r)),
        ("gate_up/lora_b", f"{mlp}/gating_einsum_lora_b", (2, r, f)),
        ("down/lora_a", f"{mlp}/linear_lora_a", (f, r)),
        ("down/lora_b", f"{mlp}/linear_lora_b", (r, d)),
    ):
        yield _plain(f"{ours}/{name}", theirs, (depth, *shape))


def leaves(config: Pi0Config) -> list[Leaf]:
    """Every parameter of a model, in both arrangements."""
    language, action = config.language, config.action
    llm, w, d = "PaliGemma/llm", action.width, config.action_dim
    table = (config.vocab_size, language.width)
    found = [
        *_vision_leaves(config),
        _plain("embedding", f"{llm}/embedder/input_embedding", table),
        *_expert_leaves(language, "layers/language", "", adaptive=False),
        *_expert_leaves(action, "layers/action", "_1", adaptive=config.pi05),
        *_norm_leaf("language_norm", f"{llm}/final_norm", (), language.width, adaptive=False),
        *_norm_leaf("action_norm", f"{llm}/final_norm_1", (), w, adaptive=config.pi05),
    ]
    dense = {"action_in": ("action_in_proj", d, w), "action_out": ("action_out_proj", w, d)}
    if config.pi05:
        dense |= {"time_in": ("time_mlp_in", w, w), "time_out": ("time_mlp_out", w, w)}
    else:
        dense |= {
            "state_in": ("state_proj", d, w),
            "time_in": ("action_time_mlp_in", 2 * w, w),
            "time_out": ("action_time_mlp_out", w, w),
        }
    for ours, (theirs, inputs, outputs) in dense.items():
        found.append(_plain(f"{ours}/kernel", f"{theirs}/kernel", (inputs, outputs)))
        found.append(_plain(f"{ours}/bias", f"{theirs}/bias", (outputs,)))
    return found


def openpi_shapes(config: Pi0Config) -> dict[str, Shape]:
    """Parameters of this model in openpi's tree: path joined by ``/`` -> shape."""
    return {part.path: part.shape for leaf in leaves(config) for part in leaf.parts}


def from_openpi(parameters: Mapping[str, Any], config: Pi0Config) -> Tree:
    """From openpi's arrangement to ours, bit for bit.

    Args:
        parameters: path joined by ``/`` -> array, exactly those of ``openpi_shapes``; numpy or
            JAX arrays of any float type. A joined leaf takes the widest type of its parts.
        config: of the model.

    Returns:
        our tree, nested.

    Raises:
        ParameterError: missing, extra or mis-shaped arrays.
    """
    check_shapes({k: tuple(v.shape) for k, v in parameters.items()}, openpi_shapes(config))
    flat = {
        leaf.path: join_leaf(leaf, [parameters[p.path] for p in leaf.parts])
        for leaf in leaves(config)
    }
    return unflatten_dict(flat, sep="/")


def to_openpi(tree: Mapping[str, Any], config: Pi0Config) -> dict[str, Any]:
    """From our arrangement to openpi's, bit for bit: the inverse of ``from_openpi``.

    Raises:
        ParameterError: missing, extra or mis-shaped arrays.
    """
    flat: dict[str, Any] = dict(flatten_dict(tree, sep="/"))
    expected = {leaf.path: leaf.shape for leaf in leaves(config)}
    check_shapes({k: tuple(v.shape) for k, v in flat.items()}, expected)
    found = {}
    for leaf in leaves(config):
        begin = 0
        for part in leaf.parts:
            end = begin + leaf.columns(part)
            ordered = flat[leaf.path][..., begin:end].reshape([part.shape[i] for i in part.order])
            found[part.path] = ordered.transpose(np.argsort(part.order))
            begin = end
    return found


def check_shapes(given: Mapping[str, Shape], expected: Mapping[str, Shape]) -> None:
    """Raises ParameterError that lists every path that is missing, extra or of another shape."""
    problems = [f"missing {p} {expected[p]}" for p in sorted(expected.keys() - given.keys())]
    problems += [f"extra {p} {given[p]}" for p in sorted(given.keys() - expected.keys())]
    problems += [
        f"{p}: expected {expected[p]}, got {given[p]}"
        for p in sorted(expected.keys() & given.keys())
        if tuple(given[p]) != tuple(expected[p])
    ]
    if problems:
        raise ParameterError(f"the parameters do not fit the model: {'; '.join(problems)}")


def initial_parameters(config: Pi0Config, key: jax.Array) -> Tree:
    """Fresh parameters in our arrangement, float32."""
    batch, noise = example_batch(config)
    model = Pi0(config)
    time = jnp.ones(1)

    def init(key: jax.Array) -> Any:
        return model.init(key, batch, noise, noise, time, method=Pi0.loss)["params"]

    return jax.jit(init)(key)


def random_parameters(config: Pi0Config, seed: int, dtype: Any) -> Tree:
    """Small normal random parameters in our arrangement, made on the device leaf by leaf."""
    make = jax.jit(
        lambda key, shape: (
            jax.random.normal(key, shape, jnp.dtype(dtype)) * jnp.dtype(dtype).type(0.02)
        ),
        static_argnums=1,
    )
    keys = jax.random.split(jax.random.key(seed), len(leaves(config)))
    flat = {
        leaf.path: make(key, leaf.shape) for key, leaf in zip(keys, leaves(config), strict=True)
    }
    return unflatten_dict(flat, sep="/")


def example_batch(config: Pi0Config, batch: int = 1) -> tuple[ModelBatch, jax.Array]:
    """Observations and noise of the right shapes, all zero and all there."""
    size, cameras = config.image_size, len(config.cameras)
    tokens = (batch, config.max_token_len)
    return (
        ModelBatch(
            images=jnp.zeros((batch, cameras, size, size, 3), jnp.uint8),
            image_mask=jnp.ones((batch, cameras), bool),
            state=jnp.zeros((batch, config.action_dim)),
            tokens=jnp.zeros(tokens, jnp.int32),
            token_mask=jnp.ones(tokens, bool),
        ),
        jnp.zeros((batch, config.action_horizon, config.action_dim)),
    )


def join_leaf(leaf: Leaf, arrays: Sequence[Any]) -> Any:
    """A leaf of ours from openpi's arrays of its parts, numpy or JAX, in their order."""
    parts: list[Any] = [
        array.transpose(part.order).reshape(*leaf.lead, leaf.columns(part))
        for part, array in zip(leaf.parts, arrays, strict=True)
    ]
    if len(parts) == 1:
        return parts[0]
    join: Callable[..., Any] = (
        jnp.concatenate if isinstance(parts[0], jax.Array) else np.concatenate
    )
    return join(parts, axis=-1)
