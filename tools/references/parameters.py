"""The page of node parameters and launch arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from references.commands import command_arguments, launch_files
from references.markdown import MADE_BY, anchor, code, table
from trossen_pi0_bringup.arguments import NODE_PARAMETERS, Argument, as_text
from trossen_pi0_core.parameters import ParameterSpec, specs

CONFIG = "ros2_ws/src/trossen_pi0_bringup/config"
"""Folder of the shipped parameter files."""

_UNIT = re.compile(r" ?\[([^\[\]]+)\]")

_INTRODUCTION = f"""\
{MADE_BY.format(source="`trossen_pi0_core.parameters` and the tables of `trossen_pi0_bringup`")}

# Parameters and launch arguments

Every parameter of every node, and every argument of the launch files and of the `make` commands.
"Live" ones may be changed while the node runs (`ros2 param set`); the others are fixed once it is
configured. Lists are shown as they are typed, with commas. A value that is not allowed, or an
argument that there is not, is refused with the reason.

How to set them, later ones win: the defaults below, the shipped files
([last section](#shipped-parameter-files)), a file of yours (`params_file:=FILE`), launch arguments.
"""


def parameters_page(root: Path) -> str:
    """The text of the page."""
    lines = _INTRODUCTION.splitlines()
    for node, cls in NODE_PARAMETERS.items():
        summary = (inspect.getdoc(cls) or "").split("\n\n", maxsplit=1)[0]
        lines += ["", f"## Node {node}", "", " ".join(summary.split()).replace("``", "`"), ""]
        lines += table(
            ("parameter", "type", "default", "allowed", "unit", "live", "meaning"),
            (_parameter_row(spec) for spec in specs(cls)),
        )
    for name, arguments in launch_files(root).items():
        lines += [f"## {name}", "", f"`ros2 launch trossen_pi0_bringup {name} NAME:=VALUE ...`", ""]
        lines += _arguments(arguments)
    for command, arguments in command_arguments(root).items():
        lines += _command(command, arguments, launch_files(root))
    lines += _shipped(root)
    return "\n".join(lines).rstrip("\n") + "\n"


def split_unit(description: str) -> tuple[str, str]:
    """A description without its unit, and the unit; "" if it names none.

    "Rate of the loop [Hz]." gives ("Rate of the loop.", "Hz").
    """
    found = _UNIT.search(description)
    if found is None:
        return description, ""
    return description[: found.start()] + description[found.end() :], found[1]


def _command(
    command: str, arguments: Sequence[Argument], launch_files: Mapping[str, Sequence[Argument]]
) -> list[str]:
    """A ``make`` command: its own arguments, and which launch file's it takes besides."""
    names = {argument.name for argument in arguments}
    shared = {file: {a.name for a in table} & names for file, table in launch_files.items()}
    file = max(shared, key=lambda each: len(shared[each]))
    own = [argument for argument in arguments if argument.name not in shared[file]]
    without = [code(a.name) for a in launch_files[file] if a.name not in names]
    lines = [f"## {command}", "", f'`{command} ARGS="NAME:=VALUE ..."`, with:', ""]
    lines += _arguments(own)
    rest = f", without {', '.join(without)}" if without else ""
    return [*lines, f"And the arguments of [{file}](#{anchor(file)}){rest}.", ""]


def _arguments(arguments: Sequence[Argument]) -> list[str]:
    return table(
        ("argument", "default", "allowed", "sets", "meaning"),
        (
            (
                code(argument.name),
                argument.default or code(argument.default_text) or "empty",
                allowed(argument.spec),
                ", ".join(f"`{name}` of `/{node}`" for node, name in argument.targets),
                argument.spec.description,
            )
            for argument in arguments
        ),
    )


def _parameter_row(spec: ParameterSpec) -> tuple[str, ...]:
    meaning, unit = split_unit(spec.description)
    kind = f"list of {spec.type.__name__}" if spec.is_list else spec.type.__name__
    live = "" if spec.read_only else "yes"
    return code(spec.name), kind, _default(spec), allowed(spec), unit, live, meaning


def _default(spec: ParameterSpec) -> str:
    return code(as_text(spec.default)) or "empty"


def allowed(spec: ParameterSpec) -> str:
    """What values may be, in words."""
    if spec.choices:
        return ", ".join(code(choice) or "empty" for choice in spec.choices)
    words = []
    if spec.low is not None and spec.high is not None:
        words.append(f"{spec.low:.12g} to {spec.high:.12g}")
    elif spec.low is not None:
        words.append(f"{spec.low:.12g} or more")
    elif spec.high is not None:
        words.append(f"{spec.high:.12g} or less")
    if spec.allow_nan:
        words.append("NaN")
    return ", ".join(words)


def _shipped(root: Path) -> list[str]:
    """What the shipped files say other than the defaults."""
    rows: list[tuple[str, ...]] = []
    for path in sorted((root / CONFIG).glob("*.yaml")):
        node = max((n for n in NODE_PARAMETERS if path.stem.startswith(n)), key=len, default="")
        if not node:
            continue
        known = {spec.name: spec for spec in specs(NODE_PARAMETERS[node])}
        for name, value in _values(path).items():
            spec = known[name]
            checked = spec.check(value)
            if checked != spec.default and not (checked != checked and spec.allow_nan):
                link = f"[{path.name}](../{CONFIG}/{path.name})"
                rows.append((link, code(name), code(as_text(checked)), _default(spec)))
    lines = ["## Shipped parameter files", ""]
    words = "`*_sim` are for `sim:=true`, `policy_expert` for `backend:=expert`."
    return [
        *lines,
        f"Where they differ from the defaults. {words}",
        "",
        *table(("file", "parameter", "value", "default"), rows),
    ]


def _values(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    return {
        name: value
        for part in content.values()
        for name, value in (part.get("ros__parameters") or {}).items()
    }
