"""Sizes by name: presets, openpi's variants, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_policy.pi0.config import (
    CAMERA_KEYS,
    SO400M,
    ExpertConfig,
    LoraConfig,
    Pi0Config,
    VisionConfig,
    config_from_dict,
    config_names,
    config_to_dict,
    get_config,
    openpi_config,
    with_cameras,
)

EXPERT = ExpertConfig(width=32, depth=2, mlp_dim=64, num_heads=4, head_dim=8)
VISION = VisionConfig(width=32, depth=2, mlp_dim=64, num_heads=2)


def test_importing_the_sizes_brings_no_jax():
    code = (
        "import sys, trossen_pi0_policy.pi0.config\nprint(*{m.split('.')[0] for m in sys.modules})"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout.split()
    assert "trossen_pi0_policy" in loaded
    assert {"jax", "jaxlib", "flax"}.isdisjoint(loaded)


def test_presets():
    assert config_names() == (
        *("pi0", "pi0_lora", "pi05", "pi05_lora", "dummy", "pi05_dummy", "tiny", "sim"),
    )
    for name in config_names():
        config = get_config(name)
        assert config is get_config(name)
        assert config.pi05 is name.startswith("pi05")
        assert config.has_lora is name.endswith("_lora")


def test_pi0_has_the_published_sizes():
    config = get_config("pi0")
    assert config.vision == VisionConfig(width=1152, depth=27, mlp_dim=4304, num_heads=16)
    assert config.language == ExpertConfig(width=2048, depth=18, mlp_dim=16_384)
    assert config.action == ExpertConfig(width=1024, depth=18, mlp_dim=4096)
    assert (config.language.num_heads, config.language.num_kv_heads) == (8, 1)
    assert config.language.head_dim == 256
    assert config.language.qkv_dim == 2560
    assert (config.action_dim, config.action_horizon, config.vocab_size) == (32, 50, 257_152)
    assert (config.max_token_len, config.image_tokens) == (48, 256)
    assert (config.prefix_len, config.suffix_len) == (816, 51)


def test_pi05_has_no_state_token_and_a_longer_prompt():
    config = get_config("pi05")
    assert (config.max_token_len, config.prefix_len, config.suffix_len) == (200, 968, 50)


def test_adapters_have_openpis_ranks():
    config = get_config("pi0_lora")
    assert config.language.lora == LoraConfig(rank=16, alpha=16.0)
    assert config.action.lora == LoraConfig(rank=32, alpha=32.0)
    assert LoraConfig(rank=4, alpha=6.0).scale == 1.5


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("gemma_2b", get_config("pi0")),
        ("gemma_300m", get_config("pi0")),
        ("gemma_2b+gemma_300m", get_config("pi0")),
        ("pi05_gemma_2b", get_config("pi05")),
        ("gemma_2b_lora+gemma_300m_lora", get_config("pi0_lora")),
        ("pi05_gemma_2b_lora+gemma_300m_lora", get_config("pi05_lora")),
        ("gemma_2b_lora", openpi_config("gemma_2b_lora", "gemma_300m")),
        ("gemma_300m_lora", openpi_config("gemma_2b", "gemma_300m_lora")),
        ("gemma_2b_lora+gemma_300m", openpi_config("gemma_2b_lora", "gemma_300m")),
        ("dummy", openpi_config("dummy", "dummy")),
        ("dummy+dummy", get_config("dummy")),
        ("pi05_dummy", openpi_config("dummy", "dummy", pi05=True)),
    ],
)
def test_openpis_variants_are_names(name, same):
    assert get_config(name) == same


def test_dummy_is_openpis():
    config = get_config("dummy")
    assert config.vision == SO400M
    assert config.language == ExpertConfig(width=64, depth=4, mlp_dim=128, head_dim=16)
    assert config.action == config.language
    assert (config.action_horizon, config.vocab_size) == (50, 257_152)


def test_the_prompt_length_can_be_given():
    assert openpi_config(max_token_len=64).max_token_len == 64


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("pi_0", r"config 'pi_0' is not one of \['pi0', .*did you mean 'pi0'\?"),
        ("pi05_lor", r"did you mean 'pi05_lora'\?"),
        ("", r"config '' is not one of \['pi0', .*gemma_2b_lora\+gemma_300m'$"),
        ("gemma_7b", r"nor made of \['gemma_2b', 'gemma_300m', .*'dummy'\]"),
        ("gemma_2b+gemma_300m+dummy", "is not one of"),
        ("gemma_2b+", "is not one of"),
    ],
)
def test_unknown_names_are_refused_and_the_closest_offered(name, message):
    with pytest.raises(ParameterError, match=message):
        get_config(name)


def test_unknown_variants_are_refused():
    with pytest.raises(ParameterError, match=r"variant 'gemma_9b' is not one of \['gemma_2b', "):
        openpi_config("gemma_2b", "gemma_9b")


def test_experts_of_different_depth_are_refused():
    with pytest.raises(ParameterError, match=r"both experts need the same depth, got \(18, 4\)"):
        openpi_config("gemma_2b", "dummy")


@pytest.mark.parametrize("field", ["depth", "num_heads", "num_kv_heads", "head_dim"])
def test_what_both_experts_must_share(field):
    language = dataclasses.replace(EXPERT, num_heads=8, num_kv_heads=2)
    action = dataclasses.replace(language, **{field: getattr(language, field) * 2})
    with pytest.raises(ParameterError, match=f"both experts need the same {field}, got "):
        Pi0Config(VISION, language, action)


@pytest.mark.parametrize(
    ("heads", "kv_heads"), [(4, 3), (1, 1), (2, 4)], ids=["remainder", "as many", "more"]
)
def test_key_heads_must_divide_the_query_heads(heads, kv_heads):
    with pytest.raises(ParameterError, match=f"multiple of num_kv_heads.* {heads} and {kv_heads}"):
        dataclasses.replace(EXPERT, num_heads=heads, num_kv_heads=kv_heads)


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ParameterError, match="head_dim must be even, got 7"):
        dataclasses.replace(EXPERT, head_dim=7)
    with pytest.raises(ParameterError, match=r"vision width must be a multiple.* 32 and 3"):
        dataclasses.replace(VISION, num_heads=3)
    with pytest.raises(ParameterError, match="multiple of the patch size 14, got 100"):
        dataclasses.replace(get_config("tiny"), image_size=100)
    with pytest.raises(ParameterError, match="vision width must be a multiple of 4, got 34"):
        dataclasses.replace(VISION, width=34)
    with pytest.raises(ParameterError, match=r"patch_size must be a multiple of 4, .* got 14"):
        dataclasses.replace(VISION, stem=(8, 16))
    with pytest.raises(ParameterError, match=r"stem must be multiples of 8, got \[12\]"):
        dataclasses.replace(VISION, stem=(12,))


def test_each_layer_of_a_stem_halves_the_patches():
    assert (VISION.stem_kernels, VISION.patch_shape) == ((), (14, 14, 3))
    stemmed = dataclasses.replace(VISION, patch_size=24, stem=(8, 16, 24))
    assert stemmed.stem_kernels == ((5, 5, 3, 8), (3, 3, 8, 16), (3, 3, 16, 24))
    assert stemmed.patch_shape == (3, 3, 24)


@pytest.mark.parametrize("name", ["pi0_lora", "sim"])
def test_a_config_survives_json(name):
    config = get_config(name)
    content = json.loads(json.dumps(config_to_dict(config)))
    assert config_from_dict(content) == config
    if name == "pi0_lora":  # as written before there were stems
        del content["vision"]["stem"]
        assert config_from_dict(content) == config


@pytest.mark.parametrize("cameras", [(), ("base_0_rgb", "base_0_rgb")])
def test_cameras_are_different_names(cameras):
    with pytest.raises(ParameterError, match="cameras must be different names, got "):
        dataclasses.replace(get_config("tiny"), cameras=cameras)


def test_other_numbers_of_cameras():
    config = get_config("pi0")
    assert with_cameras(config, 3) == config
    assert with_cameras(config, 1).cameras == ("base_0_rgb",)
    four = with_cameras(config, 4)
    assert four.cameras == (*CAMERA_KEYS, "low_0_rgb")
    assert four.prefix_len == 1072
    for count in (0, 5, -1):
        with pytest.raises(ParameterError, match=f"cameras: need 1 to 4, got {count}"):
            with_cameras(config, count)


def test_sizes_are_frozen():
    config = get_config("pi0_lora")
    lora = config.language.lora
    assert lora is not None
    for part in (config, config.vision, config.language, lora):
        field = dataclasses.fields(part)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(part, field, 1)
    assert hash(config) == hash(dataclasses.replace(config))
