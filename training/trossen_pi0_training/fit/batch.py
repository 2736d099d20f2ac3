"""A batch on the devices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import flax.struct
import jax

from trossen_pi0_policy.pi0.model import ModelBatch
from trossen_pi0_training.fit.mesh import over_examples

if TYPE_CHECKING:
    from jax.sharding import Mesh

    from trossen_pi0_training.feed.batches import HostBatch


@flax.struct.dataclass
class Batch:
    """Examples.

    Attributes:
        seen: what the model sees.
        actions: what it shall answer, normalised and padded, float32, shape (batch, horizon,
            action_dim).
    """

    seen: ModelBatch
    actions: jax.Array


def shard_batch(mesh: Mesh, batch: HostBatch) -> Batch:
    """Brings a batch, or this process's rows of one, onto the devices."""
    where = over_examples(mesh)
    arrays = {
        name: jax.make_array_from_process_local_data(where, getattr(batch, name))
        for name in ("images", "image_mask", "state", "tokens", "token_mask", "actions")
    }
    actions = arrays.pop("actions")
    return Batch(ModelBatch(**arrays), actions)
