"""Layers of a training whose weights are frozen and whose adapters are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from trossen_pi0_policy.pi0.config import Pi0Config
from trossen_pi0_policy.pi0.gemma import Block, Tokens
from trossen_pi0_policy.pi0.widened import joined_adapters
from trossen_pi0_policy.pi0.widened_steps import INNER

_ACTION = tuple(f"action_{name}" for name in ("qkv", "weights", "attended", "between", "middle"))
_SMALL = (
    INNER,
    *_ACTION,
    "vision_attended",
    "language_qkv",
    "language_attended",
    "language_between",
)

KEPT_ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "none": (INNER,),
    "some": _SMALL,
    "all": (*_SMALL, "language_middle", "vision_qkv", "vision_middle"),
}
"""What the backward pass finds ready of each layer, besides its input; it works out the rest
again. ``some`` is little memory for the time it saves."""


def run_layers(
    block: Block,
    config: Pi0Config,
    parameters: Mapping[str, Any],
    tokens: Tokens,
    shared: Sequence[Any],
    kept: Sequence[Sequence[str]],
) -> jax.Array:
    """The action tokens behind all layers.

    Without a loop, which would copy the weights out of their stacks and the activations that are
    kept into others. Of the last layer the language tokens are not worked out.

    Args:
        block: a widened layer, not bound.
        config: sizes.
        parameters: of the layers, as ``widened`` arranges them; trained are but the adapters.
        tokens: see ``Block``.
        shared: what all layers get besides: see ``Block``, from ``cache`` on.
        kept: names of the activations that are kept of each layer but the last.
    """
    flat: Any = flatten_dict({"layers": dict(parameters)}, sep="/")
    frozen = {path: leaf for path, leaf in flat.items() if "lora" not in path}
    dtype = next(x.dtype for x in tokens if x is not None)
    joined = joined_adapters(flat, config, dtype)
    adapters = {path: _unstacked(stack) for path, stack in joined.items()}

    def layer(tokens: Tokens, own: Mapping[str, Any], *, last: bool = False) -> Tokens:
        found: Any = block.apply({"params": own}, tokens, *shared, last=last)
        return found[0]

    def own(at: int) -> dict[str, Any]:
        found = {path: leaf[at] for path, leaf in adapters.items()}
        for path, leaf in frozen.items():
            head, _, number = path.rpartition("/")
            if not number.isdecimal():
                found[path] = leaf[at]
            elif int(number) == at:
                found[head] = leaf
        return unflatten_dict(found, sep="/")["layers"]

    for at, names in enumerate(kept):
        policy = jax.checkpoint_policies.save_only_these_names(*names)
        tokens = jax.checkpoint(layer, policy=policy)(tokens, own(at))
    out = layer(tokens, own(len(kept)), last=True)[1]
    assert out is not None
    return out


@jax.custom_vjp
def _unstacked(stack: jax.Array) -> tuple[jax.Array, ...]:
    """The layers of a stack, whose gradients are stacked at once instead of one by one."""
    return tuple(stack)


def _stacked(_: None, parts: tuple[jax.Array, ...]) -> tuple[jax.Array]:
    # Without the barrier the optimizer would pick its elements out of all the parts.
    return (jax.lax.optimization_barrier(jnp.stack(parts)),)


_unstacked.defvjp(lambda stack: (_unstacked(stack), None), _stacked)
