"""Reading a checkpoint that openpi's pinned versions wrote; see the README beside the data."""

from __future__ import annotations

import shutil
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from trossen_pi0_core.transforms import load_norm_stats
from trossen_pi0_policy.checkpoints import (
    CheckpointError,
    CheckpointMismatchError,
    read_metadata,
    read_parameters,
    write_checkpoint,
)

DATA = Path(__file__).parents[1] / "data" / "openpi_checkpoint"
STEP = DATA / "7"
LORA = "PaliGemma/llm/layers/attn/q_einsum/lora_a"


@pytest.fixture(scope="module")
def bits():
    """Each leaf's bits as unsigned integers, as openpi was given them."""
    with np.load(DATA / "bits.npz") as arrays:
        return {name.replace("|", "/"): arrays[name] for name in arrays.files}


@pytest.fixture
def shapes(bits):
    return {path: leaf.shape for path, leaf in bits.items()}


@pytest.fixture
def copy(tmp_path):
    return Path(shutil.copytree(STEP, tmp_path / "7"))


def test_metadata_tell_leaves_and_assets(bits):
    info = read_metadata(STEP)
    assert {path: leaf.shape for path, leaf in bits.items()} == info.shapes
    assert info.leaves["action_in_proj/bias"].dtype == np.float32
    assert info.leaves["PaliGemma/llm/embedder/input_embedding"].dtype == ml_dtypes.bfloat16
    assert info.size_bytes == sum(leaf.nbytes for leaf in bits.values())
    assert info.asset_ids == ("lab/handover",)
    assert info.folder.step == 7
    assert info.metadata == {}
    stats = load_norm_stats(info.folder.norm_stats_folder())
    assert stats["actions"].mean.shape == (14,)


def test_parameters_are_bit_exact(bits, shapes):
    given = read_parameters(STEP, shapes)
    assert list(given) == list(shapes)
    for path, leaf in given.items():
        assert leaf.shape == bits[path].shape
        assert leaf.dtype.itemsize == bits[path].itemsize
        assert leaf.tobytes() == bits[path].tobytes(), path


def test_parameters_are_converted_on_the_way(bits, shapes):
    given = read_parameters(STEP / "params", shapes, dtype="float32")
    path = "PaliGemma/llm/embedder/input_embedding"
    assert {leaf.dtype for leaf in given.values()} == {np.dtype(np.float32)}
    np.testing.assert_array_equal(given[path], bits[path].view(ml_dtypes.bfloat16))
    half = read_parameters(STEP, shapes, dtype=ml_dtypes.bfloat16)
    assert {leaf.dtype for leaf in half.values()} == {np.dtype(ml_dtypes.bfloat16)}


@pytest.fixture
def large(tmp_path):
    """A checkpoint of 1 MB, whose values lie in a file of their own, and that file."""
    values = {"w/kernel": np.random.default_rng(0).standard_normal((4, 2**15))}
    folder = write_checkpoint(tmp_path / "1", values, norm_stats=None, asset_id=None)
    data = max(folder.rglob("d/*"), key=lambda file: file.stat().st_size)
    assert data.stat().st_size > 500_000
    return folder, data


def test_mismatches_are_told_without_reading_values(large):
    folder, data = large
    data.unlink()
    assert read_metadata(folder).shapes == {"w/kernel": (4, 2**15)}
    with pytest.raises(CheckpointMismatchError) as failure:
        read_parameters(folder, {"w/kernel": (4, 7), "b": (2,)})
    assert str(folder) in str(failure.value)
    assert "w/kernel: expected (4, 7), given (4, 32768)" in str(failure.value)


def test_missing_and_truncated_values_are_told(large):
    folder, data = large
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"1/params cannot be read.*damaged"):
        read_parameters(folder, {"w/kernel": (4, 2**15)})
    data.unlink()
    with pytest.raises(CheckpointError, match=r"1/params cannot be read.*damaged"):
        read_parameters(folder, {"w/kernel": (4, 2**15)})


def test_all_mismatches_are_listed(shapes):
    expected = {**shapes, "new/kernel": (3, 4), "action_in_proj/bias": (9,)}
    del expected["state_proj/kernel"]
    with pytest.raises(CheckpointMismatchError) as failure:
        read_parameters(STEP, expected)
    text = str(failure.value)
    assert str(STEP) in text
    assert "new/kernel: expected (3, 4)" in text
    assert "state_proj/kernel: given (4, 8)" in text
    assert "action_in_proj/bias: expected (9,), given (8,)" in text


def test_a_config_without_lora_is_named_as_the_cause(shapes):
    expected = {path: shape for path, shape in shapes.items() if "lora" not in path}
    with pytest.raises(CheckpointMismatchError, match="take the config with `_lora`"):
        read_parameters(STEP, expected)


def test_leaves_that_may_be_missing_are_absent_from_the_result(shapes):
    expected = {"other/lora_a": (2,), **shapes}
    given = read_parameters(STEP, expected, allow_missing=".*lora.*")
    assert set(expected) - set(given) == {"other/lora_a"}
    assert LORA in given


def test_a_damaged_description_is_told(copy):
    (copy / "params" / "_METADATA").write_text("{")
    with pytest.raises(CheckpointError, match="7/params cannot be read"):
        read_metadata(copy)
