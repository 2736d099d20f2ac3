"""What is worked out when parameters are packed; openpi's answers are compared elsewhere."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from peers.parameter_recipe import seeded_parameters
from trossen_pi0_policy.pi0.config import ExpertConfig, LoraConfig, Pi0Config, VisionConfig
from trossen_pi0_policy.pi0.flow import embed_time, flow_times
from trossen_pi0_policy.pi0.packing import pack, serving_config, serving_model
from trossen_pi0_policy.pi0.parameters import example_batch, from_openpi, openpi_shapes

EXPERT = ExpertConfig(
    width=16, depth=2, mlp_dim=24, num_heads=4, num_kv_heads=2, head_dim=8, lora=LoraConfig(3, 6.0)
)
CONFIG = Pi0Config(
    vision=VisionConfig(width=16, depth=2, mlp_dim=24, num_heads=2),
    language=EXPERT,
    action=replace(EXPERT, width=12, lora=LoraConfig(2, 5.0)),
    action_dim=6,
    action_horizon=5,
    max_token_len=4,
    image_size=28,
    tokenizer="bytes",
    vocab_size=11,
)
STEPS = 3

pytestmark = pytest.mark.usefixtures("precise")


@pytest.fixture
def precise():
    with jax.default_matmul_precision("highest"):
        yield


def flat(tree: Any) -> dict[str, Any]:
    return flatten_dict(tree, sep="/")  # pyright: ignore[reportReturnType]


def parameters(config: Pi0Config):
    return from_openpi(seeded_parameters(openpi_shapes(config), seed=5), config)


@pytest.fixture(scope="module")
def packed():
    return pack(parameters(CONFIG), CONFIG, steps=STEPS, dtype=jnp.float32, align=True)


@pytest.mark.parametrize("align", [False, True], ids=["as is", "aligned"])
@pytest.mark.parametrize("pi05", [False, True], ids=["pi0", "pi05"])
@pytest.mark.parametrize("stem", [(), (8,)], ids=["patches", "stem"])
def test_packed_parameters_are_all_that_the_serving_model_reads(stem, pi05, align):
    config = replace(CONFIG, pi05=pi05, vision=replace(CONFIG.vision, stem=stem))
    abstract = jax.eval_shape(lambda: parameters(config))
    packed = jax.eval_shape(
        lambda tree: pack(tree, config, steps=STEPS, dtype=jnp.bfloat16, align=align), abstract
    )
    model = serving_model(config, steps=STEPS, dtype=jnp.bfloat16, align=align)

    def init():
        return model.init(jax.random.key(0), *example_batch(config), method="sample")

    expected = flat(jax.eval_shape(init)["params"])
    found = flat(packed)
    assert {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in expected.items()}


def test_weights_of_transformers_are_rounded_and_what_is_small_is_not():
    abstract = jax.eval_shape(lambda: parameters(CONFIG))
    packed = jax.eval_shape(
        lambda tree: pack(tree, CONFIG, steps=STEPS, dtype=jnp.bfloat16, align=False), abstract
    )
    half = {k for k, v in flat(packed).items() if v.dtype == jnp.bfloat16}
    layers = {
        f"layers_{i}/{expert}/{name}/kernel"
        for i in range(2)
        for expert in ("language", "action")
        for name in ("qkv", "out", "gate_up", "down")
    }
    blocks = {f"vision/block_{i}/{name}" for i in range(2) for name in ("qkv", "out", "up", "down")}
    assert half == {*layers, *blocks, "embedding", "vision/head_kernel", "vision/head_bias"}


def test_serving_config_drops_adapters_and_pads_the_tower():
    plain, padded = (serving_config(CONFIG, align=align) for align in (False, True))
    assert not plain.has_lora
    assert plain == replace(
        CONFIG, language=replace(EXPERT, lora=None), action=replace(CONFIG.action, lora=None)
    )
    assert padded == replace(plain, vision=replace(plain.vision, mlp_dim=128))
    exact = replace(CONFIG, vision=replace(CONFIG.vision, mlp_dim=256))
    assert serving_config(exact, align=True).vision.mlp_dim == 256


def test_padding_is_zero(packed):
    tree = parameters(CONFIG)["vision"]["blocks"]
    for i in range(2):
        block = packed["vision"][f"block_{i}"]
        np.testing.assert_array_equal(block["up"], np.pad(tree["up"][i], ((0, 0), (0, 104))))
        np.testing.assert_array_equal(block["down"], np.pad(tree["down"][i], ((0, 104), (0, 0))))
        bias = np.insert(tree["vectors"][i], [152] * 104, 0.0)  # behind the bias of ``up``
        np.testing.assert_array_equal(block["vectors"], bias)


def test_adapters_are_merged_by_head(packed):
    """One column of each projection, worked out head by head in float64."""
    tree = jax.tree.map(lambda x: np.asarray(x[1], np.float64), parameters(CONFIG)["layers"])
    layer, found = tree["action"], packed["layers_1"]["action"]
    scale = 5.0 / 2
    qkv = layer["qkv"]
    head, column = 2, 3
    merged = qkv["kernel"][:, head * 8 + column]
    merged = merged + scale * qkv["q_lora_a"][head] @ qkv["q_lora_b"][head][:, column]
    np.testing.assert_allclose(found["qkv"]["kernel"][:, head * 8 + column], merged, atol=1e-6)
    values = 4 * 8 + 2 * 8 + 8 + column  # of the second head
    merged = qkv["kernel"][:, values]
    merged = merged + scale * qkv["kv_lora_a"][1, 1] @ qkv["kv_lora_b"][1, 1][:, column]
    np.testing.assert_allclose(found["qkv"]["kernel"][:, values], merged, atol=1e-6)
    out = layer["out"]
    summed = out["lora_b"][0] + out["lora_b"][1] + out["lora_b"][2] + out["lora_b"][3]
    row = out["kernel"][head * 8 + column] + scale * out["lora_a"][head, column] @ summed
    np.testing.assert_allclose(found["out"]["kernel"][head * 8 + column], row, atol=1e-6)
    up = layer["gate_up"]
    merged = up["kernel"][:, 24 + column] + up["lora_a"][1] @ up["lora_b"][1][:, column]
    np.testing.assert_allclose(found["gate_up"]["kernel"][:, 24 + column], merged, atol=1e-6)
    down = layer["down"]
    merged = down["kernel"] + down["lora_a"] @ down["lora_b"]
    np.testing.assert_allclose(found["down"]["kernel"], merged, atol=1e-6)


def test_steps_are_worked_out(packed):
    tree = jax.tree.map(lambda x: np.asarray(x, np.float64), parameters(CONFIG))
    action, time = tree["action_in"], tree["time_in"]
    times = [*flow_times(STEPS), 0.0]  # behind the steps, that of clean rows
    embedded = np.asarray(embed_time(jnp.array(times), 12), np.float64)
    noisy = np.linspace(-1.0, 1.0, 6)
    for i in range(STEPS + 1):
        joined = np.concatenate([noisy @ action["kernel"] + action["bias"], embedded[i]])
        expected = joined @ time["kernel"] + time["bias"]
        found = noisy @ packed["action_in"]["kernel"] + packed["step_bias"][i]
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert packed["step_bias"].shape == (STEPS + 1, 12)
    assert not np.any(packed["action_in"]["bias"])
