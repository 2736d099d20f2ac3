"""Shards: one converted episode each, from which data sets are put together.

A shard is a folder with ``values.npz`` (action and state), one video for each camera and
``shard.json``. It appears under its name only when it is complete.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import DatasetError
from trossen_pi0_training import layout, video
from trossen_pi0_training.stats import ImageHistogram, Statistics, of_values

_RECORD, _VALUES, _HISTOGRAMS = "shard.json", "values.npz", "histograms.npz"


@dataclass(frozen=True)
class Frame:
    """One row of a data set.

    Attributes:
        state: measured joint positions, shape (joints,) [rad; m for carriages].
        action: commanded joint positions, same shape and units.
        images: camera name -> uint8 RGB, shape (height, width, 3).
    """

    state: NDArray[np.float64]
    action: NDArray[np.float64]
    images: Mapping[str, NDArray[np.uint8]]


@dataclass(frozen=True)
class Origin:
    """Where the frames of a shard came from.

    Attributes:
        name: of the episode.
        folder: of the episode.
        sha256: of its MCAP files, by file name.
        outcome: success, failure, unknown or cut.
        began: ISO 8601, UTC.
        seed: of the simulation; None: none.
        software: what recorded it.
        notes: what the reader says of it, such as frames that were left out.
    """

    name: str
    folder: str
    sha256: Mapping[str, str]
    outcome: str
    began: str
    seed: int | None
    software: Mapping[str, Any]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Shard:
    """A converted episode.

    Attributes:
        folder: where it lies.
        origin: what it was made of.
        task: instruction.
        fps: frames a second.
        frames: so many.
        joint_names: data-set names of the values, in order.
        cameras: camera name -> what ``video.describe`` says.
    """

    folder: Path
    origin: Origin
    task: str
    fps: int
    frames: int
    joint_names: tuple[str, ...]
    cameras: Mapping[str, Mapping[str, Any]]

    def video(self, camera: str) -> Path:
        """The video of a camera."""
        return self.folder / f"{camera}.mp4"

    def values(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """State and action, each of shape (frames, joints) [rad; m for carriages]."""
        with np.load(self.folder / _VALUES) as content:
            return content["state"], content["action"]

    def histograms(self) -> dict[str, ImageHistogram]:
        """Of the pictures that were encoded, by camera."""
        with np.load(self.folder / _HISTOGRAMS) as content:
            return {each: ImageHistogram(content[each], self.frames) for each in self.cameras}

    @property
    def layout(self) -> tuple[object, ...]:
        """What shards of one data set have in common: rate, joints, sizes of the pictures."""
        cameras = {camera: dict(about) for camera, about in sorted(self.cameras.items())}
        return self.fps, self.joint_names, cameras

    @classmethod
    def read(cls, folder: Path) -> Shard:
        """Raises DatasetError unless the folder is a complete shard."""
        try:
            content = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
            origin = Origin(**content.pop("origin"))
            content["joint_names"] = tuple(content["joint_names"])
            return cls(folder=folder, origin=origin, **content)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise DatasetError(f"{folder} is no converted episode: {error}") from error


def write_shard(
    folder: Path,
    frames: Iterable[Frame],
    *,
    origin: Origin,
    task: str,
    fps: int,
    joint_names: tuple[str, ...],
    cameras: tuple[str, ...],
    codec: str,
    notes: Callable[[], Sequence[str]] = tuple,
) -> Shard:
    """Encodes an episode.

    Args:
        folder: the shard; must not exist. Nothing is left there when this fails.
        frames: of the episode, ``fps`` a second; at least two.
        origin: what they come from.
        task: instruction.
        fps: frames a second.
        joint_names: data-set names of the values, in order.
        cameras: those to write, in order.
        codec: one of ``video.CODECS``.
        notes: called after the last frame: what is to be noted of the origin.

    Raises:
        DatasetError: too few frames, or pictures or values that fit no data set.
        TrossenPi0Error: whatever ``frames`` raises.
        OSError: the disk is full or not writable.
    """
    # Of this process alone: one of a killed conversion may live on for a moment.
    part = folder.with_name(f"{folder.name}.{os.getpid()}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        states, actions, histograms = _encode(part, frames, cameras, fps, codec)
        _check_values({layout.STATE: states, layout.ACTION: actions}, joint_names)
        np.savez(part / _VALUES, state=states, action=actions)
        counts = {camera: each.counts for camera, each in histograms.items()}
        np.savez(part / _HISTOGRAMS, **counts)  # pyright: ignore[reportArgumentType]
        about = {camera: video.describe(part / f"{camera}.mp4") for camera in cameras}
        origin = dataclasses.replace(origin, notes=tuple(notes()))
        shard = Shard(folder, origin, task, fps, len(states), joint_names, about)
        record = dataclasses.asdict(shard)
        del record["folder"]
        with (part / _RECORD).open("w", encoding="utf-8") as file:
            json.dump(record, file, indent=2, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        part.replace(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return shard


def feature_statistics(shards: list[Shard]) -> dict[str, Statistics]:
    """Statistics of actions, states and pictures over all frames of the shards, by feature."""
    values = [shard.values() for shard in shards]
    result = {
        layout.ACTION: of_values(np.concatenate([action for _, action in values])),
        layout.STATE: of_values(np.concatenate([state for state, _ in values])),
    }
    histograms = [shard.histograms() for shard in shards]
    for camera in shards[0].cameras:
        merged = ImageHistogram.merged(each[camera] for each in histograms)
        result[layout.image_key(camera)] = merged.statistics()
    return result


def _encode(
    folder: Path, frames: Iterable[Frame], cameras: tuple[str, ...], fps: int, codec: str
) -> tuple[NDArray[np.float32], NDArray[np.float32], dict[str, ImageHistogram]]:
    states: list[NDArray[np.float64]] = []
    actions: list[NDArray[np.float64]] = []
    histograms = {camera: ImageHistogram() for camera in cameras}
    with contextlib.ExitStack() as stack:
        writers = {
            camera: stack.enter_context(video.VideoWriter(folder / f"{camera}.mp4", fps, codec))
            for camera in cameras
        }
        for frame in frames:
            states.append(frame.state)
            actions.append(frame.action)
            for camera in cameras:
                writers[camera].add(frame.images[camera])
                histograms[camera].add(frame.images[camera])
    if len(states) < 2:
        raise DatasetError(f"an episode needs at least 2 frames, got {len(states)}")
    return np.asarray(states, np.float32), np.asarray(actions, np.float32), histograms


def _check_values(columns: Mapping[str, NDArray[np.float32]], names: tuple[str, ...]) -> None:
    for key, column in columns.items():
        if column.ndim != 2 or column.shape[1] != len(names):
            raise DatasetError(f"{key} has shape {column.shape}, {len(names)} joints are named")
        if not np.isfinite(column).all():
            row, joint = np.argwhere(~np.isfinite(column))[0]
            raise DatasetError(f"{key} of {names[joint]} is not finite in frame {row}")
