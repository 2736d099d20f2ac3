"""Shared memory of killed nodes: Fast DDS leaves it behind, and it is memory that is used up."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path("/dev/shm")


def segments() -> set[Path]:
    """Fast DDS's files in shared memory."""
    return set(_FOLDER.glob("fastrtps_*")) | set(_FOLDER.glob("sem.fastrtps*"))


def remove_orphans(since: set[Path]) -> None:
    """Removes those that were not there before and that no process has mapped.

    Args:
        since: what was there before.
    """
    mapped: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            text = maps.read_text()
        except OSError:  # ended meanwhile, or somebody else's
            continue
        mapped |= {word for word in text.split() if word.startswith(f"{_FOLDER}/")}
    for path in segments() - since:
        if str(path) not in mapped:
            path.unlink(missing_ok=True)
