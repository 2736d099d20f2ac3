"""Errors of chunks, summed up: for each joint and step ahead, and of the grippers' timing.

A chunk of a moment has ``horizon`` rows; of some of them nothing was recorded (the episode ends, or
frames are missing). Those rows are not judged. Everything here is a sum, so that memory does not
grow with the number of moments and parts can be put together.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

_SMALLEST, _DECADES, _PER_DECADE = 1e-7, 9, 64
_BINS = _DECADES * _PER_DECADE + 2  # one below, one above


@dataclass(frozen=True)
class Recorded:
    """What was recorded for the rows of a chunk.

    Attributes:
        actions: shape (horizon, joints) [rad; m for carriages]; NaN where nothing was.
        valid: whether anything was, shape (horizon,).
    """

    actions: NDArray[np.float64]
    valid: NDArray[np.bool_]


class Errors:
    """Errors of one way to predict, summed for each step ahead and joint.

    Attributes:
        rows: judged rows, shape (horizon,).
    """

    def __init__(self, horizon: int, joints: int) -> None:
        self.rows = np.zeros(horizon, np.int64)
        self._sums = np.zeros((3, horizon, joints))  # of |e|, of e squared, of e
        self._bins = np.zeros((joints, _BINS), np.int64)

    def add(self, chunks: NDArray[np.float64], recorded: Recorded) -> None:
        """Judges chunks of one moment, shape (samples, horizon, joints) [rad; m]."""
        valid = recorded.valid
        errors = (chunks - recorded.actions)[:, valid]
        self.rows[valid] += len(chunks)
        sizes = np.abs(errors)
        for total, values in zip(self._sums, (sizes, errors**2, errors), strict=True):
            total[valid] += values.sum(axis=0)
        self._bins += _counted(sizes.reshape(-1, sizes.shape[-1]))

    def merge(self, other: Errors) -> None:
        """Adds what another one has summed up."""
        self.rows += other.rows
        self._sums += other._sums
        self._bins += other._bins

    @property
    def curve(self) -> NDArray[np.float64]:
        """Mean absolute error, shape (horizon, joints) [rad; m]; NaN where nothing was judged."""
        return _divided(self._sums[0], self.rows[:, None])

    def mean_abs(self, begin: int = 0, end: int | None = None) -> NDArray[np.float64]:
        """Mean absolute error over rows, shape (joints,) [rad; m]; NaN without any."""
        return self._mean(0, begin, end)

    def rmse(self) -> NDArray[np.float64]:
        """Root of the mean square of all rows, shape (joints,) [rad; m]."""
        return np.sqrt(self._mean(1))

    def bias(self) -> NDArray[np.float64]:
        """Mean of predicted less recorded, shape (joints,) [rad; m]."""
        return self._mean(2)

    def quantile(self, part: float) -> NDArray[np.float64]:
        """So large are at most a part of the absolute errors, shape (joints,) [rad; m].

        Of a histogram with bins of 3.7 %; errors below 1e-7 are 0.
        """
        counts = np.cumsum(self._bins, axis=1)
        wanted = part * counts[:, -1]
        found = np.full(len(counts), np.nan)
        for joint in np.nonzero(counts[:, -1])[0]:
            place = int(np.searchsorted(counts[joint], wanted[joint]))
            if place == 0:
                found[joint] = 0.0
                continue
            before = counts[joint, place - 1]
            share = (wanted[joint] - before) / max(1, counts[joint, place] - before)
            found[joint] = _SMALLEST * 10 ** ((place - 1 + share) / _PER_DECADE)
        return found

    def _mean(self, which: int, begin: int = 0, end: int | None = None) -> NDArray[np.float64]:
        part = slice(begin, end)
        return _divided(self._sums[which, part].sum(axis=0), self.rows[part].sum())


def normalised(errors: NDArray[np.float64], scale: NDArray[np.float64]) -> NDArray[np.float64]:
    """Errors as parts of the joints' ranges, averaged over the joints that move.

    Args:
        errors: mean absolute ones, shape (..., joints) [rad; m].
        scale: range of each joint, shape (joints,) [rad; m]; NaN for joints that rest.

    Returns:
        Shape (...,), 1 is the whole range; NaN where nothing was judged.
    """
    moving = np.isfinite(scale)
    return np.mean(errors[..., moving] / scale[moving], axis=-1)


def moment_errors(
    chunks: NDArray[np.float64], recorded: Recorded, scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Normalised error of each chunk of one moment over its judged rows, shape (samples,)."""
    sizes = np.abs(chunks - recorded.actions)[:, recorded.valid]
    return normalised(sizes.mean(axis=1), scale)


