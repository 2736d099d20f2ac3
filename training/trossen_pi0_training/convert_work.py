"""The working folder of a conversion, beside the data set: what is done survives a kill."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trossen_pi0_core.errors import DatasetError
from trossen_pi0_training.convert_options import Options
from trossen_pi0_training.convert_plan import Candidate

_SHARD_FORMAT = 1
_LOCK = "lock"


@dataclass(frozen=True)
class WorkFolder:
    """``<data set>.converting``: the converted episodes, and the data set until it is complete."""

    path: Path

    @property
    def shards(self) -> Path:
        """The converted episodes."""
        return self.path / "shards"

    def shard(self, candidate: Candidate, options: Options) -> Path:
        """The folder of an episode's shard.

        Its name changes with the episode's files and with whatever changes the result, so that a
        shard that is there is the right one.
        """
        readable = re.sub(r"[^\w.-]", "_", candidate.name)[:100]
        return self.shards / f"{readable}-{_key(candidate, options)}"

    def remove(self) -> None:
        """Removes it."""
        shutil.rmtree(self.path)


@contextlib.contextmanager
def working_folder(options: Options) -> Iterator[WorkFolder]:
    """Holds the working folder, made anew or, to resume, as it was left.

    Raises:
        DatasetError: there is one and nothing says to resume or overwrite it; another conversion
            uses it; or the data set is there already.
    """
    folder = WorkFolder(options.root.with_name(f"{options.root.name}.converting"))
    if options.root.exists() and not options.overwrite:
        raise DatasetError(f"{options.root} is there already: --overwrite replaces it")
    folder.path.parent.mkdir(parents=True, exist_ok=True)
    fresh = not folder.path.exists()
    if not fresh and not (options.resume or options.overwrite):
        raise DatasetError(
            f"{folder.path} was left by a conversion that did not end: --resume goes on with it, "
            "--overwrite begins anew"
        )
    folder.path.mkdir(exist_ok=True)
    with (folder.path / _LOCK).open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DatasetError(f"another conversion to {options.root} is running") from error
        _clear(folder, keep_shards=options.resume)
        folder.shards.mkdir(exist_ok=True)
        yield folder


def _clear(folder: WorkFolder, *, keep_shards: bool) -> None:
    for path in folder.path.iterdir():
        if path.name == _LOCK or (keep_shards and path == folder.shards):
            continue
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    if folder.shards.is_dir():
        for part in folder.shards.glob("*.part"):
            shutil.rmtree(part)


def _key(candidate: Candidate, options: Options) -> str:
    files = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(candidate.folder.iterdir())
        if path.is_file()
    ]
    damaged = "interrupted" in options.include
    decided = [_SHARD_FORMAT, options.fps, options.cameras, options.codec, options.prompt, damaged]
    text = json.dumps([candidate.name, os.fspath(candidate.folder), files, decided])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
