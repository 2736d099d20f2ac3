"""Example files in a page: blocks that begin with their file's name in a comment."""

from __future__ import annotations

import re
from pathlib import Path

from doc_checks.pages import Page

_NAME = re.compile(r"# ([\w.]+\.(?:py|yaml))\n")


def example_files(page: Path) -> dict[str, str]:
    """Name of each example file -> its text."""
    found: dict[str, str] = {}
    for block in Page(page).blocks:
        if name := _NAME.match(block.text):
            found[name[1]] = block.text
    return found


def all_examples(root: Path) -> dict[str, str]:
    """The example files of all pages in ``docs/``."""
    found: dict[str, str] = {}
    for page in sorted((root / "docs").glob("*.md")):
        found.update(example_files(page))
    return found


def write_example(page: Path, name: str, folder: Path) -> Path:
    """Writes an example file as a reader would; returns its path.

    Raises:
        ValueError: the page has no such example.
    """
    files = example_files(page)
    if name not in files:
        raise ValueError(f"{page.name} has no example {name!r}, it has {list(files)}")
    path = folder / name
    path.write_text(files[name], encoding="utf-8")
    return path
