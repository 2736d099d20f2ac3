"""What a training refuses before it changes anything, by the command."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from filelock import FileLock

from fixtures.bags import Episode
from fixtures.training import REPO_ID, convert_episodes, debug_config
from trossen_pi0_training import norm_stats, train
from trossen_pi0_training.fit.mesh import make_mesh
from trossen_pi0_training.fit.step import StepMetrics
from trossen_pi0_training.run import disk, loop
from trossen_pi0_training.run.disk import checkpoints_to_come
from trossen_pi0_training.run.metadata import checkpoint_metadata, write_config


@pytest.fixture
def command(tmp_path, caplog):
    """Runs the command on the run ``try``; gives its status and what it said."""

    def run(*more):
        caplog.clear()
        words = ["debug", "--exp-name", "try", "--checkpoint-base", str(tmp_path)]
        return train.main([*words, *more]), caplog.text

    return run


@pytest.fixture
def begun(tmp_path):
    """Folder of a run that was killed before its first checkpoint."""
    folder = tmp_path / "debug" / "try"
    folder.mkdir(parents=True)
    write_config(debug_config(tmp_path), folder)
    (folder / "losses.jsonl").write_text("")
    return folder


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_overwrite_removes_nothing_but_runs(command, tmp_path):
    folder = tmp_path / "debug" / "try"
    (folder / "thesis").mkdir(parents=True)
    (folder / "thesis" / "chapter.txt").write_text("all of it")
    for more in ([], ["--overwrite"]):
        status, said = command(*more)
        assert status == 1
        assert "holds no run, as train_config.json is missing; it holds thesis" in said
    assert names(folder) == ["thesis", "thesis/chapter.txt"]


def test_a_run_that_exists_is_told_before_weights_are_read(command, begun):
    status, said = command("--weights", "/no/such/folder")
    assert status == 1
    assert "exists: go on with it by --resume, replace it by --overwrite" in said
    assert "/no/such/folder" not in said
    status, said = command("--overwrite", "--weights", "/no/such/folder")
    assert status == 1
    assert "/no/such/folder" in said
    assert "losses.jsonl" in names(begun)


def test_a_run_without_a_checkpoint_is_not_resumed_but_replaced(command, begun):
    status, said = command("--resume")
    assert status == 1
    assert "ended before its first checkpoint was complete" in said
    assert "begin it anew with --overwrite" in said
    (begun / "train_config.json").write_text("[1]")
    status, said = command("--resume")
    assert status == 1
    assert "cannot be resumed" in said


def test_a_run_in_work_is_left_alone(command, begun):
    with FileLock(begun / "run.lock"):
        status, said = command("--overwrite")
    assert status == 1
    assert f"another training works in {begun}" in said
    assert "losses.jsonl" in names(begun)


def test_wandb_that_is_missing_or_refuses_removes_nothing(command, begun, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    status, said = command("--overwrite", "--wandb")
    assert status == 1
    assert "--wandb needs the package wandb: pip install" in said
    monkeypatch.delitem(sys.modules, "wandb")
    # Neither a key nor a place that could have one.
    for name in [name for name in os.environ if name.startswith("WANDB_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    status, said = command("--overwrite", "--wandb")
    assert status == 1
    assert "--wandb: Weights & Biases takes no run: No API key configured" in said
    assert "losses.jsonl" in names(begun)


def test_a_held_out_instruction_that_is_too_long_removes_nothing(command, begun, tmp_path):
    held = int(np.random.default_rng(0).permutation(2)[0])
    episodes = [Episode(f"e{i}", seconds=0.4, seed=i) for i in range(2)]
    episodes[held].prompt = "red " * 30
    root = convert_episodes(tmp_path / "data", episodes)
    words = ["--data.repo-id", REPO_ID, "--data.root", str(root), "--data.prompt-from-task"]
    words += ["--assets-base", str(tmp_path / "assets")]
    assert norm_stats.main(["debug", *words]) == 0
    status, said = command("--overwrite", *words)
    assert status == 1
    assert "prompts are too long: 'red red" in said
    assert "has 121 tokens, at most 48 are allowed" in said
    assert "losses.jsonl" in names(begun)


@pytest.mark.parametrize(
    ("changes", "there", "wanted"),
    [
        ({}, set(), (2, 0)),
        ({}, {200}, (1, 0)),
        ({}, {1000}, (0, 0)),
        ({"num_train_steps": 100}, set(), (1, 0)),
        ({"keep_period": 300}, set(), (4, 3)),
        ({"keep_period": 300}, {300, 500}, (2, 2)),
        ({"keep_period": 300, "num_train_steps": 900}, set(), (4, 3)),
    ],
)
def test_checkpoints_to_come_are_counted(tmp_path, changes, there, wanted):
    config = debug_config(tmp_path, save_interval=100, num_train_steps=1000)
    assert checkpoints_to_come(replace(config, **changes), there) == wanted


def test_what_overwrite_removes_counts_as_free(command, begun, monkeypatch):
    usage = type("Usage", (), {"free": 0})
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda _: usage)
    status, said = command("--overwrite", "--keep-period", "10")
    assert status == 1
    assert "not enough space in" in said
    assert "2 more checkpoints at a time, of which 2 stay for ever by --keep-period need" in said
    (begun / "10").mkdir()
    (begun / "10" / "large").write_bytes(bytes(100_000_000))
    config = debug_config(begun, checkpoint_base=begun.parents[1], overwrite=True)
    disk.check_disk(config, make_mesh(config))
    (begun / "10").rename(begun / "10.orbax-checkpoint-tmp")
    disk.check_disk(replace(config, overwrite=False, resume=True), make_mesh(config))


def test_ten_steps_without_finite_gradients_end_it(command, monkeypatch):
    def make(config, mesh, plan):
        def step(state, batch):
            bad = jnp.float32(np.nan)
            skipped = jnp.float32(state.step >= 2)
            return state.replace(step=state.step + 1), StepMetrics(bad, bad, bad, bad, skipped)

        return step

    monkeypatch.setattr(loop, "make_train_step", make)
    status, said = command("--validation.interval", "0", "--save-interval", "100")
    assert status == 1
    assert (
        "the last 10 steps, up to 11, had no finite loss and gradients; none is the newest" in said
    )


def test_a_device_without_memory_is_told(command, monkeypatch):
    def make(config, mesh, plan):
        def step(state, batch):
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory: 12 GiB.\nmore")

        return step

    monkeypatch.setattr(loop, "make_train_step", make)
    monkeypatch.delenv("XLA_PYTHON_CLIENT_MEM_FRACTION", raising=False)
    status, said = command("--validation.interval", "0")
    assert status == 1
    assert "RESOURCE_EXHAUSTED: Out of memory: 12 GiB.; a --micro-batch below 4" in said
    assert "(XLA_PYTHON_CLIENT_MEM_FRACTION, now 0.75)" in said


def test_clients_are_told_where_arms_begin_and_how_long_prefixes_were(tmp_path):
    config = debug_config(tmp_path, max_prefix=5)
    told = json.loads(json.dumps(checkpoint_metadata(config, 30.0, None)))["policy_metadata"]
    arm = [0.0, np.pi / 3, np.pi / 6, np.pi / 5, 0.0, 0.0, 0.0]
    assert told["reset_pose"] == arm * 2
    assert told["max_prefix"] == 5
    assert "max_prefix" not in checkpoint_metadata(debug_config(tmp_path), None, None)
    one = replace(config.data, joints=("left_joint_0.pos", "left_joint_1.pos"))
    few = checkpoint_metadata(replace(config, data=one), None, None)
    assert "reset_pose" not in few["policy_metadata"]
