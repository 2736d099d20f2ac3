"""The page of training configs and their options."""

from __future__ import annotations

import dataclasses
import typing
from pathlib import Path
from typing import Any

import docstring_parser

from references.markdown import MADE_BY, code, table
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.presets import PRESETS

_INTRODUCTION = f"""\
{MADE_BY.format(source="`trossen_pi0_training.config`")}

# Training options

Every field of a training config is an option of `python -m trossen_pi0_training.train CONFIG`, and
of `make train CONFIG=NAME EXP=NAME ARGS="..."`. A switch is `--overwrite` or `--no-overwrite`;
several values stand one after the other; `None` is typed as it is. [training.md](training.md) says
how to train, [extending.md](extending.md#your-own-training-config) how a config of yours is made.
"""


def training_page(_: Path) -> str:
    """The text of the page."""
    lines = [*_INTRODUCTION.splitlines(), ""]
    for title, prefix, cls in _groups(TrainConfig, ""):
        lines += [f"## {title}", "", _summary(cls), ""]
        lines += table(("option", "type", "default", "meaning"), _rows(cls, prefix))
    lines += ["## Configs", "", "What each config sets other than the defaults.", ""]
    lines += table(
        ("config", "sets"), ((code(each.name), ", ".join(_changes(each, ""))) for each in PRESETS)
    )
    return "\n".join(lines).rstrip("\n") + "\n"


def _groups(cls: type, prefix: str) -> list[tuple[str, str, type]]:
    """(title, prefix of its options, dataclass) of a dataclass and those in its fields."""
    groups = [("The training" if not prefix else f"--{prefix}*", prefix, cls)]
    for name, hint in _hints(cls).items():
        if dataclasses.is_dataclass(hint):
            groups += _groups(typing.cast("type", hint), f"{prefix}{name}.")
    return groups


def _rows(cls: type, prefix: str) -> list[tuple[str, ...]]:
    words = _words(cls)
    hints = _hints(cls)
    return [
        (
            code(f"--{prefix}{field.name}".replace("_", "-")),
            _type(hints[field.name]),
            _default(field),
            words[field.name],
        )
        for field in dataclasses.fields(cls)
        if not dataclasses.is_dataclass(hints[field.name]) and (prefix or field.name != "name")
    ]


def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _words(cls: type) -> dict[str, str]:
    """Field -> its sentence in the class's docstring; all must be there."""
    parsed = docstring_parser.parse(cls.__doc__ or "", docstring_parser.DocstringStyle.GOOGLE)
    words = {each.arg_name: (each.description or "").replace("``", "`") for each in parsed.params}
    missing = [field.name for field in dataclasses.fields(cls) if field.name not in words]
    if missing:
        raise ValueError(f"the docstring of {cls.__name__} does not describe {missing}")
    return words


def _summary(cls: type) -> str:
    return (docstring_parser.parse(cls.__doc__ or "").short_description or "").replace("``", "`")


def _type(hint: Any) -> str:
    if typing.get_origin(hint) is typing.Literal:
        return ", ".join(code(str(value)) for value in typing.get_args(hint))
    parts = [part for part in typing.get_args(hint) if part is not Ellipsis]
    if typing.get_origin(hint) is tuple:
        return f"list of {_type(parts[0])}"
    if parts:
        return " or ".join("None" if part is type(None) else _type(part) for part in parts)
    return hint.__name__


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is dataclasses.MISSING:
        return "that of the config"
    return _text(field.default)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return code(" ".join(map(str, value))) or "empty"
    return code(str(value)) or "empty"


def _changes(value: Any, prefix: str) -> list[str]:
    """What a config sets, as options."""
    changes: list[str] = []
    for field in dataclasses.fields(value):
        own = getattr(value, field.name)
        if dataclasses.is_dataclass(own):
            changes += _changes(own, f"{prefix}{field.name}.")
        elif own != field.default and (prefix or field.name != "name"):
            option = f"{prefix}{field.name}".replace("_", "-")
            changes.append(
                code(f"--{option} {' '.join(map(str, own)) if isinstance(own, tuple) else own}")
            )
    return changes
