"""Puts shards together to a LeRobot data set, v2.1 or v3.0, without the library."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from trossen_pi0_core.errors import DatasetError
from trossen_pi0_training import layout, tables, video
from trossen_pi0_training.layout import V21, V30
from trossen_pi0_training.shards import Shard, feature_statistics
from trossen_pi0_training.spread import spread
from trossen_pi0_training.stats import BASIC, Statistics, of_values, to_json

_MIB = 1024 * 1024


@dataclass(frozen=True)
class _Row:
    """A shard's place in the data set."""

    shard: Shard
    episode: int
    first: int
    task: int

    def table(self) -> pa.Table:
        state, action = self.shard.values()
        return tables.frame_table(
            state,
            action,
            fps=self.shard.fps,
            episode=self.episode,
            first=self.first,
            task=self.task,
        )


def _statistics(rows: Sequence[_Row]) -> list[dict[str, Statistics]]:
    """Of each episode."""
    return [feature_statistics([row.shard]) | _counter_statistics([row]) for row in rows]


def assemble(
    shards: Sequence[Shard],
    folder: Path,
    version: str,
    splits: Mapping[str, str] | None = None,
    *,
    workers: int = 1,
) -> None:
    """Writes a data set.

    Args:
        shards: its episodes, in order.
        folder: of the data set; must not exist, or be empty.
        version: one of ``layout.FORMATS``.
        splits: for ``info.json``, such as ``{"train": "0:45", "val": "45:50"}``; None: all for
            training.
        workers: processes that work out the statistics of many episodes.

    Raises:
        DatasetError: the shards do not fit together.
        OSError: the disk is full or not writable.
    """
    check_layouts(shards)
    folder.mkdir(parents=True, exist_ok=True)
    tasks = list(dict.fromkeys(shard.task for shard in shards))
    rows = list(_rows(shards, tasks))
    if version not in (V21, V30):
        raise DatasetError(f"format must be one of {list(layout.FORMATS)}, got {version!r}")
    statistics = spread(_statistics, rows, workers, "statistics")
    write = _write_v21 if version == V21 else _write_v30
    write(rows, statistics, tasks, folder)
    content = layout.info(
        version,
        shards[0].fps,
        layout.features(shards[0].joint_names, shards[0].cameras),
        episodes=len(shards),
        frames=sum(shard.frames for shard in shards),
        tasks=len(tasks),
        splits=splits or {"train": f"0:{len(shards)}"},
    )
    tables.write_json(content, folder / layout.INFO)


def check_layouts(shards: Sequence[Shard]) -> None:
    """Raises DatasetError unless all have the same rate, joints and sizes of pictures."""
    if not shards:
        raise DatasetError("a data set needs at least one episode")
    for shard in shards[1:]:
        if shard.layout != shards[0].layout:
            raise DatasetError(
                f"episodes {shards[0].origin.name} and {shard.origin.name} do not fit into one "
                f"data set: {shards[0].layout} and {shard.layout}"
            )


def write_statistics(shards: Sequence[Shard], folder: Path) -> None:
    """Writes ``meta/stats.json`` of a v3.0 data set with these episodes.

    LeRobot takes a sample of the pictures and the mean of the episodes' quantiles; these are
    those of all frames.
    """
    tasks = list(dict.fromkeys(shard.task for shard in shards))
    rows = list(_rows(shards, tasks))
    whole = feature_statistics(list(shards)) | _counter_statistics(rows)
    tables.write_json(to_json(whole), folder / layout.STATS)


def _rows(shards: Sequence[Shard], tasks: list[str]) -> Iterator[_Row]:
    first = 0
    for episode, shard in enumerate(shards):
        yield _Row(shard, episode, first, tasks.index(shard.task))
        first += shard.frames


def _counter_statistics(rows: Sequence[_Row]) -> dict[str, Statistics]:
    parts = [row.table().select(list(layout.COUNTERS)) for row in rows]
    whole = pa.concat_tables(parts)
    return {name: of_values(whole[name].to_numpy()) for name in layout.COUNTERS}


# v2.1: a table and a video a camera for each episode --------------------------------------------


