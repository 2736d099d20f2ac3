"""Normalisation statistics: openpi's ``norm_stats.json`` and the arithmetic on it.

The file (``openpi/shared/normalize.py``) holds ``{"norm_stats": {"state": S, "actions": S}}`` with
S = ``{"mean": [...], "std": [...], "q01": [...] | null, "q99": [...] | null}``, a number per joint
[rad; m for carriages]. Openpi computes in float64 and hands float32 to the model; so do we.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trossen_pi0_core.errors import NormStatsError

FILE_NAME = "norm_stats.json"

STATE, ACTIONS = "state", "actions"
"""What a file must have statistics of."""

_EPSILON = 1e-6
"""Keeps joints that never moved finite; part of openpi's formulas."""

_SHOWN_NEIGHBOURS = 5


@dataclass(frozen=True, eq=False)
class NormStats:
    """Statistics of vectors, float64, shape (dimensions,) each, read-only.

    Attributes:
        mean: averages.
        std: standard deviations, >= 0.
        q01: 1 % quantiles; None where only z-scores are wanted.
        q99: 99 % quantiles, >= q01; None together with q01.
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    q01: NDArray[np.float64] | None = None
    q99: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if (self.q01 is None) != (self.q99 is None):
            raise NormStatsError("q01 and q99 must be given together, or neither")
        for name in ("mean", "std", "q01", "q99"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, _vector(name, value))
        lengths = {k: len(v) for k, v in self.fields().items() if v is not None}
        if len(set(lengths.values())) > 1:
            raise NormStatsError(f"all statistics must have the same length, got {lengths}")
        if (self.std < 0).any():
            raise NormStatsError(f"std must be 0 or more, got {self.std.min()}")
        if self.q01 is not None and self.q99 is not None and (self.q99 < self.q01).any():
            worst = int(np.argmin(self.q99 - self.q01))
            raise NormStatsError(
                f"q99 must not be below q01, got {self.q99[worst]} below {self.q01[worst]} "
                f"in dimension {worst}"
            )

    @property
    def dimensions(self) -> int:
        """Length of the vectors."""
        return len(self.mean)

    def fields(self) -> dict[str, NDArray[np.float64] | None]:
        """The arrays by their names in the file."""
        return {"mean": self.mean, "std": self.std, "q01": self.q01, "q99": self.q99}

    def bounds(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The 1 % and 99 % quantiles.

        Raises:
            NormStatsError: these statistics have none.
        """
        if self.q01 is None or self.q99 is None:
            raise NormStatsError(
                "quantiles need q01 and q99, these statistics have only mean and std"
            )
        return self.q01, self.q99


def normalise(values: ArrayLike, stats: NormStats, *, quantiles: bool) -> NDArray[np.float64]:
    """Z-scores, or [q01, q99] stretched to [-1, 1]; values outside go beyond and are not clipped.

    Args:
        values: shape (..., n), n <= dimensions of the statistics, whose rest is not used.
        stats: of these values.
        quantiles: by quantiles, as pi0.5 has it; else z-scores, as pi0 has it.

    Returns:
        float64, shape (..., n).

    Raises:
        NormStatsError: more values than statistics, or no quantiles.
    """
    x = np.asarray(values)
    n = x.shape[-1]
    if n > stats.dimensions:
        raise NormStatsError(f"{n} values need {n} statistics, there are {stats.dimensions}")
    if quantiles:
        q01, q99 = (q[:n] for q in stats.bounds())
        return (x - q01) / (q99 - q01 + _EPSILON) * 2.0 - 1.0
    return (x - stats.mean[:n]) / (stats.std[:n] + _EPSILON)


