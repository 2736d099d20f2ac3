"""Writing checkpoints: the same bits come back, and nothing is left half-written."""

from __future__ import annotations

import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import pytest

from trossen_pi0_core.transforms import NormStats, load_norm_stats
from trossen_pi0_policy.checkpoints import (
    CheckpointError,
    read_metadata,
    read_parameters,
    write_checkpoint,
)

OPENPI = Path(__file__).parents[1] / "data" / "openpi_checkpoint" / "7"
STATS = {
    name: NormStats(mean=np.arange(14, dtype=np.float64), std=np.ones(14), q01=None, q99=None)
    for name in ("state", "actions")
}
SMALL = {"a/kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}


def write(folder, parameters=SMALL, **options):
    return write_checkpoint(folder, parameters, **{"norm_stats": None, "asset_id": None, **options})


def test_what_openpi_wrote_goes_through_bit_exact(tmp_path):
    shapes = read_metadata(OPENPI).shapes
    first = read_parameters(OPENPI, shapes)
    write(tmp_path / "8", first, norm_stats=STATS, asset_id="lab/handover")
    second = read_parameters(tmp_path / "8", shapes)
    for path, leaf in first.items():
        assert second[path].dtype == leaf.dtype
        assert second[path].tobytes() == leaf.tobytes(), path


def test_the_item_is_read_as_openpi_reads_it(tmp_path):
    """As openpi does, ``{"params": tree}`` is restored to arrays replicated over all devices."""
    values = {"a/b/kernel": np.ones((2, 2), ml_dtypes.bfloat16), "c": np.zeros(3, np.float32)}
    folder = write(tmp_path / "1", values)
    mesh = jax.sharding.Mesh(jax.devices(), ("x",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = {"params": {"a": {"b": {"kernel": 0}}, "c": 0}}
        arguments = jax.tree.map(
            lambda _: ocp.ArrayRestoreArgs(sharding=sharding, restore_type=jax.Array), tree
        )
        restored = checkpointer.restore(
            folder / "params", ocp.args.PyTreeRestore(item=tree, restore_args=arguments)
        )
    assert restored["params"]["a"]["b"]["kernel"].dtype == jnp.bfloat16
    np.testing.assert_array_equal(restored["params"]["c"], np.zeros(3))


def test_assets_and_metadata_lie_where_they_belong(tmp_path):
    write(
        tmp_path / "1",
        norm_stats=STATS,
        asset_id="lab/handover",
        metadata={"config": "tiny", "fps": 30},
    )
    info = read_metadata(tmp_path / "1")
    assert info.asset_ids == ("lab/handover",)
    assert info.metadata == {"config": "tiny", "fps": 30}
    stats = load_norm_stats(tmp_path / "1" / "assets" / "lab" / "handover")
    np.testing.assert_array_equal(stats["state"].mean, np.arange(14.0))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1"]


def test_arrays_on_a_device_are_written(tmp_path):
    write(tmp_path / "1", {"w": jnp.arange(4.0)})
    np.testing.assert_array_equal(read_parameters(tmp_path / "1", {"w": (4,)})["w"], np.arange(4))


def test_nothing_is_overwritten_unless_asked(tmp_path):
    write(tmp_path / "1")
    with pytest.raises(CheckpointError, match="exists and is not overwritten"):
        write(tmp_path / "1", {"b": np.ones(2)})
    assert set(read_metadata(tmp_path / "1").shapes) == {"a/kernel"}
    write(tmp_path / "1", {"b": np.ones(2)}, overwrite=True)
    assert set(read_metadata(tmp_path / "1").shapes) == {"b"}
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({}, "at least one parameter"),
        ({"a": np.ones(1), "a/b": np.ones(1)}, "'a/b' lies below another"),
        ({"a/b": np.ones(1), "a": np.ones(1)}, "'a' has an empty name, or is one above"),
        ({"a//b": np.ones(1)}, "'a//b' has an empty name"),
    ],
)
def test_paths_that_make_no_tree_are_refused(tmp_path, parameters, message):
    with pytest.raises(CheckpointError, match=message):
        write(tmp_path / "1", parameters)


@pytest.mark.parametrize("asset_id", [None, "", "/abs", "../up", "."])
def test_asset_ids_stay_inside(tmp_path, asset_id):
    with pytest.raises(CheckpointError, match="must be a relative path"):
        write(tmp_path / "1", norm_stats=STATS, asset_id=asset_id)


def test_a_disk_without_space_is_told_before(tmp_path, monkeypatch):
    usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(10, 10, 1000))
    with pytest.raises(CheckpointError, match=r"not enough space .* needed 0\.00 GB, free 0\.00"):
        write(tmp_path / "1")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_leaves_nothing(tmp_path):
    """Files of this process can grow to 64 KiB only, which fails as a full disk does."""
    code = f"""
import resource
import numpy as np
from trossen_pi0_policy.checkpoints import CheckpointError, write_checkpoint
values = np.random.default_rng(0).standard_normal(2**18)
resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))
try:
    write_checkpoint({str(tmp_path / "1")!r}, dict(w=values), norm_stats=None, asset_id=None)
except CheckpointError as error:
    print("told:", error)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert f"told: checkpoint {tmp_path / '1'} cannot be written" in result.stdout, result.stderr
    assert list(tmp_path.iterdir()) == []
