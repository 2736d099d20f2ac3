"""Statistics of data sets over all of their frames and all pixels, exactly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
"""By the names that LeRobot v3.0 gives them."""

BASIC = ("min", "max", "mean", "std", "count")
"""What LeRobot v2.1 knows."""

Statistics = dict[str, NDArray[Any]]


def of_values(values: NDArray[np.generic]) -> Statistics:
    """Statistics of a column.

    Args:
        values: shape (frames >= 1, dims) or (frames,).

    Returns:
        min, max, mean, std (of the population) and the ``QUANTILES``, float64 of shape (dims,), and
        count, int64 of shape (1,).
    """
    table = np.asarray(values, dtype=np.float64)
    table = table.reshape(len(table), -1)
    result: Statistics = {
        "min": table.min(axis=0),
        "max": table.max(axis=0),
        "mean": table.mean(axis=0),
        "std": table.std(axis=0),
        "count": np.array([len(table)], dtype=np.int64),
    }
    quantiles = np.quantile(table, list(QUANTILES.values()), axis=0)
    return result | dict(zip(QUANTILES, quantiles, strict=True))


@dataclass
class ImageHistogram:
    """How often each brightness occurs in each channel of a camera's pictures.

    Attributes:
        counts: int64, shape (3, 256), RGB.
        pictures: so many were counted.
    """

    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros((3, 256), dtype=np.int64))
    pictures: int = 0

    def add(self, image: NDArray[np.uint8]) -> None:
        """Counts a picture, uint8 RGB of shape (height, width, 3)."""
        counts = Image.fromarray(image).histogram()
        self.counts += np.asarray(counts, dtype=np.int64).reshape(3, 256)
        self.pictures += 1

    @classmethod
    def merged(cls, parts: Iterable[ImageHistogram]) -> ImageHistogram:
        """Of all the pictures of several."""
        whole = cls()
        for part in parts:
            whole.counts = whole.counts + part.counts
            whole.pictures += part.pictures
        return whole

    def statistics(self) -> Statistics:
        """As ``of_values``, of pixels in [0, 1] and shape (3, 1, 1); count is of pictures."""
        values = np.arange(256) / 255.0
        share = self.counts / self.counts.sum(axis=1, keepdims=True)
        mean = share @ values
        variance = share @ values**2 - mean**2
        seen = self.counts > 0
        result = {
            "min": values[seen.argmax(axis=1)],
            "max": values[255 - seen[:, ::-1].argmax(axis=1)],
            "mean": mean,
            "std": np.sqrt(np.maximum(variance, 0.0)),
        }
        below = np.cumsum(share, axis=1)
        for name, quantile in QUANTILES.items():
            result[name] = values[(below >= quantile - 1e-12).argmax(axis=1)]
        shaped: Statistics = {name: value.reshape(3, 1, 1) for name, value in result.items()}
        return shaped | {"count": np.array([self.pictures], dtype=np.int64)}


def to_json(
    statistics: Mapping[str, Statistics], names: Iterable[str] | None = None
) -> dict[str, dict[str, list[object]]]:
    """Nested lists, by feature and name of the statistic; ``names`` chooses some of them."""
    wanted = None if names is None else set(names)
    return {
        feature: {
            name: value.tolist() for name, value in each.items() if wanted is None or name in wanted
        }
        for feature, each in statistics.items()
    }
