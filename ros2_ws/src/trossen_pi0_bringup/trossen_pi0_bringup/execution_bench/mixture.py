"""A flow policy whose distribution is known: a Gaussian mixture over chunks.

With flow time t from 1 (noise) to 0 (action), as in openpi, a chunk on its way is

    x = t e + (1 - t) a,    e ~ N(0, I),    a ~ sum_k w_k N(m_k, C),

and the velocity that flow matching teaches a network is the expectation of e - a given x. Here it
is exact. Within mode k, x has the mean (1 - t) m_k and the covariance S = (1 - t)^2 C + t^2 I. With
r_k = x - (1 - t) m_k, by the rule for jointly Gaussian variables,

    E[a | x, k] = m_k + (1 - t) C S^-1 r_k
    E[e | x, k] = t S^-1 r_k
    v_k(x, t)   = (t - (1 - t) C) S^-1 r_k - m_k

and the mixture weighs its modes by their probability given x:

    v(x, t) = sum_k p_k v_k,    p_k ~ w_k exp(-r_k' S^-1 r_k / 2).

All modes share C, the joints are independent of each other and alike but for a scale, so C is
diagonal in the eigenvectors of one covariance over the rows of a chunk. As with π0, ten Euler steps
from t = 1 to 0 draw a sample; real-time chunking guides them by the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from trossen_pi0_policy.pi0.flow import flow_times
from trossen_pi0_policy.pi0.guidance import MAX_GUIDANCE_WEIGHT, guided_velocity

Array = NDArray[np.float64]

FLOW_STEPS = 10
"""Euler steps, as π0 takes them."""


@dataclass(frozen=True)
class Mixture:
    """A distribution of chunks, normalised.

    Attributes:
        means: of each mode, shape (modes, rows, joints).
        weights: of the modes, greater than 0, shape (modes,).
        basis: orthonormal columns: the eigenvectors of the covariance over rows, shape (rows,
            rows).
        variances: along them, of each joint, shape (rows, joints); 0 where nothing varies.
    """

    means: Array
    weights: Array
    basis: Array
    variances: Array

    @classmethod
    def smooth(cls, means: Array, weights: Array, spread: Array, length_rows: float) -> Mixture:
        """Modes with smooth deviations: squared-exponential covariance over the rows.

        Args:
            means: shape (modes, rows, joints).
            weights: of the modes, shape (modes,).
            spread: standard deviation of each row and joint, an outer product of a vector over rows
                and one over joints, shape (rows, joints).
            length_rows: distance of rows at which the correlation has fallen to 0.61.
        """
        rows = np.arange(spread.shape[0])
        over_joints = spread.max(axis=0)
        over_rows = spread[:, int(np.argmax(over_joints))] / max(float(over_joints.max()), 1e-12)
        alike = np.exp(-0.5 * ((rows[:, None] - rows) / length_rows) ** 2)
        values, basis = np.linalg.eigh(over_rows[:, None] * alike * over_rows)
        return cls(means, weights, basis, np.clip(values, 0.0, None)[:, None] * over_joints**2)

    def velocity(self, x: jax.Array, time: jax.Array | float) -> jax.Array:
        """dx/dt of the flow, shape (rows, joints), at a flow time greater than 0."""
        means, log_weights, basis, variances = map(jnp.asarray, self._rotated())
        return _velocity(means, log_weights, basis, variances, x, time)

    def sample(
        self, noise: Array, target: Array, agreement: Array, *, steps: int = FLOW_STEPS
    ) -> Array:
        """Draws one chunk, shape (rows, joints).

        Args:
            noise: standard normal, shape (rows, joints): where the flow begins.
            target: what the chunk shall agree with, shape (rows, joints); finite everywhere.
            agreement: how much each row shall, 0..1, shape (rows,); all 0: the plain flow.
            steps: Euler steps.
        """
        times = flow_times(steps)
        parts = [part.astype(np.float32) for part in (*self._rotated(), noise, target)]
        drawn = _sample(*parts, agreement.astype(np.float32)[:, None], times)
        return np.asarray(drawn, dtype=np.float64)

    def _rotated(self) -> tuple[Array, Array, Array, Array]:
        """Means along the eigenvectors, logarithms of the weights, basis, variances."""
        means = np.einsum("rq,krj->kqj", self.basis, self.means)
        return means, np.log(self.weights), self.basis, self.variances


def _velocity(
    means: jax.Array,
    log_weights: jax.Array,
    basis: jax.Array,
    variances: jax.Array,
    x: jax.Array,
    time: jax.Array | float,
) -> jax.Array:
    rest = basis.T @ x - (1 - time) * means
    scaled = rest / ((1 - time) ** 2 * variances + time**2)
    chances = jax.nn.softmax(log_weights - 0.5 * jnp.sum(rest * scaled, axis=(1, 2)))
    of_modes = (time - (1 - time) * variances) * scaled - means
    return basis @ jnp.einsum("k,krj->rj", chances, of_modes)


@partial(jax.jit)
def _sample(
    means: jax.Array,
    log_weights: jax.Array,
    basis: jax.Array,
    variances: jax.Array,
    noise: jax.Array,
    target: jax.Array,
    agreement: jax.Array,
    times: jax.Array,
) -> jax.Array:
    def step(x: jax.Array, time: jax.Array) -> tuple[jax.Array, None]:
        v = guided_velocity(
            lambda x: _velocity(means, log_weights, basis, variances, x, time),
            x,
            time,
            target,
            agreement,
            MAX_GUIDANCE_WEIGHT,
        )
        return x - v / times.shape[0], None

    return jax.lax.scan(step, noise, times)[0]
