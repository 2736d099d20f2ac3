"""The cache of pictures: the same examples, made once, never half."""

from __future__ import annotations

import errno
import itertools
import json
import multiprocessing
import os
import pickle
import re
import shutil
import subprocess
import sys
import threading
import time
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from fixtures.bags import Episode
from fixtures.training import PROMPT, convert_episodes, debug_config, rewrite_table
from trossen_pi0_core.errors import DatasetError
from trossen_pi0_core.transforms.norm_stats import NormStats
from trossen_pi0_policy.pi0 import config as models
from trossen_pi0_training import norm_stats
from trossen_pi0_training.dataset import LeRobotFrames
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.feed import picture_cache, survey
from trossen_pi0_training.feed.batches import HostBatch
from trossen_pi0_training.feed.examples import DatasetExamples
from trossen_pi0_training.feed.loader import Loader, Source, Split
from trossen_pi0_training.feed.picture_cache import check_cache, make_cache
from trossen_pi0_training.feed.selection import open_dataset, select_episodes
from trossen_pi0_training.feed.synthetic import synthetic_stats

STATS: dict[str, NormStats] = dict(synthetic_stats(14))


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return convert_episodes(tmp_path_factory.mktemp("data"))


@pytest.fixture
def root(original, tmp_path):
    return shutil.copytree(original, tmp_path / "data", copy_function=shutil.copy2)


@pytest.fixture
def config(root, tmp_path):
    return cached(debug_config(tmp_path, root), tmp_path / "cache")


def cached(config, folder, workers=0):
    return replace(config, loader=replace(config.loader, cache=folder, workers=workers))


def batches(config, split: Split = "train", count=3, stats=STATS, start_step=0):
    source = Source(config, stats, split, (0, config.batch_size))
    with Loader(source, start_step=start_step) as loader:
        return list(itertools.islice(loader, count))


def caches(config):
    return [path for path in config.loader.cache.iterdir() if path.is_dir()]


def assert_same(some, others):
    for a, b in zip(some, others, strict=True):
        for field in fields(HostBatch):
            one, other = getattr(a, field.name), getattr(b, field.name)
            np.testing.assert_array_equal(one, other, field.name, strict=True)


def test_examples_are_the_same_with_it(config):
    check_cache(config)
    make_cache(config)
    splits: tuple[Split, ...] = ("train", "val")
    for split in splits:
        plain = batches(cached(config, None), split)
        assert plain[0].images.max() > 100
        assert_same(batches(config, split), plain)


def test_each_third_frame_of_an_episode_is_an_example(config):
    every = replace(config, data=replace(config.data, frame_step=3))
    frames = open_dataset(config.data)
    episodes = select_episodes(frames, config.data).train
    known = DatasetExamples(config, frames, STATS, episodes)
    chosen = DatasetExamples(every, frames, STATS, episodes)
    lengths = [frames.episodes[n].length for n in episodes]
    begins = np.cumsum([0, *lengths[:-1]])
    thirds = [b + i for b, n in zip(begins, lengths, strict=True) for i in range(0, n, 3)]
    assert len(chosen) == len(thirds)
    for number, third in enumerate(thirds):
        for one, other in zip(chosen.target(number), known.target(int(third)), strict=True):
            np.testing.assert_array_equal(one, other)
    make_cache(every)
    assert_same(batches(every), batches(cached(every, None)))


@pytest.fixture
def pi05():
    presets: dict[str, Any] = models._PRESETS
    presets["tiny_pi05"] = replace(models.get_config("tiny"), pi05=True, max_token_len=200)
    yield "tiny_pi05"
    del presets["tiny_pi05"]


