"""Where things lie in an openpi checkpoint (``training/checkpoints.py``).

A step folder holds the orbax item ``params`` and ``assets/<asset id>/norm_stats.json``; training
keeps step folders, named by number, in one parent. Beside ``params`` the suite writes a file of
its own, which openpi ignores.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trossen_pi0_policy.checkpoints.errors import CheckpointError

PARAMETERS = "params"
ASSETS = "assets"
NORM_STATS = "norm_stats.json"
SIDECAR = "trossen_pi0.json"
SIDECAR_SCHEMA = 1

_LOG = logging.getLogger(__name__)
_ITEM_DESCRIPTION = "_METADATA"  # orbax writes it into each item once its data are complete
_TEMPORARY = ".orbax-checkpoint-tmp"


@dataclass(frozen=True)
class CheckpointFolder:
    """One complete checkpoint on disk.

    Attributes:
        path: the step folder; where only the orbax item was given, that item.
        parameters: the orbax item with the parameters.
        assets: folder of the assets; it need not exist.
        step: number of the step folder; None where its name is no number.
    """

    path: Path
    parameters: Path
    assets: Path
    step: int | None

    @property
    def asset_ids(self) -> tuple[str, ...]:
        """Ids for which there are norm stats, sorted; they may be nested (``lab/handover``)."""
        found = self.assets.rglob(NORM_STATS) if self.assets.is_dir() else ()
        ids = (file.parent.relative_to(self.assets).as_posix() for file in found)
        return tuple(sorted(each for each in ids if each != "."))

    def norm_stats_folder(self, asset_id: str | None = None) -> Path:
        """Folder of the norm stats of an asset id; without one, of the only one there is.

        Raises:
            CheckpointError: no norm stats, none of that id, or several to choose from.
        """
        ids = self.asset_ids
        if not ids:
            expected = self.assets / (asset_id or "<asset id>") / NORM_STATS
            raise CheckpointError(f"checkpoint {self.path} has no norm stats: expected {expected}")
        if asset_id is None:
            if len(ids) > 1:
                raise CheckpointError(
                    f"checkpoint {self.path} has norm stats of several assets: name one of "
                    f"{list(ids)}"
                )
            return self.assets.joinpath(*ids)
        if asset_id not in ids:
            raise CheckpointError(
                f"checkpoint {self.path} has no norm stats of asset {asset_id!r}, only of "
                f"{list(ids)}"
            )
        return self.assets / asset_id

    def metadata(self) -> dict[str, Any]:
        """What the suite wrote about the checkpoint; empty for one that openpi wrote.

        Raises:
            CheckpointError: the file is damaged, or of a newer version of the suite.
        """
        file = self.path / SIDECAR
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{file} cannot be read: {error}") from error
        if not isinstance(content, dict) or not isinstance(content.get("metadata"), dict):
            raise CheckpointError(f"{file} must hold a map with the keys 'schema' and 'metadata'")
        if content.get("schema") != SIDECAR_SCHEMA:
            raise CheckpointError(
                f"{file} has schema {content.get('schema')!r}, this version reads {SIDECAR_SCHEMA}"
            )
        return content["metadata"]


def find_checkpoint(path: str | Path) -> CheckpointFolder:
    """Finds the checkpoint that a folder holds or is.

    In this order: a folder with a complete item ``params`` is a step folder; a folder that is an
    orbax item itself is taken for the parameters, with the assets beside it if it is called
    ``params`` and none otherwise; of a folder of step folders the newest complete one is taken.

    Raises:
        CheckpointError: none of these; the message says what is there.
    """
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise CheckpointError(f"checkpoint folder {folder} {what}")
    if _is_item(folder / PARAMETERS):
        return _step_folder(folder)
    if _is_item(folder) and folder.name == PARAMETERS:
        return _step_folder(folder.parent)
    if _is_item(folder):
        return CheckpointFolder(folder, folder, folder / ASSETS, None)
    steps = [entry for entry in folder.iterdir() if entry.name.isdecimal() and entry.is_dir()]
    complete = [entry for entry in steps if _is_item(entry / PARAMETERS)]
    if not complete:
        raise CheckpointError(_nothing_found(folder))
    newest = max(complete, key=lambda entry: int(entry.name))
    _LOG.info("checkpoint %s: step %s, of %d complete ones", folder, newest.name, len(complete))
    return _step_folder(newest)


def write_metadata(folder: Path, metadata: Mapping[str, Any]) -> None:
    """Writes what the suite says about a checkpoint.

    Known keys, all optional: ``config`` (a name or a description), ``config_name``, ``prompt``,
    ``delta_mask``, ``prefix_conditioned`` (true: trained with clean prefixes, arXiv 2512.05964),
    ``policy_metadata`` (what clients are told besides). Whoever uses one checks its value.

    Raises:
        CheckpointError: a value that JSON does not have.
    """
    try:
        text = json.dumps(
            {"schema": SIDECAR_SCHEMA, "metadata": dict(metadata)}, indent=2, allow_nan=False
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"metadata of a checkpoint must be JSON: {error}") from error
    (folder / SIDECAR).write_text(text + "\n", encoding="utf-8")


def _is_item(folder: Path) -> bool:
    return (folder / _ITEM_DESCRIPTION).is_file()


def _step_folder(folder: Path) -> CheckpointFolder:
    step = int(folder.name) if folder.name.isdecimal() else None
    return CheckpointFolder(folder, folder / PARAMETERS, folder / ASSETS, step)


def _nothing_found(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    expected = (
        f"{folder} holds no complete checkpoint: expected {PARAMETERS}/{_ITEM_DESCRIPTION} in it, "
        "or in a folder in it that is named by its step"
    )
    if any(name.endswith(".safetensors") for name in names):
        return f"{expected}; PyTorch checkpoints ({', '.join(names)}) are not read"
    unfinished = [name for name in names if _TEMPORARY in name]
    if unfinished:
        return f"{expected}; {', '.join(unfinished)} was not saved to the end"
    given = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
    return f"{expected}; it holds {given or 'nothing'}"
