"""Leaves of a checkpoint against leaves of a model."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

Shape = tuple[int, ...]

SHOWN_DIFFERENCES = 12
"""So many leaves of each kind of difference are listed; the others are counted."""

_PI0_ONLY = re.compile(r"(action_time_mlp_(in|out)|state_proj)/")
_PI05_ONLY = re.compile(r"time_mlp_(in|out)/")
_STACKED = re.compile(r"(^|/)(layers|encoderblock)/")


@dataclass(frozen=True)
class Differences:
    """How a checkpoint's leaves differ from those that a model expects, by path.

    Attributes:
        missing: expected and not there: expected shape.
        extra: there and not expected: given shape.
        misshaped: there with another shape: expected and given shape.
        absent: expected, not there, and allowed to be missing. No difference.
    """

    missing: Mapping[str, Shape]
    extra: Mapping[str, Shape]
    misshaped: Mapping[str, tuple[Shape, Shape]]
    absent: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.misshaped)

    def __str__(self) -> str:
        lines = [
            *_listed("missing", (f"{p}: expected {s}" for p, s in self.missing.items())),
            *_listed("not expected", (f"{p}: given {s}" for p, s in self.extra.items())),
            *_listed(
                "of another shape",
                (f"{p}: expected {e}, given {g}" for p, (e, g) in self.misshaped.items()),
            ),
        ]
        return "\n".join([*lines, *(f"hint: {hint}" for hint in self.hints())])

    def hints(self) -> list[str]:
        """Likely causes."""
        hints = []
        missing, extra = set(self.missing), set(self.extra)
        if any(map(_is_lora, missing)) and not any(map(_is_lora, extra)):
            hints.append(
                "the checkpoint has no LoRA leaves: take the config without `_lora`, or start "
                "fine-tuning with those leaves allowed to be missing"
            )
        if any(map(_is_lora, extra)) and not any(map(_is_lora, missing)):
            hints.append("the checkpoint has LoRA leaves: take the config with `_lora`")
        if any(map(_PI0_ONLY.match, extra)) and any(map(_PI05_ONLY.match, missing)):
            hints.append("the checkpoint is one of pi0, the config one of pi0.5")
        if any(map(_PI05_ONLY.match, extra)) and any(map(_PI0_ONLY.match, missing)):
            hints.append("the checkpoint is one of pi0.5, the config one of pi0")
        return hints + self._size_hints()

    def _size_hints(self) -> list[str]:
        depth = {path for path, pair in self.misshaped.items() if _is_depth(path, *pair)}
        hints = []
        if depth:
            expected, given = self.misshaped[min(depth)]
            hints.append(f"the checkpoint has {given[0]} layers where the config has {expected[0]}")
        if set(self.misshaped) - depth:
            hints.append("widths differ: the config is of a model of another size")
        return hints


def differences(
    expected: Mapping[str, Shape],
    given: Mapping[str, Shape],
    allow_missing: str | re.Pattern[str] | None = None,
) -> Differences:
    """Compares leaves by path and shape.

    Args:
        expected: shapes by ``/``-joined path.
        given: likewise.
        allow_missing: leaves whose whole path matches this may be missing.
    """
    lacking = sorted(set(expected) - set(given))
    absent = [p for p in lacking if allow_missing is not None and re.fullmatch(allow_missing, p)]
    return Differences(
        missing={path: tuple(expected[path]) for path in lacking if path not in absent},
        extra={path: tuple(given[path]) for path in sorted(set(given) - set(expected))},
        misshaped={
            path: (tuple(expected[path]), tuple(given[path]))
            for path in sorted(set(expected) & set(given))
            if tuple(expected[path]) != tuple(given[path])
        },
        absent=tuple(absent),
    )


def matching_configs(
    shapes: Mapping[str, Shape], configs: Mapping[str, Mapping[str, Shape]]
) -> list[str]:
    """Names of the configs whose leaves are exactly the given ones, in the order of the table.

    Args:
        shapes: of a checkpoint's leaves, by ``/``-joined path.
        configs: expected shapes by name of the config.
    """
    return [name for name, expected in configs.items() if not differences(expected, shapes)]


def _is_lora(path: str) -> bool:
    return "lora" in path


def _is_depth(path: str, expected: Shape, given: Shape) -> bool:
    """Layers of a kind are stacked along the first axis."""
    return (
        _STACKED.search(path) is not None
        and len(expected) == len(given) > 0
        and expected[0] != given[0]
        and expected[1:] == given[1:]
    )


def _listed(title: str, entries: Iterable[str]) -> list[str]:
    texts = list(entries)
    if not texts:
        return []
    more = len(texts) - SHOWN_DIFFERENCES
    tail = [f"    ... and {more} more"] if more > 0 else []
    return [
        f"  {len(texts)} {'leaf' if len(texts) == 1 else 'leaves'} {title}:",
        *(f"    {text}" for text in texts[:SHOWN_DIFFERENCES]),
        *tail,
    ]
