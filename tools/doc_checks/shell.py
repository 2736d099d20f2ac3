"""Commands of a shell script, as far as documentation uses it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

_SEPARATORS = {"&&", "||", ";", "|", "&"}


def simple_commands(script: str) -> Iterator[list[str]]:
    """The words of each command, without comments, assignments before them and redirections.

    A lone assignment is a command of its own, ``["NAME=value"]``. Square brackets around optional
    words are left out: ``cmd [--fast]`` gives ``["cmd", "--fast"]``.
    """
    variables: dict[str, str] = {}
    for line in script.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in [*_split(line, variables), ";"]:
            if word not in _SEPARATORS:
                words.append(word)
                continue
            if command := _without_redirections(words):
                if len(command) == 1 and _is_assignment(command[0]):
                    name, _, value = command[0].partition("=")
                    variables[name] = value
                while len(command) > 1 and _is_assignment(command[0]):
                    command = command[1:]
                yield command
            words = []


def _split(line: str, variables: dict[str, str]) -> list[str]:
    for name, value in variables.items():
        line = line.replace(f"${name}", value)
    lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
    lexer.whitespace_split = True
    lexer.commenters = "#"
    return list(lexer)


def _without_redirections(words: list[str]) -> list[str]:
    kept: list[str] = []
    for word in words:
        if word.startswith((">", "2>", "<")):
            break
        optional = word.startswith("[-") or (word.endswith("]") and "[" not in word)
        kept.append(word.strip("[]") if optional else word)
    return kept


def _is_assignment(word: str) -> bool:
    name, separator, _ = word.partition("=")
    return bool(separator) and name.isidentifier()
