"""The model against what openpi's own code answered: loss and actions, for the same everything.

``tools/peers`` has the recipes of parameters and inputs and the script that ran openpi.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from peers.golden_cases import CASES, ExpertSize, GoldenCase, golden_inputs
from peers.parameter_recipe import seeded_parameters
from trossen_pi0_policy.pi0 import kernels
from trossen_pi0_policy.pi0.config import (
    ExpertConfig,
    LoraConfig,
    Pi0Config,
    VisionConfig,
    get_config,
    with_cameras,
)
from trossen_pi0_policy.pi0.model import ModelBatch, Pi0
from trossen_pi0_policy.pi0.packing import pack, serving_model
from trossen_pi0_policy.pi0.parameters import (
    from_openpi,
    initial_parameters,
    openpi_shapes,
    to_openpi,
)

FOLDER = Path(__file__).parents[1] / "data/openpi_goldens"
TOLERANCE = 1e-5
SMALL_CASES = [name for name in CASES if name != "dummy"]
HALF_CASES = [name for name, case in CASES.items() if case.bfloat16]
FAST_COMPILE = {"xla_backend_optimization_level": 0}

pytestmark = pytest.mark.usefixtures("precise")


@pytest.fixture
def precise():
    with jax.default_matmul_precision("highest"):
        yield


def expert(size: ExpertSize) -> ExpertConfig:
    fields = dataclasses.asdict(size)
    lora = fields.pop("lora")
    return ExpertConfig(**fields, lora=LoraConfig(*lora) if lora else None)


def config_of(case: GoldenCase) -> Pi0Config:
    return Pi0Config(
        vision=VisionConfig(**dataclasses.asdict(case.tower)),
        language=expert(case.language),
        action=expert(case.action),
        pi05=case.pi05,
        action_horizon=case.horizon,
        max_token_len=case.max_token_len,
        vocab_size=case.vocab_size,
    )


@cache
def goldens(name: str) -> Mapping[str, np.ndarray]:
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays)


def parameters(config: Pi0Config, seed: int) -> Any:
    return from_openpi(seeded_parameters(openpi_shapes(config), seed), config)


def observations(case: GoldenCase) -> ModelBatch:
    given = golden_inputs(case)
    fields = given.images, given.image_masks, given.state, given.tokens, given.token_mask
    return ModelBatch(*(jnp.asarray(field) for field in fields))


def run(model: Pi0, tree: Any, method: str, *inputs: Any, **options: Any) -> np.ndarray:
    """Float32 is compiled quickly; half precision as served, since rounding is what counts."""

    def compute(tree, *inputs):
        return model.apply({"params": tree}, *inputs, method=method, **options)

    chosen = FAST_COMPILE if model.dtype == jnp.float32 else None
    return np.asarray(jax.jit(compute, compiler_options=chosen)(tree, *inputs))


def trained_actions(case: GoldenCase, steps: int, dtype: Any = jnp.float32) -> np.ndarray:
    config = config_of(case)
    tree = jax.tree.map(lambda x: jnp.asarray(x, dtype), parameters(config, case.seed))
    noise = golden_inputs(case).noise
    return run(Pi0(config, dtype), tree, "sample", observations(case), noise, steps=steps)


def packed_actions(
    case: GoldenCase, steps: int, dtype: Any = jnp.float32, *, align: bool = False
) -> np.ndarray:
    config = config_of(case)
    tree = pack(parameters(config, case.seed), config, steps=steps, dtype=dtype, align=align)
    model = serving_model(config, steps=steps, dtype=dtype, align=align)
    return run(model, tree, "sample", observations(case), golden_inputs(case).noise)


def loss(case: GoldenCase, dtype: Any = jnp.float32) -> np.ndarray:
    config, given = config_of(case), golden_inputs(case)
    tree = jax.tree.map(lambda x: jnp.asarray(x, dtype), parameters(config, case.seed))
    inputs = observations(case), given.actions, given.noise, given.time
    return run(Pi0(config, dtype), tree, "loss", *inputs)


def errors(found: np.ndarray, expected: np.ndarray) -> tuple[float, float]:
    """Largest and root-mean-square difference, relative to what is expected."""
    assert found.shape == expected.shape
    gap = found.astype(np.float64) - expected
    largest = np.abs(gap).max() / np.abs(expected).max()
    return float(largest), float(np.sqrt(np.square(gap).mean() / np.square(expected).mean()))


def assert_equal(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == np.float32
    assert errors(found, expected)[0] <= TOLERANCE


@pytest.mark.parametrize("name", SMALL_CASES)
def test_loss_is_openpis(name):
    assert_equal(loss(CASES[name]), goldens(name)["loss"])


@pytest.mark.parametrize("steps", [10, 5])
@pytest.mark.parametrize("name", SMALL_CASES)
def test_sampled_actions_are_openpis(name, steps):
    assert_equal(trained_actions(CASES[name], steps), goldens(name)[f"actions_{steps}"])


@pytest.mark.parametrize("steps", [10, 5])
@pytest.mark.parametrize("name", SMALL_CASES)
def test_packed_parameters_sample_openpis_actions(name, steps):
    found = packed_actions(CASES[name], steps, align=steps == 10)
    assert_equal(found, goldens(name)[f"actions_{steps}"])


@pytest.mark.slow
@pytest.mark.parametrize("actions", [trained_actions, packed_actions])
def test_the_full_image_tower_gives_openpis_actions(actions):
    """Openpi's configuration ``dummy``: 1.8 GB of parameters."""
    case = CASES["dummy"]
    assert config_of(case) == get_config("dummy")
    assert_equal(actions(case, 10), goldens("dummy")["actions_10"])


