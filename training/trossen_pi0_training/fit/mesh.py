"""Devices and what lies on them: data parallel over one axis, shared parameters over the other."""

from __future__ import annotations

import os
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as Axes

from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.errors import TrainingError

BATCH, FSDP = "batch", "fsdp"

_LEAST_SHARED_BYTES = 4 * 2**20
"""Smaller arrays are on every device."""


def initialize_processes() -> None:
    """Joins the processes of a training on several hosts, where the environment names them.

    ``JAX_COORDINATOR_ADDRESS``, ``JAX_NUM_PROCESSES`` and ``JAX_PROCESS_ID`` say who takes part.

    Raises:
        TrainingError: some of them are missing or no numbers, or the others do not come.
    """
    names = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
    given = {name: os.environ[name] for name in names if os.environ.get(name)}
    if not given:
        return
    if missing := [name for name in names if name not in given]:
        raise TrainingError(f"several processes need {list(names)}, missing are {missing}")
    try:
        count, number = int(given[names[1]]), int(given[names[2]])
    except ValueError as error:
        raise TrainingError(f"{names[1]} and {names[2]} must be numbers: {error}") from error
    try:
        jax.distributed.initialize(given[names[0]], count, number)
    except RuntimeError as error:
        raise TrainingError(f"the processes did not come together: {error}") from error


def make_mesh(config: TrainConfig) -> Mesh:
    """All devices, shape (devices / fsdp_devices, fsdp_devices), axes ``batch`` and ``fsdp``.

    Raises:
        TrainingError: the numbers of examples, devices and processes do not divide.
    """
    devices = jax.devices()
    n, shared = len(devices), config.fsdp_devices
    if n % shared:
        raise TrainingError(f"fsdp_devices must divide the number of devices, {n}, got {shared}")
    if config.batch_size % n:
        raise TrainingError(
            f"batch_size must be a multiple of the number of devices, {n}, got {config.batch_size}"
        )
    per_device = config.batch_size // n
    if config.micro_batch and per_device % config.micro_batch:
        raise TrainingError(
            f"micro_batch must divide the {per_device} examples of each device, "
            f"got {config.micro_batch}"
        )
    return Mesh(np.array(devices).reshape(n // shared, shared), (BATCH, FSDP))


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, Axes())


def over_examples(mesh: Mesh) -> NamedSharding:
    """Examples over all devices, along the first axis."""
    return NamedSharding(mesh, Axes((BATCH, FSDP)))


def parameter_sharding(mesh: Mesh, leaf: Any) -> NamedSharding:
    """Along the longest axis that the sharing devices divide, as openpi does; small arrays whole.

    Args:
        mesh: of all devices.
        leaf: anything with shape and dtype.
    """
    shared = mesh.shape[FSDP]
    size = int(np.prod(leaf.shape)) * np.dtype(leaf.dtype).itemsize
    if shared > 1 and len(leaf.shape) > 1 and size >= _LEAST_SHARED_BYTES:
        for axis in sorted(range(len(leaf.shape)), key=lambda i: -leaf.shape[i]):
            if leaf.shape[axis] % shared == 0:
                axes: list[str | None] = [None] * len(leaf.shape)
                axes[axis] = FSDP
                return NamedSharding(mesh, Axes(*axes))
    return replicated(mesh)


def local_rows(config: TrainConfig) -> slice:
    """Examples of a batch that this process brings."""
    each = config.batch_size // jax.process_count()
    return slice(jax.process_index() * each, (jax.process_index() + 1) * each)
