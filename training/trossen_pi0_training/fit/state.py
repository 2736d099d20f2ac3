"""What a training carries from step to step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh

from trossen_pi0_policy.pi0.parameters import initial_parameters
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.fit.freezing import frozen_paths
from trossen_pi0_training.fit.mesh import parameter_sharding
from trossen_pi0_training.fit.optimizer import make_optimizer

Leaves = dict[str, Any]
"""Arrays by ``/``-joined path of our arrangement of the parameters."""


@flax.struct.dataclass
class TrainState:
    """Parameters and what the optimizer remembers.

    Attributes:
        step: optimizer steps done, int32.
        trainable: float32.
        frozen: in the type of the activations.
        opt_state: of the trainable ones.
        ema: averages of the trainable ones; None without averaging.
    """

    step: jax.Array
    trainable: Leaves
    frozen: Leaves
    opt_state: Any
    ema: Leaves | None

    def tree(self, *, averaged: bool = False) -> dict[str, Any]:
        """All parameters, nested as the model takes them."""
        trained = self.ema if averaged and self.ema is not None else self.trainable
        return unflatten_dict({**self.frozen, **trained}, sep="/")


def state_shapes(config: TrainConfig, mesh: Mesh) -> TrainState:
    """The state with shapes, types and places in place of arrays."""
    key = jax.ShapeDtypeStruct((), jax.random.key(0).dtype)
    shapes = jax.eval_shape(
        lambda k: _fresh_state(config, make_optimizer(config.optimizer), k), key
    )
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(
            leaf.shape, leaf.dtype, sharding=parameter_sharding(mesh, leaf)
        ),
        shapes,
    )


def create_state(
    config: TrainConfig, mesh: Mesh, parameters: Mapping[str, Any] | None = None
) -> TrainState:
    """A state at step 0, on its devices.

    Args:
        config: of the training.
        mesh: of the devices.
        parameters: leaves to start from by path, in our arrangement; those that are missing are
            drawn anew. Not changed.
    """
    shapes = state_shapes(config, mesh)
    wanted = {**shapes.frozen, **shapes.trainable}
    given = {path: _placed(leaf, wanted[path]) for path, leaf in (parameters or {}).items()}
    # As in openpi the first key is the one of the training's steps, the second of the parameters.
    key = jax.random.split(jax.random.key(config.seed))[1]
    return state_maker(config, shapes)(key, given)


def state_maker(
    config: TrainConfig, shapes: TrainState
) -> Callable[[jax.Array, Leaves], TrainState]:
    """What makes a state at step 0 of a key and given leaves, whose memory it takes over."""
    optimizer = make_optimizer(config.optimizer)
    places = jax.tree.map(lambda leaf: leaf.sharding, shapes)

    def make(key: jax.Array, given: Leaves) -> TrainState:
        return _fresh_state(config, optimizer, key, given)

    return jax.jit(make, out_shardings=places, donate_argnums=1)


def step_key(config: TrainConfig, step: jax.Array | int) -> jax.Array:
    """Randomness of a step, as openpi derives it."""
    return jax.random.fold_in(jax.random.split(jax.random.key(config.seed))[0], step)


def _placed(leaf: Any, wanted: jax.ShapeDtypeStruct) -> jax.Array:
    """A leaf in host memory brought onto the devices, to each no more than its part."""
    value = np.asarray(leaf).astype(wanted.dtype, copy=False)
    assert wanted.sharding is not None
    return jax.make_array_from_callback(value.shape, wanted.sharding, lambda part: value[part])


def _fresh_state(
    config: TrainConfig,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    given: Mapping[str, Any] | None = None,
) -> TrainState:
    model = model_config(config)
    leaves = {**flatten_dict(initial_parameters(model, key), sep="/"), **(given or {})}
    still = frozen_paths(model, config.freeze)
    frozen = {path: leaf.astype(config.dtype) for path, leaf in leaves.items() if path in still}
    trainable = {
        path: leaf.astype(jnp.float32) for path, leaf in leaves.items() if path not in still
    }
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        trainable=trainable,
        frozen=frozen,
        opt_state=optimizer.init(trainable),
        ema=None if config.ema_decay is None else jax.tree.map(jnp.copy, trainable),
    )
