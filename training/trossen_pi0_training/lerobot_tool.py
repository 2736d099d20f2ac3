"""What needs the `lerobot` library: run as a script by the interpreter of its own environment.

Imports nothing of this suite, which is not installed there. The job is a JSON file; the answer is
one JSON line on standard output. Jobs: ``versions``, ``assemble`` (one-episode data sets v3.0 to
one), ``check`` (open a data set and read its frames), ``record`` (the library's own recording
path, for comparison).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np


def versions(_job: dict[str, Any]) -> dict[str, Any]:
    """Versions of the library and of what it stands on."""
    from importlib.metadata import version

    names = ("lerobot", "torch", "datasets", "av", "pyarrow")
    return {name: version(name) for name in names}


def assemble(job: dict[str, Any]) -> dict[str, Any]:
    """Joins the data sets ``parts`` into ``root``, which must not exist."""
    from lerobot.datasets.aggregate import aggregate_datasets  # pyright: ignore[reportMissingImports]

    parts = [Path(part) for part in job["parts"]]
    aggregate_datasets(
        repo_ids=[job["repo_id"]] * len(parts),
        aggr_repo_id=job["repo_id"],
        roots=parts,
        aggr_root=Path(job["root"]),
    )
    return {}


def check(job: dict[str, Any]) -> dict[str, Any]:
    """Opens the data set in ``root`` and reads the frames ``indices``, or all without them.

    With ``save`` (a path), what was read is written there as NumPy's npz: for each feature an array
    of all those frames, pictures as uint8 (frames, height, width, 3), and the statistics as
    ``stats/<feature>/<name>``.
    """
    from lerobot.datasets.lerobot_dataset import LeRobotDataset  # pyright: ignore[reportMissingImports]

    # Its other decoder needs FFmpeg installed on the machine.
    data = LeRobotDataset(job["repo_id"], root=Path(job["root"]), video_backend="pyav")
    indices = job.get("indices")
    chosen = range(len(data)) if indices is None else indices
    columns: dict[str, list[Any]] = {}
    for index in chosen:
        for key, value in data[int(index)].items():
            columns.setdefault(key, []).append(_plain(value))
    if job.get("save"):
        arrays: dict[str, Any] = {key: np.asarray(value) for key, value in columns.items()}
        for feature, each in (data.meta.stats or {}).items():
            arrays |= {f"stats/{feature}/{name}": np.asarray(v) for name, v in each.items()}
        np.savez(job["save"], **arrays)
    return {
        "episodes": int(data.num_episodes),
        "frames": len(data),
        "fps": int(data.fps),
        "read": len(columns.get("index", [])),
    }


def record(job: dict[str, Any]) -> dict[str, Any]:
    """Records ``episodes`` by the library: create, add_frame, save_episode; tells the seconds.

    Each episode is a folder with ``state.npy``, ``action.npy`` and ``<camera>.raw``, the bytes of
    its pictures, which are mapped into memory.
    """
    from lerobot.datasets.lerobot_dataset import LeRobotDataset  # pyright: ignore[reportMissingImports]

    cameras: list[str] = job["cameras"]
    keys = {camera: f"observation.images.{camera}" for camera in cameras}
    # The library compares shapes with those of arrays: JSON's lists are not equal to them.
    features = {k: {**f, "shape": tuple(f["shape"])} for k, f in job["features"].items()}
    shapes = {camera: features[keys[camera]]["shape"] for camera in cameras}
    arguments = dict(job.get("options", {}))
    started = time.perf_counter()
    data = LeRobotDataset.create(
        job["repo_id"],
        fps=job["fps"],
        features=features,
        root=Path(job["root"]),
        **arguments,
    )
    frames = 0
    for folder in map(Path, job["episodes"]):
        state, action = np.load(folder / "state.npy"), np.load(folder / "action.npy")
        pictures = {c: np.memmap(folder / f"{c}.raw", dtype=np.uint8, mode="r") for c in cameras}
        pictures = {c: pictures[c].reshape(-1, *shapes[c]) for c in cameras}
        for row in range(len(state)):
            images = {keys[c]: np.asarray(pictures[c][row]) for c in cameras}
            values = {"observation.state": state[row], "action": action[row]}
            data.add_frame({**images, **values, "task": job["task"]})
        data.save_episode()
        frames += len(state)
    if hasattr(data, "finalize"):
        data.finalize()
    return {"seconds": time.perf_counter() - started, "frames": frames}


def _plain(value: Any) -> Any:
    """A tensor as an array; pictures, floats in [0, 1] channel first, as uint8 channel last."""
    if not hasattr(value, "numpy"):
        return value
    array = value.numpy()
    if array.ndim == 3:
        return np.rint(array * 255.0).astype(np.uint8).transpose(1, 2, 0)
    return array


JOBS = {"versions": versions, "assemble": assemble, "check": check, "record": record}


def main() -> int:
    """Does the job in the file named on the command line."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    answer = JOBS[job["job"]](job)
    sys.stdout.write("\n" + json.dumps(answer) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
