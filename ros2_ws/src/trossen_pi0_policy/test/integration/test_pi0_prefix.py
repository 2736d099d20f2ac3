"""Chunks that agree with a prefix, of small π0 and π0.5 models with seeded weights."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from peers.parameter_recipe import seeded_parameters, seeded_uniform
from trossen_pi0_core.errors import BackendError, ParameterError
from trossen_pi0_core.transforms import ModelInputs
from trossen_pi0_policy.pi0.config import ExpertConfig, Pi0Config, VisionConfig
from trossen_pi0_policy.pi0.flow import flow_times
from trossen_pi0_policy.pi0.inputs import Prefix
from trossen_pi0_policy.pi0.model import ModelBatch, Pi0, PrefixBatch
from trossen_pi0_policy.pi0.packing import pack, serving_model
from trossen_pi0_policy.pi0.parameters import from_openpi, openpi_shapes
from trossen_pi0_policy.pi0.sampler import Sampler

EXPERT = ExpertConfig(width=16, depth=2, mlp_dim=24, num_heads=4, head_dim=8)
PI0 = Pi0Config(
    vision=VisionConfig(width=16, depth=1, mlp_dim=24, num_heads=2),
    language=EXPERT,
    action=replace(EXPERT, width=12),
    action_dim=6,
    action_horizon=7,
    max_token_len=4,
    image_size=28,
    tokenizer="bytes",
    vocab_size=11,
)
CONFIGS = {"pi0": PI0, "pi05": replace(PI0, pi05=True)}
STEPS, ROBOT_DIM, BATCH = 4, 4, 3
SHAPE = (BATCH, PI0.action_horizon, PI0.action_dim)
NOISE = 2 * seeded_uniform(1, "noise", SHAPE)
TARGET = seeded_uniform(1, "target", SHAPE)
FAST_COMPILE = {"xla_backend_optimization_level": 0}

pytestmark = pytest.mark.usefixtures("precise")


@pytest.fixture(scope="module", autouse=True)
def precise():
    with jax.default_matmul_precision("highest"):
        yield


def batch() -> ModelBatch:
    pictures = (seeded_uniform(1, "images", (BATCH, 3, 28, 28, 3)) * 70 + 127).astype(np.uint8)
    return ModelBatch(
        images=jnp.asarray(pictures),
        image_mask=jnp.ones((BATCH, 3), bool),
        state=jnp.asarray(seeded_uniform(1, "state", (BATCH, 6))),
        tokens=jnp.arange(BATCH * 4).reshape(BATCH, 4) % 11,
        token_mask=jnp.ones((BATCH, 4), bool),
    )


def prefix(frozen=(2, 0, 5), overlap=(5, 0, 7), robot_dim=ROBOT_DIM):
    dims = np.arange(6) < robot_dim
    return PrefixBatch(
        target=jnp.asarray(TARGET * dims),
        frozen=jnp.asarray(frozen, jnp.int32),
        overlap=jnp.asarray(overlap, jnp.int32),
        dims=jnp.asarray(np.tile(dims, (BATCH, 1))),
    )


class Model:
    """One of the configs, as it is trained and packed for sampling."""

    def __init__(self, config):
        self.config = config
        self.tree = from_openpi(seeded_parameters(openpi_shapes(config), 3), config)
        choices: dict[str, Any] = {"steps": STEPS, "dtype": jnp.float32, "align": False}
        self.packed = pack(self.tree, config, **choices)
        self.serving = serving_model(config, **choices)
        self.trained = Pi0(config)
        self._compiled = {}

    def ask(self, method, *arguments, packed=True, **static):
        key = (method, packed)
        if key not in self._compiled:
            model = self.serving if packed else self.trained

            def call(tree, *given):
                return model.apply({"params": tree}, *given, **static, method=method)

            self._compiled[key] = jax.jit(call, compiler_options=FAST_COMPILE)
        tree = self.packed if packed else self.tree
        return np.asarray(self._compiled[key](tree, *arguments))


@pytest.fixture(scope="module", params=["pi0", "pi05"])
def model(request):
    return Model(CONFIGS[request.param])


def mask_of(frozen, overlap):
    """The soft mask of each chunk, (batch, horizon), in plain Python."""
    falling = [
        [max(0.0, min(1.0, (e - i) / (e - f + 1))) for i in range(SHAPE[1])]
        for f, e in zip(frozen, overlap, strict=True)
    ]
    c = np.array(falling)
    return c * np.expm1(c) / np.expm1(1.0)


# Guided -------------------------------------------------------------------------------------------


def test_guidance_is_that_of_the_jacobian(model):
    """Each step by NumPy, with the whole Jacobian of the velocity by forward differentiation."""
    given = prefix()
    weights = mask_of((2, 0, 5), (5, 0, 7))[:, :, None] * (np.arange(6) < ROBOT_DIM)
    size = SHAPE[1] * SHAPE[2]

    def flow(module, x, step):
        velocity = module._flow(batch(), STEPS, with_kernels=False)
        slopes = jax.jacfwd(lambda x: velocity(x, step).sum(axis=0))(x)
        return velocity(x, step), slopes

    compute = jax.jit(
        lambda tree, x, step: model.trained.apply({"params": tree}, x, step, method=flow),
        compiler_options=FAST_COMPILE,
    )
    x = NOISE.astype(np.float64)
    for i, t in enumerate(flow_times(STEPS).astype(np.float64)):
        v, slopes = (
            np.asarray(a, np.float64)
            for a in compute(model.tree, jnp.asarray(x, jnp.float32), jnp.int32(i))
        )
        error = (np.asarray(given.target) - (x - t * v)) * weights
        # chunks do not depend on each other, so summing their velocities keeps them apart
        slopes = slopes.reshape(size, BATCH, size)
        for j in range(BATCH):
            clean_by_x = np.eye(size) - t * slopes[:, j]
            pull = clean_by_x.T @ error[j].reshape(-1)
            weight = 5.0 if t == 1 else min(5.0, (t**2 + (1 - t) ** 2) / (t * (1 - t)))
            v[j] -= weight * pull.reshape(SHAPE[1:])
        x = x - v / STEPS
    found = model.ask("sample_guided", batch(), NOISE, given, 5.0)
    np.testing.assert_allclose(found, x, rtol=0, atol=2e-5 * np.abs(x).max())
    trained = model.ask("sample_guided", batch(), NOISE, given, 5.0, packed=False, steps=STEPS)
    np.testing.assert_allclose(trained, x, rtol=0, atol=2e-5 * np.abs(x).max())


def test_frozen_rows_are_agreed_with(model):
    free = model.ask("sample", batch(), NOISE)
    bound = model.ask("sample_guided", batch(), NOISE, prefix(), 5.0)
    for j, frozen in ((0, 2), (2, 5)):
        rows = slice(0, frozen), slice(0, ROBOT_DIM)
        gap_free, gap_bound = (np.abs(a[j] - TARGET[j])[rows].max() for a in (free, bound))
        assert gap_free > 0.5
        assert gap_bound < 0.1 * gap_free, (gap_free, gap_bound)
    np.testing.assert_allclose(bound[1], free[1], rtol=0, atol=1e-5)  # has no overlap


def test_dimensions_without_a_joint_pull_nothing(model):
    free = model.ask("sample", batch(), NOISE)
    wild = replace(prefix(robot_dim=0), target=jnp.full(SHAPE, 1e3))
    found = model.ask("sample_guided", batch(), NOISE, wild, 5.0)
    np.testing.assert_allclose(found, free, rtol=0, atol=1e-5)


# Conditioned --------------------------------------------------------------------------------------


def test_frozen_rows_stay_as_they_are(model):
    given = prefix()
    free = model.ask("sample", batch(), NOISE)
    found = model.ask("sample_conditioned", batch(), NOISE, given)
    for j, frozen in enumerate((2, 0, 5)):
        np.testing.assert_array_equal(found[j, :frozen], given.target[j, :frozen])
        assert (frozen == 0) or np.abs(found[j, frozen:] - free[j, frozen:]).max() > 1e-2
    np.testing.assert_allclose(found[1], free[1], rtol=0, atol=1e-5)


def test_packed_models_condition_like_trained_ones(model):
    packed = model.ask("sample_conditioned", batch(), NOISE, prefix())
    trained = model.ask("sample_conditioned", batch(), NOISE, prefix(), packed=False, steps=STEPS)
    np.testing.assert_allclose(packed, trained, rtol=0, atol=1e-5)


def test_rows_of_one_time_are_like_one_time_for_all(model):
    time = np.array([0.3, 1.0, 0.6], np.float32)
    loss = partial(model.ask, "loss", batch(), TARGET, NOISE, packed=False)
    expected = loss(time)
    rows = np.repeat(time[:, None], SHAPE[1], axis=1)
    np.testing.assert_allclose(loss(rows), expected, rtol=1e-5)
    rows[:, :2] = 0.0
    assert (np.abs(loss(rows) - expected) > 1e-3).all()


def test_clean_rows_are_seen_at_time_zero(model):
    """One step by hand: the loss' velocity is the sampler's, clean rows at time 0."""
    frozen = 3
    given = prefix((frozen,) * BATCH, (frozen,) * BATCH)
    clean = np.arange(SHAPE[1]) < frozen
    times = np.where(clean, 0.0, 1.0).astype(np.float32)[None].repeat(BATCH, axis=0)
    # with noise - actions = 0 at the rest, the loss of a row is its mean square velocity
    actions = np.where(clean[None, :, None], np.asarray(given.target), NOISE)
    loss = model.ask("loss", batch(), actions, actions, times, packed=False)

    def one_step(tree, *arguments):
        return model.trained.apply(
            {"params": tree}, *arguments, steps=1, method="sample_conditioned"
        )

    found = jax.jit(one_step, compiler_options=FAST_COMPILE)(model.tree, batch(), NOISE, given)
    velocity = NOISE - np.asarray(found)
    np.testing.assert_allclose(
        np.square(velocity[:, frozen:]).mean(axis=2), loss[:, frozen:], rtol=2e-4
    )


# The compiled sampler -----------------------------------------------------------------------------


def inputs(seed=0):
    rng = np.random.default_rng(seed)
    return ModelInputs(
        images=rng.integers(0, 256, (3, 28, 28, 3), np.uint8),
        image_mask=np.ones(3, bool),
        state=rng.standard_normal(6).astype(np.float32),
        tokens=np.arange(4, dtype=np.int32),
        token_mask=np.ones(4, bool),
    )


@pytest.fixture(scope="module")
def samplers():
    tree = from_openpi(seeded_parameters(openpi_shapes(PI0), 3), PI0)
    make = partial(Sampler, tree, PI0, steps=STEPS, dtype="float32", max_batch=2)
    return {rtc: make(rtc=rtc) for rtc in ("none", "guided", "conditioned")}


@pytest.mark.parametrize("rtc", ["guided", "conditioned"])
def test_prefixes_reach_the_model_through_the_buffer(samplers, rtc):
    """Each chunk gets its own, with rows behind the last left free."""
    sampler = samplers[rtc]
    many = [inputs(seed) for seed in range(2)]
    rows = np.pad(TARGET[0, :, :ROBOT_DIM], ((0, 0), (0, 2))).astype(np.float32)
    noise = NOISE[:2].astype(np.float32)
    given = [Prefix(rows[:5], 2, ROBOT_DIM), Prefix(rows, 6, ROBOT_DIM)]
    found, free = sampler(many, noise, given), sampler(many, noise)
    for bound, unbound, each in zip(found, free, given, strict=True):
        gap_bound, gap_free = (
            np.abs(chunk - rows)[: each.frozen, :ROBOT_DIM].mean() for chunk in (bound, unbound)
        )
        assert gap_bound <= {"guided": 0.2, "conditioned": 0.0}[rtc] * gap_free


def test_warming_up_compiles_everything(samplers):
    sampler = samplers["guided"]
    sampler.warm_up()
    assert sampler._jitted._cache_size() == 4  # one or two chunks, with prefixes and without
    rows = np.zeros((3, 6), np.float32)
    for frozen in (0, 1, 3):
        sampler([inputs()], NOISE[:1].astype(np.float32), [Prefix(rows, frozen, ROBOT_DIM)])
    assert sampler._jitted._cache_size() == 4


@pytest.mark.parametrize(
    ("rtc", "given", "says"),
    [
        ("none", Prefix(np.zeros((2, 6), np.float32), 1, 4), "rtc='none' was given 1 prefixes"),
        ("guided", Prefix(np.zeros((8, 6), np.float32), 1, 4), r"\(1 to 7 rows, 6\), got \(8, 6\)"),
        ("guided", Prefix(np.zeros((0, 6), np.float32), 0, 4), r"got \(0, 6\)"),
        ("guided", Prefix(np.zeros((2, 5), np.float32), 1, 4), r"got \(2, 5\)"),
        ("guided", Prefix(np.zeros((2, 6), np.float32), 3, 4), "0 to 2 frozen ones .* got 3"),
        ("guided", Prefix(np.zeros((2, 6), np.float32), 1, 7), "0 to 6 robot dimensions, .* 7"),
    ],
)
def test_prefixes_that_do_not_fit(samplers, rtc, given, says):
    with pytest.raises(BackendError, match=says):
        samplers[rtc]([inputs()], NOISE[:1].astype(np.float32), [given])


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), float("nan")])
def test_the_bound_of_the_guidance_is_a_positive_number(weight):
    with pytest.raises(ParameterError, match="must be above 0 and finite"):
        Sampler({}, PI0, rtc="guided", max_guidance_weight=weight)
