"""Reads LeRobot data sets, v2.1 and v3.0, without `lerobot`; values are chosen by name."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import DatasetError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_training import layout, tables
from trossen_pi0_training.dataset_index import EpisodeSpan, Index, read_index
from trossen_pi0_training.pictures import PictureColumn
from trossen_pi0_training.video import VideoFile

CAMERA_NAMES = {
    "cam_high": ("cam_high", "top"),
    "cam_low": ("cam_low", "bottom"),
    "cam_left_wrist": ("cam_left_wrist", "left"),
    "cam_right_wrist": ("cam_right_wrist", "right"),
}
"""The suite's camera names and what data sets call those cameras."""

_OPEN_VIDEOS = 32


@dataclass(frozen=True)
class DatasetFrame:
    """One row of a data set.

    Attributes:
        index: its number in the data set.
        episode: number of its episode.
        frame: its number in the episode.
        time_s: since the episode began [s].
        task: instruction.
        state: measured joint positions, float32, shape (joints,) [rad; m for carriages].
        action: commanded joint positions, likewise.
        images: camera name -> uint8 RGB, shape (height, width, 3).
    """

    index: int
    episode: int
    frame: int
    time_s: float
    task: str
    state: NDArray[np.float32]
    action: NDArray[np.float32]
    images: Mapping[str, NDArray[np.uint8]]


