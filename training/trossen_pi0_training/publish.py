"""Makes the data sets of converted episodes, checks them, and puts them under their names."""

from __future__ import annotations

import dataclasses
import os
import platform
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from trossen_pi0_core.errors import DatasetError
from trossen_pi0_training import layout, lerobot_env, tables
from trossen_pi0_training.assemble import assemble, check_layouts, write_statistics
from trossen_pi0_training.convert_options import LIBRARY, Options
from trossen_pi0_training.convert_plan import Skipped, validation_names
from trossen_pi0_training.dataset import LeRobotFrames
from trossen_pi0_training.dataset_index import read_index
from trossen_pi0_training.shards import Shard
from trossen_pi0_training.spread import spread

_MANIFEST_FORMAT = 1


@dataclass(frozen=True)
class DataSet:
    """A data set to make.

    Attributes:
        repo_id: its name.
        root: its folder.
        shards: its episodes, in order.
        splits: as in ``info.json``.
    """

    repo_id: str
    root: Path
    shards: tuple[Shard, ...]
    splits: dict[str, str]


def data_sets(shards: Sequence[Shard], options: Options) -> list[DataSet]:
    """Which data sets the options ask for: one, or one for training and one for validation."""
    kept = validation_names(
        [shard.origin.name for shard in shards], options.val_fraction, options.seed
    )
    train = tuple(shard for shard in shards if shard.origin.name not in kept)
    val = tuple(shard for shard in shards if shard.origin.name in kept)
    total = len(shards)
    if val and options.one_dataset:
        splits = {"train": f"0:{len(train)}", "val": f"{len(train)}:{total}"}
        return [DataSet(options.repo_id, options.root, train + val, splits)]
    sets = [DataSet(options.repo_id, options.root, train, {"train": f"0:{len(train)}"})]
    if val:
        name, root = f"{options.repo_id}_val", validation_root(options)
        sets.append(DataSet(name, root, val, {"val": f"0:{len(val)}"}))
    return sets


def validation_root(options: Options) -> Path:
    """Folder of the second data set, for validation."""
    return options.root.with_name(f"{options.root.name}_val")


def publish(
    shards: Sequence[Shard], skipped: Sequence[Skipped], options: Options, scratch: Path
) -> list[DataSet]:
    """Makes the data sets in ``scratch``, which is of the same file system, and then moves them.

    Raises:
        DatasetError: the episodes do not fit together, the library fails, or what was written is
            not what was to be written. No data set is under its name then that was not before.
    """
    check_layouts(shards)
    sets = data_sets(shards, options)
    for i, each in enumerate(sets):
        folder = scratch / f"made-{i}"
        software = _software(options)
        if options.writer == LIBRARY:
            _assemble_by_library(each, folder, scratch / f"parts-{i}")
        else:
            assemble(each.shards, folder, options.version, each.splits, workers=options.workers)
        manifest = _manifest(each, skipped, options, software)
        tables.write_json(manifest, folder / layout.MANIFEST)
        check(each, folder, options.workers)
        if options.writer == LIBRARY:
            _check_by_library(each, folder)
    os.sync()
    for i, each in enumerate(sets):
        _replace(scratch / f"made-{i}", each.root, scratch / f"old-{i}")
    return sets


def check(data_set: DataSet, folder: Path, workers: int = 1) -> None:
    """Reads a data set and compares it with its shards: all values, and pictures at both ends.

    Args:
        data_set: what was to be written.
        folder: what was.
        workers: processes that read, where there are many episodes.

    Raises:
        DatasetError: they differ.
    """
    shards = data_set.shards
    lengths = [each.length for each in read_index(folder).episodes]
    if lengths != [shard.frames for shard in shards]:
        raise DatasetError(f"{folder}: episodes have {lengths} frames, not those converted")
    spread(partial(_check_episodes, folder), list(enumerate(shards)), workers, "check")


def _check_episodes(folder: Path, numbered: Sequence[tuple[int, Shard]]) -> list[None]:
    """Compares episodes of a data set with the shards of these numbers."""
    frames = LeRobotFrames(folder, numbered[0][1].joint_names)
    state, action = frames.column(layout.STATE), frames.column(layout.ACTION)
    for number, shard in numbered:
        episode = frames.episodes[number]
        rows = slice(episode.first, episode.first + episode.length)
        wanted = shard.values()
        if not (np.array_equal(state[rows], wanted[0]) and np.array_equal(action[rows], wanted[1])):
            raise DatasetError(f"{folder}: values of episode {shard.origin.name} were changed")
        for index in (rows.start, rows.stop - 1):
            if frames.frame(index).task != shard.task:
                raise DatasetError(f"{folder}: episode {shard.origin.name} has another task")
    frames.close()
    return [None] * len(numbered)


def _assemble_by_library(data_set: DataSet, folder: Path, parts: Path) -> None:
    """Each episode becomes a data set of one, which the library joins."""
    paths = [parts / f"{i:06d}" for i in range(len(data_set.shards))]
    for path, shard in zip(paths, data_set.shards, strict=True):
        assemble([shard], path, layout.V30)
    job = {"job": "assemble", "repo_id": data_set.repo_id, "root": str(folder)}
    lerobot_env.run_job(layout.V30, job | {"parts": [str(path) for path in paths]})
    shutil.rmtree(parts)
    write_statistics(data_set.shards, folder)
    info = tables.read_json(folder / layout.INFO)
    tables.write_json(info | {"splits": data_set.splits}, folder / layout.INFO)


def _check_by_library(data_set: DataSet, folder: Path) -> None:
    ends = np.cumsum([shard.frames for shard in data_set.shards])
    indices = sorted({0, *(int(end) - 1 for end in ends), *(int(end) for end in ends[:-1])})
    job = {"job": "check", "repo_id": data_set.repo_id, "root": str(folder), "indices": indices}
    answer = lerobot_env.run_job(layout.V30, job)
    if answer["frames"] != ends[-1] or answer["episodes"] != len(ends):
        raise DatasetError(f"lerobot sees {answer} in {folder}, {ends[-1]} frames were converted")


def _replace(made: Path, root: Path, old: Path) -> None:
    root.parent.mkdir(parents=True, exist_ok=True)
    if root.exists():
        root.rename(old)
        try:
            made.rename(root)
        except OSError:
            old.rename(root)
            raise
        shutil.rmtree(old)
    else:
        made.rename(root)


def _manifest(
    data_set: DataSet, skipped: Sequence[Skipped], options: Options, software: dict[str, Any]
) -> dict[str, Any]:
    episodes = [
        {"episode_index": i, "frames": shard.frames, "task": shard.task}
        | dataclasses.asdict(shard.origin)
        for i, shard in enumerate(data_set.shards)
    ]
    left_out = [
        {"name": each.name, "folder": str(each.folder), "reason": each.reason} for each in skipped
    ]
    values = dataclasses.asdict(options)
    values["episodes"] = [str(path) for path in options.episodes]
    values["root"] = str(options.root)
    return {
        "format": _MANIFEST_FORMAT,
        "made": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "repo_id": data_set.repo_id,
        "options": values,
        "software": software,
        "episodes": episodes,
        "skipped": left_out,
    }


def _software(options: Options) -> dict[str, Any]:
    found: dict[str, Any] = {"python": platform.python_version()}
    for name in ("trossen_pi0_data", "av", "pyarrow", "numpy", "mcap", "rosbags"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # used from its sources
            found[name] = None
    if options.writer == LIBRARY:
        found["library"] = lerobot_env.run_job(layout.V30, {"job": "versions"})
    return found
