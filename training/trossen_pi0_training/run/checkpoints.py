"""Checkpoints of a run, in openpi's layout, written while the training goes on."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from etils import epath
from flax.traverse_util import flatten_dict, unflatten_dict
from jax.sharding import Mesh
from typing_extensions import Self, override

from trossen_pi0_core.transforms import NormStats, save_norm_stats
from trossen_pi0_policy.checkpoints.layout import ASSETS, PARAMETERS, write_metadata
from trossen_pi0_policy.pi0.parameters import to_openpi
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.fit.mesh import parameter_sharding
from trossen_pi0_training.fit.state import TrainState, placed_frozen, state_shapes
from trossen_pi0_training.run.folder import complete_step
from trossen_pi0_training.run.joining import joined_leaves
from trossen_pi0_training.run.memory import is_out_of_memory

TRAIN_STATE = "train_state"

_ROOT = "params"
_LOG = logging.getLogger(__name__)
# What orbax and tensorstore raise when a file cannot be written or read.
_ORBAX_ERRORS = (OSError, ValueError, KeyError, TypeError, RuntimeError)


@dataclass(frozen=True)
class Assets:
    """Small files of a checkpoint.

    Attributes:
        asset: id of the norm stats.
        norm_stats: of state and actions.
        metadata: what the checkpoint says about itself.
    """

    asset: str
    norm_stats: Mapping[str, NormStats]
    metadata: Mapping[str, Any]


class AssetsHandler(ocp.CheckpointHandler):
    """Writes the small files into the folder of a step that is not complete yet."""

    @override
    def save(self, directory: epath.Path, args: AssetsArgs) -> None:
        assets = args.assets
        if jax.process_index() == 0:
            save_norm_stats(Path(directory) / assets.asset, dict(assets.norm_stats))
            write_metadata(Path(directory).parent, assets.metadata)

    @override
    def restore(self, directory: epath.Path, args: Any = None) -> Any:
        raise NotImplementedError("norm stats are read by load_norm_stats")


@ocp.args.register_with_handler(AssetsHandler, for_save=True, for_restore=True)
@dataclass
class AssetsArgs(ocp.args.CheckpointArgs):
    """What ``AssetsHandler`` writes."""

    assets: Assets


class RunCheckpoints:
    """The checkpoints of a run. One thread.

    A step's folder gets its name when all of it is written, and older ones are removed only
    then, so that a kill at any time leaves the last complete one.
    """

    def __init__(self, config: TrainConfig, mesh: Mesh, assets: Assets) -> None:
        """Args:
        config: of the training; its run folder exists.
        mesh: of the devices.
        assets: written with each checkpoint.
        """
        self._config = config
        self._mesh = mesh
        self._model = model_config(config)
        self._assets = assets
        options = ocp.CheckpointManagerOptions(
            max_to_keep=1,
            keep_period=config.keep_period,
            create=False,
            cleanup_tmp_directories=True,
            async_options=ocp.AsyncOptions(timeout_secs=7200),
        )
        self._manager = ocp.CheckpointManager(
            epath.Path(config.run_folder),
            options=options,
            item_names=(PARAMETERS, TRAIN_STATE, ASSETS),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            self._manager.close()
        except _ORBAX_ERRORS as error:
            if kind is None:
                raise self._failed(None, error) from error
            _LOG.error("%s", self._failed(None, error))

    @property
    def complete(self) -> int | None:
        """Step of the newest complete checkpoint on disk, whatever is under way; None: none."""
        return complete_step(self._config.run_folder)

    def save(self, state: TrainState) -> None:
        """Begins to write the state under its step, which must be a new one; copies it first.

        Raises:
            TrainingError: this or the save before has failed; the last complete one is kept.
        """
        step = int(state.step)
        parameters = to_openpi(state.tree(averaged=True), self._model)
        items = ocp.args.Composite(
            **{
                PARAMETERS: ocp.args.PyTreeSave({_ROOT: unflatten_dict(parameters, sep="/")}),
                TRAIN_STATE: ocp.args.PyTreeSave(_remembered(state)),
                ASSETS: AssetsArgs(self._assets),
            }
        )
        try:
            self._manager.save(step, args=items, force=True)
        except _ORBAX_ERRORS as error:
            if is_out_of_memory(error):
                raise
            raise self._failed(step, error) from error

    def look(self) -> None:
        """Looks whether what is written in the background has failed; waits for nothing.

        Raises:
            TrainingError: it has.
        """
        if not self._manager.is_saving_in_progress():
            self.wait()

    def wait(self) -> None:
        """Waits until what was begun is complete.

        Raises:
            TrainingError: it could not be written.
        """
        try:
            self._manager.wait_until_finished()
        except _ORBAX_ERRORS as error:
            raise self._failed(None, error) from error

    def restore(self) -> TrainState:
        """The state of the newest complete checkpoint, bit for bit, on its devices.

        Raises:
            TrainingError: there is none, or it is damaged or of another config.
        """
        step = self._manager.latest_step()
        if step is None:
            raise TrainingError(f"run {self._config.run_folder} has no complete checkpoint")
        shapes = state_shapes(self._config, self._mesh)
        stored = jax.eval_shape(lambda s: to_openpi(s.tree(averaged=True), self._model), shapes)
        stored = jax.tree.map(self._placed, stored)
        wanted = {
            PARAMETERS: {_ROOT: unflatten_dict(stored, sep="/")},
            TRAIN_STATE: _remembered(shapes),
        }
        items = ocp.args.Composite(
            **{
                name: ocp.args.PyTreeRestore(
                    item=item, restore_args=ocp.checkpoint_utils.construct_restore_args(item)
                )
                for name, item in wanted.items()
            }
        )
        try:
            found = self._manager.restore(step, args=items)
        except _ORBAX_ERRORS as error:
            if is_out_of_memory(error):
                raise
            folder = self._config.run_folder / str(step)
            raise TrainingError(f"checkpoint {folder} cannot be resumed: {error}") from error
        _LOG.info("resuming from step %d", step)
        parts = flatten_dict(found[PARAMETERS][_ROOT], sep="/")
        remembered = dict(found[TRAIN_STATE])
        del found
        return self._joined(shapes, parts, remembered)

    def _joined(
        self, shapes: TrainState, parts: dict[str, Any], remembered: Mapping[str, Any]
    ) -> TrainState:
        averaged = shapes.ema is not None
        saved: dict[str, Any] = {}
        frozen: dict[str, Any] = {}
        narrow = jax.eval_shape(TrainState.leaves, shapes)
        places = {path: parameter_sharding(self._mesh, leaf) for path, leaf in narrow.items()}
        for path, leaf in joined_leaves(parts, self._model, places):
            if path in shapes.trainable:
                saved[path] = leaf
            else:
                frozen |= placed_frozen(shapes, path, leaf)
        paths, structure = jax.tree_util.tree_flatten_with_path(_rest(shapes))
        rest = structure.unflatten([remembered[_name(path)] for path, _ in paths])
        return replace(
            shapes,
            step=rest["step"],
            trainable=rest["trainable"] if averaged else saved,
            frozen=frozen,
            opt_state=rest["opt_state"],
            ema=saved if averaged else None,
        )

    def _placed(self, leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        place = parameter_sharding(self._mesh, leaf)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place)

    def _failed(self, step: int | None, error: Exception) -> TrainingError:
        what = "a checkpoint" if step is None else f"checkpoint {step}"
        left = self.complete
        kept = "none is complete" if left is None else f"that of step {left} is complete"
        return TrainingError(
            f"{what} of run {self._config.run_folder} could not be written, {kept}: {error}"
        )


def _rest(state: TrainState) -> dict[str, Any]:
    """What the item of parameters does not hold."""
    rest: dict[str, Any] = {"step": state.step, "opt_state": state.opt_state}
    return rest | ({} if state.ema is None else {"trainable": state.trainable})


def _remembered(state: TrainState) -> dict[str, Any]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(_rest(state))
    return {_name(path): leaf for path, leaf in leaves}


def _name(path: Any) -> str:
    return re.sub(r"\W+", ".", jax.tree_util.keystr(path)).strip(".")