@pytest.mark.parametrize("delta", [False, True])
@pytest.mark.parametrize("model", ["tiny", "tiny_pi05"])
@pytest.mark.usefixtures("pi05")
def test_whole_batches_are_those_of_single_examples_to_the_bit(tmp_path, model, delta):
    """All of two epochs, other prompts included, whatever the number of threads."""
    prompts = [PROMPT, "put it down", PROMPT, "hand it over"]
    episodes = [Episode(f"e{i}", 0.5, seed=i, prompt=text) for i, text in enumerate(prompts)]
    config = debug_config(tmp_path, convert_episodes(tmp_path, episodes), model=model)
    config = replace(config, batch_size=16)
    changes = {"delta_actions": delta, "default_prompt": None, "prompt_from_task": True}
    config = replace(config, data=replace(config.data, **changes))
    frames = open_dataset(config.data)
    trained = select_episodes(frames, config.data).train
    stats = norm_stats.compute(frames, trained, 50, delta=delta)
    count = 2 * sum(frames.episodes[n].length for n in trained) // 16
    alone = batches(config, count=count, stats=stats)
    assert len({row.tobytes() for batch in alone for row in batch.tokens}) >= 2
    make_cache(cached(replace(config, model="tiny"), tmp_path / "cache"))  # of the same pictures
    for threads in (1, 3):
        config = cached(config, tmp_path / "cache", threads)
        assert_same(batches(config, count=count, stats=stats), alone)
    assert_same(batches(config, count=count - 2, stats=stats, start_step=2), alone[2:])


def test_states_of_no_robot_are_told(config, monkeypatch):
    make_cache(config)
    select = LeRobotFrames.select

    def spoilt(self, names, feature):
        values = select(self, names, feature).copy()
        values[:, 4] = np.inf
        return values

    monkeypatch.setattr(LeRobotFrames, "select", spoilt)
    with pytest.raises(TrainingError, match=r"example 0: the state must be finite .* got inf for"):
        batches(config)


def test_videos_are_read_no_more(config, root):
    make_cache(config)
    before = batches(config)
    for video in root.rglob("*.mp4"):  # the same name, size and time: another content
        info = video.stat()
        video.write_bytes(bytes(info.st_size))
        os.utime(video, ns=(info.st_atime_ns, info.st_mtime_ns))
    make_cache(config)
    assert_same(batches(config), before)


def test_other_examples_make_another_cache(config):
    for step in (1, 3):
        make_cache(replace(config, data=replace(config.data, frame_step=step)))
    assert len(caches(config)) == 2


def test_other_data_make_another_cache(config, root):
    make_cache(config)
    (first,) = caches(config)
    video = next(root.rglob("*.mp4"))
    os.utime(video, ns=(1, 1))
    with pytest.raises(TrainingError, match=r"is gone, or the data set has changed"):
        batches(config)
    make_cache(config)
    assert len(caches(config)) == 2
    assert first in caches(config)


def test_the_place_of_the_data_does_not_matter(config, root, tmp_path):
    make_cache(config)
    moved = root.rename(tmp_path / "elsewhere")
    config = replace(config, data=replace(config.data, root=moved))
    make_cache(config)
    assert len(caches(config)) == 1


def test_what_was_interrupted_is_not_used(config):
    make_cache(config)
    before = batches(config)
    (complete,) = caches(config)
    half = complete.rename(complete.with_name(f"{complete.name}.building"))
    for file in half.iterdir():
        file.write_bytes(b"half")
    with pytest.raises(TrainingError, match="is gone"):
        batches(config)
    make_cache(config)
    assert_same(batches(config), before)
    assert caches(config) == [complete]


def test_a_failure_leaves_nothing(config, root):
    video = next(root.rglob("*.mp4"))
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    with pytest.raises(Exception, match=video.name):
        make_cache(config)
    assert caches(config) == []


@pytest.mark.parametrize("change", [-1, 1, None])
def test_a_cache_of_another_size_is_told_before(config, change):
    make_cache(config)
    (folder,) = caches(config)
    file = next(folder.glob("*.rgb"))
    whole = file.stat().st_size
    check_cache(config)
    if change is None:
        file.unlink()
        says = "No such file"
    else:
        os.truncate(file, whole + change)
        says = f"{file.name} has {whole + change} bytes, {whole} are needed"
    for look in (check_cache, batches):
        with pytest.raises(TrainingError, match=f"{folder} is damaged, remove it: .*{says}"):
            look(config)


