"""Which examples a step takes: a pure function, so that a resumed training goes on exactly."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def example_numbers(seed: int, count: int, batch_size: int, step: int) -> NDArray[np.int64]:
    """Numbers of the examples of a batch.

    Each epoch is a permutation of its own; a batch may end one and begin the next.

    Args:
        seed: of the permutations.
        count: examples that there are, 1 or more.
        batch_size: examples in a batch.
        step: number of the batch, from 0.

    Returns:
        int64, shape (batch_size,), values in 0..count - 1.
    """
    places = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, within = np.divmod(places, count)
    numbers = np.empty(batch_size, np.int64)
    for epoch in np.unique(epochs):
        mine = epochs == epoch
        numbers[mine] = _permutation(seed, count, int(epoch))[within[mine]]
    return numbers


@lru_cache(maxsize=4)
def _permutation(seed: int, count: int, epoch: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, epoch]).permutation(count)
