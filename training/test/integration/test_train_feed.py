"""Examples of really converted episodes, and the processes that make batches of them."""

from __future__ import annotations

import itertools
import json
import math
import multiprocessing
import os
import re
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

from fixtures.training import PROMPT, convert_episodes, debug_config, rewrite_table
from trossen_pi0_core.errors import DatasetError
from trossen_pi0_core.transforms import ByteTokenizer, PolicyTransform
from trossen_pi0_training import layout, norm_stats
from trossen_pi0_training.config.fields import LoaderConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.feed import survey
from trossen_pi0_training.feed.examples import DatasetExamples, transform_config
from trossen_pi0_training.feed.loader import Loader, Source
from trossen_pi0_training.feed.selection import open_dataset, select_episodes
from trossen_pi0_training.feed.synthetic import SyntheticExamples, synthetic_stats
from trossen_pi0_training.video import VideoWriter

FIELDS = ("images", "image_mask", "state", "tokens", "token_mask", "actions", "numbers")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return convert_episodes(tmp_path_factory.mktemp("data"))


@pytest.fixture
def config(root, tmp_path):
    return debug_config(tmp_path, root)


def source(config, workers=0, **changes):
    loader = LoaderConfig(workers=workers, batches_ahead=2, **changes)
    rows = (0, config.batch_size)
    return Source(replace(config, loader=loader), synthetic_stats(14), "train", rows)


def take(loader, count):
    return list(itertools.islice(loader, count))


def signal_to(worker, number):
    assert worker.pid is not None
    os.kill(worker.pid, number)


def batches(source, count, start_step=0):
    with Loader(source, start_step=start_step) as loader:
        return take(loader, count)


def assert_same(some, others):
    assert len(some) == len(others) > 0
    for a, b in zip(some, others, strict=True):
        for field in FIELDS:
            np.testing.assert_array_equal(getattr(a, field), getattr(b, field))


def test_an_example_is_what_the_policy_would_see(config):
    frames = open_dataset(config.data)
    chosen = select_episodes(frames, config.data)
    assert len(chosen.train) == 3
    assert len(chosen.val) == 1
    stats = norm_stats.compute(frames, chosen.train, 50, delta=False)
    examples = DatasetExamples(config, frames, stats, chosen.train)
    lengths = [frames.episodes[n].length for n in chosen.train]
    assert len(examples) == sum(lengths)
    number = lengths[0] + 3  # the fourth frame of the second episode
    first = frames.episodes[chosen.train[1]].first
    frame = frames.frame(first + 3)
    transform = PolicyTransform(
        transform_config(config, model_config(config)), stats, ByteTokenizer()
    )
    images = {name: image.transpose(2, 0, 1) for name, image in frame.images.items()}
    seen = transform.inputs({"state": frame.state, "images": images, "prompt": PROMPT})
    example = examples.example(number)
    for field in FIELDS[:5]:
        np.testing.assert_array_equal(getattr(example.inputs, field), getattr(seen, field))
    actions = frames.select(frames.joint_names, layout.ACTION)[first + 3 : first + lengths[1]]
    state, chunk = examples.target(number)
    np.testing.assert_array_equal(state, frame.state)
    np.testing.assert_array_equal(chunk[: len(actions)], actions)
    np.testing.assert_array_equal(
        chunk[len(actions) :], np.tile(actions[-1], (50 - len(actions), 1))
    )
    back = transform.outputs(example.actions, {"state": state})
    np.testing.assert_allclose(back, chunk, atol=1e-5)


def test_closing_does_not_wait_for_half_a_batch(tmp_path):
    config = replace(debug_config(tmp_path), batch_size=1024)
    for _ in range(3):  # batches of 29 MB are on their way when it is closed
        with Loader(source(config, workers=2)) as loader:
            next(loader)
        assert not multiprocessing.active_children()


