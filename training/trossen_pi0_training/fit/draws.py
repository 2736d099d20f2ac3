"""What a training step draws: noise, flow times and clean prefixes."""

from __future__ import annotations

import flax.struct
import jax
import jax.numpy as jnp


@flax.struct.dataclass
class Draws:
    """Of each example of a batch.

    Attributes:
        noise: standard normal, float32, shape (batch, horizon, action_dim).
        time: flow time, shape (batch, horizon); 0 in clean rows.
        weight: of each row in the loss, shape (batch, horizon); its mean over a chunk is 1.
    """

    noise: jax.Array
    time: jax.Array
    weight: jax.Array


def draw(
    noise_key: jax.Array,
    time_key: jax.Array,
    shape: tuple[int, int, int],
    max_prefix: int,
    prefix_share: float = 1.0,
    time_shift: float = 1.0,
) -> Draws:
    """Draws for a batch.

    The flow time is Beta(1.5, 1) * 0.999 + 0.001, as openpi draws it, shifted to
    s t / (1 + (s - 1) t) (arXiv 2403.03206, 5.3.2). With clean prefixes
    (training-time real-time chunking, arXiv 2512.05964) an example has a simulated delay, uniform
    in 0..max_prefix; so many of its first rows are clean, and the loss is that of the others.

    Args:
        noise_key: of the noise.
        time_key: of flow times and delays.
        shape: of the actions, (batch, horizon, action_dim).
        max_prefix: longest clean prefix, below the horizon; 0: none.
        prefix_share: chance that an example has a delay; the others have none, as where chunks
            are asked for without a prefix.
        time_shift: s; 1: none, above 1: more noise.
    """
    noise = jax.random.normal(noise_key, shape)
    time = jax.random.beta(time_key, 1.5, 1.0, shape[:1]) * 0.999 + 0.001
    if time_shift != 1.0:
        time = time_shift * time / (1.0 + (time_shift - 1.0) * time)
    time = jnp.broadcast_to(time[:, None], shape[:2])
    weight = jnp.ones(shape[:2])
    if max_prefix:
        delay = jax.random.randint(jax.random.fold_in(time_key, 1), shape[:1], 0, max_prefix + 1)
        if prefix_share < 1.0:
            given = jax.random.bernoulli(jax.random.fold_in(time_key, 2), prefix_share, shape[:1])
            delay = jnp.where(given, delay, 0)
        clean = jnp.arange(shape[1]) < delay[:, None]
        time = jnp.where(clean, 0.0, time)
        weight = jnp.where(clean, 0.0, shape[1] / (shape[1] - delay[:, None]))
    return Draws(noise, time, weight)
