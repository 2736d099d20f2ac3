"""Writing checkpoints that openpi reads."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from trossen_pi0_policy.checkpoints.errors import CheckpointError
from trossen_pi0_policy.checkpoints.layout import ASSETS, PARAMETERS, write_metadata

if TYPE_CHECKING:
    import jax
    import numpy as np

    from trossen_pi0_core.transforms import NormStats

_SPARE_BYTES = 16 * 2**20  # for descriptions, norm stats and what the file system itself needs


def write_checkpoint(
    step_folder: str | Path,
    parameters: Mapping[str, np.ndarray[Any, Any] | jax.Array],
    *,
    norm_stats: Mapping[str, NormStats] | None,
    asset_id: str | None,
    assets: Path | None = None,
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Writes a step folder in openpi's layout.

    All is written into a hidden folder beside it, which takes the final name when it is complete;
    after a failure nothing is left.

    Args:
        step_folder: to be made; openpi's training names it by the step.
        parameters: by ``/``-joined path.
        norm_stats: by ``state`` and ``actions``; None for none.
        asset_id: which the norm stats are for, may be nested; needed if there are any.
        assets: folder of another checkpoint's assets, copied whole; then without norm stats.
        metadata: JSON values about the checkpoint, as the config; openpi ignores them.
        overwrite: whether a folder of that name is replaced.

    Returns:
        The step folder.

    Raises:
        CheckpointError: it exists, there is no space, names that cannot be written, or both norm
            stats and assets.
    """
    if norm_stats is not None and assets is not None:
        raise CheckpointError(f"norm stats and the assets {assets} exclude each other, got both")
    folder = Path(step_folder).expanduser().resolve()
    asset = _checked_asset_id(norm_stats, asset_id)
    tree = _nested(parameters)
    if folder.exists() and not overwrite:
        raise CheckpointError(f"{folder} exists and is not overwritten unless that is asked for")
    temporary = folder.parent / f".{folder.name}.writing-{secrets.token_hex(4)}"
    try:
        temporary.mkdir(parents=True)
        _check_space(folder.parent, sum(leaf.nbytes for leaf in parameters.values()))
        _save_parameters(temporary / PARAMETERS, tree)
        if assets is not None:
            shutil.copytree(assets, temporary / ASSETS)
        if norm_stats is not None and asset is not None:
            from trossen_pi0_core.transforms import save_norm_stats

            target = temporary / ASSETS / asset
            target.mkdir(parents=True)
            save_norm_stats(target, dict(norm_stats))
        write_metadata(temporary, metadata or {})
        _put_in_place(temporary, folder)
    # What orbax and tensorstore raise when a file cannot be written.
    except (OSError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"checkpoint {folder} cannot be written: {error}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _save_parameters(folder: Path, tree: dict[str, Any]) -> None:
    import orbax.checkpoint as ocp

    with ocp.PyTreeCheckpointer() as checkpointer:
        checkpointer.save(folder, {"params": tree})


def _put_in_place(temporary: Path, folder: Path) -> None:
    """Gives the complete folder its name; one that had it before goes only then."""
    if not folder.exists():
        temporary.rename(folder)
        return
    replaced = folder.parent / f".{folder.name}.replaced-{secrets.token_hex(4)}"
    folder.rename(replaced)
    try:
        temporary.rename(folder)
    except OSError:
        replaced.rename(folder)
        raise
    shutil.rmtree(replaced)


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE_BYTES:
        raise CheckpointError(
            f"not enough space in {folder} for a checkpoint: needed {needed / 1e9:.2f} GB, free "
            f"{free / 1e9:.2f} GB"
        )


def _checked_asset_id(norm_stats: object, asset_id: str | None) -> str | None:
    if norm_stats is None:
        return None
    path = PurePosixPath(asset_id or "")
    if not path.parts or path.is_absolute() or ".." in path.parts:
        raise CheckpointError(
            f"asset id {asset_id!r} must be a relative path, as 'trossen' or 'lab/handover'"
        )
    return path.as_posix()


def _nested(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The tree of the ``/``-joined paths."""
    if not parameters:
        raise CheckpointError("a checkpoint needs at least one parameter, given none")
    tree: dict[str, Any] = {}
    for path, leaf in parameters.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise CheckpointError(f"parameter {path!r} lies below another parameter")
        if not all((*parents, name)) or name in node:
            raise CheckpointError(f"parameter path {path!r} has an empty name, or is one above")
        node[name] = leaf
    return tree
