"""Real-time chunking against a NumPy implementation that follows the paper, not our code.

There flow time ``tau`` runs from 0 (noise) to 1 (action), with velocity ``u``.
"""

from __future__ import annotations

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from trossen_pi0_policy.pi0.flow import flow_times
from trossen_pi0_policy.pi0.guidance import guidance_weight, guided_velocity, prefix_weights

HORIZON, DIM, STEPS = 12, 3, 10
SIZE = HORIZON * DIM


# The paper, in NumPy and float64 ------------------------------------------------------------------


def paper_mask(delay, overlap, horizon):
    """Equation 5 of arXiv 2506.07339, one row after the other; ``overlap`` is its H - s."""
    mask = []
    for i in range(horizon):
        if i < delay:
            mask.append(1.0)
        elif i < overlap:
            c = (overlap - i) / (overlap - delay + 1)
            mask.append(c * (math.exp(c) - 1) / (math.e - 1))
        else:
            mask.append(0.0)
    return np.array(mask)


class GaussianFlow:
    """The exact flow from standard normal noise to actions that are normal too.

    With x = tau a + (1 - tau) noise, the expected actions are linear in x, so that the Jacobian of
    the denoiser is known.
    """

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        self.mean = rng.standard_normal(SIZE)
        rows = np.arange(HORIZON)
        smooth = np.exp(-0.5 * ((rows[:, None] - rows) / 3.0) ** 2)
        mixed = rng.standard_normal((DIM, DIM))
        self.covariance = np.kron(smooth, mixed @ mixed.T) + 0.01 * np.eye(SIZE)

    def jacobian(self, tau):
        """Of the expected actions by x."""
        noisy = tau**2 * self.covariance + (1 - tau) ** 2 * np.eye(SIZE)
        return tau * self.covariance @ np.linalg.inv(noisy)

    def actions(self, x, tau):
        return self.mean + self.jacobian(tau) @ (x - tau * self.mean)

    def velocity(self, x, tau):
        return (self.actions(x, tau) - x) / (1 - tau)

    def guided(self, noise, target, mask, beta):
        """Equations 2 to 4 with Euler steps."""
        x = noise.copy()
        for k in range(STEPS):
            tau = k / STEPS
            r2 = (1 - tau) ** 2 / (tau**2 + (1 - tau) ** 2)
            weight = beta if tau == 0 else min(beta, (1 - tau) / (tau * r2))
            error = (target - self.actions(x, tau)) * mask
            x = x + (self.velocity(x, tau) + weight * self.jacobian(tau).T @ error) / STEPS
        return x


# Ours ---------------------------------------------------------------------------------------------


def sample(flow, noise, target, weights, max_weight):
    """Our guidance over the flow in our convention: time from 1 to 0, velocity the other way."""
    times = flow_times(STEPS)
    jacobians = np.array([flow.jacobian(1 - float(t)) for t in times], np.float32)
    mean = jnp.asarray(flow.mean, jnp.float32)

    def velocity(x, i):
        tau = 1 - jnp.asarray(times)[i]
        actions = mean + jnp.asarray(jacobians)[i] @ (x.reshape(-1) - tau * mean)
        return (x - actions.reshape(x.shape)) / (1 - tau)

    def step(i, x):
        at_step = partial(velocity, i=i)
        time = jnp.asarray(times)[i]
        return x - guided_velocity(at_step, x, time, target, weights, max_weight) / STEPS

    return jax.lax.fori_loop(0, STEPS, step, noise)


@pytest.fixture(scope="module")
def compiled():
    flow = GaussianFlow(1)

    traced = []

    @jax.jit
    def run(noise, target, frozen, overlap, max_weight):
        traced.append(None)
        weights = prefix_weights(frozen, overlap, HORIZON)[:, None]
        return sample(flow, noise, target, weights, max_weight)

    def ask(noise, target, frozen, overlap, max_weight=5.0):
        found = run(
            *(np.asarray(given, np.float32) for given in (noise, target)),
            *(np.asarray(given, np.int32) for given in (frozen, overlap)),
            np.float32(max_weight),
        )
        assert len(traced) == 1  # not one program for each delay
        return np.asarray(found)

    with jax.default_matmul_precision("highest"):
        yield flow, ask


def case(seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((2, HORIZON, DIM))


@pytest.mark.parametrize(
    ("frozen", "overlap", "beta"),
    [(4, 9, 5.0), (0, 12, 5.0), (12, 12, 5.0), (3, 3, 0.5), (2, 7, 1000.0), (0, 0, 5.0)],
)
def test_a_guided_chunk_is_that_of_the_paper(compiled, frozen, overlap, beta):
    flow, run = compiled
    noise, target = case(frozen + overlap)
    mask = np.repeat(paper_mask(frozen, overlap, HORIZON), DIM)
    expected = flow.guided(noise.reshape(-1), target.reshape(-1), mask, beta)
    found = run(noise, target, frozen, overlap, beta).reshape(-1)
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=1e-5)


def test_frozen_rows_are_agreed_with(compiled):
    """The target is another sample of the same flow, as in use."""
    _, run = compiled
    noise, other = case(7)
    target = run(other, 0 * other, 0, 0)
    free = run(noise, target, 0, 0)
    bound = run(noise, target, 4, 8)
    gap_free, gap_bound = (np.abs(rows - target)[:4].max() for rows in (free, bound))
    assert gap_free > 1.0
    assert gap_bound < 0.1 * gap_free
    assert np.abs(bound - free)[:4].max() > 1.0


@pytest.mark.parametrize(
    ("frozen", "overlap", "expected"),
    [
        (2, 6, [1, 1, 0.570589, 0.287072, 0.114492, 0.025770, 0, 0]),
        (0, 0, [0] * 8),
        (8, 8, [1] * 8),
        (5, 3, [1, 1, 1, 0, 0, 0, 0, 0]),
        (0, 1, [0.5 * math.expm1(0.5) / math.expm1(1.0), 0, 0, 0, 0, 0, 0, 0]),
    ],
)
def test_soft_mask(frozen, overlap, expected):
    found = prefix_weights(frozen, overlap, 8)
    assert (found.shape, found.dtype) == ((8,), jnp.float32)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found, paper_mask(min(frozen, overlap), overlap, 8), atol=1e-6)
    assert set(np.asarray(found)[: min(frozen, overlap)]) <= {1.0}


def test_weight_of_the_guidance_is_bounded_at_both_ends():
    """2 in the middle of the flow, as (0.25 + 0.25) / 0.25."""
    times = jnp.array([1.0, 0.9999999, 0.5, 0.2, 1e-30, 0.0])
    found = jax.vmap(partial(guidance_weight, max_weight=5.0))(times)
    np.testing.assert_allclose(found, [5.0, 5.0, 2.0, 4.25, 5.0, 5.0], rtol=1e-5)


@pytest.mark.parametrize("time", [1.0, 0.0])
def test_both_ends_of_the_flow_are_finite(time):
    x = jnp.ones((2, 4, 3))

    def curved(x):
        return jnp.sin(x)

    found = guided_velocity(curved, x, jnp.float32(time), 2 * x, jnp.ones((4, 1)), 5.0)
    clean = 1.0 - time * math.sin(1.0)
    slope = 1.0 - time * math.cos(1.0)
    expected = math.sin(1.0) - 5.0 * slope * (2.0 - clean)
    np.testing.assert_allclose(found, np.full((2, 4, 3), expected), rtol=1e-5)
