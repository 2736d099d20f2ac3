"""Checkpoints whose adapters are added to the weights once and for all."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from trossen_pi0_policy.checkpoints import (
    CheckpointError,
    fetch,
    find_checkpoint,
    read_metadata,
    read_parameters,
    write_checkpoint,
)
from trossen_pi0_policy.pi0.adapters import Adapter, adapters
from trossen_pi0_policy.pi0.config import Pi0Config, config_to_dict, get_config, known_names
from trossen_pi0_policy.pi0.packing import serving_config
from trossen_pi0_policy.pi0.parameters import Tree, from_openpi, openpi_shapes, to_openpi
from trossen_pi0_policy.pi0.policy import checkpoint_config

_LOG = logging.getLogger(__name__)


def merge_checkpoint(
    checkpoint: str | Path,
    output: str | Path,
    config_name: str | None = None,
    dtype: str | None = None,
) -> Path:
    """Writes a checkpoint of the plain model that answers as one with adapters does.

    Assets and what the suite says about the checkpoint are kept, but for its config. A weight is
    rounded once, as it is when the checkpoint with adapters is served.

    Args:
        checkpoint: as ``load_policy`` takes it.
        output: step folder, to be made.
        config_name: as ``load_policy`` takes it.
        dtype: of the weights, ``bfloat16`` or ``float32``; a checkpoint without adapters is taken
            then too. None: each keeps its own.

    Returns:
        The step folder.

    Raises:
        CheckpointError: there is something already, the checkpoint has no adapters, or it cannot
            be read or written.
        ParameterError: no such config.
    """
    folder = Path(output).expanduser().resolve()
    if folder.exists():
        raise CheckpointError(f"{folder} exists: a merged checkpoint needs a folder of its own")
    found = find_checkpoint(fetch(checkpoint))
    info = read_metadata(found.path)
    config, name = checkpoint_config(info, config_name)
    if not config.has_lora and dtype is None:
        raise CheckpointError(
            f"checkpoint {found.path} is one of config {name!r}, which has no LoRA adapters: "
            "there is nothing to merge; another type of its weights is written with --dtype"
        )
    plain = serving_config(config, align=False)
    tree = from_openpi(read_parameters(found.path, openpi_shapes(config)), config)
    said = {"config": config_to_dict(plain), "config_name": _name_of(plain)}
    _LOG.info("checkpoint %s: merging adapters of config %s", found.path, name)
    merged = merge(tree, config)
    if dtype is not None:
        merged = jax.tree.map(lambda leaf: np.asarray(leaf).astype(jnp.dtype(dtype)), merged)
    return write_checkpoint(
        folder,
        to_openpi(merged, plain),
        norm_stats=None,
        asset_id=None,
        assets=found.assets if found.assets.is_dir() else None,
        metadata={**info.metadata, **said},
    )


def merge(tree: Mapping[str, Any], config: Pi0Config) -> Tree:
    """Parameters of the plain model.

    Args:
        tree: parameters as ``from_openpi`` arranges them. Not changed.
        config: of these parameters.
    """
    layers = {}
    for expert, sizes in (("language", config.language), ("action", config.action)):
        merged = dict(tree["layers"][expert])
        for name, adapter in adapters(sizes).items():
            merged[name] = {"kernel": _with_adapter(merged[name], adapter)}
        layers[expert] = merged
    return {**tree, "layers": layers}


def _with_adapter(weight: Mapping[str, Any], adapter: Adapter) -> NDArray[Any]:
    """Weights of all layers, one after another in float32."""
    kernels = np.asarray(weight["kernel"])
    merged = np.empty_like(kernels)
    with jax.default_matmul_precision("highest"):
        for i, kernel in enumerate(kernels):
            a, b = adapter.join(
                {each: jnp.asarray(weight[each][i], jnp.float32) for each in adapter.shapes}
            )
            merged[i] = np.asarray(kernel.astype(np.float32) + a @ b).astype(kernels.dtype)
    return merged


def _name_of(config: Pi0Config) -> str:
    """The preset that this is, whatever cameras it has."""
    for name in known_names():
        known = get_config(name)
        if replace(known, cameras=config.cameras) == config:
            return name
    return "own"
