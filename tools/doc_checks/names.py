"""Names of the code in pages: modules and what is in them, and messages that the suite gives."""

from __future__ import annotations

import ast
import functools
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

from doc_checks.pages import Page

_DOTTED = re.compile(r"^trossen_pi0_\w+(\.\w+)+(\(.*\))?$")
_SHORTEST = 7

_SOURCES = ("ros2_ws/src/*/trossen_pi0_*", "training/trossen_pi0_training", "tools/toolchain")


def unknown_names(page: Page) -> list[str]:
    """Dotted names of our packages that cannot be found, with their lines."""
    problems: list[str] = []
    for text, line in page.inline_code():
        if _DOTTED.match(text) and not text.startswith("trossen_pi0_msgs."):
            problem = _problem(text.partition("(")[0])
            if problem:
                problems.append(f"{page.path.name}:{line}: {text}: {problem}")
    return problems


@functools.cache
def _problem(name: str) -> str:
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        module = ".".join(parts[:length])
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name and not module.startswith(error.name):
                return str(error)
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return f"{module} has no {part}"
            found = getattr(found, part)
        return ""
    return "there is no such module"


def unknown_messages(page: Page, root: Path) -> list[str]:
    """Messages in the first column of the page's tables that no source has.

    ``...`` stands for what varies. A message is there when one module has all of its pieces that
    are longer than a word or two.
    """
    return [
        f"{page.path.name}:{line}: no source says {text!r}"
        for text, line in page.first_cells()
        if " " in text and not any(_has(module, text) for module in _modules(root))
    ]


def _has(module: str, message: str) -> bool:
    pieces = [piece.strip(" :'\"") for piece in message.split("...")]
    long = [piece for piece in pieces if len(piece) >= _SHORTEST]
    return bool(long) and all(piece in module for piece in long)


@functools.cache
def _modules(root: Path) -> tuple[str, ...]:
    """All strings of each module, pieces that vary as NUL characters."""
    paths = [
        p for pattern in _SOURCES for folder in root.glob(pattern) for p in folder.rglob("*.py")
    ]
    texts = ["\n".join(_strings(ast.parse(path.read_text(encoding="utf-8")))) for path in paths]
    return (*texts, (root / "tools/run").read_text(encoding="utf-8"))


def _strings(tree: ast.AST) -> Iterator[str]:
    """Strings that are no docstrings; those of f-strings as they stand there."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""
        elif isinstance(node, ast.JoinedStr):
            parts = node.values
            yield "".join(str(p.value) if isinstance(p, ast.Constant) else "\0" for p in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
