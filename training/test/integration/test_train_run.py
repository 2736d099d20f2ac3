"""Trainings by the real command: on converted episodes, killed, resumed, served to the kit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from domain_coordinator import domain_id
from PIL import Image
from typing_extensions import override
from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]

from fixtures.bags import Episode
from fixtures.checkpoints import STAGED_STATE, write_seeded_checkpoint
from fixtures.training import PROMPT, REPO_ID, convert_episodes
from trossen_pi0_core.joints import JointMap
from trossen_pi0_policy.checkpoints import find_checkpoint, read_metadata, read_parameters
from trossen_pi0_training import norm_stats, train
from trossen_pi0_training.run.trackers import read_losses

DEADLINE_S = 240.0
MORE = 12

pytestmark = pytest.mark.timeout(600)


@dataclass
class Reach(Episode):
    """Slow motions around the staged pose, within the limits of all joints."""

    seconds: float = 1.5

    @override
    def positions(self, time_s, lead_s=0.0):
        at = time_s + lead_s + 0.2 * self.seed
        size = np.tile([0.15] * 6 + [0.004], 2)
        values = STAGED_STATE + size * np.sin(at + np.arange(14))
        return dict(zip(JointMap().urdf_names, values, strict=True))


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def words(home):
    """Of every command here; the norm stats are made."""
    episodes = [Reach(f"e{i}", seed=i) for i in range(4)]
    root = convert_episodes(home, episodes)
    common = ["debug", "--data.repo-id", REPO_ID, "--data.root", str(root)]
    common += ["--data.default-prompt", PROMPT, "--data.val-fraction", "0.25"]
    common += ["--assets-base", str(home / "assets")]
    assert norm_stats.main(common) == 0
    return [*common, "--checkpoint-base", str(home / "checkpoints")]


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    """Trainings of this module that are alike compile their step once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        yield


