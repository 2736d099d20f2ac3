"""Whether the checkpoints of a run fit on its disk."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import jax
from jax.sharding import Mesh

from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.fit.state import state_shapes

_UNFINISHED = "*.orbax-checkpoint-tmp*"
"""What a save that failed leaves; the next start of the run removes it."""


def check_disk(config: TrainConfig, mesh: Mesh) -> None:
    """Raises TrainingError where the disk cannot take the checkpoints of a run.

    Those that the run has already, and what will be removed before, need no more space.
    """
    shapes = state_shapes(config, mesh)
    size = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    folder = config.run_folder
    there: set[int] = set()
    if config.resume and folder.is_dir():
        names = (entry.name for entry in folder.iterdir() if entry.is_dir())
        there = {int(name) for name in names if name.isdecimal()}
    more, kept = checkpoints_to_come(config, there)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free + _freed(config)
    if free < more * size:
        stay = f", of which {kept} stay for ever by --keep-period" if kept else ""
        raise TrainingError(
            f"not enough space in {existing}: {more} more checkpoints at a time{stay} need "
            f"{more * size / 1e9:.2f} GB, free are {free / 1e9:.2f} GB"
        )


def checkpoints_to_come(config: TrainConfig, there: set[int]) -> tuple[int, int]:
    """How many more checkpoints lie on the disk at a time than now, and how many of them stay.

    The new one is written before an older one is removed.

    Args:
        config: of the training.
        there: steps of the checkpoints that the run has.
    """
    first, last = max(there, default=0), config.num_train_steps
    every = config.save_interval
    steps = [*range(first - first % every + every, last, every)]
    steps += [last] if last > first else []
    held, most = set(there), len(there)
    for step in steps:
        held.add(step)
        most = max(most, len(held))
        held = {n for n in held if n == step or _stays(config, n)}
    return most - len(there), sum(_stays(config, step) for step in steps)


def _stays(config: TrainConfig, step: int) -> bool:
    return config.keep_period is not None and step % config.keep_period == 0


def _freed(config: TrainConfig) -> int:
    """What the start of the run removes [bytes]."""
    folder = config.run_folder
    if not folder.is_dir():
        return 0
    if config.overwrite:
        return _size(folder)
    return sum(_size(entry) for entry in folder.glob(_UNFINISHED)) if config.resume else 0


def _size(folder: Path) -> int:
    files = (path.lstat() for path in folder.rglob("*") if path.is_file())
    return sum(512 * info.st_blocks for info in files)
