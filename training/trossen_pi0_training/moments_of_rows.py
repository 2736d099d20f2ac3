"""Mean, deviation and quantiles of many rows that are seen a part at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.transforms import NormStats

BINS = 20_000
"""Of the histograms: a quantile is found to 1 / BINS of the range of the values."""

_QUANTILES = (0.01, 0.99)

Parts = Callable[[], Iterable[NDArray[np.float64]]]
"""Gives the rows anew each time, in parts of shape (rows, dimensions)."""


def stats_of_rows(parts: Parts) -> NormStats:
    """Exact mean and deviation of the population, and 1 % and 99 % quantiles by histograms.

    The parts are gone through twice: the range must be known before the histograms.

    Raises:
        ValueError: there are no rows.
    """
    count, mean, squares = 0, np.zeros(1), np.zeros(1)
    low, high = np.full(1, np.inf), np.full(1, -np.inf)
    for rows in parts():
        # Parallel moments (Chan, Golub, LeVeque 1983): stable whatever the mean is.
        n, part_mean = len(rows), rows.mean(axis=0)
        away = part_mean - mean
        total = count + n
        squares = squares + ((rows - part_mean) ** 2).sum(axis=0) + away**2 * (count * n / total)
        mean = mean + away * (n / total)
        count = total
        low, high = np.minimum(low, rows.min(axis=0)), np.maximum(high, rows.max(axis=0))
    if not count:
        raise ValueError("statistics need at least one row, got none")
    counts = np.zeros((len(mean), BINS), dtype=np.int64)
    width = np.where(high > low, (high - low) / BINS, 1.0)
    for rows in parts():
        bins = np.clip(((rows - low) / width).astype(np.int64), 0, BINS - 1)
        for column, found in zip(counts, bins.T, strict=True):
            np.add(column, np.bincount(found, minlength=BINS), out=column)
    below = np.cumsum(counts, axis=1)
    q01, q99 = (_quantile(share, counts, below, low, width) for share in _QUANTILES)
    bounded = (np.minimum(np.maximum(q, low), high) for q in (q01, q99))
    return NormStats(mean, np.sqrt(squares / count), *bounded)


def _quantile(
    share: float,
    counts: NDArray[np.int64],
    below: NDArray[np.int64],
    low: NDArray[np.float64],
    width: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Of each dimension, evenly between the edges of the bin in which it lies."""
    wanted = share * below[:, -1]
    bins = (below >= wanted[:, None]).argmax(axis=1)
    each = np.arange(len(bins))
    inside = counts[each, bins]
    into = (wanted - (below[each, bins] - inside)) / np.maximum(inside, 1)
    return low + width * (bins + into)