def unnormalise(values: ArrayLike, stats: NormStats, *, quantiles: bool) -> NDArray[np.float64]:
    """Undoes :func:`normalise`.

    Dimensions beyond the statistics are the model's padding: z-scores treat them as of mean 0 and
    deviation 1, quantiles leave them as they are, both as openpi does.

    Args:
        values: shape (..., n); statistics beyond n are not used.
        stats: of these values.
        quantiles: as they were normalised.

    Returns:
        float64, shape (..., n).

    Raises:
        NormStatsError: no quantiles.
    """
    x = np.asarray(values)
    n = min(x.shape[-1], stats.dimensions)
    result = x.astype(np.float64)
    if quantiles:
        q01, q99 = (q[:n] for q in stats.bounds())
        # The fraction of the range is taken in the precision of the values, as openpi does.
        result[..., :n] = (x[..., :n] + 1.0) / 2.0 * (q99 - q01 + _EPSILON) + q01
    else:
        result[..., :n] = x[..., :n] * (stats.std[:n] + _EPSILON) + stats.mean[:n]
        result[..., n:] *= 1.0 + _EPSILON
    return result


def load_norm_stats(path: str | Path) -> dict[str, NormStats]:
    """Reads openpi's file.

    Args:
        path: the file, or the folder that holds it as ``norm_stats.json``
            (``<checkpoint>/assets/<asset_id>``).

    Returns:
        Statistics by name; ``state`` and ``actions`` are among them.

    Raises:
        NormStatsError: no such file, or it is not one of these.
    """
    file = Path(path)
    file = file / FILE_NAME if file.is_dir() else file
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NormStatsError(f"no normalisation statistics: {_missing(file)}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise NormStatsError(f"{file} cannot be read: {error}") from error
    try:
        return _parse(json.loads(text))
    except (ValueError, RecursionError) as error:
        raise NormStatsError(f"{file}: {error}") from error


def save_norm_stats(directory: str | Path, stats: Mapping[str, NormStats]) -> Path:
    """Writes a file that openpi reads.

    Args:
        directory: made if it is not there; the file in it is replaced.
        stats: statistics by name, ``state`` and ``actions`` among them.

    Returns:
        The file's path.

    Raises:
        NormStatsError: a name is missing, or the file cannot be written.
    """
    _require_names(stats)
    content = {
        name: {k: None if v is None else v.tolist() for k, v in entry.fields().items()}
        for name, entry in stats.items()
    }
    file = Path(directory) / FILE_NAME
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"norm_stats": content}, indent=2), encoding="utf-8")
    except OSError as error:
        raise NormStatsError(f"{file} cannot be written: {error}") from error
    return file


def _missing(file: Path) -> str:
    """What is missing, and what of the kind lies next to it: asset ids have one part or two."""
    near = [p for depth in ("*", "*/*") for p in file.parent.glob(f"{depth}/{FILE_NAME}")]
    shown = sorted(str(p.parent) for p in near)[:_SHOWN_NEIGHBOURS]
    return f"there is no {file}" + (f"; there are some in {shown}" if shown else "")


def _parse(content: Any) -> dict[str, NormStats]:
    entries = content.get("norm_stats") if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise NormStatsError("a file of statistics must hold a map 'norm_stats'")
    _require_names(entries)
    return {name: _entry(name, fields) for name, fields in entries.items()}


def _entry(name: str, fields: Any) -> NormStats:
    if not isinstance(fields, dict) or not {"mean", "std"} <= set(fields):
        given = sorted(fields) if isinstance(fields, dict) else type(fields).__name__
        raise NormStatsError(f"{name}: statistics need 'mean' and 'std', got {given}")
    try:
        return NormStats(fields["mean"], fields["std"], fields.get("q01"), fields.get("q99"))
    except NormStatsError as error:
        raise NormStatsError(f"{name}: {error}") from error


def _require_names(entries: Mapping[str, Any]) -> None:
    if missing := [name for name in (STATE, ACTIONS) if name not in entries]:
        raise NormStatsError(f"statistics of {missing} are missing, there are {sorted(entries)}")


def _vector(name: str, value: ArrayLike) -> NDArray[np.float64]:
    try:
        vector = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise NormStatsError(f"{name} must be a list of numbers: {error}") from error
    if vector.ndim != 1 or not vector.size:
        raise NormStatsError(f"{name} must be a list of numbers, got shape {vector.shape}")
    if not np.isfinite(vector).all():
        raise NormStatsError(f"{name} must be finite, got {vector[~np.isfinite(vector)][0]}")
    vector.flags.writeable = False
    return vector
