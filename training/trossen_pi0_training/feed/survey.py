"""Looks through the episodes of a training before it begins, so that none ends it later on."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from trossen_pi0_core.errors import DatasetError
from trossen_pi0_training import layout, tables
from trossen_pi0_training.config.fields import DataConfig
from trossen_pi0_training.dataset import LeRobotFrames
from trossen_pi0_training.dataset_index import EpisodeSpan, Index, read_index
from trossen_pi0_training.feed.selection import dataset_folder, open_dataset, select_episodes
from trossen_pi0_training.video import VideoFile

SHOWN_PROBLEMS = 20
"""So many are told; the others are counted."""

_THREADS = 8


def problems(data: DataConfig, *, videos: bool = True) -> list[str]:
    """What is wrong with the episodes that are trained on or held out, a text each.

    All tables are read: rows, and that states and actions are finite. Of each video as many
    pictures as meta lists must be there; of each episode the first and the last one are decoded.
    That takes some hundredths of a second for each episode and camera.

    Args:
        data: of the training; synthetic examples have no problems.
        videos: whether pictures are looked at.

    Raises:
        TrainingError: there is no such data set, or no episode in it is wanted.
        DatasetError: what the data set says about itself is damaged.
    """
    if not data.repo_id:
        return []
    root = dataset_folder(data)
    index = read_index(root)
    found = [
        text
        for path in index.by_table
        for text in _table_problems(root, path, index, data.exclude_episodes)
    ]
    if not found:  # else the values cannot be read
        frames = open_dataset(data)
        chosen = select_episodes(frames, data)
        spans = [frames.episodes[number] for number in sorted({*chosen.train, *chosen.val})]
        found = list(_value_problems(frames, spans))
        if videos:
            found += _video_problems(frames, spans)
    return shown(found)


def shown(problems: Sequence[str]) -> list[str]:
    """The first of many texts, and how many more there are."""
    more = len(problems) - SHOWN_PROBLEMS
    told = [f"and {more} problems more of episodes"] if more > 0 else []
    return [*problems[:SHOWN_PROBLEMS], *told]


def _table_problems(
    root: Path, path: str, index: Index, excluded: Collection[int]
) -> Iterator[str]:
    spans = index.by_table[path]
    if all(span.index in excluded for span in spans):
        return
    try:
        table = tables.read_parquet(root / path, index.number_columns)
        numbers = tables.to_numpy(table["episode_index"]).reshape(-1)
    except DatasetError as error:
        yield f"{_named(spans)}: {error}"
        return
    for span in spans:
        if (rows := int((numbers == span.index).sum())) != span.length:
            yield f"episode {span.index}: {root / path} has {rows} rows, meta lists {span.length}"


def _value_problems(frames: LeRobotFrames, spans: Sequence[EpisodeSpan]) -> Iterator[str]:
    names = frames.joint_names
    motions = {each: frames.select(names, each) for each in (layout.STATE, layout.ACTION)}
    times = frames.column("timestamp")
    for span in spans:
        rows = slice(span.first, span.first + span.length)
        where = f"episode {span.index}: {frames.root / span.table}"
        for feature, values in motions.items():
            bad = np.argwhere(~np.isfinite(values[rows]))
            if len(bad):
                row, joint = bad[0]
                yield (
                    f"{where}: {feature} must be finite, got {values[rows][row, joint]} for "
                    f"{names[joint]} in frame {row}, {len(bad)} such values in all"
                )
        if not np.isfinite(times[rows]).all() or (np.diff(times[rows]) <= 0).any():
            yield f"{where}: timestamp must be finite and rise from frame to frame"


def _video_problems(frames: LeRobotFrames, spans: Sequence[EpisodeSpan]) -> list[str]:
    """Each file is opened once, several beside each other."""
    files: dict[str, list[tuple[str, EpisodeSpan]]] = defaultdict(list)
    for span in spans:
        for key in frames.video_keys:
            files[span.videos[key][0]].append((key, span))
    listed: dict[str, int] = defaultdict(int)
    for span in frames.episodes:
        for path in {path for path, _ in span.videos.values()}:
            listed[path] += span.length

    def look(path: str) -> list[str]:
        return list(_file_problems(frames, path, files[path], listed[path]))

    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as executor:
        return [text for found in executor.map(look, files) for text in found]


def _file_problems(
    frames: LeRobotFrames, path: str, wanted: Sequence[tuple[str, EpisodeSpan]], listed: int
) -> Iterator[str]:
    try:
        video = VideoFile(frames.root / path)
    except DatasetError as error:
        yield f"{_named([span for _, span in wanted])}: {error}"
        return
    try:
        if video.frames and video.frames < listed:
            yield (
                f"{_named([span for _, span in wanted])}: {frames.root / path} has {video.frames} "
                f"pictures, meta lists {listed}"
            )
            return
        times = frames.column("timestamp")
        for key, span in wanted:
            begins_s = span.videos[key][1]
            for frame in {span.first, span.first + span.length - 1}:
                try:
                    video.picture(begins_s + float(times[frame]), 0.5 / frames.fps)
                except DatasetError as error:
                    yield f"episode {span.index}: {error}"
                    break
    finally:
        video.close()


def _named(spans: Sequence[EpisodeSpan]) -> str:
    numbers = [str(span.index) for span in spans]
    if len(numbers) == 1:
        return f"episode {numbers[0]}"
    shown = ", ".join(numbers[:10]) + (", ..." if len(numbers) > 10 else "")
    return f"episodes {shown}"
