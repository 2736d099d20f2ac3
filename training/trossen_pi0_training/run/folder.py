"""The folder of a run: whose it is, who may work in it, and what may be removed."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from trossen_pi0_policy.checkpoints import CheckpointError, find_checkpoint
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.run.metadata import CONFIG_FILE, check_same_config, write_config

LOCK_FILE = "run.lock"

_SHOWN_NAMES = 5


def complete_step(folder: Path) -> int | None:
    """Step of the newest complete checkpoint on disk, whatever is under way; None: none is."""
    try:
        return find_checkpoint(folder).step
    except CheckpointError:
        return None


def check_folder(config: TrainConfig) -> None:
    """Looks whether the config may begin, replace or go on with its run. Changes nothing.

    Raises:
        TrainingError: there is a run already and neither overwrite nor resume; or nothing to
            resume, or a run of another config; or something that is no run.
    """
    folder = config.run_folder
    if config.resume:
        if not folder.is_dir():
            raise TrainingError(f"there is no run {folder} to resume")
        check_same_config(config, folder)
        if complete_step(folder) is None:
            raise TrainingError(
                f"run {folder} ended before its first checkpoint was complete, so there is "
                "nothing to resume: begin it anew with --overwrite"
            )
        return
    names = _contents(folder)
    if not names:
        return
    if CONFIG_FILE not in names:
        shown = ", ".join(names[:_SHOWN_NAMES]) + (", ..." if len(names) > _SHOWN_NAMES else "")
        raise TrainingError(
            f"{folder} is there and holds no run, as {CONFIG_FILE} is missing; it holds {shown} "
            "and is left alone, even with --overwrite: choose another --exp-name"
        )
    if not config.overwrite:
        raise TrainingError(
            f"run {folder} exists: go on with it by --resume, replace it by --overwrite, or "
            "choose another --exp-name"
        )


def check_idle(folder: Path) -> None:
    """Raises TrainingError where another training works in a run's folder."""
    if (folder / LOCK_FILE).exists():
        with _locked(folder):
            return


@contextmanager
def prepared_folder(config: TrainConfig) -> Iterator[None]:
    """Makes the run's folder, empty but for its config, or keeps that of a resumed run.

    While it is entered no other training can work in it.

    Raises:
        TrainingError: as ``check_folder``, or another training works in it.
    """
    folder = config.run_folder
    check_folder(config)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        check_folder(config)  # again, as another training may have come between
        if not config.resume:
            _empty(folder)
            write_config(config, folder)
        yield


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / LOCK_FILE)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise TrainingError(
            f"another training works in {folder}: wait until it has ended, or choose another "
            "--exp-name"
        ) from error
    except OSError as error:
        raise TrainingError(f"{folder / LOCK_FILE} cannot be locked: {error}") from error
    try:
        yield
    finally:
        lock.release()


def _contents(folder: Path) -> list[str]:
    """Names of all but the lock."""
    if not folder.exists():
        return []
    return sorted(entry.name for entry in folder.iterdir() if entry.name != LOCK_FILE)


def _empty(folder: Path) -> None:
    """Removes a run; its config last, so that what a kill leaves is still known for a run."""
    for name in sorted(_contents(folder), key=lambda name: name == CONFIG_FILE):
        entry = folder / name
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
