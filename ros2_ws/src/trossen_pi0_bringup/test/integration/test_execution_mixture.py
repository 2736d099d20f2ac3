"""The mixture's flow against what its definition says, by sampling."""

import numpy as np
import pytest

from trossen_pi0_bringup.execution_bench.mixture import Mixture

ROWS, JOINTS = 4, 2
RNG = np.random.default_rng(5)
SPREAD = np.array([[0.5, 0.0], [0.4, 0.0], [0.3, 0.0], [0.2, 0.0]])  # joint 1 does not vary
MEANS = np.array(
    [
        [[0.0, 0.5], [0.4, 0.5], [0.7, 0.5], [1.0, 0.5]],
        [[0.0, -0.5], [-0.5, -0.5], [-1.0, -0.5], [-1.5, -0.5]],
    ]
)
WEIGHTS = np.array([0.3, 0.7])


@pytest.fixture(scope="module")
def mixture() -> Mixture:
    return Mixture.smooth(MEANS, WEIGHTS, SPREAD, length_rows=2.0)


def covariance() -> np.ndarray:
    """Of joint 0 over the rows, written out."""
    rows = np.arange(ROWS)
    return np.outer(SPREAD[:, 0], SPREAD[:, 0]) * np.exp(-0.5 * ((rows[:, None] - rows) / 2.0) ** 2)


def drawn(count: int) -> np.ndarray:
    """Chunks from the definition of the mixture, shape (count, rows, joints)."""
    modes = RNG.choice(len(WEIGHTS), size=count, p=WEIGHTS)
    chunks = MEANS[modes].copy()
    chunks[:, :, 0] += RNG.multivariate_normal(np.zeros(ROWS), covariance(), size=count)
    return chunks


@pytest.mark.parametrize("time", [0.9, 0.6, 0.4])
def test_the_velocity_is_the_expectation_of_noise_minus_action(mixture, time):
    actions = drawn(400_000)
    x = (1 - time) * MEANS[0] + 0.2 * np.array([[1.0, -0.5]] * ROWS)
    noise = (x - (1 - time) * actions) / time
    likelihood = np.exp(-0.5 * (noise**2).sum(axis=(1, 2)))
    expected = np.tensordot(likelihood, noise - actions, 1) / likelihood.sum()
    assert np.asarray(mixture.velocity(x, time)) == pytest.approx(expected, abs=0.03)


def sampled(mixture: Mixture, count: int, steps: int) -> np.ndarray:
    none = np.zeros((ROWS, JOINTS)), np.zeros(ROWS)
    noise = np.random.default_rng(2).standard_normal((count, ROWS, JOINTS))
    return np.array([mixture.sample(each, *none, steps=steps) for each in noise])


def test_many_steps_draw_from_the_mixture(mixture):
    chunks = sampled(mixture, 1500, steps=200)
    of_first = chunks[:, 0, 1] > 0
    assert of_first.mean() == pytest.approx(WEIGHTS[0], abs=0.05)
    for mean, members in zip(MEANS, (chunks[of_first], chunks[~of_first]), strict=True):
        assert members.mean(axis=0) == pytest.approx(mean, abs=0.06)
        deviations = members[:, :, 0] - mean[:, 0]
        assert np.cov(deviations.T) == pytest.approx(covariance(), abs=0.04)
        assert members[:, :, 1] == pytest.approx(
            np.broadcast_to(mean[:, 1], (len(members), ROWS)), abs=1e-4
        )


def test_guidance_leads_to_the_mode_of_the_prefix(mixture):
    noise = np.random.default_rng(3).standard_normal((100, ROWS, JOINTS))
    agreement = np.array([1.0, 1.0, 0.5, 0.0])
    plain, guided = (
        np.array([mixture.sample(each, MEANS[0], agreement * on) for each in noise])
        for on in (0.0, 1.0)
    )
    of_first = [(chunks[:, 3, 1] > 0).mean() for chunks in (plain, guided)]
    assert of_first[0] == pytest.approx(WEIGHTS[0], abs=0.1)
    assert of_first[1] > 0.8
    errors = [np.abs(chunks[:, :2] - MEANS[0, :2]).mean() for chunks in (plain, guided)]
    assert errors[1] < 0.3 * errors[0]
