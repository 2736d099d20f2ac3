"""openpi's parameters joined into ours on the devices, one leaf after another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import jax

from trossen_pi0_policy.pi0.config import Pi0Config
from trossen_pi0_policy.pi0.parameters import Leaf, join_leaf, leaves


def joined_leaves(
    parts: dict[str, Any], model: Pi0Config, places: Mapping[str, Any]
) -> Iterator[tuple[str, jax.Array]]:
    """Path and array of each leaf of ours.

    No more than one leaf lies on the devices twice.

    Args:
        parts: openpi's arrays by path, exactly the model's; each is taken out of the map.
        model: sizes.
        places: sharding of each leaf by its path.
    """
    for leaf in leaves(model):
        taken = [parts.pop(part.path) for part in leaf.parts]
        place = places[leaf.path]
        if _is_as_it_was(leaf) and taken[0].sharding == place:
            yield leaf.path, taken[0]
            continue
        joined = jax.jit(partial(join_leaf, leaf), out_shardings=place)(taken)
        del taken
        yield leaf.path, jax.block_until_ready(joined)


def _is_as_it_was(leaf: Leaf) -> bool:
    part = leaf.parts[0]
    return part.shape == leaf.shape and part.order == tuple(range(len(part.order)))
