"""The training loop."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.feed.loader import Loader
from trossen_pi0_training.feed.picture_cache import make_cache
from trossen_pi0_training.fit.batch import shard_batch
from trossen_pi0_training.fit.state import TrainState, create_state
from trossen_pi0_training.fit.step import StepMetrics, make_train_step
from trossen_pi0_training.run.checkpoints import Assets, RunCheckpoints
from trossen_pi0_training.run.folder import prepared_folder
from trossen_pi0_training.run.interruption import Interruption
from trossen_pi0_training.run.memory import memory_told
from trossen_pi0_training.run.metadata import checkpoint_metadata
from trossen_pi0_training.run.preflight import Ready, check
from trossen_pi0_training.run.processes import SharedSignal, is_first, together
from trossen_pi0_training.run.progress import TrainingProgress
from trossen_pi0_training.run.start import starting_parameters
from trossen_pi0_training.run.trackers import Figures, Trackers, Unwritten, wandb_run
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
    ready = together(lambda: check(config))
    together(lambda: make_cache(config))
    parameters = {} if config.resume else together(lambda: starting_parameters(config))
    first = is_first()
    with ExitStack() as held:
        wandb = together(
            lambda: held.enter_context(wandb_run(config)) if first and config.wandb else None
        )
        together(lambda: held.enter_context(prepared_folder(config)) if first else None)
        metadata = checkpoint_metadata(config, ready.data.fps, ready.data.description)
        assets = Assets(config.data.asset, ready.data.stats, metadata)
        checkpoints = held.enter_context(RunCheckpoints(config, ready.mesh, assets))
        with memory_told(ready.plan):
            if config.resume:
                state = together(checkpoints.restore)
            else:
                state = create_state(config, ready.mesh, parameters)
            parameters.clear()
            return _Loop(config, ready, checkpoints, wandb).run(state)


class _Loop:
    def __init__(
        self, config: TrainConfig, ready: Ready, checkpoints: RunCheckpoints, wandb: Any
    ) -> None:
        self._config = config
        self._ready = ready
        self._checkpoints = checkpoints
        self._wandb = wandb
        self._step = make_train_step(config, ready.mesh, ready.plan)
        self._validator: Validator | None = None
        if config.validation.interval and ready.data.has_val:
            source = ready.source(config, "val")
            folder = config.run_folder / "validation"
            self._validator = Validator(config, ready.mesh, source, folder)
        self._skipped = 0
        self._saved = checkpoints.complete
        self._signal = SharedSignal(ready.mesh)
        self._window: list[StepMetrics] = []
        self._timed = 0  # of the window, steps that needed no compiling
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
            self._trackers(first) as trackers,
            TrainingProgress(first, config.num_train_steps) as progress,
            Loader(source, start_step=first) as loader,
            Interruption() as interruption,
        ):
            pending: StepMetrics | None = None
            step, stopped = first, 0
            while step < config.num_train_steps and not stopped:
                state, metrics = self._step(state, shard_batch(self._ready.mesh, next(loader)))
                if step == first:
                    jax.block_until_ready(metrics)
                    self._begin_window(loader)
                    progress.compiled(step + 1)
                else:
                    self._timed += 1
                if pending is not None:  # of the step before, while this one runs
                    self._note(step - 1, pending, trackers)
                pending = metrics
                step += 1
                progress.step(step)
                self._checkpoints.look()
                stopped = self._signal.agreed(interruption.number)
                ends = step == config.num_train_steps or bool(stopped)
                if step % config.log_interval == 0 or ends:
                    self._note(step - 1, pending, trackers)
                    pending = None
                    self._report(step, trackers, progress, loader)
                if self._validator is not None and step % config.validation.interval == 0:
                    self._validate(state, trackers, progress)
                if step % config.save_interval == 0 or ends:
                    self._save(state)
            self._checkpoints.wait()
            return Outcome(step, stopped if step < config.num_train_steps else 0)

    @contextmanager
    def _trackers(self, first_step: int) -> Iterator[Figures]:
        if not is_first():
            yield Unwritten()
            return
        with Trackers(self._config, first_step, self._wandb) as trackers:
            yield trackers

    def _save(self, state: TrainState) -> None:
        if self._saved != int(state.step):
            self._checkpoints.save(state)
            self._saved = int(state.step)

    def _note(self, step: int, metrics: StepMetrics, trackers: Figures) -> None:
        found: StepMetrics = jax.device_get(metrics)
        trackers.loss(step, float(found.loss))
        self._window.append(found)
        self._skipped = self._skipped + 1 if found.skipped else 0
        if found.skipped:
            _LOG.warning("step %d has loss %g and is left out", step, found.loss)
        if self._skipped >= MOST_SKIPPED:
            saved = self._checkpoints.complete
            raise TrainingError(
                f"the last {self._skipped} steps, up to {step}, had no finite loss and gradients; "
                f"{'none' if saved is None else f'that of step {saved}'} is the newest complete "
                "checkpoint; a lower --optimizer.peak-lr may help"
            )

    def _report(
        self, step: int, trackers: Figures, progress: TrainingProgress, loader: Loader
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
        }
        if self._timed:
            figures["samples_per_s"] = self._timed * self._config.batch_size / spent_s
            figures["data_wait"] = waited_s / spent_s
        used = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
        if used:
            figures["device_gb"] = used / 1e9
        trackers.figures(step, figures)
        progress.figures(step, figures)
        self._window = []
        self._begin_window(loader)

    def _begin_window(self, loader: Loader) -> None:
        self._timed = 0
        self._window_began_s, self._waited_s = time.monotonic(), loader.waited_s

    def _validate(self, state: TrainState, trackers: Figures, progress: TrainingProgress) -> None:
        assert self._validator is not None
        step, began_s = int(state.step), time.monotonic()
        found = self._validator.look(state)
        figures = {"val_loss": found.loss, "val_error_rad": found.error_rad}
        if found.error_m is not None:
            figures["val_error_m"] = found.error_m
        trackers.figures(step, figures)
        progress.figures(step, figures)
        if found.plot is not None:
            trackers.picture(step, "held_out_chunks", found.plot)
        self._window_began_s += time.monotonic() - began_s
