"""Where a checkpoint is found, what its leaves are compared with, and where downloads go."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import trossen_pi0_policy.checkpoints as checkpoints
from trossen_pi0_policy.checkpoints import (
    CheckpointError,
    DownloadError,
    fetch,
    find_checkpoint,
    matching_configs,
    tokenizer_file,
)
from trossen_pi0_policy.checkpoints.layout import write_metadata
from trossen_pi0_policy.checkpoints.matching import differences


def item(folder):
    folder.mkdir(parents=True)
    (folder / "_METADATA").write_text("{}")
    return folder


def norm_stats(folder, asset_id):
    assets = folder / "assets" / asset_id
    assets.mkdir(parents=True)
    (assets / "norm_stats.json").write_text("{}")
    return assets


def test_front_door_needs_neither_jax_nor_gcsfs():
    for name in checkpoints.__all__:
        assert hasattr(checkpoints, name)
    report = "import sys; print(*{m.split('.')[0] for m in sys.modules})"
    code = f"import trossen_pi0_policy.checkpoints\n{report}"
    loaded = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout.split()
    assert {"jax", "orbax", "gcsfs", "aiohttp"}.isdisjoint(loaded)


def test_a_step_folder_and_its_parameters_are_the_same_checkpoint(tmp_path):
    item(tmp_path / "20000" / "params")
    norm_stats(tmp_path / "20000", "lab/handover")
    by_step = find_checkpoint(tmp_path / "20000")
    assert by_step == find_checkpoint(tmp_path / "20000" / "params")
    assert by_step.step == 20000
    assert by_step.parameters == tmp_path / "20000" / "params"
    assert by_step.asset_ids == ("lab/handover",)


def test_an_item_of_another_name_has_no_step_and_no_assets_beside_it(tmp_path):
    norm_stats(tmp_path, "trossen")
    found = find_checkpoint(item(tmp_path / "base_weights"))
    assert (found.step, found.asset_ids) == (None, ())
    assert found.parameters == tmp_path / "base_weights"


def test_of_several_steps_the_newest_complete_one_is_taken(tmp_path):
    for step in ("900", "10000"):
        item(tmp_path / step / "params")
    item(tmp_path / "20000.orbax-checkpoint-tmp-3" / "params")
    (tmp_path / "30000" / "params.orbax-checkpoint-tmp-4").mkdir(parents=True)
    assert find_checkpoint(tmp_path).step == 10000


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((), "it holds nothing"),
        (("a", "b"), r"expected params/_METADATA in it.*it holds a, b"),
        (("5.orbax-checkpoint-tmp-0",), "5.orbax-checkpoint-tmp-0 was not saved to the end"),
        (("model.safetensors",), r"PyTorch checkpoints \(model.safetensors\) are not read"),
    ],
)
def test_a_folder_without_a_checkpoint_says_what_is_there(tmp_path, names, message):
    for name in names:
        (tmp_path / name).mkdir()
    with pytest.raises(CheckpointError, match=message):
        find_checkpoint(tmp_path)


def test_no_folder_at_all(tmp_path):
    with pytest.raises(CheckpointError, match="gone does not exist"):
        find_checkpoint(tmp_path / "gone")


def test_norm_stats_are_chosen_by_asset(tmp_path):
    item(tmp_path / "params")
    with pytest.raises(CheckpointError, match=r"no norm stats: expected .*<asset id>/norm_stats"):
        find_checkpoint(tmp_path).norm_stats_folder()
    only = norm_stats(tmp_path, "trossen")
    assert find_checkpoint(tmp_path).norm_stats_folder() == only
    nested = norm_stats(tmp_path, "lab/handover")
    found = find_checkpoint(tmp_path)
    assert found.norm_stats_folder("lab/handover") == nested
    with pytest.raises(CheckpointError, match=r"name one of \['lab/handover', 'trossen'\]"):
        found.norm_stats_folder()
    with pytest.raises(CheckpointError, match="asset 'droid', only of"):
        found.norm_stats_folder("droid")


def test_metadata_survive_and_damage_is_told(tmp_path):
    found = find_checkpoint(item(tmp_path / "params"))
    assert found.metadata() == {}
    write_metadata(tmp_path, {"config": "sim", "cameras": ["cam_high"]})
    assert found.metadata() == {"config": "sim", "cameras": ["cam_high"]}
    with pytest.raises(CheckpointError, match="must be JSON"):
        write_metadata(tmp_path, {"rate": float("nan")})
    (tmp_path / "trossen_pi0.json").write_text(json.dumps({"schema": 9, "metadata": {}}))
    with pytest.raises(CheckpointError, match="has schema 9, this version reads 1"):
        found.metadata()
    (tmp_path / "trossen_pi0.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        found.metadata()


PI0 = {
    "PaliGemma/llm/layers/attn/q_einsum/w": (18, 8, 64, 16),
    "PaliGemma/llm/final_norm/scale": (64,),
    "action_time_mlp_in/kernel": (128, 64),
    "state_proj/kernel": (32, 64),
}
PI05 = {key: PI0[key] for key in list(PI0)[:2]} | {"time_mlp_in/kernel": (64, 64)}
LORA = PI0 | {"PaliGemma/llm/layers/attn/q_einsum/lora_a": (18, 8, 64, 16)}
WIDE = PI0 | {"state_proj/kernel": (32, 96)}
DEEP = PI0 | {"PaliGemma/llm/layers/attn/q_einsum/w": (4, 8, 64, 16)}


def test_differences_are_listed_by_path_and_shape():
    found = differences(PI0, {**WIDE, "new/bias": (3,)})
    assert found.extra == {"new/bias": (3,)}
    assert found.misshaped == {"state_proj/kernel": ((32, 64), (32, 96))}
    text = str(differences(PI0, {"new/bias": (3,), "state_proj/kernel": (32, 96)}))
    assert "3 leaves missing" in text
    assert "PaliGemma/llm/final_norm/scale: expected (64,)" in text
    assert "1 leaf not expected:\n    new/bias: given (3,)" in text
    assert "state_proj/kernel: expected (32, 64), given (32, 96)" in text


def test_long_lists_are_cut_and_counted():
    text = str(differences({f"leaf_{i:03}": (1,) for i in range(100)}, {}))
    assert "100 leaves missing" in text
    assert "leaf_011" in text
    assert "leaf_012" not in text
    assert "... and 88 more" in text


@pytest.mark.parametrize(
    ("expected", "given", "hints"),
    [
        (LORA, PI0, ["no LoRA leaves: take the config without `_lora`"]),
        (PI0, LORA, ["has LoRA leaves: take the config with `_lora`"]),
        (PI0, PI05, ["is one of pi0.5, the config one of pi0"]),
        (PI05, PI0, ["is one of pi0, the config one of pi0.5"]),
        (PI0, WIDE, ["widths differ"]),
        (DEEP, PI0, ["has 18 layers where the config has 4"]),
        (PI0, PI0 | {"else": (1,)}, []),
    ],
)
def test_known_causes_are_named(expected, given, hints):
    found = differences(expected, given).hints()
    assert len(found) == len(hints)
    for hint, text in zip(hints, found, strict=True):
        assert hint in text


def test_leaves_may_be_allowed_to_be_missing():
    found = differences(LORA, PI0, ".*lora.*")
    assert not found
    assert found.absent == ("PaliGemma/llm/layers/attn/q_einsum/lora_a",)
    assert differences(LORA, PI0, "lora")  # the whole path has to match


def test_configs_match_exactly_or_not():
    configs = {"pi0": PI0, "pi05": PI05, "pi0_lora": LORA, "pi0_own": dict(PI0)}
    assert matching_configs(PI0, configs) == ["pi0", "pi0_own"]
    assert matching_configs(LORA, configs) == ["pi0_lora"]
    assert matching_configs(WIDE, configs) == []


def test_what_is_on_disk_is_not_fetched(tmp_path):
    assert fetch(tmp_path) == tmp_path
    with pytest.raises(DownloadError, match="gone does not exist; a path or gs://"):
        fetch(tmp_path / "gone")


@pytest.mark.parametrize(
    "location",
    ["s3://bucket/x", "https://host/x", "gs://", "gs://bucket", "gs://b/../x", "gs:///x"],
)
def test_other_locations_are_refused(location):
    with pytest.raises(DownloadError, match="neither a path on disk nor gs://bucket/path"):
        fetch(location)


def test_a_tokeniser_that_is_named_must_be_a_file(tmp_path):
    file = tmp_path / "own.model"
    file.write_bytes(b"x")
    assert tokenizer_file(file) == file
    with pytest.raises(DownloadError, match="is no file; --tokenizer names"):
        tokenizer_file(tmp_path)


def test_a_file_in_openpis_cache_is_used(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENPI_DATA_HOME", str(tmp_path / "openpi"))
    monkeypatch.setenv("TROSSEN_PI0_CACHE", str(tmp_path / "own"))
    file = tmp_path / "openpi" / "big_vision" / "paligemma_tokenizer.model"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    assert tokenizer_file() == file
