"""Flow times, time embedding, and what the model as trained must do with any parameters."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from peers.parameter_recipe import seeded_parameters, seeded_uniform
from trossen_pi0_policy.pi0 import flow
from trossen_pi0_policy.pi0.config import ExpertConfig, Pi0Config, VisionConfig, get_config
from trossen_pi0_policy.pi0.flow import flow_times
from trossen_pi0_policy.pi0.model import ModelBatch, Pi0
from trossen_pi0_policy.pi0.parameters import example_batch, from_openpi, openpi_shapes

EXPERT = ExpertConfig(width=16, depth=2, mlp_dim=24, num_heads=4, head_dim=8)
CONFIG = Pi0Config(
    vision=VisionConfig(width=16, depth=2, mlp_dim=24, num_heads=2),
    language=EXPERT,
    action=replace(EXPERT, width=12),
    action_dim=6,
    action_horizon=5,
    max_token_len=4,
    image_size=28,
    tokenizer="bytes",
    vocab_size=11,
)
STEPS = 3
embed_time = jax.jit(flow.embed_time, static_argnames="width")
FAST_COMPILE = {"xla_backend_optimization_level": 0}


@pytest.fixture(scope="module")
def tree():
    return from_openpi(seeded_parameters(openpi_shapes(CONFIG), seed=3), CONFIG)


@pytest.fixture(scope="module")
def sample():
    def compute(tree, batch, noise):
        return Pi0(CONFIG).apply({"params": tree}, batch, noise, steps=STEPS, method="sample")

    return jax.jit(compute, compiler_options=FAST_COMPILE)


def random_batch() -> ModelBatch:
    """Two observations; the second lacks a picture and half its prompt."""
    pictures = (seeded_uniform(1, "images", (2, 3, 28, 28, 3)) * 70 + 127).astype(np.uint8)
    return ModelBatch(
        images=jnp.asarray(pictures),
        image_mask=jnp.array([[True, True, True], [True, False, True]]),
        state=jnp.asarray(seeded_uniform(1, "state", (2, 6))),
        tokens=jnp.array([[1, 2, 3, 4], [5, 6, 7, 8]]),
        token_mask=jnp.array([[True] * 4, [True, True, False, False]]),
    )


NOISE = seeded_uniform(1, "noise", (2, 5, 6))


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (1, [1.0]),
        (3, [1.0, 0.666666627, 0.333333284]),
        (5, [1.0, 0.800000012, 0.600000024, 0.400000036, 0.200000033]),
        (
            10,
            [
                *(1.0, 0.899999976, 0.799999952, 0.699999928, 0.599999905),
                *(0.499999911, 0.399999917, 0.299999923, 0.199999928, 0.099999927),
            ],
        ),
    ],
)
def test_flow_times_are_accumulated_in_float32(steps, expected):
    found = flow_times(steps)
    assert found.dtype == np.float32
    assert found.tolist() == np.array(expected, np.float32).tolist()


def test_time_embedding_of_two_periods():
    """Periods 4e-3 and 4: 0.001 is a quarter of the one and a 4000th of the other."""
    found = embed_time(jnp.array([0.001, 1.0]), width=4)
    assert found.dtype == jnp.float32
    expected = [[1.0, 0.00157079568, 0.0, 0.99999876630], [0.0, 1.0, 1.0, 0.0]]
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_periods_are_spaced_by_a_factor():
    """The third of five periods is 4e-3 * sqrt(1000); 0.1 is 0.790569 of it."""
    found = np.asarray(embed_time(jnp.array([0.1]), width=10))[0]
    angle = 2 * np.pi * 0.1 / (4e-3 * np.sqrt(1000.0))
    np.testing.assert_allclose(found[[2, 7]], [np.sin(angle), np.cos(angle)], atol=1e-5)
    np.testing.assert_allclose(found[[2, 7]], [-0.967687, 0.252154], atol=1e-4)


def without_velocity(tree, bias):
    """The parameters with a head that answers a constant."""
    kernel = np.zeros_like(tree["action_out"]["kernel"])
    return tree | {"action_out": {"kernel": kernel, "bias": np.full(6, bias, np.float32)}}


def test_a_constant_velocity_is_subtracted_once(tree, sample):
    found = sample(without_velocity(tree, 0.5), random_batch(), NOISE)
    assert (found.shape, found.dtype) == ((2, 5, 6), jnp.float32)
    np.testing.assert_allclose(found, NOISE - 0.5, atol=1e-6)


def test_observations_of_a_batch_do_not_mix(tree, sample):
    batch = random_batch()
    swapped = jax.tree.map(lambda x: x[::-1], batch)
    found = sample(tree, swapped, NOISE[::-1])
    expected = sample(tree, batch, NOISE)
    np.testing.assert_allclose(found[::-1], expected, atol=1e-6)


@pytest.mark.parametrize(
    "changed",
    ["first picture", "last picture", "state", "first token", "last token", "image_mask"],
)
def test_what_is_there_is_seen(tree, sample, changed):
    batch = random_batch()
    other = {
        "first picture": lambda: replace(batch, images=batch.images.at[:, 0].add(50)),
        "last picture": lambda: replace(batch, images=batch.images.at[:, 2].add(50)),
        "state": lambda: replace(batch, state=batch.state + 0.5),
        "first token": lambda: replace(batch, tokens=batch.tokens.at[:, 0].set(9)),
        "last token": lambda: replace(batch, tokens=batch.tokens.at[0, 3].set(9)),
        "image_mask": lambda: replace(batch, image_mask=batch.image_mask.at[:, 0].set(False)),
    }[changed]()
    gap = np.abs(sample(tree, other, NOISE) - sample(tree, batch, NOISE)).max(axis=(1, 2))
    assert gap[0] > 1e-3
    assert gap[1] > 1e-3 or changed == "last token"


def test_what_is_masked_is_not_seen(tree, sample):
    batch = random_batch()
    other = replace(
        batch, images=batch.images.at[1, 1].set(255), tokens=batch.tokens.at[1, 2:].set(10)
    )
    np.testing.assert_array_equal(sample(tree, other, NOISE), sample(tree, batch, NOISE))


def test_bytes_are_pictures_between_minus_one_and_one(tree):
    """0, 51 and 255 are -1, -0.6 and 1."""

    @partial(jax.jit, compiler_options=FAST_COMPILE)
    def prefix(tree, images):
        batch = replace(random_batch(), images=images)
        return Pi0(CONFIG).apply({"params": tree}, batch, method="_prefix")[0]

    corner = np.zeros((2, 3, 28, 28, 3), np.uint8)
    corner[:, :, :14], corner[:, 0, 14:] = 51, 255
    floats = np.full(corner.shape, -1.0, np.float32)
    floats[:, :, :14], floats[:, 0, 14:] = -0.6, 1.0
    np.testing.assert_allclose(prefix(tree, corner), prefix(tree, floats), atol=1e-5)


def test_loss_of_a_head_that_answers_nothing(tree):
    def compute(tree, batch, actions, noise, time):
        return Pi0(CONFIG).apply({"params": tree}, batch, actions, noise, time, method="loss")

    actions = seeded_uniform(1, "actions", NOISE.shape)
    loss = jax.jit(compute, compiler_options=FAST_COMPILE)
    found = loss(without_velocity(tree, 0.0), random_batch(), actions, NOISE, jnp.full(2, 0.5))
    assert (found.shape, found.dtype) == ((2, 5), jnp.float32)
    np.testing.assert_allclose(found, np.square(NOISE - actions).mean(axis=2), rtol=1e-5)


@pytest.mark.parametrize("name", ["tiny", "sim"])
def test_presets_answer_float32_whatever_they_compute_in(name):
    config = get_config(name)
    from_shapes = {
        p: jax.ShapeDtypeStruct(s, jnp.bfloat16) for p, s in openpi_shapes(config).items()
    }
    abstract = jax.eval_shape(lambda given: from_openpi(given, config), from_shapes)
    batch, noise = jax.eval_shape(lambda: example_batch(config))

    def compute(tree, batch, noise):
        return Pi0(config, jnp.bfloat16).apply({"params": tree}, batch, noise, method="sample")

    actions: Any = jax.eval_shape(compute, abstract, batch, noise)
    assert (actions.shape, actions.dtype) == ((1, 50, 32), jnp.float32)
