"""The state that a run begins with, and its folder."""

from __future__ import annotations

import logging
import shutil
from typing import Any

import ml_dtypes
import numpy as np

from trossen_pi0_policy.checkpoints import fetch, find_checkpoint, read_parameters
from trossen_pi0_policy.pi0.parameters import Leaf, leaves, openpi_shapes
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.fit.freezing import frozen_paths
from trossen_pi0_training.run.metadata import check_same_config, write_config

_LOG = logging.getLogger(__name__)
_ADAPTERS = ".*lora.*"


def starting_parameters(config: TrainConfig) -> dict[str, Any]:
    """Leaves to start from, by path of our arrangement; adapters that the weights lack are absent.

    Raises:
        CheckpointError: the weights are not to be had, or are of another model.
    """
    if config.weights is None:
        return {}
    model = model_config(config)
    folder = find_checkpoint(fetch(config.weights)).path
    _LOG.info("starting from %s", folder)
    given = read_parameters(folder, openpi_shapes(model), allow_missing=_ADAPTERS)
    still = frozen_paths(model, config.freeze)
    narrow = ml_dtypes.bfloat16 if config.dtype == "bfloat16" else np.float32
    found: dict[str, Any] = {}
    for leaf in leaves(model):
        if any(part.path not in given for part in leaf.parts):
            continue
        kind = narrow if leaf.path in still else np.float32
        found[leaf.path] = _joined(leaf, given, kind)
    return found


def prepare_folder(config: TrainConfig) -> None:
    """Makes the run's folder, or looks whether an existing run may go on.

    Raises:
        TrainingError: there is a run already and neither overwrite nor resume, or nothing to
            resume, or a run of another config.
    """
    folder = config.run_folder
    if config.resume:
        if not folder.is_dir():
            raise TrainingError(f"there is no run {folder} to resume")
        check_same_config(config, folder)
        return
    if folder.exists() and any(folder.iterdir()):
        if not config.overwrite:
            raise TrainingError(
                f"run {folder} exists: go on with it by --resume, replace it by --overwrite, or "
                "choose another --exp-name"
            )
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_config(config, folder)


def _joined(leaf: Leaf, given: dict[str, Any], kind: Any) -> Any:
    parts = [
        given[part.path].transpose(part.order).reshape(*leaf.lead, leaf.columns(part))
        for part in leaf.parts
    ]
    return np.concatenate(parts, axis=-1).astype(kind)
