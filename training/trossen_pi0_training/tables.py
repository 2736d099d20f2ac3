"""Parquet and JSON files of LeRobot data sets, without pandas."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trossen_pi0_core.errors import DatasetError


def frame_table(
    state: NDArray[np.float32],
    action: NDArray[np.float32],
    *,
    fps: int,
    episode: int,
    first: int,
    task: int,
) -> pa.Table:
    """The rows of one episode.

    Args:
        state: shape (frames, joints) [rad; m for carriages].
        action: likewise.
        fps: frames a second.
        episode: its number.
        first: number of its first frame in the data set.
        task: number of its task.
    """
    count = len(state)
    numbers = np.arange(count, dtype=np.int64)
    columns = {
        "action": _vectors(action),
        "observation.state": _vectors(state),
        "timestamp": pa.array((numbers / fps).astype(np.float32)),
        "frame_index": pa.array(numbers),
        "episode_index": pa.array(np.full(count, episode, dtype=np.int64)),
        "index": pa.array(numbers + first),
        "task_index": pa.array(np.full(count, task, dtype=np.int64)),
    }
    return pa.table(columns)


def write_parquet(tables: Sequence[pa.Table], path: Path) -> None:
    """Writes tables of one schema into a file, a row group each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, tables[0].schema, compression="snappy") as writer:
        for table in tables:
            writer.write_table(table)


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads a file; raises DatasetError when it cannot be read."""
    try:
        return pq.read_table(path, columns=None if columns is None else list(columns))
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error


def to_numpy(column: pa.ChunkedArray) -> NDArray[Any]:
    """A column of numbers, shape (rows,), or of vectors of one length, shape (rows, length).

    Raises:
        DatasetError: the vectors differ in length.
    """
    whole = column.combine_chunks()
    kind = whole.type
    if not (pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind)):
        return whole.to_numpy(zero_copy_only=False)
    flat = whole.flatten().to_numpy(zero_copy_only=False)
    if not len(whole):
        return flat.reshape(0, 0)
    if len(flat) % len(whole):
        raise DatasetError(f"{len(flat)} values in {len(whole)} rows: vectors differ in length")
    return flat.reshape(len(whole), -1)


def task_table(tasks: Sequence[str]) -> pa.Table:
    """Tasks as pandas writes a frame with the text as index, which is how v3.0 keeps them."""
    index = "__index_level_0__"
    column = {"metadata": None, "field_name": "task_index", "name": "task_index"}
    labels = {"metadata": None, "field_name": index, "name": None}
    about = {
        "index_columns": [index],
        "column_indexes": [],
        "columns": [
            column | {"pandas_type": "int64", "numpy_type": "int64"},
            labels | {"pandas_type": "unicode", "numpy_type": "object"},
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": None,
    }
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), index: list(tasks)})
    return table.replace_schema_metadata({"pandas": json.dumps(about)})


def write_json(content: object, path: Path) -> None:
    """Writes a JSON file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(content, indent=4, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Reads a JSON file; raises DatasetError when it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error


def write_json_lines(rows: Iterable[Mapping[str, Any]], path: Path) -> None:
    """Writes one JSON value a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_json_lines(path: Path) -> list[Any]:
    """Reads one JSON value a line; raises DatasetError when it cannot be read."""
    try:
        text = path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error


def _vectors(values: NDArray[np.float32]) -> pa.Array:
    flat = pa.array(np.ascontiguousarray(values, dtype=np.float32).ravel())
    return pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
