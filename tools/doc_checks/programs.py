"""Command lines of the suite's programs, read by their own parsers."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import io
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from doc_checks.examples import all_examples
from references.commands import module_arguments
from trossen_pi0_bringup.arguments import Argument, Arguments
from trossen_pi0_bringup.sim import SIM_ARGUMENTS
from trossen_pi0_core.errors import TrossenPi0Error

ROOT = Path(__file__).resolve().parents[2]
"""Of the repository."""

TRAINING = ("trossen_pi0_training.train", "trossen_pi0_training.norm_stats")
"""Modules whose options are the fields of a training config."""

_PEERS = ("peers.compare_speed", "peers.compare_training", "peers.compare_losses")

_MINE = {"trossen_pi0_bringup.bench": ("sizes", "run_dir")}
"""Modules that take the arguments of ``make sim`` and these."""

_REQUIRED = re.compile(r"error: (the following arguments are|one of the arguments .* is) required")

_HELP = ("--help", "-h")
_CONFIG_FILE = "--config-file"


class _UnderstoodError(BaseException):
    """Raised in place of what a program would do with its arguments."""


def verify_module(module: str, words: Sequence[str], *, whole: bool = True) -> None:
    """Checks ``python -m module words``.

    Args:
        module: that is run.
        words: its arguments.
        whole: what is required must be there.

    Raises:
        ValueError: an unknown module, or arguments that it would refuse.
    """
    words = without_dots(words)
    if table := _table_of(module):
        mine = _MINE.get(module, ())
        known = (*mine, *_HELP, "--json")
        verify_arguments(table, [word for word in words if word.partition(":=")[0] not in known])
    elif module == "pytest":
        return
    elif module in TRAINING:
        _verify_training(words)
    elif module in _PEERS:
        _verify_peer(module, words)
    else:
        _verify_parser(module, words, whole=whole)


def _table_of(module: str) -> tuple[Argument, ...] | None:
    return SIM_ARGUMENTS if module in _MINE else module_arguments(module)


def verify_trossen_pi0(words: Sequence[str], *, whole: bool = True) -> None:
    """Checks ``trossen-pi0 words``, as ``verify_module`` does."""
    words = without_dots(words)
    _verify_parser("trossen_pi0_policy.cli.main", words, whole=whole)


def verify_arguments(table: Sequence[Argument], words: Sequence[str]) -> None:
    """Checks ``name:=value`` words; a value with ``...`` may be anything.

    Raises:
        ValueError: one that is not allowed.
    """
    texts: dict[str, str] = {}
    for word in words:
        name, separator, text = word.partition(":=")
        if not separator:
            raise ValueError(f"arguments have the form name:=value, got {word!r}")
        texts[name] = text
    by_name = {argument.name: argument for argument in table}
    for name, text in texts.items():
        if name.isupper() or (is_placeholder(text) and name in by_name):
            continue
        try:
            Arguments(tuple(table), {name: text})
        except TrossenPi0Error as error:
            raise ValueError(str(error)) from error


def without_dots(words: Sequence[str]) -> list[str]:
    """Words without ``...`` for further ones; one that is an option's value stays."""
    return [w for w, b in _with_previous(words) if w != "..." or b.startswith("--")]


def _with_previous(words: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(words, ["", *words], strict=False))


def is_placeholder(text: str) -> bool:
    """Whether a person shall put something else there: nothing, ``...`` or ``NAME``."""
    return not text or "..." in text or (text.isupper() and text.isalpha())


def _verify_training(words: Sequence[str]) -> None:
    from trossen_pi0_training.config.command_line import parse_config

    if words and is_placeholder(words[0]):
        words = ["debug", *words[1:]]
    with _quiet() as said, tempfile.TemporaryDirectory() as folder:
        for name, text in all_examples(ROOT).items():
            (Path(folder) / name).write_text(text, encoding="utf-8")
        own = [str(Path(folder) / w) if b == _CONFIG_FILE else w for w, b in _with_previous(words)]
        try:
            parse_config(own, "train")
        except TrossenPi0Error as error:
            raise ValueError(str(error)) from error
        except SystemExit as stop:
            if stop.code:
                raise ValueError(said.getvalue()) from stop


def _verify_peer(module: str, words: Sequence[str]) -> None:
    """Comparisons with openpi, which cannot be imported without it: the options are in the text."""
    path = Path(__file__).resolve().parents[1] / f"{module.replace('.', '/')}.py"
    text = path.read_text(encoding="utf-8")
    if unknown := [word for word in words if word.startswith("--") and f'"{word}"' not in text]:
        raise ValueError(f"{module} has no options {unknown}")


def _verify_parser(module: str, words: Sequence[str], *, whole: bool) -> None:
    """Runs the module's own parser, and nothing behind it.

    All paths are taken to be there: files if their names have a suffix, else folders.
    """
    program: Any = _program(module)
    real = argparse.ArgumentParser.parse_args

    def parse(self: Any, args: Any = None, namespace: Any = None) -> Any:
        real(self, args, namespace)
        raise _UnderstoodError

    there = {
        "exists": lambda _: True,
        "is_file": lambda path: bool(path.suffix),
        "is_dir": lambda path: not path.suffix,
    }
    with (
        _quiet() as said,
        mock.patch.object(argparse.ArgumentParser, "parse_args", parse),
        mock.patch.multiple(Path, **there),
    ):
        try:
            status = program.main(list(words))
        except _UnderstoodError:
            return
        except SystemExit as stop:
            status = stop.code
    if not whole and _REQUIRED.search(said.getvalue()):
        return
    if status or not set(words) & set(_HELP):
        raise ValueError(said.getvalue() or f"{module} did not read its arguments")


def _program(module: str) -> Any:
    """The module with the function ``main``."""
    try:
        spec = importlib.util.find_spec(module)
        is_package = spec is not None and spec.submodule_search_locations is not None
        return importlib.import_module(f"{module}.__main__" if is_package else module)
    except ImportError as error:
        raise ValueError(f"there is no module {module}: {error}") from error


@contextlib.contextmanager
def _quiet() -> Iterator[io.StringIO]:
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        yield said
