"""Pictures of a data set, decoded once, of the size that the model takes, in a memory-mapped file.

Random access to videos costs some milliseconds a picture; a small model is starved by it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trossen_pi0_core.errors import DatasetError
from trossen_pi0_core.images import resize_with_pad
from trossen_pi0_data.workers import process_pool
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.convert_options import cores
from trossen_pi0_training.dataset import LeRobotFrames
from trossen_pi0_training.dataset_index import EpisodeSpan
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.feed.selection import example_frames, open_dataset, select_episodes
from trossen_pi0_training.feed.survey import shown

_LOG = logging.getLogger(__name__)
_FORMAT = 2
_IDENTITY = "identity.json"
_PICTURES = "pictures.rgb"


class PictureCache:
    """Pictures by the numbers of their frames. Read-only; any threads, processes share its pages.

    Those of a frame lie side by side, so that a frame is one copy.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int, int, int]) -> None:
        """Opens a complete cache.

        Args:
            folder: of the cache.
            shape: (frames of the data set, cameras, size, size, 3), size in pixels.

        Raises:
            TrainingError: the file is missing or has another size.
        """
        path, wanted = folder / _PICTURES, math.prod(shape)
        try:
            if (size := path.stat().st_size) != wanted:
                raise TrainingError(
                    f"the picture cache {folder} is damaged, remove it: {path.name} has {size} "
                    f"bytes, {wanted} are needed"
                )
            self._pictures = np.memmap(path, np.uint8, "r", shape=shape)
        except OSError as error:
            raise TrainingError(
                f"the picture cache {folder} is damaged, remove it: {error}"
            ) from error

    def pictures(self, frames: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Copies of pictures.

        Args:
            frames: numbers in the data set, shape (batch,).

        Returns:
            uint8 RGB, shape (batch, cameras, size, size, 3).
        """
        copies = np.empty((len(frames), *self._pictures.shape[1:]), np.uint8)
        # "clip" copies straight to where they shall be, "raise" by way of another array
        return np.take(self._pictures, frames, axis=0, out=copies, mode="clip")


def open_cache(config: TrainConfig, frames: LeRobotFrames) -> PictureCache | None:
    """The cache of a training; None where none is asked for.

    Raises:
        TrainingError: it has not been made, or is damaged.
    """
    if config.loader.cache is None:
        return None
    folder = _folder(config, frames)
    if not folder.is_dir():
        raise TrainingError(f"the picture cache {folder} is gone, or the data set has changed")
    return PictureCache(folder, _shape(config, frames))


def check_cache(config: TrainConfig) -> None:
    """Looks whether the cache is sound, or can be made where it is not there. Changes nothing.

    Raises:
        TrainingError: it is there, but damaged; or there is no space, or the folder cannot be
            written.
    """
    base = config.loader.cache
    if base is None or not config.data.repo_id:
        return
    frames = open_dataset(config.data)
    if _folder(config, frames).is_dir():
        open_cache(config, frames)
        return
    existing = next(path for path in (base.absolute(), *base.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise TrainingError(f"--loader.cache: {existing} is no folder that can be written")
    rows = sum(map(len, _rows(config, frames).values()))
    need = rows * math.prod(_shape(config, frames)[1:])
    free = shutil.disk_usage(existing).free
    if free < need:
        raise TrainingError(
            f"--loader.cache: {rows} frames need {need / 1e9:.2f} GB in {existing}, "
            f"free are {free / 1e9:.2f} GB"
        )


def make_cache(config: TrainConfig) -> None:
    """Makes the cache where one is asked for and not there; waits while another process does.

    Raises:
        TrainingError: it cannot be written.
        DatasetError: pictures cannot be read, a line for each episode; or a process was killed.
    """
    base = config.loader.cache
    if base is None or not config.data.repo_id:
        return
    frames = open_dataset(config.data)
    folder = _folder(config, frames)
    if folder.is_dir():  # it may lie where nothing can be written
        return
    try:
        base.mkdir(parents=True, exist_ok=True)
        with FileLock(base / f"{folder.name}.lock"):
            if not folder.is_dir():
                _make(config, frames, folder)
    except OSError as error:
        raise TrainingError(f"the picture cache {folder} cannot be written: {error}") from error


def _make(config: TrainConfig, frames: LeRobotFrames, folder: Path) -> None:
    building = folder.with_name(f"{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)  # of a process that was killed
    building.mkdir()
    try:
        with (building / _PICTURES).open("wb") as file:  # frames that are not wanted stay holes
            file.truncate(math.prod(_shape(config, frames)))
        rows = _rows(config, frames)
        workers = config.loader.workers or cores()
        with (
            process_pool(workers, len(rows), "picture cache", option="--loader.workers") as pool,
            _progress(sum(map(len, rows.values()))) as done,
        ):
            jobs = {pool.submit(_fill, config, number, building): number for number in rows}
            damaged: dict[int, str] = {}
            for job in as_completed(jobs):
                number = jobs[job]
                if problem := job.result():
                    damaged[number] = f"episode {number}: {problem}"
                done(len(rows[number]))
        if damaged:
            raise DatasetError("\n".join(shown([damaged[number] for number in sorted(damaged)])))
        (building / _IDENTITY).write_text(json.dumps(_identity(config, frames), indent=2) + "\n")
        building.replace(folder)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _fill(config: TrainConfig, number: int, folder: Path) -> str:
    """Decodes an episode; returns why it cannot be, or nothing.

    Written, not mapped: where a disk is full, a write fails, while a mapped page ends the process.
    The videos stay open for the next episode, which often lies in the same.
    """
    frames = _open(config)
    _, _, size, _, _ = shape = _shape(config, frames)
    try:
        with (folder / _PICTURES).open("r+b") as file:
            for index in example_frames(frames, number, config):
                file.seek(index * math.prod(shape[1:]))
                for picture in frames.frame(index).images.values():
                    file.write(resize_with_pad(picture, size, size).tobytes())
            file.flush()
            os.fsync(file.fileno())  # some file systems tell of a full disk no sooner
    except DatasetError as error:
        return str(error)
    return ""


@functools.lru_cache(maxsize=1)
def _open(config: TrainConfig) -> LeRobotFrames:
    return open_dataset(config.data)


@contextlib.contextmanager
def _progress(frames: int) -> Iterator[Callable[[int], None]]:
    """Called with the frames that are done; a bar on a terminal, a line elsewhere."""
    console = Console(stderr=True)
    columns = (
        TextColumn("picture cache"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    began_s = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=frames)
        yield functools.partial(bar.advance, task)
    _LOG.info("picture cache of %d frames made in %.1f s", frames, time.monotonic() - began_s)


def _wanted(config: TrainConfig, frames: LeRobotFrames) -> list[int]:
    chosen = select_episodes(frames, config.data)
    return sorted({*chosen.train, *chosen.val})


def _rows(config: TrainConfig, frames: LeRobotFrames) -> dict[int, range]:
    """Frames of each episode that are wanted."""
    return {n: example_frames(frames, n, config) for n in _wanted(config, frames)}


def _shape(config: TrainConfig, frames: LeRobotFrames) -> tuple[int, int, int, int, int]:
    size = model_config(config).image_size
    return len(frames), len(frames.cameras), size, size, 3


def _folder(config: TrainConfig, frames: LeRobotFrames) -> Path:
    assert config.loader.cache is not None
    text = json.dumps(_identity(config, frames), sort_keys=True)
    name = config.data.repo_id.replace("/", "--")
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return config.loader.cache.absolute() / f"{name}-{digest}"


def _identity(config: TrainConfig, frames: LeRobotFrames) -> dict[str, Any]:
    """What the pictures depend on: how they are made, which belong to which frame, their files.

    Where the data set lies is not part of it.
    """
    rows = _rows(config, frames)
    spans = [frames.episodes[number] for number in rows]
    keys = frames.camera_keys
    return {
        "format": _FORMAT,
        "image_size": model_config(config).image_size,
        "cameras": [(name, key, frames.features[key]["dtype"]) for name, key in keys.items()],
        "fps": frames.fps,
        "frames": len(frames),
        "episodes": [
            (each.index, each.first, each.length, each.table, _videos(frames, each))
            for each in spans
        ],
        "examples": [(chosen.start, chosen.stop, chosen.step) for chosen in rows.values()],
        "files": sorted(_files(frames, spans)),
    }


def _videos(frames: LeRobotFrames, span: EpisodeSpan) -> list[tuple[str, float]]:
    """Files and when the episode begins there [s], of the wanted cameras."""
    return [span.videos[key] for key in frames.video_keys]


def _files(frames: LeRobotFrames, spans: Sequence[EpisodeSpan]) -> Iterator[tuple[str, int, int]]:
    videos = {path for span in spans for path, _ in _videos(frames, span)}
    tables = {span.table for span in spans}
    for path in videos | tables:
        info = (frames.root / path).stat()
        yield path, info.st_size, info.st_mtime_ns
