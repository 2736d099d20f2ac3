"""Which pages are made, and whether those that are there are up to date."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from references.messages import messages_page
from references.parameters import parameters_page
from references.training import training_page

PAGES: dict[str, Callable[[Path], str]] = {
    "docs/parameters.md": parameters_page,
    "docs/messages.md": messages_page,
    "docs/training-options.md": training_page,
}
"""Path in the repository -> what makes its text from the repository's root."""


def outdated(root: Path) -> list[str]:
    """Pages that are missing, or differ from what the code says."""
    return [
        path
        for path, make in PAGES.items()
        if not (root / path).is_file() or (root / path).read_text(encoding="utf-8") != make(root)
    ]


def write(root: Path) -> list[str]:
    """Writes the pages that are outdated; returns their paths."""
    paths = outdated(root)
    for path in paths:
        (root / path).write_text(PAGES[path](root), encoding="utf-8")
    return paths