@pytest.fixture(scope="module", autouse=True)
def wandb_offline(home):
    """Runs of Weights & Biases are written into ``home``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("WANDB_DIR", str(home))
        yield


def start(words, *more, before=(), **how):
    command = [*before, sys.executable, "-m", "trossen_pi0_training.train", *words, *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **how)


def finish(process):
    _, text = process.communicate(timeout=DEADLINE_S)
    return process.returncode, text


@dataclass(frozen=True)
class Runs:
    """A run that was killed and resumed, and one that was not.

    Attributes:
        killed: folder of the first.
        whole: of the other.
        resumed_at: step of the checkpoint that was found.
        steps: of both.
        text: that the second one wrote.
    """

    killed: object
    whole: object
    resumed_at: int
    steps: int
    text: str


@pytest.fixture(scope="module")
def runs(home, words):
    folder = home / "checkpoints" / "debug"
    quiet = ["--validation.interval", "0"]
    first = start(words, "--exp-name", "killed", *quiet, "--num-train-steps", "100000", "--wandb")
    deadline = time.monotonic() + DEADLINE_S
    while not any(entry.name.isdecimal() for entry in (folder / "killed").glob("*")):
        assert time.monotonic() < deadline
        assert first.poll() is None, finish(first)[1]
        time.sleep(0.02)
    first.kill()
    finish(first)
    newest = find_checkpoint(folder / "killed").step
    assert newest is not None
    last = newest + MORE
    steps = ["--num-train-steps", str(last)]
    moved = shutil.copytree(home / "set", home / "moved")
    here = ["--data.root", str(moved)]
    words = [*words, "--wandb"]
    status, text = finish(start(words, "--exp-name", "killed", *quiet, *steps, *here, "--resume"))
    assert status == 0, text
    assert f"resuming from step {newest}" in text
    look = ["--validation.interval", str(last), "--loader.workers", "1"]
    status, text = finish(start(words, "--exp-name", "whole", *look, *steps))
    assert status == 0, text
    return Runs(folder / "killed", folder / "whole", newest, last, text)


def test_a_killed_run_goes_on_as_if_nothing_had_been(runs):
    killed, whole = read_losses(runs.killed), read_losses(runs.whole)
    assert sorted(whole) == list(range(runs.steps))
    assert killed.keys() >= set(range(runs.resumed_at, runs.steps))
    assert {step: killed[step] for step in killed} == {step: whole[step] for step in killed}
    parameters = []
    for folder in (runs.killed, runs.whole):
        info = read_metadata(folder)
        assert info.folder.step == runs.steps
        parameters.append(read_parameters(folder, info.shapes))
    for path, leaf in parameters[0].items():
        np.testing.assert_array_equal(leaf, parameters[1][path], err_msg=path)


def test_the_loss_falls_on_converted_episodes(runs):
    losses = list(read_losses(runs.whole).values())
    assert np.mean(losses[-6:]) < 0.8 * np.mean(losses[:6])


def test_a_run_leaves_what_people_look_at(runs, home):
    folder = runs.whole
    assert "val_loss" in runs.text
    assert "val_error_rad" in runs.text
    assert list((folder / "tensorboard").glob("events*"))
    (picture,) = (folder / "validation").glob("*.png")
    assert picture.name == f"chunks_{runs.steps:06d}.png"
    step = folder / str(runs.steps)
    stats = json.loads((step / "assets" / "lab" / "cube" / "norm_stats.json").read_text())
    made = json.loads((home / "assets/debug/lab/cube/norm_stats.json").read_text())
    assert stats == made
    said = json.loads((step / "trossen_pi0.json").read_text())["metadata"]
    assert said["config_name"] == "tiny"
    assert said["prompt"] == PROMPT
    assert said["prefix_conditioned"] is False
    assert said["policy_metadata"]["joints"] == list(JointMap().dataset_names)
    assert said["policy_metadata"]["camera_names"][0] == "cam_high"
    assert said["policy_metadata"]["fps"] == 30.0
    assert [entry.name for entry in folder.glob("[0-9]*")] == [str(runs.steps)]


def wandb_records(file):
    """What a file of Weights & Biases holds: a log as LevelDB writes it, in blocks of 32 KiB."""
    data, at, payload = file.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if (rest := 32768 - at % 32768) < 7:
            at += rest
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        payload += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in {1, 4}:  # whole, or the last part
            yield Record.FromString(payload)
            payload = b""


def test_wandb_has_the_figures_of_a_run_and_its_plots(runs, home):
    written = {}
    for name in ("killed", "whole"):
        run_id = (runs.whole.parent / name / "wandb_id.txt").read_text()
        written[name] = sorted((home / "wandb").glob(f"offline-run-*-{run_id}/*.wandb"))
        # Of the part that was killed nothing may have come to its file.
        records = list(wandb_records(written[name][-1]))
        (run,) = (record.run for record in records if record.HasField("run"))
        assert (run.display_name, run.run_id) == (name, run_id)
    assert {name: len(files) for name, files in written.items()} == {"killed": 2, "whole": 1}
    history = [
        {(item.key or "/".join(item.nested_key)): item.value_json for item in items}
        for items in (record.history.item for record in records if record.HasField("history"))
    ]
    folder = written["whole"][0].parent
    found = {int(entry["_step"]): float(entry["loss"]) for entry in history if "loss" in entry}
    losses = read_losses(runs.whole)
    begins = [0, *found]
    means = [np.mean([losses[i] for i in range(*span)]) for span in pairwise(begins)]
    assert list(found.values()) == pytest.approx(means, rel=1e-5)
    assert len(found) >= runs.steps // 5
    assert "val_loss" in history[-1]
    (plot,) = (runs.whole / "validation").glob("*.png")
    (picture,) = (folder / "files" / "media" / "images").glob("held_out_chunks_*.png")
    with Image.open(plot) as ours, Image.open(picture) as theirs:
        np.testing.assert_array_equal(ours.convert("RGB"), theirs.convert("RGB"))


@pytest.mark.timeout(180)
def test_the_policy_node_drives_the_simulated_kit_with_it(runs, home, tmp_path):
    with domain_id() as domain:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "trossen_pi0_bringup.sim", f"run_dir:={tmp_path}"),
                *("video:=false", "backend:=pi0", f"checkpoint:={runs.whole}", "flow_steps:=4"),
                *("left_arm_address:=127.0.0.132", "right_arm_address:=127.0.0.133"),
                *("camera_width:=160", "camera_height:=120", "camera_fps:=15"),
                *("max_duration_s:=4", f"compilation_cache:={tmp_path}/compiled"),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
        )
        try:
            text, _ = process.communicate(timeout=DEADLINE_S)
        finally:
            process.kill()
    assert process.returncode == 1, text  # its time ended; the task takes more training
    (episode,) = json.loads((tmp_path / "summary.json").read_text())["episodes"]
    ended = (episode["outcome"], episode["message"])
    assert ended == ("timeout", "the time limit of 4 s is over"), text
    assert episode["chunks"] >= 3
    assert episode["controller"]["chunks_rejected"] == 0
    assert "FAULT" not in text


def test_a_save_that_fails_leaves_the_last_checkpoint(runs, words):
    before = {p: p.stat().st_size for p in (runs.killed / str(runs.steps)).rglob("*")}
    # No other save comes within the deadline: it is noticed on the way.
    more = ["--num-train-steps", "1000000", "--save-interval", str(runs.steps + 1)]
    more += ["--validation.interval", "0"]
    limited = ("prlimit", "--fsize=50000")  # as a disk on which no large file can be written
    status, text = finish(start(words, "--exp-name", "killed", "--resume", *more, before=limited))
    assert status == 1, text
    assert f"could not be written, that of step {runs.steps} is complete" in text
    assert {p: p.stat().st_size for p in (runs.killed / str(runs.steps)).rglob("*")} == before
    assert find_checkpoint(runs.killed).step == runs.steps


@pytest.mark.parametrize("workers", [0, 2])
def test_a_signal_saves_and_says_how_to_go_on(words, home, workers):
    """Ctrl-C to the training alone; SIGTERM to all its processes, as job schedulers send it."""
    name, number = ("all", signal.SIGTERM) if workers else ("one", signal.SIGINT)
    more = ["--num-train-steps", "1000000", "--loader.workers", str(workers)]
    process = start(words, "--exp-name", name, *more, start_new_session=True)
    losses = home / "checkpoints" / "debug" / name / "losses.jsonl"
    deadline = time.monotonic() + DEADLINE_S
    while not losses.exists() or not losses.read_text():
        assert time.monotonic() < deadline
        assert process.poll() is None, finish(process)[1]
        time.sleep(0.02)
    if workers:
        os.killpg(process.pid, number)
    else:
        process.send_signal(number)
    status, text = finish(process)
    assert status == 128 + number, text
    step = find_checkpoint(losses.parent).step
    assert f"go on from step {step} with --resume" in text
    assert step == max(read_losses(losses.parent)) + 1


def test_an_existing_run_is_not_touched_unasked(runs, words, tmp_path, caplog):
    names = sorted(p.name for p in runs.whole.iterdir())
    cases = {
        (): "exists: go on with it by --resume, replace it by --overwrite",
        ("--resume", "--seed", "7"): "begun with another config: seed: 42, now 7",
        ("--resume", "--model", "sim"): "begun with another config: model: 'tiny', now 'sim'",
    }
    for more, said in cases.items():
        caplog.clear()
        assert train.main([*words, "--exp-name", "whole", *more]) == 1
        assert said in caplog.text
    other = write_seeded_checkpoint(tmp_path / "1", "sim")
    caplog.clear()
    more = ["--overwrite", "--weights", str(other)]
    assert train.main([*words, "--exp-name", "whole", *more]) == 1
    assert "the config is of a model of another size" in caplog.text
    assert sorted(p.name for p in runs.whole.iterdir()) == names


def test_a_run_goes_on_with_its_data_and_norm_stats_only(runs, words, home, tmp_path, caplog):
    folder = tmp_path / "assets" / "debug" / "lab" / "cube"
    shutil.copytree(home / "assets" / "debug" / "lab" / "cube", folder)
    changed = json.loads((folder / "norm_stats.json").read_text())
    changed["norm_stats"]["actions"]["mean"][3] += 0.01
    (folder / "norm_stats.json").write_text(json.dumps(changed))
    more = ["--exp-name", "whole", "--resume", "--assets-base", str(tmp_path / "assets")]
    assert train.main([*words, *more]) == 1
    assert "was begun with other data: norm stats of 'actions' differ from those in" in caplog.text
    other = convert_episodes(tmp_path, [Reach(f"e{i}", seed=i + 1) for i in range(4)])
    more += ["--data.root", str(other)]
    assert norm_stats.main([*words[:-2], *more[3:]]) == 0
    caplog.clear()
    assert train.main([*words, *more]) == 1
    assert "was begun with other data: digest: " in caplog.text
    assert "begin another run from its parameters" in caplog.text


def test_everything_that_is_wrong_is_said_before_anything_is_made(words, home):
    devices = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    more = ["--max-prefix", "50", "--data.default-prompt", "red " * 30, "--batch-size", "7"]
    more += ["--data.joints", "left_joint_9.pos"]
    status, text = finish(start(words, *more, env=devices))
    assert status == 1
    for said in (
        "a run needs a name: --exp-name",
        "max_prefix must be below the 50 rows of a chunk, got 50",
        "batch_size must be a multiple of the number of devices, 2, got 7",
        "prompts are too long: 'red red",
        "no value 'left_joint_9.pos'",
    ):
        assert said in text
    status, text = finish(start(words, "--exp-name", "none", "--resume", "--fsdp-devices", "3"))
    assert status == 1
    assert "there is no run" in text
    assert "fsdp_devices must divide the number of devices, 1, got 3" in text
    assert not (home / "checkpoints" / "debug" / "none").exists()