@pytest.mark.parametrize("name", HALF_CASES)
def test_half_precision_is_as_good_as_openpis(name):
    """As trained the rounding is spread alike; packed, more stays float32 until the end."""
    case, golden = CASES[name], goldens(name)
    answers = [
        ("loss", loss(case, jnp.bfloat16), 1.25),
        ("actions_10", trained_actions(case, 10, jnp.bfloat16), 1.25),
        ("actions_10", packed_actions(case, 10, jnp.bfloat16, align=True), 1.0),
    ]
    for key, found, factor in answers:
        largest, spread = errors(found, golden[key])
        openpis = errors(golden[f"bfloat16_{key}"], golden[key])
        assert 1e-4 < spread <= factor * openpis[1]
        assert largest <= 1.25 * openpis[0]


@pytest.mark.parametrize("name", HALF_CASES)
def test_what_is_masked_changes_nothing(name):
    case = CASES[name]
    config, batch, noise = config_of(case), observations(case), golden_inputs(case).noise
    tree = parameters(config, case.seed)

    @partial(jax.jit, compiler_options=FAST_COMPILE)
    def sample(tree, batch):
        return Pi0(config).apply({"params": tree}, batch, noise, steps=1, method="sample")

    there = np.asarray(batch.image_mask)[:, :, None, None, None]
    assert not there.all()
    assert not batch.token_mask.all()
    images = jnp.where(there, batch.images, 255 - batch.images)
    tokens = jnp.where(batch.token_mask, batch.tokens, (batch.tokens + 1) % case.vocab_size)
    changed = replace(batch, images=images, tokens=tokens)
    np.testing.assert_array_equal(sample(tree, changed), sample(tree, batch))


TOWER = VisionConfig(width=16, depth=2, mlp_dim=24, num_heads=2)
EXPERT = ExpertConfig(width=64, depth=2, mlp_dim=512, num_heads=16, head_dim=32)
FUSED = Pi0Config(
    vision=TOWER,
    language=replace(EXPERT, width=32, mlp_dim=48),
    action=EXPERT,
    action_dim=6,
    action_horizon=5,
    max_token_len=9,
    image_size=70,
    tokenizer="bytes",
    vocab_size=11,
)
"""Small, but of sizes that the GPU kernels can run."""


def small_observations(config: Pi0Config) -> tuple[ModelBatch, jax.Array]:
    """Two, the second with a picture less than the config has and a short prompt."""
    random = np.random.default_rng(0)
    size, cameras = config.image_size, len(config.cameras)
    image_mask = np.ones((2, cameras), bool)
    image_mask[1, -1] = False
    fields = (
        random.integers(0, 256, (2, cameras, size, size, 3), np.uint8),
        image_mask,
        random.standard_normal((2, config.action_dim), np.float32),
        random.integers(0, config.vocab_size, (2, config.max_token_len), np.int32),
        np.arange(config.max_token_len) < np.array([[config.max_token_len], [2]]),
    )
    noise = random.standard_normal((2, config.action_horizon, config.action_dim), np.float32)
    return ModelBatch(*(jnp.asarray(field) for field in fields)), jnp.asarray(noise)


