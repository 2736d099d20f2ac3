"""Reference pages in ``docs/`` that are made from the code: ``make docs`` writes them."""

from references.pages import PAGES, outdated, write

__all__ = ["PAGES", "outdated", "write"]
