"""Parameters from a seed, by the paths of openpi's checkpoint tree.

The values come from the raw bits of PCG64, whose stream numpy keeps, so every version of numpy on
every machine makes the same ones.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping

import numpy as np

_UNIT = math.sqrt(3.0)
"""Half the width of the uniform distribution of variance 1 around 0."""

_SMALL = 0.2
"""Spread of norm scales and biases: seen in the results, without overpowering the rest."""

_ADAPTED = 0.25
"""What an adapter adds to a product of spread 1, before its own scale. Much more of it makes the
attention so peaked that rounding grows a hundredfold through the network."""


def seeded_bits(seed: int, name: str, count: int) -> np.ndarray:
    """Random uint32 (count,), the same for the same seed and name."""
    stream = np.random.PCG64([seed, zlib.crc32(name.encode())])
    pairs = np.asarray(stream.random_raw((count + 1) // 2), "<u8")
    return pairs.view("<u4")[:count]


def seeded_uniform(seed: int, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random float32 of mean 0 and variance 1, uniform, the same for the same seed and name."""
    values = (seeded_bits(seed, name, math.prod(shape)) >> 8).astype(np.float32)
    values *= np.float32(2.0 * _UNIT / 2**24)
    values -= np.float32(_UNIT)
    return values.reshape(shape)


def seeded_parameters(shapes: Mapping[str, tuple[int, ...]], seed: int) -> dict[str, np.ndarray]:
    """Parameters that keep activations near 1 through the network, no array of them zero.

    Args:
        shapes: by flat path of openpi's tree, such as
            ``PaliGemma/llm/layers/attn/q_einsum/w``; the layer is the first axis where openpi
            scans over layers.
        seed: of all of them; the path is mixed in.

    Returns:
        float32 arrays by the same paths.

    Raises:
        ValueError: a path whose kind of parameter is not known.
    """
    parameters = {}
    for path, shape in shapes.items():
        offset, spread = _distribution(path, tuple(shape))
        values = seeded_uniform(seed, path, tuple(shape))
        values *= np.float32(spread)
        values += np.float32(offset)
        parameters[path] = values
    return parameters


def _distribution(path: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and standard deviation of one parameter."""
    *_, parent, leaf = ("", *path.split("/"))
    if leaf == "scale":  # LayerNorm multiplies by it, Gemma's RMSNorm by one plus it
        return (1.0 if path.startswith("PaliGemma/img/") else 0.0), _SMALL
    if leaf == "bias":
        return 0.0, _SMALL
    if leaf == "pos_embedding":
        return 0.0, 0.5
    if leaf == "input_embedding":  # the model multiplies by the root of the width
        return 0.0, shape[-1] ** -0.5
    if "norm" in parent or "_norm" in path:  # kernels of adaptive norms: modulation below 1
        return 0.0, 0.5 * shape[-2] ** -0.5
    share = _ADAPTED if leaf.endswith("lora_b") else 1.0
    return 0.0, share * _inputs(path, parent, leaf, shape) ** -0.5


def _inputs(path: str, parent: str, leaf: str, shape: tuple[int, ...]) -> int:
    """Over how many inputs a weight sums."""
    if parent in ("attn_vec_einsum", "attn_vec_einsum_1"):  # heads and their width
        return shape[-3] * shape[-2]
    if leaf in ("w", "lora_a", "lora_b") or leaf.startswith(("gating_einsum", "linear")):
        return shape[-2]
    if leaf == "kernel":
        if path == "PaliGemma/img/embedding/kernel":
            return math.prod(shape[:-1])
        if parent == "out":
            return shape[-3] * shape[-2]
        if parent in ("query", "key", "value"):
            return shape[-3]
        return shape[-2]
    raise ValueError(
        f"parameter {path} of shape {shape}: its last part {leaf!r} is none of kernel, bias, "
        "scale, w, lora_a, lora_b, gating_einsum, linear, pos_embedding and input_embedding"
    )
