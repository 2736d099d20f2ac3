"""What a training carries from step to step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh

from trossen_pi0_policy.pi0.config import Pi0Config
from trossen_pi0_policy.pi0.parameters import initial_parameters
from trossen_pi0_policy.pi0.widened import narrow, widen
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.fit.freezing import frozen_paths, layers_are_frozen
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
        frozen: in the type of the activations; layers of which nothing is trained but adapters as
            ``trossen_pi0_policy.pi0.widened`` arranges them.
        opt_state: of the trainable ones.
        ema: averages of the trainable ones; None without averaging.
        widened: sizes of the model, where its frozen layers are widened.
    """

    step: jax.Array
    trainable: Leaves
    frozen: Leaves
    opt_state: Any
    ema: Leaves | None
    widened: Pi0Config | None = flax.struct.field(pytree_node=False, default=None)

    def leaves(self, *, averaged: bool = False) -> Leaves:
        """All parameters, by path of our arrangement."""
        trained = self.ema if averaged and self.ema is not None else self.trainable
        frozen = narrow(self.frozen, self.widened) if self.widened else self.frozen
        return {**frozen, **trained}

    def tree(self, *, averaged: bool = False) -> dict[str, Any]:
        """All parameters, nested as the model takes them."""
        return unflatten_dict(self.leaves(averaged=averaged), sep="/")

    def widen(self, path: str, leaf: Any) -> Leaves:
        """A frozen leaf by the paths and in the shapes that it has here."""
        return widen(path, leaf, self.widened) if self.widened else {path: leaf}


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
    given: Leaves = {}
    for path, leaf in (parameters or {}).items():
        if path in shapes.trainable:
            given[path] = _placed(leaf, mesh, jnp.float32)
        else:
            given |= placed_frozen(shapes, path, _placed(leaf, mesh, config.dtype))
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


def placed_frozen(shapes: TrainState, path: str, leaf: jax.Array) -> Leaves:
    """A frozen leaf as the state holds it, on its devices.

    Args:
        shapes: of the state, with places.
        path: in our arrangement.
        leaf: on the devices.
    """
    names = jax.eval_shape(partial(shapes.widen, path), leaf)
    if path in names and names[path].shape == leaf.shape:
        return {path: leaf}
    places = {name: shapes.frozen[name].sharding for name in names}
    return jax.block_until_ready(jax.jit(partial(shapes.widen, path), out_shardings=places)(leaf))


def _placed(leaf: Any, mesh: Mesh, dtype: Any) -> jax.Array:
    """A leaf in host memory brought onto the devices, to each no more than its part."""
    value = np.asarray(leaf).astype(jnp.dtype(dtype), copy=False)
    place = parameter_sharding(mesh, value)
    return jax.make_array_from_callback(value.shape, place, lambda part: value[part])


def _fresh_state(
    config: TrainConfig,
    optimizer: optax.GradientTransformation,
    key: jax.Array,
    given: Mapping[str, Any] | None = None,
) -> TrainState:
    model, given = model_config(config), given or {}
    widened = model if layers_are_frozen(model, config.freeze) else None
    still = frozen_paths(model, config.freeze)
    trainable: Leaves = {}
    frozen: Leaves = {}
    initial: Any = flatten_dict(initial_parameters(model, key), sep="/")
    for path, leaf in initial.items():
        if path not in still:
            trainable[path] = given.get(path, leaf).astype(jnp.float32)
            continue
        drawn = leaf.astype(config.dtype)
        parts = widen(path, drawn, widened) if widened else {path: drawn}
        frozen |= {name: given.get(name, part) for name, part in parts.items()}
    return TrainState(
        widened=widened,
        step=jnp.zeros((), jnp.int32),
        trainable=trainable,
        frozen=frozen,
        opt_state=optimizer.init(trainable),
        ema=None if config.ema_decay is None else jax.tree.map(jnp.copy, trainable),
    )