@pytest.mark.parametrize("delta", [False, True])
def test_norm_stats_are_those_of_all_chunks(config, delta):
    frames = open_dataset(config.data)
    states = frames.select(frames.joint_names, layout.STATE).astype(np.float64)
    actions = frames.select(frames.joint_names, layout.ACTION).astype(np.float64)
    rows = []
    for episode in (frames.episodes[0], frames.episodes[2]):
        end = episode.first + episode.length
        for i in range(episode.first, end):
            chunk = actions[np.minimum(np.arange(i, i + 7), end - 1)].copy()
            if delta:
                joints = [j for j in range(14) if j % 7 != 6]
                chunk[:, joints] -= states[i, joints]
            rows.append(chunk)
    wanted = np.concatenate(rows)
    found = norm_stats.compute(frames, (0, 2), 7, delta=delta)["actions"]
    np.testing.assert_allclose(found.mean, wanted.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(found.std, wanted.std(axis=0), atol=1e-9)
    low, _ = found.bounds()
    assert ((wanted < low - 1e-4).mean(axis=0) <= 0.01).all()
    assert ((wanted <= low + 1e-4).mean(axis=0) >= 0.01).all()


def test_the_command_writes_stats_and_training_refuses_those_of_other_data(
    config, root, tmp_path, capsys
):
    frames = open_dataset(config.data)
    chosen = select_episodes(frames, config.data).train
    with pytest.raises(TrainingError, match="norm_stats debug` and the same --data options"):
        norm_stats.read_stats(config, norm_stats.made_of(config, frames, chosen))
    words = ["debug", "--data.repo-id", "lab/cube", "--data.root", str(root)]
    words += ["--data.val-fraction", "0.25", "--assets-base", str(tmp_path / "assets")]
    assert norm_stats.main(words) == 0
    capsys.readouterr()
    stats = norm_stats.read_stats(config, norm_stats.made_of(config, frames, chosen))
    states = frames.select(frames.joint_names, layout.STATE)
    kept = np.isin(frames.column("episode_index").ravel(), chosen)
    np.testing.assert_allclose(stats["state"].mean, states[kept].mean(axis=0), atol=1e-6)
    other = replace(config, data=replace(config.data, delta_actions=True))
    with pytest.raises(TrainingError, match="delta_actions: False, now True"):
        norm_stats.read_stats(other, norm_stats.made_of(other, frames, chosen))
    with pytest.raises(TrainingError, match="of other data: episodes: 3, now 2"):
        norm_stats.read_stats(config, norm_stats.made_of(config, frames, chosen[:2]))


def test_batches_are_the_same_however_many_processes_make_them(config):
    alone = batches(source(config), 4)
    assert_same(batches(source(config, workers=2), 4), alone)
    assert_same(batches(source(config), 2, start_step=2), alone[2:])
    part = replace(source(config), rows=(2, 4))
    np.testing.assert_array_equal(batches(part, 1)[0].numbers, alone[0].numbers[2:])


def test_a_killed_worker_is_told(config):
    with Loader(source(config, workers=1)) as loader:
        next(loader)
        (worker,) = multiprocessing.active_children()
        signal_to(worker, signal.SIGKILL)
        with pytest.raises(TrainingError, match="ended before its time"):
            take(loader, 10)
    assert not multiprocessing.active_children()


def test_a_hung_worker_is_told_in_time(config):
    with Loader(source(config, workers=1, worker_timeout_s=10.0)) as loader:
        next(loader)
        (worker,) = multiprocessing.active_children()
        loader._options = replace(loader._options, worker_timeout_s=1.0)
        signal_to(worker, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(TrainingError, match=r"no batch \d+ after 1 s"):
            take(loader, 10)
    assert time.monotonic() - began < 10.0
    assert not multiprocessing.active_children()


def test_a_damaged_video_names_the_episode(tmp_path):
    root = convert_episodes(tmp_path)
    config = debug_config(tmp_path, root)
    for video in (root / "videos").rglob("*.mp4"):
        video.write_bytes(video.read_bytes()[:2000])
    with pytest.raises(
        TrainingError, match=r"batch 0: example \d+: episode [0-3], frame \d+: .*mp4"
    ):
        batches(source(config, workers=1), 1)


def test_sound_episodes_have_no_problems(config, tmp_path):
    assert survey.problems(config.data) == []
    assert survey.problems(debug_config(tmp_path).data) == []


def test_each_damaged_episode_is_told_before_a_training(tmp_path):
    """What is wrong with tables hides what is wrong with videos, as they cannot be looked at."""
    root = convert_episodes(tmp_path)
    data = debug_config(tmp_path, root).data
    third = open_dataset(data).episodes[2]

    def spoil(columns):
        columns["observation.state"][third.first + 1][4] = math.nan
        columns["action"][third.first][0] = math.inf

    table = next((root / "data").rglob("*.parquet"))
    rewrite_table(table, spoil)
    without = replace(data, exclude_episodes=(2,))
    assert survey.problems(without) == []
    chosen = select_episodes(open_dataset(without), without)
    assert chosen.left_out == (2,)
    assert 2 not in (*chosen.train, *chosen.val)
    with pytest.raises(TrainingError, match=r"exclude_episodes must be .* 0 to 3, got \[9\]"):
        select_episodes(open_dataset(data), replace(data, exclude_episodes=(9,)))
    wrist, high = (
        next((root / f"videos/observation.images.{camera}").rglob("*.mp4"))
        for camera in ("cam_left_wrist", "cam_high")
    )
    wrist.unlink()
    high.write_bytes(high.read_bytes()[:2000])
    found = survey.problems(data)
    got = f"episode 2: {table}: {{}} must be finite, got {{}} for {{}}, 1 such values in all"
    says = [
        got.format("observation.state", "nan", "left_joint_4.pos in frame 1"),
        got.format("action", "inf", "left_joint_0.pos in frame 0"),
        *(rf"episode {n}: .*cam_high.*mp4 (has no picture|cannot be read) at" for n in range(4)),
        r"episodes 0, 1, 2, 3: .*cam_left_wrist.*mp4 is no readable video: .*No such file",
    ]
    assert len(found) == len(says), found
    for text, wanted in zip(found, says, strict=True):
        assert re.match(wanted, text), text

    def drop(columns):
        for rows in columns.values():
            del rows[third.first]

    rewrite_table(table, drop)
    assert survey.problems(data) == [
        f"episode 2: {table} has {third.length - 1} rows, meta lists {third.length}"
    ]
    table.write_bytes(table.read_bytes()[:-100])
    (told,) = survey.problems(data)
    assert told.startswith(f"episodes 0, 1, 2, 3: cannot read {table}")


def test_a_video_that_is_too_short_is_told(tmp_path):
    root = convert_episodes(tmp_path)
    data = debug_config(tmp_path, root).data
    frames = open_dataset(data)
    video = next((root / "videos/observation.images.cam_right_wrist").rglob("*.mp4"))
    with VideoWriter(video, frames.fps) as writer:
        for _ in range(len(frames) - 3):
            writer.add(np.zeros((48, 64, 3), np.uint8))
    (told,) = survey.problems(data)
    assert told == (
        f"episodes 0, 1, 2, 3: {video} has {len(frames) - 3} pictures, meta lists {len(frames)}"
    )
    assert survey.problems(data, videos=False) == []


def test_a_truncated_table_and_an_unknown_joint_are_told(tmp_path):
    root = convert_episodes(tmp_path)
    config = debug_config(tmp_path, root)
    joints = replace(config.data, joints=("left_joint_9.pos",))
    with pytest.raises(DatasetError, match=r"no value 'left_joint_9\.pos', it has"):
        open_dataset(joints)
    table = next((root / "data").rglob("*.parquet"))
    table.write_bytes(table.read_bytes()[:-100])
    with pytest.raises(DatasetError, match=r"parquet"):
        batches(source(config, workers=1), 1)


def test_no_data_set_and_no_episode_are_told(config, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path / "home"))
    elsewhere = replace(config.data, root=None)
    with pytest.raises(TrainingError, match=f"there is no folder {tmp_path}/home/lab/cube"):
        open_dataset(elsewhere)
    with pytest.raises(
        TrainingError, match="has no episode to train on: 4 with frames, of which 4"
    ):
        select_episodes(open_dataset(config.data), replace(config.data, outcomes=("failure",)))


def test_a_prompt_that_does_not_fit_is_told(config):
    data = replace(config.data, default_prompt="red " * 30)
    with pytest.raises(TrainingError, match="has 121 tokens, at most 48 are allowed"):
        source(replace(config, data=data)).open()


def test_synthetic_examples_can_be_learnt_and_are_repeatable(tmp_path):
    config = debug_config(tmp_path)
    some, again = (SyntheticExamples(config, held_out=False) for _ in range(2))
    assert_same_example(some.example(5), again.example(5))
    state, chunk = some.target(5)
    assert np.abs(chunk[0] - state).max() < 0.06  # the motion goes on from the state
    held = SyntheticExamples(config, held_out=True)
    assert not np.array_equal(held.target(5)[0], state)


def assert_same_example(a, b):
    np.testing.assert_array_equal(a.inputs.images, b.inputs.images)
    np.testing.assert_array_equal(a.actions, b.actions)


def test_made_of_is_plain_json(config, tmp_path, root):
    words = ["debug", "--data.repo-id", "lab/cube", "--data.root", str(root)]
    assert norm_stats.main([*words, "--assets-base", str(tmp_path)]) == 0
    told = json.loads((tmp_path / "debug" / "lab" / "cube" / "made_of.json").read_text())
    assert told["repo_id"] == "lab/cube"
    assert told["horizon"] == 50
