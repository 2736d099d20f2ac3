"""What a page of documentation holds: commands, code, links and headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

from doc_checks.shell import simple_commands
from references.markdown import anchor

NEEDS = ("hardware", "gpu", "network", "ros", "docker")
"""What a block of commands may say that it needs: ``<!-- needs: ros, hardware -->`` before it."""

PROGRAMS = ("make", "ros2", "tools/run", "trossen-pi0", "python", "pip", "source", "cd", "git")
"""First words by which code in a sentence is taken for a command."""

_MARKER = re.compile(r"<!--\s*needs:\s*([\w, ]+?)\s*-->")
_ARGUMENT = re.compile(r"^[a-z]\w*:=\S*$")


@dataclass(frozen=True)
class Command:
    """A command in a page.

    Attributes:
        words: as a shell would split it.
        page: path of the page.
        line: where its block or sentence begins, from 1.
        needs: what its block says that it needs.
        in_block: it stands in a block of code and not in a sentence.
    """

    words: tuple[str, ...]
    page: Path
    line: int
    needs: frozenset[str]
    in_block: bool

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.page.name}:{self.line}: {' '.join(self.words)}"


@dataclass(frozen=True)
class Block:
    """A fenced block of code."""

    language: str
    text: str
    line: int
    needs: frozenset[str]


class Page:
    """A Markdown page."""

    def __init__(self, path: Path) -> None:
        """Reads it.

        Raises:
            ValueError: a block needs what is not one of ``NEEDS``.
        """
        self.path = path
        self.text = path.read_text(encoding="utf-8")
        self._tokens = MarkdownIt("commonmark").enable("table").parse(self.text)
        self.blocks = list(self._blocks())

    def commands(self) -> Iterator[Command]:
        """Commands in blocks of ``sh`` and in sentences."""
        for block in self.blocks:
            if block.language == "sh":
                for words in simple_commands(block.text):
                    yield Command(tuple(words), self.path, block.line, block.needs, in_block=True)
        for text, line in self.inline_code():
            if len(text.split()) > 1 and text.split()[0] in PROGRAMS:
                for words in simple_commands(text):
                    yield Command(tuple(words), self.path, line, frozenset(), in_block=False)

    def arguments(self) -> Iterator[tuple[str, int]]:
        """Code of the form ``name:=value``, and ``name:=``, in sentences, with its line."""
        for text, line in self.inline_code():
            if all(map(_ARGUMENT.match, text.split())) and text != "name:=value":
                yield from ((word, line) for word in text.split())

    def inline_code(self) -> Iterator[tuple[str, int]]:
        """Code in sentences and tables, with its line."""
        for token, line in self._inline_tokens():
            if token.type == "code_inline":
                yield token.content.replace("\\|", "|"), line

    def first_cells(self) -> Iterator[tuple[str, int]]:
        """Code in the first column of tables, with its line."""
        for i, token in enumerate(self._tokens):
            if token.type == "td_open" and self._tokens[i - 1].type == "tr_open":
                inline = self._tokens[i + 1]
                for child in inline.children or ():
                    if child.type == "code_inline":
                        yield child.content, (self._tokens[i - 1].map or [0])[0] + 1

    def links(self) -> Iterator[tuple[str, int]]:
        """Targets of links and pictures, with their lines."""
        for token, line in self._inline_tokens():
            if token.type in ("link_open", "image"):
                yield str(token.attrs.get("href") or token.attrs.get("src")), line

    def anchors(self) -> set[str]:
        """What its headings are linked by; repeated ones get numbers, as on GitHub."""
        found: set[str] = set()
        for i, token in enumerate(self._tokens):
            if token.type == "heading_open":
                content = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", self._tokens[i + 1].content)
                name, n = anchor(content.replace("`", "")), 0
                while (name if not n else f"{name}-{n}") in found:
                    n += 1
                found.add(name if not n else f"{name}-{n}")
        return found

    def _blocks(self) -> Iterator[Block]:
        before: Token | None = None
        for token in self._tokens:
            if token.type == "fence":
                needs = _needs(before.content if before else "", self.path)
                line = (token.map or [0])[0] + 1
                yield Block(token.info.strip(), token.content, line, needs)
            before = token if token.type == "html_block" else None

    def _inline_tokens(self) -> Iterator[tuple[Token, int]]:
        line = 1
        for token in self._tokens:
            if token.map:
                line = token.map[0] + 1
            for child in token.children or ():
                yield child, line


def _needs(comment: str, path: Path) -> frozenset[str]:
    found = _MARKER.search(comment)
    needs = frozenset(word.strip() for word in found[1].split(",")) if found else frozenset()
    if unknown := needs - set(NEEDS):
        raise ValueError(f"{path}: needs {sorted(unknown)} are not among {list(NEEDS)}")
    return needs


def documentation(root: Path) -> list[Page]:
    """README and the pages of ``docs/``."""
    return [
        Page(root / "README.md"),
        *(Page(path) for path in sorted((root / "docs").glob("*.md"))),
    ]
