"""What would make a training fail, found before anything is compiled or removed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import jax
import numpy as np
from jax.sharding import Mesh

from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_core.transforms import NormStats
from trossen_pi0_policy.pi0.config import Pi0Config
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.feed import survey
from trossen_pi0_training.feed.examples import check_prompts, make_tokenizer
from trossen_pi0_training.feed.loader import Source, Split
from trossen_pi0_training.feed.picture_cache import check_cache
from trossen_pi0_training.feed.selection import open_dataset, select_episodes
from trossen_pi0_training.feed.synthetic import synthetic_stats
from trossen_pi0_training.fit.mesh import local_rows, make_mesh
from trossen_pi0_training.fit.plan import Plan, make_plan
from trossen_pi0_training.norm_stats import made_of, read_stats
from trossen_pi0_training.run.disk import check_disk
from trossen_pi0_training.run.folder import check_folder, check_idle
from trossen_pi0_training.run.metadata import check_same_data, describe_data
from trossen_pi0_training.run.processes import is_first
from trossen_pi0_training.run.trackers import import_wandb

T = TypeVar("T")


@dataclass(frozen=True)
class Data:
    """Examples of a training.

    Attributes:
        fps: frames a second; None for synthetic examples.
        has_val: whether there are held-out ones.
        stats: norm stats.
        description: see ``describe_data``; None for synthetic examples.
    """

    fps: float | None
    has_val: bool
    stats: Mapping[str, NormStats]
    description: Mapping[str, Any] | None


@dataclass(frozen=True)
class Ready:
    """What was found out on the way.

    Attributes:
        mesh: of the devices.
        plan: how gradients are taken.
        data: that are trained on.
    """

    mesh: Mesh
    plan: Plan
    data: Data

    def source(self, config: TrainConfig, split: Split) -> Source:
        """Of this process's rows of the examples."""
        rows = local_rows(config)
        return Source(config, self.data.stats, split, (rows.start, rows.stop))


class _Problems(list[str]):
    def tried(self, look: Callable[[], T]) -> T | None:
        """What was found; None and one problem more where it fails."""
        try:
            return look()
        except (TrossenPi0Error, OSError) as error:
            self.append(str(error))
            return None


def check(config: TrainConfig) -> Ready:
    """Looks at run, devices, data, statistics, prompts, memory and disk. Changes nothing.

    Raises:
        TrainingError: all that was found wrong, one line each.
    """
    problems = _Problems()
    _check_run(config, problems)
    model = problems.tried(lambda: model_config(config))
    mesh = problems.tried(lambda: make_mesh(config))
    plan = None
    if model is not None and mesh is not None:
        plan = problems.tried(lambda: make_plan(config, model, mesh.devices.size, device_memory()))
        problems.tried(lambda: check_disk(config, mesh))
    if model is not None:
        _check_prefix(config, model, problems)
        if config.data.default_prompt is not None:
            _check_prompts(config, model, {config.data.default_prompt}, problems)
    data = _look_at_data(config, model, problems) if model is not None else None
    if not problems and mesh is not None and plan is not None and data is not None:
        ready = Ready(mesh, plan, data)
        if config.resume:
            problems.tried(lambda: check_same_data(config, data.stats, data.description))
        splits: list[Split] = ["train"]
        if data.has_val and config.validation.interval:
            splits.append("val")
        problems.tried(lambda: check_cache(config))
        uncached = replace(config, loader=replace(config.loader, cache=None))
        first = np.zeros(1, np.int64)
        for split in splits:
            problems.tried(lambda split=split: ready.source(uncached, split).open().batch(first))
        if not problems:
            return ready
    raise TrainingError("\n".join(problems))


def device_memory() -> int | None:
    """Memory of a device that JAX may use [bytes]; None where it is not told."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats.get("bytes_limit")


def _check_run(config: TrainConfig, problems: _Problems) -> None:
    if not config.exp_name:
        problems.append("a run needs a name: --exp-name")
    elif is_first():
        problems.tried(lambda: check_folder(config))
        problems.tried(lambda: check_idle(config.run_folder))
    if config.wandb and is_first():
        problems.tried(import_wandb)


def _check_prefix(config: TrainConfig, model: Pi0Config, problems: _Problems) -> None:
    if config.max_prefix >= model.action_horizon:
        problems.append(
            f"max_prefix must be below the {model.action_horizon} rows of a chunk, "
            f"got {config.max_prefix}"
        )


def _check_prompts(
    config: TrainConfig, model: Pi0Config, prompts: set[str], problems: _Problems
) -> None:
    tokenizer = problems.tried(lambda: make_tokenizer(config, model))
    if tokenizer is not None:
        problems.tried(lambda: check_prompts(prompts, tokenizer, model, len(config.data.joints)))


def _look_at_data(config: TrainConfig, model: Pi0Config, problems: _Problems) -> Data | None:
    if not config.data.repo_id:
        return Data(None, True, synthetic_stats(len(config.data.joints)), None)
    before = len(problems)
    videos = config.loader.cache is None  # which would be made of all pictures before a step
    problems += problems.tried(lambda: survey.problems(config.data, videos=videos)) or []
    frames = problems.tried(lambda: open_dataset(config.data)) if len(problems) == before else None
    if frames is None:
        return None
    chosen = problems.tried(lambda: select_episodes(frames, config.data))
    if chosen is None:
        return None
    if config.data.default_prompt is None:
        spans = [frames.episodes[number] for number in (*chosen.train, *chosen.val)]
        _check_prompts(config, model, {task for span in spans for task in span.tasks}, problems)
    described = problems.tried(lambda: made_of(config, frames, chosen.train))
    if described is None:
        return None
    stats = problems.tried(lambda: read_stats(config, described))
    told = problems.tried(lambda: describe_data(frames, chosen.train, described))
    if stats is None or told is None:
        return None
    return Data(float(frames.fps), bool(chosen.val), stats, told)
