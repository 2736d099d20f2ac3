"""Files that are never seen half-written, and what they are called."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path


def write_atomically(path: Path, text: str, *, durable: bool = True) -> None:
    """Writes or replaces a file in one step.

    Args:
        path: of the file.
        text: its content.
        durable: it survives a power cut once this returns, which may take as long as the disk is
            busy; otherwise it survives the end of this process.

    Raises:
        OSError: it cannot be written; what was there before is still there.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        beside.replace(path)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
    if durable:
        sync_folder(path.parent)


def by_folder(paths: Sequence[Path]) -> dict[str, Path]:
    """Files by the names of their folders, or by their paths where two have the same."""
    names = [path.resolve().parent.name for path in paths]
    return {
        str(path) if names.count(name) > 1 else name: path
        for name, path in zip(names, paths, strict=True)
    }


def sync_folder(folder: Path) -> None:
    """Makes a folder's list of files survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