class LeRobotFrames:
    """The frames of a data set. Not thread-safe; after a fork each process opens its own videos.

    Numbers of all frames are kept in memory, 8 bytes for each joint and frame; pictures are read
    when they are asked for.

    Attributes:
        root: folder of the data set.
        joint_names: of ``state`` and ``action``, in order.
        cameras: those that ``frame`` reads, by the suite's names where it knows them.
    """

    def __init__(
        self,
        root: Path | str,
        joint_names: Sequence[str] | None = None,
        cameras: Sequence[str] | None = None,
        without: Collection[int] = (),
    ) -> None:
        """Opens a data set.

        Args:
            root: its folder, with ``meta/info.json``.
            joint_names: data-set names of the values wanted, in order; None: the suite's fourteen.
            cameras: cameras wanted, by the suite's or the data set's names; None: all.
            without: numbers of episodes that are not wanted: their values are zeros where no other
                episode is in the same table, which is not read then.

        Raises:
            DatasetError: it is damaged, of another format, or lacks a joint or camera.
        """
        self.root = Path(root)
        self._index: Index = read_index(self.root)
        self._columns = self._read_columns(frozenset(without))
        self.joint_names = tuple(joint_names or JointMap().dataset_names)
        self._state = self.select(self.joint_names, layout.STATE)
        self._action = self.select(self.joint_names, layout.ACTION)
        self._camera_keys = self._find_cameras(cameras)
        self.cameras = tuple(self._camera_keys)
        self._open: OrderedDict[Path, VideoFile] = OrderedDict()
        self._columns_of_pictures: dict[str, PictureColumn] = {}
        self._pid = os.getpid()

    def __len__(self) -> int:
        return self._index.frames

    @property
    def version(self) -> str:
        """``layout.V21`` or ``layout.V30``."""
        return self._index.version

    @property
    def fps(self) -> int:
        """Frames a second."""
        return self._index.fps

    @property
    def episodes(self) -> tuple[EpisodeSpan, ...]:
        """The episodes, in order."""
        return self._index.episodes

    @property
    def tasks(self) -> tuple[str, ...]:
        """The instructions, by their number."""
        return self._index.tasks

    @property
    def splits(self) -> dict[str, range]:
        """Numbers of the episodes of each split, such as train and val."""
        return self._index.splits

    @property
    def camera_keys(self) -> Mapping[str, str]:
        """Features of the wanted cameras, by camera."""
        return self._camera_keys

    @property
    def video_keys(self) -> tuple[str, ...]:
        """Features of the wanted cameras whose pictures are in videos."""
        keys = self._camera_keys.values()
        return tuple(key for key in keys if self.features[key]["dtype"] == "video")

    @cached_property
    def outcomes(self) -> dict[int, str]:
        """Outcomes of the recorded episodes that this suite converted; of others' data sets: none.

        Raises:
            DatasetError: what the conversion wrote of them is damaged.
        """
        path = self.root / layout.MANIFEST
        if not path.is_file():
            return {}
        found = tables.read_json(path)
        try:
            return {int(each["episode_index"]): str(each["outcome"]) for each in found["episodes"]}
        except (ValueError, KeyError, TypeError) as error:
            raise DatasetError(f"{path} is damaged: {type(error).__name__}: {error}") from error

    @property
    def features(self) -> Mapping[str, Mapping[str, Any]]:
        """What the data set holds, as ``info.json`` lists it."""
        return self._index.features

    def names(self, feature: str) -> tuple[str, ...]:
        """Names of a feature's values; raises DatasetError where there are none."""
        return self._index.names(feature)

    def select(self, names: Sequence[str], feature: str = layout.STATE) -> NDArray[np.float32]:
        """Chosen values of all frames.

        Args:
            names: of the values, in order; ``.pos`` at the end may be left out or added.
            feature: ``observation.state``, ``action`` or another one with names.

        Returns:
            float32, shape (frames, len(names)) [rad; m for carriages].

        Raises:
            DatasetError: there is no such feature or value.
        """
        available = {name: i for i, name in enumerate(self.names(feature))}
        chosen: list[int] = []
        for name in names:
            for spelling in (name, f"{name}.pos", name.removesuffix(".pos")):
                if spelling in available:
                    chosen.append(available[spelling])
                    break
            else:
                raise DatasetError(
                    f"{self.root}: {feature} has no value {name!r}, it has {list(available)}"
                )
        return self._columns[feature][:, chosen]

    def column(self, name: str) -> NDArray[Any]:
        """A column of all frames, such as ``timestamp``, or a feature with all its values."""
        if name not in self._columns:
            raise DatasetError(f"{self.root} has no column {name!r}, it has {list(self._columns)}")
        return self._columns[name]

    def frame(self, index: int, cameras: Sequence[str] | None = None) -> DatasetFrame:
        """Reads a frame.

        Args:
            index: its number, 0..len - 1; negative ones count from the end.
            cameras: which pictures to read, of ``cameras``; None: all.

        Raises:
            DatasetError: there is no such frame, or its pictures cannot be read.
        """
        if not -len(self) <= index < len(self):
            raise DatasetError(f"frame must lie in 0..{len(self) - 1}, got {index}")
        i = index % len(self)
        episode = self.episodes[int(self._columns["episode_index"][i])]
        time_s = float(self._columns["timestamp"][i])
        wanted = self.cameras if cameras is None else cameras
        images = {camera: self._picture(camera, episode, i, time_s) for camera in wanted}
        return DatasetFrame(
            index=i,
            episode=episode.index,
            frame=int(self._columns["frame_index"][i]),
            time_s=time_s,
            task=self.tasks[int(self._columns["task_index"][i])],
            state=self._state[i],
            action=self._action[i],
            images=images,
        )

    def close(self) -> None:
        """Closes the videos; reading opens them again."""
        for video in self._open.values():
            video.close()
        self._open.clear()

    # Opening ------------------------------------------------------------------------------------

    def _read_columns(self, without: frozenset[int]) -> dict[str, NDArray[Any]]:
        wanted = self._index.number_columns
        parts: dict[str, list[NDArray[Any]]] = {name: [] for name in wanted}
        for path, spans in self._index.by_table.items():
            if all(each.index in without for each in spans):
                found = {name: self._zeros(name, spans) for name in wanted}
            else:
                table = tables.read_parquet(self.root / path, wanted)
                found = {name: tables.to_numpy(table[name]) for name in wanted}
            for name in wanted:
                parts[name].append(found[name])
        columns = {name: np.concatenate(part) for name, part in parts.items()}
        columns |= {name: columns[name].reshape(-1) for name in layout.COUNTERS if name in columns}
        self._index.check(columns)
        return columns

    def _zeros(self, column: str, spans: Sequence[EpisodeSpan]) -> NDArray[Any]:
        if column == "episode_index":
            return self._index.episode_numbers(spans)
        each = self.features[column]
        shape = () if column in layout.COUNTERS else tuple(each["shape"])
        return np.zeros((sum(span.length for span in spans), *shape), each["dtype"])

    def _find_cameras(self, wanted: Sequence[str] | None) -> dict[str, str]:
        there = {
            name.removeprefix(layout.IMAGES): name
            for name, each in self.features.items()
            if each["dtype"] in ("video", "image")
        }
        ours = {other: name for name, others in CAMERA_NAMES.items() for other in others}
        if wanted is None:
            return {ours.get(name, name): key for name, key in there.items()}
        found: dict[str, str] = {}
        for camera in wanted:
            names = [name for name in CAMERA_NAMES.get(camera, (camera,)) if name in there]
            if not names:
                raise DatasetError(f"{self.root} has no camera {camera!r}, it has {list(there)}")
            found[camera] = there[names[0]]
        return found

    # Pictures -----------------------------------------------------------------------------------

    def _picture(
        self, camera: str, episode: EpisodeSpan, index: int, time_s: float
    ) -> NDArray[np.uint8]:
        if camera not in self._camera_keys:
            raise DatasetError(f"camera must be one of {list(self.cameras)}, got {camera!r}")
        key = self._camera_keys[camera]
        if self.features[key]["dtype"] == "image":
            if key not in self._columns_of_pictures:
                files = [self.root / path for path in self._index.data_files]
                self._columns_of_pictures[key] = PictureColumn(files, key)
            return self._columns_of_pictures[key].picture(index)
        path, begins_s = episode.videos[key]
        return self._video(self.root / path).picture(begins_s + time_s, 0.5 / self.fps)

    def _video(self, path: Path) -> VideoFile:
        if self._pid != os.getpid():  # a forked process must not share the parent's files
            self._open = OrderedDict()
            self._pid = os.getpid()
        video = self._open.pop(path, None) or VideoFile(path)
        self._open[path] = video
        if len(self._open) > _OPEN_VIDEOS:
            self._open.popitem(last=False)[1].close()
        return video
