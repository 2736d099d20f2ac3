"""The two arrangements of the parameters, and their errors."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from peers.parameter_recipe import seeded_parameters
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_policy.pi0.config import (
    ExpertConfig,
    LoraConfig,
    Pi0Config,
    VisionConfig,
    get_config,
)
from trossen_pi0_policy.pi0.model import Pi0
from trossen_pi0_policy.pi0.parameters import (
    check_shapes,
    example_batch,
    from_openpi,
    initial_parameters,
    leaves,
    openpi_shapes,
    to_openpi,
)

SHAPES = json.loads(
    (Path(__file__).parents[1] / "data/openpi_goldens/parameter_shapes.json").read_text()
)["shapes"]
EXPERT = ExpertConfig(
    width=16, depth=3, mlp_dim=20, num_heads=4, num_kv_heads=2, head_dim=6, lora=LoraConfig(5, 10.0)
)
SMALL = Pi0Config(
    vision=VisionConfig(width=12, depth=2, mlp_dim=18, num_heads=3),
    language=EXPERT,
    action=replace(EXPERT, width=24, lora=LoraConfig(7, 7.0)),
    action_dim=8,
    action_horizon=4,
    max_token_len=4,
    image_size=28,
    tokenizer="bytes",
    vocab_size=11,
)
"""No two sizes alike that could be mixed up, two key heads, adapters."""

BOTH = pytest.mark.parametrize("pi05", [False, True], ids=["pi0", "pi05"])


def flat(tree: Any) -> dict[str, Any]:
    return flatten_dict(tree, sep="/")  # pyright: ignore[reportReturnType]


def parameters(config: Pi0Config) -> dict[str, np.ndarray]:
    return seeded_parameters(openpi_shapes(config), seed=7)


def bits(array) -> bytes:
    return np.ascontiguousarray(array).tobytes()


@pytest.mark.parametrize("name", SHAPES)
def test_openpis_parameters_are_known_by_path_and_shape(name):
    found = {path: list(shape) for path, shape in openpi_shapes(get_config(name)).items()}
    assert found == SHAPES[name]


@BOTH
@pytest.mark.parametrize("stem", [(), (8,)], ids=["patches", "stem"])
def test_round_trip_keeps_every_bit(pi05, stem):
    config = replace(SMALL, pi05=pi05, vision=replace(SMALL.vision, stem=stem))
    given = parameters(config)
    back = to_openpi(from_openpi(given, config), config)
    assert back.keys() == given.keys()
    for path, array in given.items():
        assert isinstance(back[path], np.ndarray)
        assert (back[path].shape, back[path].dtype) == (array.shape, array.dtype)
        assert bits(back[path]) == bits(array), path


def test_types_of_separate_leaves_are_kept():
    """As openpi writes after training adapters: what was frozen is bfloat16."""
    frozen = [p for p in openpi_shapes(SMALL) if "/llm/" in p and "lora" not in p]
    given = {
        p: a.astype(ml_dtypes.bfloat16) if p in frozen else a for p, a in parameters(SMALL).items()
    }
    tree = from_openpi(given, SMALL)
    assert tree["layers"]["action"]["qkv"]["kernel"].dtype == ml_dtypes.bfloat16
    assert tree["layers"]["action"]["qkv"]["q_lora_a"].dtype == np.float32
    back = to_openpi(tree, SMALL)
    for path, array in given.items():
        assert back[path].dtype == array.dtype, path
        assert bits(back[path]) == bits(array), path


def test_a_joined_leaf_of_mixed_types_loses_nothing():
    halves = (f"PaliGemma/llm/layers/attn/{name}_einsum/w" for name in ("q", "kv_1"))
    halves = [*halves, *(p for p in openpi_shapes(SMALL) if "/img/" in p and p.endswith("bias"))]
    given = parameters(SMALL)
    given |= {p: given[p].astype(ml_dtypes.bfloat16) for p in halves if p in given}
    tree = from_openpi(given, SMALL)
    assert tree["layers"]["language"]["qkv"]["kernel"].dtype == np.float32
    back = to_openpi(tree, SMALL)
    for path, array in given.items():
        assert bits(back[path].astype(array.dtype)) == bits(array), path


def test_jax_arrays_can_be_traced():
    config = get_config("tiny")
    given = parameters(config)

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def back_and_forth(given):
        tree = from_openpi(given, config)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(tree))
        return to_openpi(tree, config)

    back = back_and_forth(given)
    for path, array in given.items():
        assert bits(back[path]) == bits(array), path


def test_queries_keys_and_values_lie_side_by_side_by_head():
    given = parameters(SMALL)
    attention = "PaliGemma/llm/layers/attn"
    q = given[f"{attention}/q_einsum_1/w"]  # layer, head, width, head_dim
    kv = given[f"{attention}/kv_einsum_1/w"]  # layer, key or value, head, width, head_dim
    joined = from_openpi(given, SMALL)["layers"]["action"]["qkv"]["kernel"]
    assert joined.shape == (3, 24, 8 * 6)
    heads = joined.reshape(3, 24, 8, 6)
    for head in range(4):
        assert np.array_equal(heads[:, :, head], q[:, head])
    for head in range(2):
        assert np.array_equal(heads[:, :, 4 + head], kv[:, 0, head])
        assert np.array_equal(heads[:, :, 6 + head], kv[:, 1, head])


def test_gate_and_up_lie_side_by_side():
    given = parameters(SMALL)
    gating = given["PaliGemma/llm/layers/mlp/gating_einsum"]
    joined = from_openpi(given, SMALL)["layers"]["language"]["gate_up"]["kernel"]
    assert np.array_equal(joined[..., :20], gating[:, 0])
    assert np.array_equal(joined[..., 20:], gating[:, 1])


@BOTH
def test_wrong_parameters_are_listed_by_path_and_shape(pi05):
    config = replace(SMALL, pi05=pi05)
    given = parameters(config)
    del given["action_in_proj/bias"]
    given["action_out_proj/extra"] = np.zeros((2, 3))
    given["PaliGemma/img/head/kernel"] = np.zeros((12, 17))
    with pytest.raises(ParameterError) as caught:
        from_openpi(given, config)
    assert str(caught.value) == (
        "the parameters do not fit the model: missing action_in_proj/bias (24,); "
        "extra action_out_proj/extra (2, 3); "
        "PaliGemma/img/head/kernel: expected (12, 16), got (12, 17)"
    )


def test_our_tree_is_checked_as_well():
    tree = from_openpi(parameters(SMALL), SMALL)
    tree["layers"]["action"]["qkv"]["kernel"] = tree["layers"]["action"]["qkv"]["kernel"][:, :-1]
    del tree["embedding"]
    with pytest.raises(ParameterError) as caught:
        to_openpi(tree, SMALL)
    assert "missing embedding (11, 16); " in str(caught.value)
    assert "layers/action/qkv/kernel: expected (3, 24, 48), got (3, 23, 48)" in str(caught.value)


def test_a_checkpoint_of_another_model_is_refused():
    with pytest.raises(ParameterError, match=r"missing .*lora_a .*missing "):
        from_openpi(parameters(replace(SMALL, language=replace(EXPERT, lora=None))), SMALL)


def test_parameters_that_fit_pass():
    check_shapes({"a": (1, 2)}, {"a": (1, 2)})


@pytest.mark.parametrize(
    "config",
    [
        get_config("tiny"),
        replace(get_config("tiny"), pi05=True),
        SMALL,
        replace(SMALL, pi05=True),
    ],
    ids=["tiny", "pi05", "lora", "pi05_lora"],
)
def test_fresh_parameters_are_a_whole_tree(config):
    fresh = jax.eval_shape(lambda key: initial_parameters(config, key), jax.random.key(0))
    found = flat(fresh)
    assert {path: leaf.shape for path, leaf in found.items()} == {
        leaf.path: leaf.shape for leaf in leaves(config)
    }
    assert {leaf.dtype for leaf in found.values()} == {jnp.dtype("float32")}


@pytest.mark.parametrize("name", SHAPES)
def test_presets_of_full_size_fit_together(name):
    """Traced only: shapes through the whole model, nothing allocated."""
    config = get_config(name)
    tree = jax.eval_shape(
        lambda given: from_openpi(given, config),
        {p: jax.ShapeDtypeStruct(s, jnp.bfloat16) for p, s in openpi_shapes(config).items()},
    )
    batch, noise = jax.eval_shape(lambda: example_batch(config, 2))

    def sample(tree, batch, noise):
        return Pi0(config, jnp.bfloat16).apply({"params": tree}, batch, noise, method="sample")

    actions = jax.eval_shape(sample, tree, batch, noise)
    assert (actions.shape, actions.dtype) == ((2, 50, 32), jnp.float32)
