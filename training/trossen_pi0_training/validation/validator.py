"""Loss and action error on held-out examples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from trossen_pi0_core.joints import JOINTS_PER_ARM
from trossen_pi0_core.transforms import PolicyTransform
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.feed.examples import make_tokenizer, transform_config
from trossen_pi0_training.feed.loader import Source
from trossen_pi0_training.fit.batch import shard_batch
from trossen_pi0_training.fit.state import TrainState
from trossen_pi0_training.fit.step import make_loss, make_sampler
from trossen_pi0_training.validation.chunk_plots import plot_chunks


@dataclass(frozen=True)
class Validation:
    """Figures of a look at held-out examples.

    Attributes:
        loss: mean of the flow-matching loss, of pictures that are not augmented.
        error_rad: mean distance of sampled from recorded actions, all joints but carriages [rad].
        error_m: of carriages [m]; None where the joints have none.
        plot: picture of some chunks; None where none was asked for.
    """

    loss: float
    error_rad: float
    error_m: float | None
    plot: Path | None


class Validator:
    """The same examples and the same noise at every look, so that looks can be compared."""

    def __init__(self, config: TrainConfig, mesh: Mesh, source: Source, folder: Path) -> None:
        """Args:
        config: of the training.
        mesh: of the devices.
        source: of the held-out examples.
        folder: for the pictures.

        Raises:
            TrossenPi0Error: there are no held-out examples, or they cannot be read.
        """
        model = model_config(config)
        self._config = config
        self._folder = folder
        self._examples = source.open()
        self._rows = slice(*source.rows)
        self._transform = PolicyTransform(
            transform_config(config, model), source.stats, make_tokenizer(config, model)
        )
        count = config.validation.batches * config.batch_size
        every = np.linspace(0, len(self._examples) - 1, count).round().astype(np.int64)
        self._batches = np.random.default_rng(0).permutation(every).reshape(-1, config.batch_size)
        self._loss = make_loss(config, mesh)
        self._sample = make_sampler(config, mesh)
        self._mesh = mesh

    def look(self, state: TrainState) -> Validation:
        """Works the figures out, of the averaged parameters where there are some."""
        losses: list[float] = []
        truth: list[NDArray[np.float32]] = []
        predicted: list[NDArray[np.float32]] = []
        for i, numbers in enumerate(self._batches):
            host = self._examples.batch(numbers[self._rows])
            batch, key = shard_batch(self._mesh, host), jax.random.key(i)
            losses.append(float(self._loss(state, batch, key)))
            actions = np.asarray(self._sample(state, batch, key))
            for number, chunk in zip(numbers, actions, strict=True):
                measured, recorded = self._examples.target(int(number))
                truth.append(recorded)
                predicted.append(self._transform.outputs(chunk, {"state": measured}))
        error = np.abs(np.stack(predicted) - np.stack(truth)).mean(axis=(0, 1))
        carriages = np.arange(len(error)) % JOINTS_PER_ARM == JOINTS_PER_ARM - 1
        return Validation(
            loss=float(np.mean(losses)),
            error_rad=float(error[~carriages].mean()),
            error_m=float(error[carriages].mean()) if carriages.any() else None,
            plot=self._plot(int(state.step), truth, predicted),
        )

    def _plot(
        self,
        step: int,
        truth: Sequence[NDArray[np.float32]],
        predicted: Sequence[NDArray[np.float32]],
    ) -> Path | None:
        count = min(self._config.validation.plots, len(truth))
        if not count or jax.process_index():
            return None
        file = self._folder / f"chunks_{step:06d}.png"
        title = f"{self._config.name}, step {step}: held-out chunks"
        return plot_chunks(file, title, self._config.data.joints, truth[:count], predicted[:count])
