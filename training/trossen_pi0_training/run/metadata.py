"""What a checkpoint says about itself, and whether a run may go on with a config."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from trossen_pi0_core.transforms import ALOHA_DELTA_RUNS, mask_from_runs
from trossen_pi0_policy.pi0.config import config_to_dict
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.errors import TrainingError

CONFIG_FILE = "train_config.json"

_MAY_CHANGE = frozenset(
    {
        *("exp_name", "weights", "num_train_steps", "log_interval", "save_interval"),
        *("keep_period", "assets_base", "checkpoint_base", "tokenizer_file", "overwrite"),
        *("resume", "wandb", "project_name", "loader", "validation", "micro_batch", "remat"),
        "fsdp_devices",
    }
)
"""Fields that do not change what a step does, but for rounding."""


def checkpoint_metadata(config: TrainConfig, fps: float | None) -> dict[str, Any]:
    """What serving needs to know (see ``checkpoints.write_metadata``).

    Args:
        config: of the training.
        fps: frames a second of the data; None: not known.
    """
    data = config.data
    told: dict[str, Any] = {"joints": list(data.joints), "camera_names": list(data.cameras)}
    if fps is not None:
        told["fps"] = fps
    said: dict[str, Any] = {
        "config": config_to_dict(model_config(config)),
        "config_name": config.model,
        "train_config": config.name,
        "prefix_conditioned": config.max_prefix > 0,
        "policy_metadata": told,
    }
    if data.default_prompt is not None:
        said["prompt"] = data.default_prompt
    if data.delta_actions:
        said["delta_mask"] = list(mask_from_runs(*ALOHA_DELTA_RUNS))
    return said


def write_config(config: TrainConfig, folder: Path) -> None:
    """Keeps the config of a run in its folder."""
    text = json.dumps(_plain(config), indent=2)
    (folder / CONFIG_FILE).write_text(text + "\n", encoding="utf-8")


def check_same_config(config: TrainConfig, folder: Path) -> None:
    """Raises TrainingError unless a run was begun with a config that gives the same steps."""
    file = folder / CONFIG_FILE
    try:
        begun = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"run {folder} cannot be resumed: {file}: {error}") from error
    now = _plain(config)
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


def _plain(config: TrainConfig) -> dict[str, Any]:
    return json.loads(json.dumps(asdict(config), default=str))