def shifted(columns):
    columns["videos/observation.images.cam_high/from_timestamp"][1] += 1 / 30


def exchanged(columns):
    for name, values in columns.items():
        if name.startswith("videos/"):
            values[0], values[1] = values[1], values[0]


@pytest.mark.parametrize("change", [shifted, exchanged])
def test_other_pictures_of_the_same_files_make_another_cache(config, root, change):
    make_cache(config)
    rewrite_table(next((root / "meta" / "episodes").rglob("*.parquet")), change)
    with pytest.raises(TrainingError, match=r"is gone, or the data set has changed"):
        batches(config)


def test_pictures_found_by_another_rate_make_another_cache(config, root):
    """It tells how far a picture's time may be from the frame's."""
    make_cache(config)
    info = root / "meta" / "info.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), "fps": 60}))
    with pytest.raises(TrainingError, match=r"is gone, or the data set has changed"):
        batches(config)


def test_a_cache_that_cannot_be_written_is_used(config, monkeypatch):
    make_cache(config)
    before = batches(config)

    def refused(*_):
        raise PermissionError(errno.EROFS, "Read-only file system")

    for name in ("FileLock", "os.access"):
        monkeypatch.setattr(f"{picture_cache.__name__}.{name}", refused)
    check_cache(config)
    make_cache(config)
    assert_same(batches(config), before)


MAKE = """
import pickle, sys
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.feed.picture_cache import make_cache
config = pickle.loads(bytes.fromhex(sys.argv[1]))
try:
    make_cache(config)
except TrainingError as error:
    print(error, [path.name for path in config.loader.cache.iterdir() if path.is_dir()])
"""


def test_a_disk_that_gets_full_is_told(config):
    """On a small file system, which only this process sees."""
    apart = ("unshare", "--user", "--map-root-user", "--mount")
    if subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    folder = config.loader.cache
    folder.mkdir()
    mount = f"mount -t tmpfs -o size=400k none {folder} && exec " + '"$@"'
    make = (sys.executable, "-c", MAKE, pickle.dumps(config).hex())
    done = subprocess.run(
        [*apart, "sh", "-c", mount, "sh", *make], check=True, capture_output=True, text=True
    )
    says = r"the picture cache .* cannot be written: .*No space left on device.* \[\]"
    assert re.match(says, done.stdout), done


def test_each_damaged_episode_is_told(config, monkeypatch):
    """One file holds the pictures of all of a camera."""
    video = next((config.data.root / "videos").rglob("*.mp4"))
    video.write_bytes(video.read_bytes()[:2000])
    with pytest.raises(DatasetError) as refusal:
        make_cache(config)
    told = str(refusal.value).splitlines()
    assert len(told) == 4
    for number, line in enumerate(told):
        assert re.match(rf"episode {number}: {video} (cannot be read|has no picture) at ", line)
    assert caches(config) == []
    monkeypatch.setattr(survey, "SHOWN_PROBLEMS", 1)
    with pytest.raises(DatasetError, match=r"episode 0: .*\nand 3 problems more of episodes$"):
        make_cache(config)


def test_a_killed_process_is_told(config):
    def kill():
        while not (begun := multiprocessing.active_children()):
            time.sleep(0.01)
        for process in begun:
            process.kill()

    killing = threading.Thread(target=kill)
    killing.start()
    with pytest.raises(DatasetError, match=r"the picture cache was killed.* fewer --loader\.work"):
        make_cache(config)
    killing.join()
    assert caches(config) == []


def test_want_of_space_and_a_bad_folder_are_told_before(config, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(TrainingError, match=r"frames need 0\.\d+ GB in .*, free are 0\.00 GB"):
        check_cache(config)
    (tmp_path / "file").write_text("")
    with pytest.raises(TrainingError, match="is no folder that can be written"):
        check_cache(cached(config, tmp_path / "file"))
