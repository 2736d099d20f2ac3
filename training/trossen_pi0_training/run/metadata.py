"""What a checkpoint says about itself, and whether a run may go on with a config."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from trossen_pi0_core.joints import JOINTS_PER_ARM
from trossen_pi0_core.parameters import ArmControllerParameters
from trossen_pi0_core.transforms import (
    ALOHA_DELTA_RUNS,
    NormStats,
    load_norm_stats,
    mask_from_runs,
)
from trossen_pi0_policy.checkpoints import find_checkpoint
from trossen_pi0_policy.pi0.config import config_to_dict
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.dataset import LeRobotFrames
from trossen_pi0_training.errors import TrainingError

CONFIG_FILE = "train_config.json"

_TRAINED_ON = "trained_on"

_MAY_CHANGE = frozenset(
    {
        *("exp_name", "weights", "num_train_steps", "log_interval", "save_interval"),
        *("keep_period", "assets_base", "checkpoint_base", "tokenizer_file", "overwrite"),
        *("resume", "wandb", "project_name", "loader", "validation", "micro_batch", "remat"),
        *("kernels", "fsdp_devices"),
    }
)
"""Fields that do not change what a step does, but for rounding."""


def checkpoint_metadata(
    config: TrainConfig, fps: float | None, trained_on: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What serving needs to know (see ``checkpoints.write_metadata``).

    Args:
        config: of the training.
        fps: frames a second of the data; None: not known.
        trained_on: see ``describe_data``; None: synthetic examples.
    """
    data = config.data
    told: dict[str, Any] = {"joints": list(data.joints), "camera_names": list(data.cameras)}
    if fps is not None:
        told["fps"] = fps
    arms, others = divmod(len(data.joints), JOINTS_PER_ARM)
    if not others:
        told["reset_pose"] = list(ArmControllerParameters().staged_pose) * arms
    if config.max_prefix:
        told["max_prefix"] = config.max_prefix
    said: dict[str, Any] = {
        "config": config_to_dict(model_config(config)),
        "config_name": config.model,
        "train_config": config.name,
        "prefix_conditioned": config.max_prefix > 0,
        "policy_metadata": told,
    }
    if trained_on is not None:
        said[_TRAINED_ON] = dict(trained_on)
    if data.default_prompt is not None:
        said["prompt"] = data.default_prompt
    if data.delta_actions:
        said["delta_mask"] = list(mask_from_runs(*ALOHA_DELTA_RUNS))
    return said


def describe_data(
    frames: LeRobotFrames, episodes: Sequence[int], made_of: Mapping[str, Any]
) -> dict[str, Any]:
    """What tells the data of a training from others, wherever they lie.

    Args:
        frames: the data set.
        episodes: numbers of those trained on.
        made_of: what norm stats depend on, with a digest of the states and actions.

    Returns:
        That, with digests of the instructions, and of names and sizes of the videos.

    Raises:
        OSError: a video is missing.
    """
    spans = [frames.episodes[number] for number in episodes]
    videos = sorted({(key, path) for span in spans for key, (path, _) in span.videos.items()})
    sizes = [(key, path, (frames.root / path).stat().st_size) for key, path in videos]
    tasks = [span.tasks for span in spans]
    return {**made_of, "instructions": _digest(tasks), "videos": _digest(sizes)}


def write_config(config: TrainConfig, folder: Path) -> None:
    """Keeps the config of a run in its folder."""
    text = json.dumps(_plain(config), indent=2)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def check_same_config(config: TrainConfig, folder: Path) -> None:
    """Raises TrainingError unless a run was begun with a config that gives the same steps."""
    file = folder / CONFIG_FILE
    try:
        begun = json.loads(file.read_text(encoding="utf-8"))
        begun["data"].pop("root")
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise TrainingError(f"run {folder} cannot be resumed: {file}: {error}") from error
    now = _plain(config)
    now["data"].pop("root")  # where the data lie; check_same_data looks at what they are
    other = [
        f"{name}: {begun.get(name)!r}, now {now[name]!r}"
        for name in now
        if name not in _MAY_CHANGE and begun.get(name) != now[name]
    ]
    if other:
        raise TrainingError(
            f"run {folder} was begun with another config: {'; '.join(other)}; resume it as it was, "
            "or choose another --exp-name"
        )


def check_same_data(
    config: TrainConfig, stats: Mapping[str, NormStats], trained_on: Mapping[str, Any] | None
) -> None:
    """Looks whether a run goes on with the data and norm stats of its newest checkpoint.

    Args:
        config: of the training, whose run has a checkpoint.
        stats: norm stats now.
        trained_on: see ``describe_data``; None: synthetic examples.

    Raises:
        TrainingError: they differ.
        CheckpointError, NormStatsError: the checkpoint's are damaged.
    """
    checkpoint = find_checkpoint(config.run_folder)
    found = checkpoint.metadata().get(_TRAINED_ON)
    said = found if isinstance(found, dict) else {}
    other = [
        f"{name}: {said[name]!r}, now {value!r}"
        for name, value in (trained_on or {}).items()
        if name in said and said[name] != value
    ]
    folder = checkpoint.norm_stats_folder(config.data.asset)
    begun = load_norm_stats(folder)
    other += [
        f"norm stats of {name!r} differ from those in {folder}"
        for name, each in stats.items()
        if name not in begun or not _are_equal(each, begun[name])
    ]
    if other:
        raise TrainingError(
            f"run {config.run_folder} was begun with other data: {'; '.join(other)}; resume it "
            "with the data and norm stats that it had (--data.root may differ), or begin another "
            f"run from its parameters: --exp-name NAME --weights {checkpoint.path}"
        )


def _are_equal(some: NormStats, others: NormStats) -> bool:
    pairs = zip(some.fields().values(), others.fields().values(), strict=True)
    return all(a is b if a is None or b is None else np.array_equal(a, b) for a, b in pairs)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _plain(config: TrainConfig) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(config), default=str))
