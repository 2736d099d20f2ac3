"""Examples side by side, in host memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_core.transforms import ModelInputs
from trossen_pi0_training.errors import TrainingError


@dataclass(frozen=True, eq=False)
class HostBatch:
    """What a training step is given.

    Attributes:
        images: uint8 RGB, shape (batch, cameras, image_size, image_size, 3).
        image_mask: bool, shape (batch, cameras): which pictures are there.
        state: normalised and padded, float32, shape (batch, action_dim).
        tokens: int32, shape (batch, max_token_len).
        token_mask: bool, shape (batch, max_token_len).
        actions: normalised and padded, float32, shape (batch, horizon, action_dim).
        numbers: of the examples, int64, shape (batch,).
    """

    images: NDArray[np.uint8]
    image_mask: NDArray[np.bool_]
    state: NDArray[np.float32]
    tokens: NDArray[np.int32]
    token_mask: NDArray[np.bool_]
    actions: NDArray[np.float32]
    numbers: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Example:
    """One observation and what the model shall answer.

    Attributes:
        inputs: of the model.
        actions: normalised and padded, float32, shape (horizon, action_dim).
    """

    inputs: ModelInputs
    actions: NDArray[np.float32]


def make_batch(example: Callable[[int], Example], numbers: NDArray[np.int64]) -> HostBatch:
    """Makes examples one by one and puts them side by side.

    Args:
        example: makes one by its number.
        numbers: shape (batch,).

    Raises:
        TrainingError: one cannot be made.
    """
    made: list[Example] = []
    for number in numbers:
        try:
            made.append(example(int(number)))
        except TrossenPi0Error as error:
            raise TrainingError(f"example {number}: {error}") from error
    return _stack(made, numbers)


def _stack(examples: Sequence[Example], numbers: NDArray[np.int64]) -> HostBatch:
    def joined(name: str) -> NDArray[Any]:
        return np.stack([getattr(example.inputs, name) for example in examples])

    return HostBatch(
        images=joined("images"),
        image_mask=joined("image_mask"),
        state=joined("state"),
        tokens=joined("tokens"),
        token_mask=joined("token_mask"),
        actions=np.stack([example.actions for example in examples]),
        numbers=numbers,
    )
