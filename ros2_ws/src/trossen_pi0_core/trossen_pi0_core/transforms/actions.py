"""Actions relative to the state, and padding to the model's width. New arrays, never edits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

ALOHA_DELTA_RUNS = (6, -1, 6, -1)
"""openpi's choice for two arms: joints relative to the state, carriages absolute."""


def mask_from_runs(*runs: int) -> tuple[bool, ...]:
    """A mask from lengths of runs: n stands for n times True, -n for n times False.

    ``mask_from_runs(2, -1)`` is ``(True, True, False)``, as openpi's ``make_bool_mask``.
    """
    return tuple(value for run in runs for value in [run > 0] * abs(run))


def to_delta(
    actions: NDArray[Any], state: NDArray[Any], mask: Sequence[bool] | None
) -> NDArray[Any]:
    """Actions relative to the state where the mask says so.

    Args:
        actions: absolute, shape (..., horizon, n) [rad; m for carriages].
        state: at the chunk's beginning, shape (..., >= len(mask)), same units.
        mask: at most n long; dimensions beyond it stay absolute. None: all stay absolute.

    Returns:
        As ``actions``, in its dtype: openpi subtracts in the precision of the data.
    """
    return _shifted(actions, state, mask, -1)


def to_absolute(
    actions: NDArray[Any], state: NDArray[Any], mask: Sequence[bool] | None
) -> NDArray[Any]:
    """Undoes :func:`to_delta`; same arguments."""
    return _shifted(actions, state, mask, 1)


def pad_last(values: NDArray[Any], size: int) -> NDArray[Any]:
    """Zeros appended to the last dimension until it is ``size`` long; a copy.

    The last dimension must not be longer.
    """
    padded = np.zeros((*values.shape[:-1], size), dtype=values.dtype)
    padded[..., : values.shape[-1]] = values
    return padded


def _shifted(
    actions: NDArray[Any], state: NDArray[Any], mask: Sequence[bool] | None, sign: int
) -> NDArray[Any]:
    result = actions.copy()
    if mask is not None:
        n = len(mask)
        offset = np.where(np.asarray(mask), state[..., :n], 0)
        result[..., :n] += sign * np.expand_dims(offset, axis=-2)
    return result
