"""The training loop."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import jax
import numpy as np

from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.feed.loader import Loader
from trossen_pi0_training.fit.batch import shard_batch
from trossen_pi0_training.fit.state import TrainState, create_state
from trossen_pi0_training.fit.step import StepMetrics, make_train_step
from trossen_pi0_training.run.checkpoints import Assets, RunCheckpoints
from trossen_pi0_training.run.interruption import Interruption
from trossen_pi0_training.run.metadata import checkpoint_metadata
from trossen_pi0_training.run.preflight import Ready, check
from trossen_pi0_training.run.progress import TrainingProgress
from trossen_pi0_training.run.start import prepare_folder, starting_parameters
from trossen_pi0_training.run.trackers import Trackers
from trossen_pi0_training.validation.validator import Validator

MOST_SKIPPED = 10
"""So many steps in a row without finite gradients end a training."""

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Attributes:
        step: optimizer steps done, all of them in a checkpoint.
        signal: that ended it early; 0: it ran to its end.
    """

    step: int
    signal: int


def train(config: TrainConfig) -> Outcome:
    """Trains to the end, or until a signal.

    Raises:
        TrossenPi0Error: what is wrong, before anything is changed; or what went wrong on the way,
            with the last complete checkpoint kept.
    """
    ready = check(config)
    parameters = {} if config.resume else starting_parameters(config)
    prepare_folder(config)
    metadata = checkpoint_metadata(config, ready.fps)
    assets = Assets(config.data.asset, ready.stats, metadata)
    with RunCheckpoints(config, ready.mesh, assets) as checkpoints:
        if config.resume:
            state = checkpoints.restore()
        else:
            state = create_state(config, ready.mesh, parameters)
        parameters.clear()
        return _Loop(config, ready, checkpoints).run(state)


class _Loop:
    def __init__(self, config: TrainConfig, ready: Ready, checkpoints: RunCheckpoints) -> None:
        self._config = config
        self._ready = ready
        self._checkpoints = checkpoints
        self._step = make_train_step(config, ready.mesh, ready.plan)
        self._validator: Validator | None = None
        if config.validation.interval and ready.has_val:
            source = ready.source(config, "val")
            folder = config.run_folder / "validation"
            self._validator = Validator(config, ready.mesh, source, folder)
        self._skipped = 0
        self._saved = checkpoints.newest
        self._window: list[StepMetrics] = []
        self._window_began_s = 0.0
        self._waited_s = 0.0

    def run(self, state: TrainState) -> Outcome:
        config, first = self._config, int(state.step)
        if first >= config.num_train_steps:
            _LOG.info("run %s has its %d steps already", config.run_folder, first)
            return Outcome(first, 0)
        _LOG.info(
            "%d steps from %d on, batch %d, %d examples at once on each of %d devices, kept: %s",
            config.num_train_steps - first,
            first,
            config.batch_size,
            self._ready.plan.micro_batch,
            self._ready.mesh.devices.size,
            self._ready.plan.kept,
        )
        source = self._ready.source(config, "train")
        with (
            Trackers(config, first) as trackers,
            TrainingProgress(first, config.num_train_steps) as progress,
            Loader(source, start_step=first) as loader,
            Interruption() as interruption,
        ):
            self._window_began_s = time.monotonic()
            pending: StepMetrics | None = None
            step = first
            while step < config.num_train_steps and not interruption.number:
                state, metrics = self._step(state, shard_batch(self._ready.mesh, next(loader)))
                if pending is not None:  # of the step before, while this one runs
                    self._note(step - 1, pending, trackers)
                pending = metrics
                step += 1
                progress.step(step)
                ends = step == config.num_train_steps or bool(interruption.number)
                if step % config.log_interval == 0 or ends:
                    self._note(step - 1, pending, trackers)
                    pending = None
                    self._report(step, trackers, progress, loader)
                if self._validator is not None and step % config.validation.interval == 0:
                    self._validate(state, trackers, progress)
                if step % config.save_interval == 0 or ends:
                    self._save(state)
            if pending is not None:  # a signal came between
                self._note(step - 1, pending, trackers)
            self._save(state)
            self._checkpoints.wait()
            return Outcome(step, interruption.number if step < config.num_train_steps else 0)

    def _save(self, state: TrainState) -> None:
        if self._saved != int(state.step):
            self._checkpoints.save(state)
            self._saved = int(state.step)

    def _note(self, step: int, metrics: StepMetrics, trackers: Trackers) -> None:
        found: StepMetrics = jax.device_get(metrics)
        trackers.loss(step, float(found.loss))
        self._window.append(found)
        self._skipped = self._skipped + 1 if found.skipped else 0
        if found.skipped:
            _LOG.warning("step %d has loss %g and is left out", step, found.loss)
        if self._skipped >= MOST_SKIPPED:
            raise TrainingError(
                f"the last {self._skipped} steps, up to {step}, had no finite loss and gradients; "
                f"the newest checkpoint is that of step {self._checkpoints.newest}; a lower "
                "--optimizer.peak-lr may help"
            )

    def _report(
        self, step: int, trackers: Trackers, progress: TrainingProgress, loader: Loader
    ) -> None:
        now_s, window = time.monotonic(), self._window
        spent_s = max(now_s - self._window_began_s, 1e-9)
        waited_s = loader.waited_s - self._waited_s
        good = [each for each in window if not each.skipped]
        figures = {
            "loss": float(np.mean([each.loss for each in good])) if good else float("nan"),
            "grad_norm": float(np.mean([each.grad_norm for each in good]))
            if good
            else float("nan"),
            "param_norm": float(window[-1].param_norm),
            "learning_rate": float(window[-1].learning_rate),
            "samples_per_s": len(window) * self._config.batch_size / spent_s,
            "data_wait": waited_s / spent_s,
        }
        used = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        if used:
            figures["device_gb"] = used / 1e9
        trackers.figures(step, figures)
        progress.figures(step, figures)
        self._window = []
        self._window_began_s, self._waited_s = now_s, loader.waited_s

    def _validate(self, state: TrainState, trackers: Trackers, progress: TrainingProgress) -> None:
        assert self._validator is not None
        step, began_s = int(state.step), time.monotonic()
        found = self._validator.look(state)
        figures = {
            "val_loss": found.loss,
            "val_error_rad": found.error_rad,
            "val_error_m": found.error_m,
        }
        trackers.figures(step, figures)
        progress.figures(step, figures)
        if found.plot is not None:
            trackers.picture(step, "held_out_chunks", found.plot)
        self._window_began_s += time.monotonic() - began_s
