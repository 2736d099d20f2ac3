"""``trossen-pi0 merge``: what it writes answers as the checkpoint with adapters does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from fixtures.checkpoints import PROMPT, SPREAD, STAGED_STATE, write_seeded_checkpoint
from peers.parameter_recipe import seeded_parameters
from trossen_pi0_core.transforms import NormStats
from trossen_pi0_policy.checkpoints import read_metadata, write_checkpoint
from trossen_pi0_policy.cli.main import EXIT_FAILURE, EXIT_OK, main
from trossen_pi0_policy.pi0.config import LoraConfig, config_to_dict, get_config
from trossen_pi0_policy.pi0.parameters import openpi_shapes
from trossen_pi0_policy.pi0.policy import load_policy

TINY = get_config("tiny")
ADAPTED = replace(
    TINY,
    language=replace(TINY.language, lora=LoraConfig(2, 4.0)),
    action=replace(TINY.action, lora=LoraConfig(3, 3.0)),
)
ASSET = "lab/handover"
SAID = {"prompt": PROMPT, "prefix_conditioned": True, "policy_metadata": {"fps": 30.0}}


def write_adapted(folder, kind: Any = np.float32):
    parameters = seeded_parameters(openpi_shapes(ADAPTED), 4)
    # As training saves them: what is frozen is of the narrow type, what is trained is not.
    narrow = {
        path: leaf.astype(kind) if "llm/layers" in path and "lora" not in path else leaf
        for path, leaf in parameters.items()
    }
    stats = NormStats(STAGED_STATE, SPREAD, STAGED_STATE - SPREAD, STAGED_STATE + SPREAD)
    return write_checkpoint(
        folder,
        narrow,
        norm_stats={"state": stats, "actions": stats},
        asset_id=ASSET,
        metadata={"config": config_to_dict(ADAPTED), "config_name": "tiny_lora", **SAID},
    )


def merge(checkpoint, output, *more):
    return main(["merge", "--checkpoint", str(checkpoint), "--output", str(output), *more])


def answer(checkpoint, dtype):
    rng = np.random.default_rng(0)
    request = {
        "state": STAGED_STATE.astype(np.float32),
        "images": {"cam_high": rng.integers(0, 256, (3, 60, 80), np.uint8)},
    }
    noise = rng.standard_normal((50, 32)).astype(np.float32)
    return load_policy(checkpoint, dtype=dtype).infer_one(request, noise=noise)["actions"]


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_answers_are_those_with_adapters(tmp_path, capsys, kind):
    numpy_kind = np.float32 if kind == "float32" else ml_dtypes.bfloat16
    adapted = write_adapted(tmp_path / "with" / "20", numpy_kind)
    (adapted / "assets" / "note.txt").write_text("kept")
    merged = tmp_path / "merged" / "20"
    assert merge(adapted, merged) == EXIT_OK
    assert capsys.readouterr().out == f"{merged}: written\n"
    info = read_metadata(merged)
    assert info.shapes == openpi_shapes(TINY)
    plain_leaf = "PaliGemma/llm/layers/mlp/gating_einsum"
    assert info.leaves[plain_leaf].dtype == np.dtype(numpy_kind)
    plain = json.loads(json.dumps(config_to_dict(TINY)))
    assert info.metadata == {"config": plain, "config_name": "tiny", **SAID}
    assert info.asset_ids == (ASSET,)
    assert (merged / "assets" / "note.txt").read_text() == "kept"
    wanted, found = answer(adapted, kind), answer(merged, kind)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6 * SPREAD.max())
    without = write_checkpoint(
        tmp_path / "base",
        {k: v for k, v in seeded_parameters(openpi_shapes(ADAPTED), 4).items() if "lora" not in k},
        norm_stats=None,
        asset_id=None,
        assets=adapted / "assets",
        metadata={"config": config_to_dict(TINY), "prompt": PROMPT},
    )
    assert np.abs(answer(without, kind) - wanted).max() > 1e-2 * SPREAD.max()


def test_weights_are_written_in_another_type(tmp_path):
    wide, narrow = write_seeded_checkpoint(tmp_path / "wide"), tmp_path / "narrow"
    assert merge(wide, narrow, "--dtype", "bfloat16") == EXIT_OK
    before, after = read_metadata(wide), read_metadata(narrow)
    assert {str(leaf.dtype) for leaf in before.leaves.values()} == {"float32"}
    assert {str(leaf.dtype) for leaf in after.leaves.values()} == {"bfloat16"}
    assert after.metadata == before.metadata
    assert size(narrow) < 0.6 * size(wide)
    # Some weights, as those of the norms, are served in float32 whatever the type.
    apart = answer(narrow, "float32") - answer(wide, "float32")
    assert 0 < np.abs(apart).max() < 0.1 * SPREAD.max()


def size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_what_cannot_be_merged_is_refused(tmp_path, capsys):
    plain = write_seeded_checkpoint(tmp_path / "plain")
    assert merge(plain, tmp_path / "merged") == EXIT_FAILURE
    assert "is one of config 'tiny', which has no LoRA adapters" in capsys.readouterr().err
    assert not (tmp_path / "merged").exists()
    adapted = write_adapted(tmp_path / "adapted")
    assert merge(adapted, plain) == EXIT_FAILURE
    assert f"{plain} exists: a merged checkpoint needs a folder" in capsys.readouterr().err
    assert merge(adapted, tmp_path / "merged", "--config", "tiny") == EXIT_FAILURE
    assert "nothing to merge" in capsys.readouterr().err
