"""What the HTML reports are put together from. Each page is one file that needs nothing else."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1d242b; max-width: 1240px; margin: 2em auto;
  padding: 0 1em }
h1 { font-size: 1.5em; margin-bottom: 0.2em } h2 { font-size: 1.15em; margin-top: 2em }
table { border-collapse: collapse; margin: 0.6em 0 } img { max-width: 100% }
th, td { padding: 0.25em 0.7em; border-bottom: 1px solid #dde2e7; text-align: left }
td { vertical-align: top } td:not(:last-child) { white-space: nowrap }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
.severe { color: #a31f1f } .mild { color: #6b5a12 } .good { color: #24713f }
.cameras { display: flex; flex-wrap: wrap; gap: 0.8em; margin: 0.6em 0 }
.cameras figure { margin: 0 } .cameras figcaption { font-size: 0.85em; color: #55606a }
.cameras img { width: 132px; margin-right: 2px } details { margin: 0.4em 0; padding: 0.3em 0.6em;
  border: 1px solid #dde2e7; border-radius: 4px } summary { cursor: pointer }
"""


def page(title: str, parts: Sequence[str], style: str = "") -> str:
    """A whole page; ``parts`` are HTML, the title is text; ``style`` adds to the style sheet."""
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{text(title)}'
        f"</title><style>{_STYLE}{style}</style></head><body>\n<h1>{text(title)}</h1>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def section(title: str, body: str) -> str:
    """A part with a heading."""
    return f"<h2>{text(title)}</h2>\n{body}"


def details(title: str, body: str) -> str:
    """A part that is folded away."""
    return f"<details><summary>{text(title)}</summary>{body}</details>"


def paragraph(words: str, style: str = "") -> str:
    """A paragraph of plain text."""
    return f'<p class="{style}">{text(words)}</p>' if style else f"<p>{text(words)}</p>"


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    classes: Sequence[str] = (),
    numbers: Iterable[int] = (),
) -> str:
    """A table of texts.

    Args:
        head: of the columns; empty: none.
        rows: cells.
        classes: of the first rows; the others have none.
        numbers: columns that are aligned to the right.
    """
    right = set(numbers)

    def line(cells: Sequence[str], tag: str, style: str = "") -> str:
        inner = "".join(
            f"<{tag}{' class=number' if i in right else ''}>{text(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )
        return f'<tr class="{style}">{inner}</tr>' if style else f"<tr>{inner}</tr>"

    top = line(head, "th") if head else ""
    styles = [*classes, *[""] * (len(rows) - len(classes))]
    body = "".join(line(row, "td", style) for row, style in zip(rows, styles, strict=True))
    return f"<table>{top}{body}</table>"


def image(uri: str) -> str:
    """A picture by its data URI; an empty one says that there is none."""
    return f'<img alt="" src="{uri}">' if uri else "<p>Nothing to show.</p>"


def figure(images: str, caption: str) -> str:
    """Pictures, as HTML, above a text."""
    return f"<figure>{images}<figcaption>{text(caption)}</figcaption></figure>"


def jpeg_uri(picture: NDArray[np.uint8], size: tuple[int, int]) -> str:
    """A picture, made small enough, as a data URI.

    Args:
        picture: uint8 RGB, shape (height, width, 3).
        size: largest width and height [pixels].
    """
    small = Image.fromarray(picture)
    small.thumbnail(size)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def png_uri(plot: Figure, dpi: int = 90) -> str:
    """A plot as a PNG in a data URI."""
    buffer = io.BytesIO()
    plot.savefig(buffer, format="png", dpi=dpi)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def listed(values: Iterable[object]) -> str:
    """Values between commas, in order."""
    return ", ".join(sorted(f"{v:g}" if isinstance(v, float) else str(v) for v in values))


def text(value: str) -> str:
    """Text as HTML."""
    return html.escape(str(value), quote=True)