@pytest.mark.skipif(
    not kernels.available(), reason="Pallas for Triton has no masked loads in this JAX"
)
@pytest.mark.parametrize("pi05", [False, True], ids=["pi0", "pi05"])
def test_fused_kernels_answer_alike(pi05):
    config = replace(FUSED, pi05=pi05)
    assert kernels.fits(config.action, config.suffix_len)
    tree, inputs = parameters(config, 11), small_observations(config)
    expected = run(Pi0(config), tree, "sample", *inputs, steps=3)
    packed = pack(tree, config, steps=3, dtype=jnp.float32, align=False)
    model = serving_model(config, steps=3, dtype=jnp.float32, align=False, kernels="interpret")
    assert_equal(run(model, packed, "sample", *inputs), expected)


def test_a_fourth_camera_needs_no_other_parameters():
    """Masked, it changes nothing; there, it is seen."""
    config = replace(FUSED, action=replace(EXPERT, mlp_dim=40))
    four = with_cameras(config, 4)
    tree = parameters(config, 12)
    packed = pack(tree, config, steps=2, dtype=jnp.float32, align=True)
    batch, noise = small_observations(four)

    def sample(config, batch):
        model = serving_model(config, steps=2, dtype=jnp.float32, align=True)
        return run(model, packed, "sample", batch, noise)

    three = replace(batch, images=batch.images[:, :3], image_mask=batch.image_mask[:, :3])
    found, expected = sample(four, batch), sample(config, three)
    assert openpi_shapes(four) == openpi_shapes(config)
    assert errors(found[1], expected[1])[0] <= TOLERANCE
    assert errors(found[0], expected[0])[0] > 1e-3


GRADIENT_CONFIG = replace(
    FUSED,
    language=replace(EXPERT, width=32, mlp_dim=48, lora=LoraConfig(3, 6.0)),
    action=replace(EXPERT, mlp_dim=40, lora=LoraConfig(2, 2.0)),
)
BEHIND_THE_LAST_ATTENTION = ("attn_vec_einsum/", "pre_ffw_norm/", "mlp/", "q_einsum/")
"""Of the language expert: from its last layer only keys and values are read."""


def without_effect(path: str, layer: int, config: Pi0Config) -> bool:
    """Whether a loss cannot depend on a parameter of openpi's tree."""
    if path == "PaliGemma/llm/final_norm/scale":  # nothing is read from the language expert's end
        return True
    if path.endswith("/key/bias"):  # adds the same to all logits of a query
        return True
    is_last = layer == config.language.depth - 1
    last = path.removeprefix("PaliGemma/llm/layers/").removeprefix("attn/")
    return (
        path.startswith("PaliGemma/llm/layers/")
        and is_last
        and (last.startswith(BEHIND_THE_LAST_ATTENTION))
    )


@pytest.mark.parametrize("pi05", [False, True], ids=["pi0", "pi05"])
def test_gradient_reaches_every_parameter_that_can_matter(pi05):
    config = replace(GRADIENT_CONFIG, pi05=pi05)
    batch, noise = small_observations(config)
    actions, time = jnp.zeros_like(noise), jnp.array([0.3, 0.7])

    def mean_loss(tree):
        args = batch, actions, noise, time
        found: Any = Pi0(config).apply({"params": tree}, *args, method="loss")
        return found.mean()

    compute = jax.jit(jax.grad(mean_loss), compiler_options=FAST_COMPILE)
    gradient = to_openpi(compute(parameters(config, 13)), config)
    scale = max(np.abs(g).max() for g in gradient.values())
    for path, array in gradient.items():
        assert np.isfinite(array).all(), path
        stacked = "/layers/" in path or "/encoderblock/" in path
        for layer, part in enumerate(array if stacked else [array]):
            largest = np.abs(part).max() / scale
            if without_effect(path, layer, config):
                assert largest < 1e-6, (path, layer)
            else:
                assert largest > 1e-6, (path, layer)


def test_fresh_parameters_have_a_finite_loss():
    config = get_config("tiny")
    tree = initial_parameters(config, jax.random.key(0))
    batch, noise = small_observations(config)
    found = run(Pi0(config), tree, "loss", batch, jnp.zeros_like(noise), noise, jnp.full(2, 0.5))
    assert np.isfinite(found).all()
    assert 0.5 < found.mean() < 5.0
