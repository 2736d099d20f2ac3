"""The parameters that a run begins with."""

from __future__ import annotations

import logging
from typing import Any

import ml_dtypes
import numpy as np

from trossen_pi0_policy.checkpoints import fetch, find_checkpoint, read_parameters
from trossen_pi0_policy.pi0.parameters import join_leaf, leaves, openpi_shapes
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.fit.freezing import frozen_paths

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
        found[leaf.path] = join_leaf(leaf, [given[part.path] for part in leaf.parts]).astype(kind)
    return found
