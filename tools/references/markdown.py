"""Pieces of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

MADE_BY = "<!-- Made by `make docs` from {source}. Changes belong there. -->"
"""First line of a page that is made."""


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines of a table, and an empty one."""
    lines = [_row(header), _row(["---"] * len(header))]
    return [*lines, *(_row(row) for row in rows), ""]


def code(text: str) -> str:
    """Text as code; nothing for nothing."""
    return f"`{text}`" if text else ""


def anchor(heading: str) -> str:
    """What a heading is linked by, as GitHub makes it: "Node /policy" gives "node-policy"."""
    plain = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return plain.replace(" ", "-")


def _row(cells: Sequence[str]) -> str:
    escaped = (_escaped(" ".join(cell.split())) for cell in cells)
    return f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in escaped)}|"


def _escaped(text: str) -> str:
    """Bars would end the cell, and angle brackets outside code be taken for HTML."""
    parts = text.replace("|", "\\|").split("`")
    parts[::2] = [part.replace("<", "&lt;") for part in parts[::2]]
    return "`".join(parts)
