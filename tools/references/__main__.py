"""``make docs``: writes the reference pages."""

from __future__ import annotations

import sys
from pathlib import Path

from references.pages import write


def main() -> int:
    """Writes the pages that differ and names them."""
    written = write(Path(__file__).resolve().parents[2])
    for path in written:
        sys.stdout.write(f"written: {path}\n")
    if not written:
        sys.stdout.write("the reference pages are up to date\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
