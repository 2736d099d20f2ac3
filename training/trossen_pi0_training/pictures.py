"""Pictures that a data set keeps in its tables instead of videos."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from PIL import Image

from trossen_pi0_core.errors import DatasetError
from trossen_pi0_training import tables


class PictureColumn:
    """A column of encoded pictures over several files; keeps one file's column in memory."""

    def __init__(self, files: Sequence[Path], name: str) -> None:
        self._files, self._name = list(files), name
        self._ends = np.cumsum([pq.read_metadata(path).num_rows for path in self._files])
        self._loaded = -1
        self._column: object = None

    def picture(self, index: int) -> NDArray[np.uint8]:
        """The picture of a frame, uint8 RGB of shape (height, width, 3).

        Raises:
            DatasetError: it cannot be decoded.
        """
        file = int(np.searchsorted(self._ends, index, side="right"))
        if file != self._loaded:
            self._column = tables.read_parquet(self._files[file], [self._name])[self._name]
            self._loaded = file
        row = index - (int(self._ends[file - 1]) if file else 0)
        content = self._column[row].as_py()  # pyright: ignore[reportIndexIssue]
        try:
            with Image.open(io.BytesIO(content["bytes"])) as image:
                return np.asarray(image.convert("RGB"))
        except (OSError, TypeError, KeyError) as error:
            raise DatasetError(f"{self._files[file]}: {self._name}[{row}]: {error}") from error
