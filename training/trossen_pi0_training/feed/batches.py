"""Examples side by side, in host memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.transforms import ModelInputs


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


def stack(examples: Sequence[Example], numbers: NDArray[np.int64]) -> HostBatch:
    """Puts examples side by side."""

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
