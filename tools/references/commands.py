"""Tables of arguments, found by launch file, by command and by ``make`` target."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import re
from pathlib import Path

from trossen_pi0_bringup.arguments import LAUNCH_ARGUMENTS, Argument

Arguments = tuple[Argument, ...]

LAUNCH_FILES = "ros2_ws/src/trossen_pi0_bringup/launch"

_TABLE = re.compile(r"^([A-Z_]+_ARGUMENTS)\b.*= \($", re.MULTILINE)
_TARGET = re.compile(r"^([a-z-]+):.*\n\t@exec tools/run python -m (trossen_pi0_bringup\.\w+)", re.M)


@functools.cache
def launch_files(root: Path) -> dict[str, Arguments]:
    """Launch file -> its arguments: the table that it names, else those of the bimanual kit."""
    found: dict[str, Arguments] = {}
    for path in sorted((root / LAUNCH_FILES).glob("*.launch.py")):
        found[path.name] = LAUNCH_ARGUMENTS
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                for name in (alias.name for alias in node.names):
                    if name.endswith("_ARGUMENTS"):
                        found[path.name] = getattr(importlib.import_module(node.module), name)
    return found


@functools.cache
def module_arguments(module: str) -> Arguments | None:
    """The ``name:=value`` arguments of a module that is run as a command; None if it has none.

    They are the table that the module, or its module ``command`` or ``stack``, defines.
    """
    for name in (module, f"{module}.command", f"{module}.stack"):
        try:
            spec = importlib.util.find_spec(name)
        except ModuleNotFoundError:
            continue
        if spec and spec.origin and (table := _TABLE.search(Path(spec.origin).read_text())):
            return getattr(importlib.import_module(name), table[1])
    return None


@functools.cache
def command_arguments(root: Path) -> dict[str, Arguments]:
    """``make`` target -> the arguments of the command that it runs."""
    makefile = (root / "Makefile").read_text(encoding="utf-8")
    tables = {
        f"make {target}": module_arguments(module) for target, module in _TARGET.findall(makefile)
    }
    return {target: table for target, table in tables.items() if table is not None}
