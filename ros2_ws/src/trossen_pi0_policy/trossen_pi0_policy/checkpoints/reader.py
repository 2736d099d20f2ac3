"""Reading the parameters of openpi checkpoints."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from trossen_pi0_policy.checkpoints.errors import CheckpointError, CheckpointMismatchError
from trossen_pi0_policy.checkpoints.layout import CheckpointFolder, find_checkpoint
from trossen_pi0_policy.checkpoints.matching import Shape, differences

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOG = logging.getLogger(__name__)
_ROOT = "params"
_NNX_SUFFIX = "value"  # what the state of flax.nnx ends its paths with
# What orbax and tensorstore raise for absent, truncated or damaged files.
_ORBAX_ERRORS = (OSError, ValueError, KeyError, TypeError, RuntimeError)


@dataclass(frozen=True)
class LeafInfo:
    """Shape and type of an array on disk."""

    shape: Shape
    dtype: np.dtype[Any]


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says about itself, without its data.

    Attributes:
        folder: where it lies.
        leaves: by ``/``-joined path, as ``PaliGemma/llm/embedder/input_embedding``.
        asset_ids: for which there are norm stats.
        metadata: what the suite wrote about it; empty for a checkpoint that openpi wrote.
    """

    folder: CheckpointFolder
    leaves: Mapping[str, LeafInfo]
    asset_ids: tuple[str, ...]
    metadata: Mapping[str, Any]

    @property
    def shapes(self) -> dict[str, Shape]:
        """Shapes of the leaves by path."""
        return {path: leaf.shape for path, leaf in self.leaves.items()}

    @property
    def size_bytes(self) -> int:
        """Memory that the parameters take as they are stored [bytes]."""
        return sum(
            int(np.prod(leaf.shape, dtype=np.int64)) * leaf.dtype.itemsize
            for leaf in self.leaves.values()
        )


def read_metadata(checkpoint: str | Path) -> CheckpointInfo:
    """Reads which leaves a checkpoint has; reads no parameter.

    Args:
        checkpoint: a folder on disk, see ``find_checkpoint``.

    Raises:
        CheckpointError: no checkpoint, or not one of openpi's layout.
    """
    folder = find_checkpoint(checkpoint)
    paths = _leaf_paths(folder, _stored_tree(folder))
    leaves = {path: _leaf_info(folder, path, leaf) for path, leaf in paths.items()}
    return CheckpointInfo(folder, leaves, folder.asset_ids, folder.metadata())


def read_parameters(
    checkpoint: str | Path,
    expected: Mapping[str, Shape],
    *,
    dtype: DTypeLike | None = None,
    allow_missing: str | re.Pattern[str] | None = None,
) -> dict[str, np.ndarray[Any, Any]]:
    """Reads all parameters, as arrays in host memory, whatever devices they were saved from.

    Every leaf of the checkpoint is used and every expected leaf is filled; this is known before
    any data are read.

    Args:
        checkpoint: a folder on disk, see ``find_checkpoint``.
        expected: shape of each leaf by ``/``-joined path.
        dtype: of the result; None keeps each leaf's own (bfloat16 by ``ml_dtypes``).
        allow_missing: leaves whose whole path matches may be absent (``.*lora.*`` for the start
            of a fine-tuning); they are then absent from the result as well.

    Returns:
        Arrays by path, in the order of ``expected``.

    Raises:
        CheckpointMismatchError: other leaves or shapes than expected; all are counted and listed.
        CheckpointError: no checkpoint, or its files are damaged.
    """
    info = read_metadata(checkpoint)
    found = differences(expected, info.shapes, allow_missing)
    if found:
        raise CheckpointMismatchError(
            f"checkpoint {info.folder.path} does not fit the model:\n{found}"
        )
    if found.absent:
        _LOG.info("checkpoint %s lacks %d leaves", info.folder.path, len(found.absent))
    leaves = _restored(info.folder, None if dtype is None else np.dtype(dtype))
    return {path: leaves[path] for path in expected if path in leaves}


def _stored_tree(folder: CheckpointFolder) -> Any:
    """Orbax's description of the item: a nested map with array descriptions as leaves."""
    import orbax.checkpoint as ocp
    from etils import epath

    try:
        metadata: Any = ocp.PyTreeCheckpointHandler().metadata(epath.Path(folder.parameters))
    except _ORBAX_ERRORS as error:
        raise CheckpointError(f"{folder.parameters} cannot be read: {error}") from error
    tree = getattr(metadata, "tree", metadata)
    if (
        not isinstance(tree, Mapping)
        or set(tree) != {_ROOT}
        or not isinstance(tree[_ROOT], Mapping)
    ):
        given = sorted(map(str, tree)) if isinstance(tree, Mapping) else type(tree).__name__
        raise CheckpointError(
            f"{folder.parameters} is not openpi's item of parameters: expected a map with the one "
            f"key {_ROOT!r}, given {given}"
        )
    return tree


def _restored(
    folder: CheckpointFolder, dtype: np.dtype[Any] | None
) -> dict[str, np.ndarray[Any, Any]]:
    """All arrays of the item. Orbax reads each into memory once, converting it on the way."""
    import jax
    import orbax.checkpoint as ocp
    from etils import epath

    tree = _stored_tree(folder)
    # As numpy arrays: the devices on which the parameters lay in training need not exist here.
    each = ocp.RestoreArgs(restore_type=np.ndarray, dtype=dtype)
    arguments = ocp.args.PyTreeRestore(item=tree, restore_args=jax.tree.map(lambda _: each, tree))
    try:
        restored = ocp.PyTreeCheckpointHandler().restore(
            epath.Path(folder.parameters), args=arguments
        )
    except _ORBAX_ERRORS as error:
        raise CheckpointError(
            f"the data of {folder.parameters} cannot be read, files are missing or damaged: {error}"
        ) from error
    return _leaf_paths(folder, restored)


def _leaf_paths(folder: CheckpointFolder, tree: Any) -> dict[str, Any]:
    """Leaves by ``/``-joined path, without the ``value`` that either all paths end in or none."""
    leaves = dict(_flattened(tree[_ROOT], ()))
    ending = sum(path[-1] == _NNX_SUFFIX for path in leaves)
    if not leaves or ending not in (0, len(leaves)):
        raise CheckpointError(
            f"{folder.parameters}: all leaves must end in {_NNX_SUFFIX!r}, or none of them; given "
            f"{ending} of {len(leaves)}"
        )
    return {"/".join(path[:-1] if ending else path): leaf for path, leaf in leaves.items()}


def _flattened(tree: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _flattened(value, (*path, str(key)))
    else:
        yield path, tree


def _leaf_info(folder: CheckpointFolder, path: str, leaf: Any) -> LeafInfo:
    shape, dtype = getattr(leaf, "shape", None), getattr(leaf, "dtype", None)
    if shape is None or dtype is None:
        raise CheckpointError(
            f"{folder.parameters}: leaf {path} is no array, given {type(leaf).__name__}"
        )
    return LeafInfo(tuple(int(size) for size in shape), np.dtype(dtype))
