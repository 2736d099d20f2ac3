"""What would make a training fail, found before anything is compiled or removed."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from jax.sharding import Mesh

from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_core.transforms import NormStats
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.feed.loader import Source
from trossen_pi0_training.feed.selection import open_dataset, select_episodes
from trossen_pi0_training.fit.mesh import local_rows, make_mesh
from trossen_pi0_training.fit.plan import Plan, make_plan
from trossen_pi0_training.fit.state import state_shapes
from trossen_pi0_training.norm_stats import check_stats

_KEPT_CHECKPOINTS = 2
"""The new one is written before the old one is removed."""


@dataclass(frozen=True)
class Ready:
    """What was found out on the way.

    Attributes:
        mesh: of the devices.
        plan: how gradients are taken.
        stats: norm stats.
        fps: of the data; None for synthetic examples.
        frames: examples that are trained on; None for synthetic ones.
        has_val: whether there are held-out examples.
    """

    mesh: Mesh
    plan: Plan
    stats: Mapping[str, NormStats]
    fps: float | None
    frames: int | None
    has_val: bool

    def source(self, config: TrainConfig, split: Any) -> Source:
        """Of this process's rows of the examples."""
        rows = local_rows(config)
        return Source(config, self.stats, split, (rows.start, rows.stop))


def check(config: TrainConfig) -> Ready:
    """Looks at devices, data, statistics, prompts, memory and disk.

    Raises:
        TrainingError: all that was found wrong, one line each.
    """
    problems: list[str] = []

    def tried(look: Callable[[], Any]) -> Any:
        try:
            return look()
        except (TrossenPi0Error, OSError) as error:
            problems.append(str(error))
            return None

    if not config.exp_name:
        problems.append("a run needs a name: --exp-name")
    model = model_config(config)
    if config.max_prefix >= model.action_horizon:
        problems.append(
            f"max_prefix must be below the {model.action_horizon} rows of a chunk, "
            f"got {config.max_prefix}"
        )
    mesh = tried(lambda: make_mesh(config))
    plan = None
    if mesh is not None:
        plan = tried(lambda: make_plan(config, model, mesh.devices.size, device_memory()))
        tried(lambda: _check_disk(config, mesh))
    fps, frames, has_val = None, None, True
    stats: Mapping[str, NormStats] | None = None
    if config.data.repo_id:
        data = tried(lambda: open_dataset(config.data))
        chosen = tried(lambda: select_episodes(data, config.data)) if data is not None else None
        if data is not None and chosen is not None:
            fps, has_val = float(data.fps), bool(chosen.val)
            frames = sum(data.episodes[n].length for n in chosen.train)
            stats = tried(lambda: check_stats(config, data, chosen.train))
    else:
        stats = check_stats(config, None, ())
    if mesh is not None and plan is not None and stats is not None:
        ready = Ready(mesh, plan, stats, fps, frames, has_val)
        tried(lambda: ready.source(config, "train").open().example(0))
        if not problems:
            return ready
    raise TrainingError("\n".join(problems))


def device_memory() -> int | None:
    """Memory of a device that JAX may use [bytes]; None where it is not told."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit")


def _check_disk(config: TrainConfig, mesh: Mesh) -> None:
    shapes = state_shapes(config, mesh)
    size = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    needed = _KEPT_CHECKPOINTS * size
    folder = next(path for path in (config.run_folder, *config.run_folder.parents) if path.exists())
    free = shutil.disk_usage(Path(folder)).free
    if free < needed:
        raise TrainingError(
            f"not enough space in {folder}: {_KEPT_CHECKPOINTS} checkpoints need "
            f"{needed / 1e9:.2f} GB, free are {free / 1e9:.2f} GB"
        )
