"""Checkpoints that come with the suite: ``shipped://NAME``."""

from __future__ import annotations

from pathlib import Path

from trossen_pi0_policy.checkpoints.errors import DownloadError
from trossen_pi0_policy.checkpoints.layout import PARAMETERS

SCHEME = "shipped"
_FOLDER = Path(__file__).parents[1] / "shipped"


def shipped_names() -> list[str]:
    """Names of the checkpoints that come with the suite, each with a card, README.md."""
    return sorted(path.parent.name for path in _FOLDER.glob(f"*/{PARAMETERS}"))


def shipped_checkpoint(name: str) -> Path:
    """The step folder of one of them.

    Raises:
        DownloadError: there is none of that name.
    """
    if name not in (names := shipped_names()):
        raise DownloadError(f"no {name!r} comes with the suite; {SCHEME}:// takes one of {names}")
    return _FOLDER / name
