"""Flow time: 1 is noise, 0 the action, as in openpi."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

SHORTEST_PERIOD = 4e-3
LONGEST_PERIOD = 4.0


def flow_times(steps: int) -> np.ndarray:
    """Flow time at the beginning of each Euler step: 1 is noise, 0 the action.

    Accumulated in float32, as openpi's loop does. float32, shape (steps,).
    """
    times = np.empty(steps, dtype=np.float32)
    time, delta = np.float32(1.0), np.float32(-1.0) / np.float32(steps)
    for i in range(steps):
        times[i] = time
        time = np.float32(time + delta)
    return times


def embedded_steps(steps: int, width: int) -> jax.Array:
    """The flow time of each Euler step, and behind them time 0; shape (steps + 1, width)."""
    return embed_time(jnp.append(jnp.asarray(flow_times(steps)), 0.0), width)


def embed_time(time: jax.Array, width: int) -> jax.Array:
    """Sines and cosines of the flow time with periods from 4e-3 to 4; (...,) to (..., width)."""
    fraction = jnp.linspace(0.0, 1.0, width // 2)
    period = SHORTEST_PERIOD * (LONGEST_PERIOD / SHORTEST_PERIOD) ** fraction
    angles = time[..., None] * (1.0 / period * 2 * jnp.pi)
    return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)
