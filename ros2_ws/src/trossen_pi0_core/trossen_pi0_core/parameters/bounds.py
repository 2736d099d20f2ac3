"""Parameters in pairs, ``warn_<figure>`` and ``error_<figure>``, by which diagnostics grade."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from trossen_pi0_core.diagnostics import Bounds
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters.spec import parameter, specs


def warning(default: float, what: str, *, low: float, high: float, small: bool = False) -> Any:
    """A live parameter: where a figure becomes a warning.

    Args:
        default: its default.
        what: the figure with its unit, as 'age of the newest picture [s]'.
        low: smallest allowed value.
        high: largest allowed value.
        small: small figures are bad, not large ones.
    """
    return _bound("warning", default, what, low, high, small=small)


def error(default: float, what: str, *, low: float, high: float, small: bool = False) -> Any:
    """A live parameter: where a figure becomes an error; as ``warning``."""
    return _bound("error", default, what, low, high, small=small)


def _bound(level: str, default: float, what: str, low: float, high: float, *, small: bool) -> Any:
    side = "down" if small else "up"
    article = "an" if level == "error" else "a"
    text = f"Diagnostics: {article} {level} from here {side}: {what}."
    return parameter(default, text, low=low, high=high, live=True)


def bounds_of(params: object, figure: str) -> Bounds:
    """The pair of a figure."""
    warn: Any = getattr(params, f"warn_{figure}")
    error: Any = getattr(params, f"error_{figure}")
    return Bounds(float(warn), float(error))


def check_bounds(params: object, low: Collection[str] = ()) -> None:
    """Raises ParameterError where an error would come before its warning.

    Args:
        params: made by ``parameters``.
        low: figures that should be large; of the others small values are good.
    """
    names = [spec.name for spec in specs(type(params))]
    for name in names:
        figure = name.removeprefix("warn_")
        if figure == name or f"error_{figure}" not in names:
            continue
        bounds = bounds_of(params, figure)
        if (bounds.error > bounds.warn) if figure in low else (bounds.error < bounds.warn):
            side = "greater" if figure in low else "less"
            raise ParameterError(
                f"error_{figure} ({bounds.error:g}) must not be {side} than "
                f"warn_{figure} ({bounds.warn:g})"
            )
