"""What the ``meta`` folder of a LeRobot data set says, v2.1 and v3.0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import DatasetError
from trossen_pi0_training import layout, tables


@dataclass(frozen=True)
class EpisodeSpan:
    """An episode of a data set.

    Attributes:
        index: its number.
        first: number of its first frame in the data set.
        length: number of its frames.
        tasks: its instructions.
        table: file of its rows, relative to the data set; it may hold other episodes too.
        videos: feature -> its file, relative to the data set, and when it begins there [s].
    """

    index: int
    first: int
    length: int
    tasks: tuple[str, ...]
    table: str
    videos: Mapping[str, tuple[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Index:
    """The ``meta`` folder.

    Attributes:
        root: folder of the data set.
        version: ``v2.1`` or ``v3.0``.
        fps: frames a second.
        frames: number of frames.
        tasks: instructions by their number.
        episodes: in order.
        features: as ``info.json`` lists them.
        splits: name -> numbers of its episodes.
        data_files: tables, relative to the data set, in the order of their frames.
    """

    root: Path
    version: str
    fps: int
    frames: int
    tasks: tuple[str, ...]
    episodes: tuple[EpisodeSpan, ...]
    features: Mapping[str, Mapping[str, Any]]
    splits: dict[str, range]
    data_files: tuple[str, ...]

    def names(self, feature: str) -> tuple[str, ...]:
        """Names of a feature's values; raises DatasetError where there are none."""
        if feature not in self.features:
            raise DatasetError(f"{self.root} has no {feature!r}, it has {list(self.features)}")
        names = self.features[feature].get("names")
        if isinstance(names, Mapping):  # as {"motors": [...]} in older data sets
            names = [name for group in names.values() for name in group]
        if not names:
            raise DatasetError(f"{self.root}: the values of {feature} have no names")
        return tuple(str(name) for name in names)

    @property
    def number_columns(self) -> list[str]:
        """Columns of the tables that hold numbers."""
        kinds = {name: each["dtype"] for name, each in self.features.items()}
        return [name for name, kind in kinds.items() if kind not in ("video", "image", "string")]

    @cached_property
    def by_table(self) -> dict[str, list[EpisodeSpan]]:
        """Episodes of each of the ``data_files``."""
        found: dict[str, list[EpisodeSpan]] = {path: [] for path in self.data_files}
        for span in self.episodes:
            found[span.table].append(span)
        return found

    @staticmethod
    def episode_numbers(episodes: Sequence[EpisodeSpan]) -> NDArray[np.int64]:
        """What ``episode_index`` is in the rows of these episodes."""
        numbers = np.array([e.index for e in episodes], np.int64)
        return np.repeat(numbers, [e.length for e in episodes])

    def check(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Raises DatasetError unless the tables hold the frames that ``meta`` lists."""
        missing = [name for name in layout.COUNTERS if name not in columns]
        if missing:
            raise DatasetError(f"{self.root}: the tables lack {missing}")
        wanted = self.episode_numbers(self.episodes)
        numbers = columns["episode_index"]
        if not np.array_equal(numbers, wanted):
            raise DatasetError(
                f"{self.root}: the tables hold {len(numbers)} frames of "
                f"{len(np.unique(numbers))} episodes, meta lists {self.frames} of "
                f"{len(self.episodes)}, or they are in another order"
            )
        tasks = columns["task_index"]
        if len(tasks) and not 0 <= tasks.min() <= tasks.max() < len(self.tasks):
            raise DatasetError(
                f"{self.root}: task_index lies in {tasks.min()}..{tasks.max()}, "
                f"{len(self.tasks)} tasks are listed"
            )


def read_index(root: Path) -> Index:
    """Reads the ``meta`` folder.

    Raises:
        DatasetError: it is missing, damaged, or of another format.
    """
    if not (root / layout.INFO).is_file():
        raise DatasetError(f"{root} is no LeRobot data set: it has no {layout.INFO}")
    info = tables.read_json(root / layout.INFO)
    version = str(info.get("codebase_version", ""))
    try:
        if version in (layout.V21, "v2.0"):
            return _read_v21(root, info)
        if version == layout.V30:
            return _read_v30(root, info)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DatasetError(f"{root}: meta is damaged: {type(error).__name__}: {error}") from error
    raise DatasetError(
        f"{root} is a data set of format {version!r}, {', '.join(layout.FORMATS)} can be read"
    )


def _read_v21(root: Path, info: Mapping[str, Any]) -> Index:
    listed = tables.read_json_lines(root / layout.TASKS_V21)
    tasks = {int(each["task_index"]): str(each["task"]) for each in listed}
    chunk_size = int(info.get("chunks_size", layout.FILES_PER_CHUNK))
    episodes: list[EpisodeSpan] = []
    files: list[str] = []
    first = 0
    rows = tables.read_json_lines(root / layout.EPISODES_V21)
    for each in sorted(rows, key=lambda row: int(row["episode_index"])):
        number, length = int(each["episode_index"]), int(each["length"])
        place = {"episode_index": number, "episode_chunk": number // chunk_size}
        videos = {
            key: (info["video_path"].format(video_key=key, **place), 0.0)
            for key in _video_keys(info)
        }
        files.append(info["data_path"].format(**place))
        tasks_of = tuple(each["tasks"])
        episodes.append(EpisodeSpan(number, first, length, tasks_of, files[-1], videos))
        first += length
    return _index(root, info, tasks, episodes, files)


def _read_v30(root: Path, info: Mapping[str, Any]) -> Index:
    table = tables.read_parquet(root / layout.TASKS_V30).to_pydict()
    numbers = table.pop("task_index")
    texts = table.get("task") or table.get("__index_level_0__") or next(iter(table.values()))
    tasks = {int(number): str(text) for number, text in zip(numbers, texts, strict=True)}
    rows: list[dict[str, Any]] = []
    for path in sorted((root / "meta" / "episodes").glob("*/*.parquet")):
        content = tables.read_parquet(path)
        wanted = [name for name in content.column_names if not name.startswith("stats/")]
        rows += content.select(wanted).to_pylist()
    episodes: list[EpisodeSpan] = []
    files: dict[str, None] = {}
    for each in sorted(rows, key=lambda row: int(row["episode_index"])):
        videos = {key: _video_v30(info, each, key) for key in _video_keys(info)}
        place = {name: int(each[f"data/{name}"]) for name in ("chunk_index", "file_index")}
        file = info["data_path"].format(**place)
        files[file] = None
        first, end = int(each["dataset_from_index"]), int(each["dataset_to_index"])
        number, tasks_of = int(each["episode_index"]), tuple(each["tasks"])
        episodes.append(EpisodeSpan(number, first, end - first, tasks_of, file, videos))
    return _index(root, info, tasks, episodes, list(files))


def _video_v30(info: Mapping[str, Any], episode: Mapping[str, Any], key: str) -> tuple[str, float]:
    place = {name: int(episode[f"videos/{key}/{name}"]) for name in ("chunk_index", "file_index")}
    path = info["video_path"].format(video_key=key, **place)
    return path, float(episode[f"videos/{key}/from_timestamp"])


def _index(
    root: Path,
    info: Mapping[str, Any],
    tasks: Mapping[int, str],
    episodes: list[EpisodeSpan],
    files: list[str],
) -> Index:
    if [each.index for each in episodes] != list(range(len(episodes))) or not episodes:
        raise DatasetError(f"{root}: episodes must be numbered from 0 without gaps")
    if sorted(tasks) != list(range(len(tasks))):
        raise DatasetError(f"{root}: tasks must be numbered from 0 without gaps")
    splits: dict[str, range] = {}
    for name, text in info.get("splits", {}).items():
        begin, _, end = str(text).partition(":")
        splits[name] = range(int(begin), int(end))
    return Index(
        root=root,
        version=str(info["codebase_version"]),
        fps=int(info["fps"]),
        frames=sum(each.length for each in episodes),
        tasks=tuple(tasks[number] for number in sorted(tasks)),
        episodes=tuple(episodes),
        features=info["features"],
        splits=splits,
        data_files=tuple(files),
    )


def _video_keys(info: Mapping[str, Any]) -> list[str]:
    return [key for key, each in info["features"].items() if each["dtype"] == "video"]
