"""Measures the conversion against the `lerobot` library's own recording path, on the same frames.

``python -m trossen_pi0_training.convert_bench --episodes DIR``. Ours is timed whole: reading the
bags, resampling, encoding and writing the data set. The library gets the resampled frames from
memory-mapped files, so that only its create, add_frame and save_episode are timed.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trossen_pi0_core.errors import DatasetError, TrossenPi0Error
from trossen_pi0_training import layout, lerobot_env
from trossen_pi0_training.convert import convert
from trossen_pi0_training.convert_options import LIBRARY, NATIVE, Options
from trossen_pi0_training.convert_plan import Candidate, make_plan
from trossen_pi0_training.recordings import open_recording
from trossen_pi0_training.shards import Shard

RECORDING = {
    "lerobot, PNG files": {"image_writer_threads": 16},
    # Its queue drops pictures when it is full: here it never is.
    "lerobot, streamed": {"streaming_encoding": True, "encoder_queue_maxsize": 1_000_000},
}
"""The library's ways to record: pictures written as PNG files, by four threads a camera as its own
recorder does, and encoded when an episode ends; and pictures that are encoded as they come."""


@dataclass(frozen=True)
class Row:
    """One way to make the data set.

    Attributes:
        name: of the way.
        seconds: it took [s].
        episodes: so many.
        content_s: their length [s].
    """

    name: str
    seconds: float
    episodes: int
    content_s: float

    def text(self) -> str:
        """One line of the table."""
        per_minute, times = 60 * self.episodes / self.seconds, self.content_s / self.seconds
        return f"{self.name:28} {self.seconds:9.1f} {per_minute:13.1f} {times:12.2f}"


def measure(folder: Path, workers: int, count: int, scratch: Path) -> list[Row]:
    """Makes the data set in each way.

    Args:
        folder: of the episodes.
        workers: processes of ours.
        count: so many episodes, the oldest.
        scratch: an empty folder, with room for the pictures of all frames as they are.

    Raises:
        DatasetError: an episode cannot be converted, or the library is not installed.
    """
    everything = ("success", "failure", "unknown")
    options = Options((folder,), "bench/ours", scratch / "x", include=everything, workers=workers)
    chosen = make_plan(options).chosen[:count]
    if not chosen:
        raise DatasetError(f"there is no whole episode in {folder}")
    options = dataclasses.replace(
        options, episodes=tuple(each.folder for each in chosen), strict=True
    )
    rows: list[Row] = []
    shards: tuple[Shard, ...] = ()
    ways = ((f"ours, {workers} processes", NATIVE), ("ours, joined by lerobot", LIBRARY))
    for name, writer in ways:
        root = scratch / writer
        result = convert(dataclasses.replace(options, writer=writer, root=root))
        shards = result.data_sets[0].shards
        rows.append(Row(name, result.seconds, result.episodes, result.content_s))
    frames = [_dump(each, options, scratch / f"frames-{i}") for i, each in enumerate(chosen)]
    job = _job(shards, options, [str(path) for path in frames])
    for i, (name, arguments) in enumerate(RECORDING.items()):
        root = scratch / f"record-{i}"
        answer = lerobot_env.run_job(layout.V30, job | {"root": str(root), "options": arguments})
        if answer["frames"] != sum(shard.frames for shard in shards):
            raise DatasetError(f"{name} wrote {answer['frames']} frames, not the same as ours")
        content_s = answer["frames"] / options.fps
        rows.append(Row(name, answer["seconds"], len(chosen), content_s))
    return rows


def _dump(candidate: Candidate, options: Options, folder: Path) -> Path:
    """Writes the frames of an episode as plain arrays."""
    recording = open_recording(candidate, options)
    folder.mkdir(parents=True)
    states, actions = [], []
    streams = {camera: (folder / f"{camera}.raw").open("wb") for camera in options.cameras}
    for frame in recording.frames():
        states.append(frame.state)
        actions.append(frame.action)
        for camera, file in streams.items():
            file.write(np.ascontiguousarray(frame.images[camera]).data)
    for file in streams.values():
        file.close()
    np.save(folder / "state.npy", np.asarray(states, dtype=np.float32))
    np.save(folder / "action.npy", np.asarray(actions, dtype=np.float32))
    return folder


def _job(shards: Sequence[Shard], options: Options, episodes: list[str]) -> dict[str, Any]:
    table = layout.features(shards[0].joint_names, shards[0].cameras)
    features = {
        key: {name: each[name] for name in ("dtype", "shape", "names")}
        for key, each in table.items()
        if key not in layout.COUNTERS
    }
    for each in features.values():
        each["shape"] = list(each["shape"])
    return {
        "job": "record",
        "repo_id": "bench/theirs",
        "fps": options.fps,
        "features": features,
        "cameras": list(options.cameras),
        "task": shards[0].task,
        "episodes": episodes,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures as the command line says; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m trossen_pi0_training.convert_bench", description=__doc__
    )
    add = parser.add_argument
    add("--episodes", type=Path, required=True, metavar="DIR", help="folder of episodes")
    add("--count", type=int, default=3, help="so many of them (default %(default)s)")
    add("--workers", type=int, default=len(os.sched_getaffinity(0)), help="default: one a core")
    add("--scratch", type=Path, help="folder for the data, about 1 GB for 10 s of an episode")
    given = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(dir=given.scratch, prefix="convert-bench-") as scratch:
            rows = measure(given.episodes, given.workers, given.count, Path(scratch))
            versions = lerobot_env.run_job(layout.V30, {"job": "versions"})
    except (TrossenPi0Error, OSError) as error:
        sys.stderr.write(f"convert_bench: {error}\n")
        return 1
    cores = len(os.sched_getaffinity(0))
    what = f"{rows[0].episodes} episodes of {rows[0].content_s:.1f} s"
    lines = [
        f"{what}; {cores} cores, {platform.machine()}; {json.dumps(versions)}",
        f"{'way':28} {'seconds':>9} {'episodes/min':>13} {'x real time':>12}",
        *(row.text() for row in rows),
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
