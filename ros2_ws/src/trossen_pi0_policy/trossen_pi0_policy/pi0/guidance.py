"""Real-time chunking: a flow is guided to agree with what is already being executed.

arXiv 2506.07339. The paper lets flow time run from 0 (noise) to 1 (action); here it runs from 1
(noise) to 0 (action), as in openpi. With the paper's time ``tau = 1 - t`` and velocity ``u = -v``:

    the paper                                             here
    clean actions  x + (1 - tau) u                        x - t v
    weight         (tau^2 + (1 - tau)^2) / (tau (1 - tau))    ((1 - t)^2 + t^2) / (t (1 - t))
    guided         u + weight * vjp                       v - weight * vjp
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

MAX_GUIDANCE_WEIGHT = 5.0
"""The paper's bound on the weight of the guidance, which few flow steps need."""


def prefix_weights(frozen: int | jax.Array, overlap: int | jax.Array, horizon: int) -> jax.Array:
    """How much each row of a chunk shall agree with the prefix: the paper's soft mask.

    1 for frozen rows, then falling as ``c * (e^c - 1) / (e - 1)``, where ``c`` falls linearly to 0
    at the end of the overlap; 0 behind it. With 2 frozen rows of an overlap of 6 in a horizon of 8,
    ``c`` is 1, 1, 4/5, 3/5, 2/5, 1/5, 0, 0.

    Args:
        frozen: rows that are executed whatever the chunk says; at most ``overlap`` count.
        overlap: rows that the prefix has, from 0 to ``horizon``. Both may be traced.
        horizon: rows of the chunk.

    Returns:
        float32, shape (horizon,).
    """
    rows = jnp.arange(horizon)
    frozen = jnp.minimum(frozen, overlap)
    linear = jnp.clip((overlap - rows) / (overlap - frozen + 1), 0.0, 1.0)
    falling = linear * jnp.expm1(linear) / jnp.expm1(1.0)
    return jnp.where(rows < frozen, 1.0, falling).astype(jnp.float32)


def guidance_weight(time: jax.Array, max_weight: float | jax.Array) -> jax.Array:
    """How strongly the guidance pulls at a flow time; finite at both ends.

    Args:
        time: from 1 (noise) to 0 (action).
        max_weight: bound, which holds at both ends.
    """
    product = time * (1 - time)
    inside = product > 0
    weight = (time**2 + (1 - time) ** 2) / jnp.where(inside, product, 1.0)
    return jnp.where(inside, jnp.minimum(weight, max_weight), max_weight)


def guided_velocity(
    velocity: Callable[[jax.Array], jax.Array],
    x: jax.Array,
    time: jax.Array,
    target: jax.Array,
    weights: jax.Array,
    max_weight: float | jax.Array,
) -> jax.Array:
    """Velocity of the flow, pulled so that its clean actions come to agree with a target.

    The pull is the full vector-Jacobian product of the clean actions, as a function of ``x``, with
    the weighted error. Chunks along leading axes must not depend on each other in ``velocity``.

    Args:
        velocity: dx/dt of the flow at ``time`` as a function of ``x``, same shape; differentiable.
        x: actions on their way, shape (..., horizon, dim).
        time: flow time, scalar, from 1 (noise) to 0 (action).
        target: what the actions shall be, shape (..., horizon, dim); finite everywhere.
        weights: how much each shall, from 0 to 1, shape (..., horizon, dim) or one that
            broadcasts to it.
        max_weight: see ``guidance_weight``.

    Returns:
        dx/dt, of the shape of ``x``; an Euler step is ``x + dt * v`` with a negative ``dt``.
    """

    def clean(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        v = velocity(x)
        return x - time * v, v

    actions, pull_back, v = jax.vjp(clean, x, has_aux=True)
    (pull,) = pull_back(((target - actions) * weights).astype(actions.dtype))
    return v - guidance_weight(time, max_weight) * pull
