"""Links of a page to files and headings."""

from __future__ import annotations

from urllib.parse import unquote

from doc_checks.pages import Page


def broken_links(page: Page) -> list[str]:
    """Links to files or headings that there are not; the web is not asked."""
    problems: list[str] = []
    for target, line in page.links():
        if "://" in target or target.startswith("mailto:"):
            continue
        name, _, heading = unquote(target).partition("#")
        path = (page.path.parent / name) if name else page.path
        place = f"{page.path.name}:{line}: {target}"
        if not path.exists():
            problems.append(f"{place}: there is no {name}")
        elif heading and path.suffix == ".md" and heading not in Page(path).anchors():
            problems.append(f"{place}: {path.name} has no heading {heading!r}")
    return problems
