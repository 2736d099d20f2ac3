"""Layers of a training whose weights are frozen and whose adapters are not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from trossen_pi0_policy.pi0.gemma import Block, Tokens

KEPT_ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "none": (),
    "some": ("vision_attended", "vision_middle"),
    "all": (
        "vision_qkv",
        "vision_attended",
        "vision_middle",
        "language_qkv",
        "language_attended",
        "language_middle",
    ),
}
"""What the backward pass finds ready of each layer, besides its input; it works out the rest
again."""

Kept = Sequence[tuple[int, tuple[str, ...]]]
"""Numbers of layers, one group behind the other, and the activations that are kept of each."""


def run_layers(
    block: Block,
    stacked: Mapping[str, Any],
    tokens: Tokens,
    shared: Sequence[Any],
    kept: Kept,
) -> jax.Array:
    """The action tokens behind all layers.

    Weights are read where they lie in their stack: a scan over a part of a stack would copy that
    part. The stack of a weight's gradient would be added to in every layer, so they must be frozen.
    Of the last layer the language tokens are not worked out.

    Args:
        block: a layer, not bound.
        stacked: parameters, the layers along the first axis.
        tokens: see ``Block``.
        shared: what all layers get besides: see ``Block``, from ``cache`` on.
        kept: of all layers but the last.
    """
    flat: dict[str, Any] = dict(flatten_dict(dict(stacked), sep="/"))
    frozen = {path: leaf for path, leaf in flat.items() if "lora" not in path}
    trained = {path: leaf for path, leaf in flat.items() if "lora" in path}

    def layer(
        tokens: Tokens, at: jax.Array, own: Mapping[str, jax.Array], *, last: bool = False
    ) -> Tokens:
        read = {
            path: jax.lax.dynamic_index_in_dim(leaf, at, keepdims=False)
            for path, leaf in frozen.items()
        }
        variables = {"params": unflatten_dict({**read, **own}, sep="/")}
        found: Any = block.apply(variables, tokens, *shared, last=last)
        return found[0]

    begin = 0
    for count, names in kept:
        if not count:
            continue
        part = {path: leaf[begin : begin + count] for path, leaf in trained.items()}
        run = _remat(layer, names)
        tokens, _ = jax.lax.scan(
            lambda tokens, each, run=run: (run(tokens, *each), None),
            tokens,
            (jnp.arange(begin, begin + count), part),
        )
        begin += count
    own = {path: leaf[begin] for path, leaf in trained.items()}
    out = layer(tokens, jnp.asarray(begin), own, last=True)[1]
    assert out is not None
    return out


def _remat(layer: Callable[..., Tokens], names: Sequence[str]) -> Callable[..., Tokens]:
    policy = jax.checkpoint_policies.save_only_these_names(*names)
    return jax.checkpoint(layer, prevent_cse=False, policy=policy)