@dataclass
class Grip:
    """How a gripper's openings and closings agree.

    A gripper is closed below the middle of its range. Where the recorded one changes within a
    chunk, the predicted one is compared by the first row that is on the new side.

    Attributes:
        rows: judged rows.
        agreeing: of these, with both on the same side.
        changes: chunks within which the recorded gripper changes.
        missed: of these, without a predicted change.
        invented: chunks with a predicted change where the recorded gripper stays.
        steps: rows by which each predicted change comes late; early ones are below 0.
    """

    rows: int = 0
    agreeing: int = 0
    changes: int = 0
    missed: int = 0
    invented: int = 0
    steps: list[int] = field(default_factory=list)

    def add(
        self, predicted: NDArray[np.float64], recorded: NDArray[np.float64], middle: float
    ) -> None:
        """Compares positions of one gripper in the judged rows of a chunk, shape (rows,) [m]."""
        if not len(recorded):
            return
        ours, real = predicted < middle, recorded < middle
        self.rows += len(real)
        self.agreeing += int((ours == real).sum())
        changed = np.nonzero(real != real[0])[0]
        if not len(changed):
            self.invented += bool((ours != real[0]).any())
            return
        self.changes += 1
        reached = np.nonzero(ours == real[changed[0]])[0]
        if len(reached):
            self.steps.append(int(reached[0] - changed[0]))
        else:
            self.missed += 1

    def merge(self, other: Grip) -> None:
        """Adds what another one has counted."""
        for name in ("rows", "agreeing", "changes", "missed", "invented"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.steps.extend(other.steps)


class Jumps:
    """How far first rows lie from where the arms are, summed for each joint."""

    def __init__(self, joints: int) -> None:
        self.count = 0
        self._total, self._most = np.zeros(joints), np.zeros(joints)

    def add(self, rows: NDArray[np.float64], state: NDArray[np.float64]) -> None:
        """First rows, shape (samples, joints), of a moment whose state has shape (joints,)."""
        sizes = np.abs(rows - state)
        self.count += len(sizes)
        self._total += sizes.sum(axis=0)
        self._most = np.maximum(self._most, sizes.max(axis=0))

    def merge(self, other: Jumps) -> None:
        """Adds what another one has summed up."""
        self.count += other.count
        self._total += other._total
        self._most = np.maximum(self._most, other._most)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Shape (joints,) [rad; m]."""
        return _divided(self._total, np.int64(self.count))

    @property
    def most(self) -> NDArray[np.float64]:
        """Largest one, shape (joints,) [rad; m]."""
        return self._most if self.count else np.full_like(self._most, np.nan)


def _counted(sizes: NDArray[np.float64]) -> NDArray[np.int64]:
    """Histogram of each joint's errors, shape (joints, bins); ``sizes`` is (n, joints)."""
    with np.errstate(divide="ignore"):
        place = np.floor(np.log10(sizes / _SMALLEST) * _PER_DECADE) + 1
    place = np.clip(place, 0, _BINS - 1).astype(np.int64)
    joints = sizes.shape[1]
    flat = (place + _BINS * np.arange(joints)).ravel()
    return np.bincount(flat, minlength=joints * _BINS).reshape(joints, _BINS)


def _divided(total: NDArray[np.float64], count: NDArray[np.int64] | np.integer) -> NDArray:
    """Quotient; NaN where nothing was counted."""
    counted = np.asarray(count)
    return np.where(counted > 0, total / np.maximum(counted, 1), np.nan)
