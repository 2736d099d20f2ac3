"""Several processes of one training: what happens in one of them counts for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh

from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.fit.mesh import over_examples, replicated

T = TypeVar("T")

_LONGEST_MESSAGE = 2000
"""Bytes of an error that the other processes are told."""


def is_first() -> bool:
    """Whether this process writes what is written once: folder, figures, pictures."""
    return jax.process_index() == 0


def together(work: Callable[[], T]) -> T:
    """Does the work in each process and waits for all.

    Raises:
        TrossenPi0Error, OSError: of the work here.
        TrainingError: it failed in another process only.
    """
    if jax.process_count() == 1:
        return work()
    try:
        done = work()
    except (TrossenPi0Error, OSError) as error:
        _tell(str(error) or type(error).__name__)
        raise
    told = {i: text for i, text in enumerate(_tell("")) if text}
    if told:
        raise TrainingError("\n".join(f"process {i}: {text}" for i, text in told.items()))
    return done


class SharedSignal:
    """A signal that one process is given stops all of them behind the same step."""

    def __init__(self, mesh: Mesh) -> None:
        """Args:
        mesh: of the devices.
        """
        self._mesh = mesh
        self._largest = jax.jit(jnp.max, out_shardings=replicated(mesh))
        self._asked: jax.Array | None = None

    def agreed(self, number: int) -> int:
        """What all processes know; each calls it once behind each step.

        With several processes it is what was given at the call before, so that nobody waits
        for the step that is under way.

        Args:
            number: of the signal that this process was given; 0: none.

        Returns:
            The largest number of any process; 0: none.
        """
        if jax.process_count() == 1:
            return number
        known = 0 if self._asked is None else int(self._asked)
        numbers = np.full(jax.local_device_count(), number, np.int32)
        given = jax.make_array_from_process_local_data(over_examples(self._mesh), numbers)
        self._asked = self._largest(given)
        return known


def _tell(text: str) -> list[str]:
    """Gives a text to all processes and takes theirs, by their number."""
    said = text.encode()[:_LONGEST_MESSAGE]
    padded = np.frombuffer(said.ljust(_LONGEST_MESSAGE, b"\0"), np.uint8)
    every = np.asarray(multihost_utils.process_allgather(padded))
    return [row.tobytes().rstrip(b"\0").decode(errors="replace") for row in every]
