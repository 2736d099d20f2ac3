"""The model that a config trains."""

from __future__ import annotations

from trossen_pi0_policy.pi0.config import Pi0Config, get_config, with_cameras
from trossen_pi0_training.config.fields import TrainConfig


def model_config(config: TrainConfig) -> Pi0Config:
    """Sizes of the model, for the data's cameras.

    Raises:
        ParameterError: there is no model of that name, or more cameras than it can take.
    """
    return with_cameras(get_config(config.model), len(config.data.cameras))