def _write_v21(
    rows: Sequence[_Row],
    statistics: Sequence[Mapping[str, Statistics]],
    tasks: list[str],
    folder: Path,
) -> None:
    for row in rows:
        place = {
            "episode_chunk": row.episode // layout.FILES_PER_CHUNK,
            "episode_index": row.episode,
        }
        tables.write_parquet([row.table()], folder / layout.DATA_V21.format(**place))
        for camera in row.shard.cameras:
            key = layout.image_key(camera)
            target = folder / layout.VIDEO_V21.format(video_key=key, **place)
            place_file(row.shard.video(camera), target)
    about_tasks = [{"task_index": i, "task": task} for i, task in enumerate(tasks)]
    tables.write_json_lines(about_tasks, folder / layout.TASKS_V21)
    episodes = [
        {"episode_index": row.episode, "tasks": [row.shard.task], "length": row.shard.frames}
        for row in rows
    ]
    tables.write_json_lines(episodes, folder / layout.EPISODES_V21)
    about_values = (
        {"episode_index": row.episode, "stats": to_json(each, BASIC)}
        for row, each in zip(rows, statistics, strict=True)
    )
    tables.write_json_lines(about_values, folder / layout.EPISODE_STATS_V21)


# v3.0: many episodes in a file ------------------------------------------------------------------


def _write_v30(
    rows: Sequence[_Row],
    statistics: Sequence[Mapping[str, Statistics]],
    tasks: list[str],
    folder: Path,
) -> None:
    about: list[dict[str, Any]] = [_episode_v30(row) for row in rows]
    sizes = [2 * 4 * len(row.shard.joint_names) * row.shard.frames for row in rows]
    for number, members in enumerate(_files(sizes, layout.DATA_FILE_MB)):
        place = _place(number)
        path = folder / layout.DATA_V30.format(**place)
        tables.write_parquet([rows[i].table() for i in members], path)
        for i in members:
            about[i] |= {f"data/{key}": value for key, value in place.items()}
    for camera in rows[0].shard.cameras:
        _join_videos(rows, camera, folder, about)
    for i, found in enumerate(statistics):
        for feature, each in found.items():
            about[i] |= {f"stats/{feature}/{name}": value.tolist() for name, value in each.items()}
    episodes = folder / layout.EPISODES_V30.format(**_place(0))
    tables.write_parquet([pa.Table.from_pylist(about)], episodes)
    tables.write_parquet([tables.task_table(tasks)], folder / layout.TASKS_V30)
    write_statistics([row.shard for row in rows], folder)


def _episode_v30(row: _Row) -> dict[str, Any]:
    return {
        "episode_index": row.episode,
        "tasks": [row.shard.task],
        "length": row.shard.frames,
        "dataset_from_index": row.first,
        "dataset_to_index": row.first + row.shard.frames,
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
    }


def _join_videos(
    rows: Sequence[_Row], camera: str, folder: Path, about: list[dict[str, Any]]
) -> None:
    key = layout.image_key(camera)
    sizes = [row.shard.video(camera).stat().st_size for row in rows]
    for number, members in enumerate(_files(sizes, layout.VIDEO_FILE_MB)):
        place = _place(number)
        target = folder / layout.VIDEO_V30.format(video_key=key, **place)
        target.parent.mkdir(parents=True, exist_ok=True)
        parts = [rows[i].shard.video(camera) for i in members]
        if len(parts) == 1:
            place_file(parts[0], target)
        else:
            _check_counts(video.join(parts, target, rows[0].shard.fps), members, rows, camera)
        begins = 0
        for i in members:
            shard = rows[i].shard
            about[i] |= {f"videos/{key}/{name}": value for name, value in place.items()}
            about[i][f"videos/{key}/from_timestamp"] = begins / shard.fps
            begins += shard.frames
            about[i][f"videos/{key}/to_timestamp"] = begins / shard.fps


def _check_counts(counts: list[int], members: list[int], rows: Sequence[_Row], camera: str) -> None:
    for count, i in zip(counts, members, strict=True):
        shard = rows[i].shard
        if count != shard.frames:
            raise DatasetError(
                f"{shard.video(camera)} has {count} pictures, {shard.frames} were encoded"
            )


def _files(sizes: Sequence[int], limit_mib: int) -> Iterator[list[int]]:
    """Which episodes share a file: as many as fit, in order; sizes in bytes."""
    members: list[int] = []
    total = 0
    for i, size in enumerate(sizes):
        if members and total + size > limit_mib * _MIB:
            yield members
            members, total = [], 0
        members.append(i)
        total += size
    yield members


def _place(number: int) -> dict[str, int]:
    chunk, file = divmod(number, layout.FILES_PER_CHUNK)
    return {"chunk_index": chunk, "file_index": file}


def place_file(source: Path, target: Path) -> None:
    """Puts a file there as well: a link where the file system can, else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
