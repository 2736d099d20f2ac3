"""One optimizer step, and what validation asks of the state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax.traverse_util import unflatten_dict
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as Axes

from trossen_pi0_policy.pi0.config import Pi0Config
from trossen_pi0_policy.pi0.model import Pi0
from trossen_pi0_policy.pi0.widened import fill
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.fit.augment import augment
from trossen_pi0_training.fit.batch import Batch
from trossen_pi0_training.fit.draws import Draws, draw
from trossen_pi0_training.fit.freezing import layers_are_frozen
from trossen_pi0_training.fit.mesh import BATCH, FSDP, replicated
from trossen_pi0_training.fit.optimizer import learning_rate, make_optimizer
from trossen_pi0_training.fit.plan import Plan
from trossen_pi0_training.fit.probe import cudnn_attends, kernel_passes
from trossen_pi0_training.fit.state import Leaves, TrainState, state_shapes, step_key

TrainStep = Callable[[TrainState, Batch], tuple[TrainState, "StepMetrics"]]


@flax.struct.dataclass
class StepMetrics:
    """Figures of a step, float32 scalars.

    Attributes:
        loss: mean over the batch, before the step.
        grad_norm: global norm of the gradients, before clipping.
        param_norm: global norm of the trained parameters, behind the step.
        learning_rate: of the step.
        skipped: 1 where loss or gradients were not finite: nothing but the step's number changed.
    """

    loss: jax.Array
    grad_norm: jax.Array
    param_norm: jax.Array
    learning_rate: jax.Array
    skipped: jax.Array


def make_train_step(config: TrainConfig, mesh: Mesh, plan: Plan) -> TrainStep:
    """The compiled step; it takes the state's memory over.

    Args:
        config: of the training.
        mesh: of the devices.
        plan: how many examples at once; the step is the same whatever it says, but for rounding.
    """
    model_sizes = model_config(config)
    model = _model(config, model_sizes, plan, mesh.devices.size)
    optimizer, rate = make_optimizer(config.optimizer), learning_rate(config.optimizer)
    devices = mesh.devices.size
    parts = config.batch_size // devices // plan.micro_batch

    def loss_of(
        trainable: Leaves,
        pictures: jax.Array | None,
        frozen: Leaves,
        batch: Batch,
        draws: Draws,
    ) -> jax.Array:
        tree = unflatten_dict({**frozen, **trainable}, sep="/")
        # One flow time for an example where its rows share it, as adaptive norms are cheaper so.
        time = draws.time if config.max_prefix else draws.time[:, 0]
        given = batch.seen, batch.actions, draws.noise, time, pictures
        errors: Any = model.apply({"params": tree}, *given, method=Pi0.loss)
        return jnp.mean(errors * draws.weight)

    def gradients(state: TrainState, batch: Batch, draws: Draws) -> tuple[jax.Array, Leaves]:
        if parts == 1:
            differentiate = jax.value_and_grad(loss_of)
            return differentiate(state.trainable, None, state.frozen, batch, draws)
        tower, trainable = {}, dict(state.trainable)
        pictures, pull = None, None
        if plan.tower:
            tower = {path: trainable.pop(path) for path in state.trainable if _of_tower(path)}
            held = {**state.frozen, **trainable}
            pictures, pull = jax.vjp(partial(see, held, batch.seen.images), tower)
        pieces = jax.tree.map(lambda x: _split(x, parts, mesh), (pictures, batch, draws))
        wanted = (0, 1) if tower else (0,)

        def add(
            total: tuple[jax.Array, Leaves], piece: tuple[jax.Array | None, Batch, Draws]
        ) -> tuple[tuple[jax.Array, Leaves], Any]:
            pictures, batch, draws = piece
            loss, (found, *others) = jax.value_and_grad(loss_of, wanted)(
                trainable, pictures, state.frozen, batch, draws
            )
            return jax.tree.map(lambda a, b: a + b / parts, total, (loss, found)), others

        zero = (jnp.zeros(()), jax.tree.map(jnp.zeros_like, trainable))
        (loss, found), others = jax.lax.scan(add, zero, pieces)
        if tower:
            assert pull is not None
            (of_tower,) = pull(_joined(others[0], mesh))
            found |= jax.tree.map(lambda x: x / parts, of_tower)
        return loss, found

    def see(held: Leaves, images: jax.Array, tower: Leaves) -> jax.Array:
        tree = unflatten_dict({**held, **tower}, sep="/")
        pictures: Any = model.apply({"params": tree}, images, method=Pi0.see)
        return pictures

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, StepMetrics]:
        # As in openpi: of pictures, noise and flow times.
        augment_key, noise_key, time_key = jax.random.split(step_key(config, state.step), 3)
        prefix = config.max_prefix, config.prefix_share
        draws = draw(noise_key, time_key, _shape(batch), *prefix, config.time_shift)
        if config.augment != "none":
            cameras = model_sizes.cameras
            pictures = augment(batch.seen.images, augment_key, cameras, config.augment)
            batch = replace(batch, seen=replace(batch.seen, images=pictures))
        if state.widened:
            filled = fill(state.frozen, state.trainable, state.widened)
            state = replace(state, frozen=filled)
        loss, found = gradients(state, batch, draws)
        norm = optax.tree.norm(found)
        good = jnp.isfinite(loss) & jnp.isfinite(norm)
        updates, opt_state = optimizer.update(found, state.opt_state, state.trainable)
        trainable = optax.apply_updates(state.trainable, updates)

        def kept(new: Any, old: Any) -> Any:
            return jax.tree.map(lambda a, b: jnp.where(good, a, b), new, old)

        trainable = kept(trainable, state.trainable)
        ema = state.ema
        if ema is not None and config.ema_decay is not None:
            decay = config.ema_decay
            moved = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, ema, trainable)
            ema = kept(moved, ema)
        metrics = StepMetrics(
            loss=loss,
            grad_norm=norm,
            param_norm=optax.tree.norm(trainable),
            learning_rate=jnp.asarray(rate(state.step), jnp.float32),
            skipped=1.0 - good,
        )
        opt_state = kept(opt_state, state.opt_state)
        after = replace(
            state, step=state.step + 1, trainable=trainable, opt_state=opt_state, ema=ema
        )
        return after, metrics

    places = jax.tree.map(lambda leaf: leaf.sharding, state_shapes(config, mesh))
    return jax.jit(step, donate_argnums=0, out_shardings=(places, replicated(mesh)))


def make_loss(
    config: TrainConfig, mesh: Mesh
) -> Callable[[TrainState, Batch, jax.Array], jax.Array]:
    """The mean loss of a batch, unaugmented and without clean prefixes, by a key.

    With the averaged parameters where there are some.
    """
    model = _model(config, model_config(config), None)

    def loss(state: TrainState, batch: Batch, key: jax.Array) -> jax.Array:
        noise_key, time_key = jax.random.split(key)
        draws = draw(noise_key, time_key, _shape(batch), 0)
        tree = {"params": state.tree(averaged=True)}
        errors: Any = model.apply(
            tree, batch.seen, batch.actions, draws.noise, draws.time[:, 0], method=Pi0.loss
        )
        return jnp.mean(errors)

    return jax.jit(loss, out_shardings=replicated(mesh))


def make_sampler(
    config: TrainConfig, mesh: Mesh
) -> Callable[[TrainState, Batch, jax.Array], jax.Array]:
    """Sampled actions of a batch by a key, normalised, shape (batch, horizon, action_dim).

    With the averaged parameters where there are some.
    """
    model = _model(config, model_config(config), None)
    steps = config.validation.flow_steps

    def sample(state: TrainState, batch: Batch, key: jax.Array) -> jax.Array:
        noise = jax.random.normal(key, batch.actions.shape)
        tree = {"params": state.tree(averaged=True)}
        actions: Any = model.apply(tree, batch.seen, noise, steps=steps, method=Pi0.sample)
        return actions

    return jax.jit(sample, out_shardings=replicated(mesh))


def _model(
    config: TrainConfig, sizes: Pi0Config, plan: Plan | None, devices: int | None = None
) -> Pi0:
    cudnn = jax.default_backend() == "gpu" and config.dtype == "bfloat16"
    g = sizes.language
    # The compiler cannot divide a kernel among devices.
    by_kernels = cudnn and devices == 1 and config.kernels == "auto"
    by_layer = plan if layers_are_frozen(sizes, config.freeze) else None
    return Pi0(
        sizes,
        dtype=jnp.dtype(config.dtype),
        cudnn=cudnn,
        kept=plan.kept if plan else "none",
        kept_tower=plan.tower if plan else None,
        kept_layers=by_layer.kept_layers if by_layer else None,
        fused="cudnn" if cudnn and cudnn_attends(g.num_heads, g.head_dim) else None,
        passes=kernel_passes() if by_kernels else "none",
    )


def _shape(batch: Batch) -> tuple[int, int, int]:
    examples, rows, width = batch.actions.shape
    return examples, rows, width


def _of_tower(path: str) -> bool:
    return path.startswith("vision/")


def _split(x: jax.Array, parts: int, mesh: Mesh) -> jax.Array:
    """Micro-batches, each with its share of every device; shape (parts, batch / parts, ...)."""
    devices = mesh.devices.size
    each = x.reshape(devices, parts, -1, *x.shape[1:]).swapaxes(0, 1)
    pieces = each.reshape(parts, -1, *x.shape[1:])
    return jax.lax.with_sharding_constraint(pieces, NamedSharding(mesh, Axes(None, (BATCH, FSDP))))


def _joined(pieces: jax.Array, mesh: Mesh) -> jax.Array:
    """What ``_split`` has made pieces of, shape (batch, ...)."""
    parts, devices = len(pieces), mesh.devices.size
    each = pieces.reshape(parts, devices, -1, *pieces.shape[2:]).swapaxes(0, 1)
    whole = each.reshape(-1, *pieces.shape[2:])
    return jax.lax.with_sharding_constraint(whole, NamedSharding(mesh, Axes((BATCH, FSDP))))
