"""A device that runs out of memory, told so that one knows what to change."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import jax

from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.fit.plan import Plan

_FRACTION = "XLA_PYTHON_CLIENT_MEM_FRACTION"
_DEFAULT_FRACTION = "0.75"
_LONGEST_REASON = 200


def is_out_of_memory(error: BaseException) -> bool:
    """Whether JAX says that a device has no memory left."""
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


@contextmanager
def memory_told(plan: Plan) -> Iterator[None]:
    """Turns JAX's error into ours.

    Raises:
        TrainingError: a device has no memory left.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if not is_out_of_memory(error):
            raise
        share = os.environ.get(_FRACTION, _DEFAULT_FRACTION)
        reason = str(error).strip().splitlines()[0][:_LONGEST_REASON]
        raise TrainingError(
            f"a device ran out of memory: {reason}; a --micro-batch below {plan.micro_batch}, "
            f"--remat none, more --fsdp-devices, or a larger share of the device for JAX "
            f"({_FRACTION}, now {share}) help; what was saved goes on with --resume"
        ) from error
