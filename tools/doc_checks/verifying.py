"""Verifiers of commands, by their first word."""

from __future__ import annotations

import functools
import os
import re
import subprocess
from collections.abc import Sequence
from typing import Protocol

from doc_checks.examples import all_examples
from doc_checks.programs import ROOT, verify_module, verify_trossen_pi0, without_dots
from doc_checks.ros import verify_ros2
from doc_checks.shell import simple_commands

EXTERNAL = (
    "apt",
    "cp",
    "curl",
    "docker",
    "echo",
    "fastdds",
    "git",
    "mkdir",
    "openssl",
    "ping",
    "rs-enumerate-devices",
    "rviz2",
    "sudo",
)
"""Programs that are not the suite's: of their words only paths in the repository are looked at."""


class UnknownProgramError(ValueError):
    """No verifier knows the command: its block must say what it needs."""


def verify(words: Sequence[str], *, whole: bool = True) -> None:
    """Checks a command without running it.

    Args:
        words: of the command.
        whole: what is required must be there; commands named in a sentence may leave it out.

    Raises:
        UnknownProgramError: nothing is known about such commands.
        ValueError, SystemExit: it would not work, and why.
    """
    _verify(tuple(words), whole)


@functools.cache
def _verify(words: tuple[str, ...], whole: bool) -> None:  # noqa: FBT001 - part of the cache's key
    program, *rest = words
    if len(words) == 1 and "=" in program:
        return
    if program in EXTERNAL:
        _external(rest)
        return
    if program not in _VERIFIERS:
        raise UnknownProgramError(f"nothing is known about {program!r}")
    _VERIFIERS[program](rest, whole=whole)


def _make(words: Sequence[str], *, whole: bool) -> None:
    """The target exists, the recipe uses the variables, and what it runs is right."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^([a-z-]+):", text, re.MULTILINE)
    words = without_dots(words)
    for word in words:
        name, separator, _ = word.partition("=")
        if name.endswith(":"):
            raise ValueError(f'{word!r} belongs into ARGS="..."')
        if separator and f"$({name})" not in text:
            raise ValueError(f"the Makefile knows no variable {name!r}")
        if not separator and word not in targets:
            raise ValueError(f"there is no target {word!r}, there are {targets}")
    goals = [word for word in words if "=" not in word]
    if not goals or goals == ["setup"]:
        return
    said = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "--directory", str(ROOT), *words],
        check=True,
        capture_output=True,
        text=True,
        # Without the flags and variables of a `make` that runs this.
        env={"PATH": os.environ["PATH"]},
    ).stdout
    for command in simple_commands(said):
        words = command[1:] if command[0] == "exec" else command
        if words[:3] == ["tools/run", "python", "-m"]:
            verify(words, whole=whole)


def _run(words: Sequence[str], *, whole: bool) -> None:
    verify(words, whole=whole)


def _python(words: Sequence[str], *, whole: bool) -> None:
    if len(words) == 1 and (words[0] in all_examples(ROOT) or (ROOT / words[0]).is_file()):
        return
    if len(words) == 2 and words[0] == "-c":
        compile(words[1], "words of the command", "exec")
        return
    if words[:1] != ["-m"] or len(words) < 2:
        raise UnknownProgramError("only python -m MODULE and files of examples are known")
    verify_module(words[1], words[2:], whole=whole)


def _pip(words: Sequence[str], *, whole: bool) -> None:
    """Folders of ours exist and have the extras that are named."""
    if words[:1] != ["install"]:
        raise UnknownProgramError("only pip install is known")
    ours = [word for word in words[1:] if "/" in word or (ROOT / word).is_dir()]
    for word in ours:
        folder, _, extra = word.rstrip("]").partition("[")
        setup, project = ROOT / folder / "setup.py", ROOT / folder / "pyproject.toml"
        if setup.is_file():
            extras = re.findall(r'"(\w+)": \[', setup.read_text(encoding="utf-8"))
        elif project.is_file():
            extras = re.findall(r"^(\w+) = \[", project.read_text(encoding="utf-8"), re.MULTILINE)
        else:
            raise ValueError(f"{folder} is no package of ours")
        if extra and extra not in extras:
            raise ValueError(f"{folder} has no extra {extra!r}, it has {extras}")
    if not ours and whole:
        raise UnknownProgramError("nothing of ours is installed")


def _source(words: Sequence[str], *, whole: bool) -> None:  # noqa: ARG001
    if list(words) not in (["/opt/ros/jazzy/setup.bash"], [".venv/env.sh"]):
        raise ValueError(f"neither ROS 2 Jazzy nor the environment: {words}")


def _external(words: Sequence[str]) -> None:
    """Files of the repository that are read or written lie in folders that there are."""
    folders = [path.name for path in ROOT.iterdir() if path.is_dir()]
    for word in words:
        if word.partition("/")[0] in folders and not (ROOT / word).parent.is_dir():
            raise ValueError(f"there is no {word} in the repository")


def _cd(words: Sequence[str], *, whole: bool) -> None:  # noqa: ARG001
    if len(words) != 1 or not (ROOT / words[0]).is_dir():
        raise ValueError(f"there is no folder {words}")


class _Verifier(Protocol):
    def __call__(self, words: Sequence[str], *, whole: bool) -> None: ...


def _ros2(words: Sequence[str], *, whole: bool) -> None:  # noqa: ARG001
    verify_ros2(words)


_VERIFIERS: dict[str, _Verifier] = {
    "make": _make,
    "tools/run": _run,
    "python": _python,
    "trossen-pi0": verify_trossen_pi0,
    "ros2": _ros2,
    "pip": _pip,
    "source": _source,
    "cd": _cd,
}
