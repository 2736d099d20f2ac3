"""What the simulated arms were told and what they did, as files that survive a killed process."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.joints import JOINTS_PER_ARM

SET_POINT = np.dtype(
    [
        ("time_s", "f8"),
        ("arm", "i4"),
        ("driven", "i4"),
        ("target", "f8", (JOINTS_PER_ARM,)),
        ("measured", "f8", (JOINTS_PER_ARM,)),
    ]
)
"""One set-point as it arrived at an arm: monotonic time [s], arm, whether its joints are driven,
targets and measured positions [rad; m for the carriage]."""

MOTION = np.dtype(
    [
        ("time_s", "f8"),
        ("positions", "f8", (2 * JOINTS_PER_ARM,)),
        ("velocities", "f8", (2 * JOINTS_PER_ARM,)),
    ]
)
"""Both arms after a tick of the world: monotonic time [s], [rad; m], [rad/s; m/s]."""


class RecordWriter:
    """Appends records to a file, each with one system call. Any thread."""

    def __init__(self, path: Path, kind: np.dtype[Any]) -> None:
        self._kind = kind
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def add(self, *values: object) -> None:
        """Appends one record with these fields."""
        os.write(self._file, np.array([values], dtype=self._kind).tobytes())

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)


class RecordReader:
    """Reads a file that another process appends to."""

    def __init__(self, path: Path, kind: np.dtype[Any]) -> None:
        self._path = path
        self._kind = kind

    def since(self, time_s: float) -> NDArray[Any]:
        """The records from a time on [s], in order of time."""
        if not self._path.exists():
            return np.empty(0, dtype=self._kind)
        size = self._path.stat().st_size // self._kind.itemsize
        records = np.memmap(self._path, self._kind, "r", shape=(size,)) if size else None
        if records is None:
            return np.empty(0, dtype=self._kind)
        first = int(np.searchsorted(records["time_s"], time_s))
        return np.sort(np.array(records[first:]), order="time_s")
