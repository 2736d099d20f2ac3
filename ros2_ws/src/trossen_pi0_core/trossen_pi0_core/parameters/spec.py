"""How a parameter is described and checked."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, TypeAlias, TypeVar

import numpy as np
from typing_extensions import dataclass_transform

from trossen_pi0_core.errors import ParameterError

Value: TypeAlias = (
    bool
    | int
    | float
    | str
    | tuple[bool, ...]
    | tuple[int, ...]
    | tuple[float, ...]
    | tuple[str, ...]
)
"""What a parameter can be."""

P = TypeVar("P")

_KEY = "parameter"


@dataclasses.dataclass(frozen=True)
class ParameterSpec:
    """One parameter of a node.

    Attributes:
        name: its name.
        type: bool, int, float or str; of the items if it is a list.
        is_list: whether it is a list.
        default: its default; a tuple for a list.
        description: one sentence with the unit.
        low: smallest allowed value, of each item if it is a list.
        high: largest allowed value, likewise.
        choices: allowed values, likewise; empty for any.
        read_only: fixed once the node is configured.
        allow_nan: NaN stands for "none".
    """

    name: str
    type: type
    is_list: bool
    default: Value
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = True
    allow_nan: bool = False

    def check(self, value: Any) -> Value:
        """Returns the value in its declared type, or raises ParameterError.

        Whole numbers are taken for floats; lists and arrays become tuples.
        """
        if not self.is_list:
            return self._check_item(value)
        if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
            raise ParameterError(f"{self.name}: need a list of {self.type.__name__}, got {value!r}")
        return tuple(self._check_item(item) for item in value)

    def _check_item(self, value: Any) -> Any:
        if isinstance(value, np.generic):
            value = value.item()
        if self.type is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, self.type) or (self.type is int and isinstance(value, bool)):
            raise ParameterError(
                f"{self.name}: need {self.type.__name__}, got {value!r} ({type(value).__name__})"
            )
        if self.choices and value not in self.choices:
            raise ParameterError(f"{self.name}: {value!r} is not one of {list(self.choices)}")
        if self.type is float and not math.isfinite(value):
            if math.isnan(value) and self.allow_nan:
                return value
            allowed = "a finite number or NaN" if self.allow_nan else "a finite number"
            raise ParameterError(f"{self.name}: need {allowed}, got {value}")
        if (self.low is not None and value < self.low) or (
            self.high is not None and value > self.high
        ):
            raise ParameterError(f"{self.name}: {value} lies outside {self.allowed_range}")
        return value

    @property
    def allowed_range(self) -> str:
        """The range in words, for messages."""
        low = "any" if self.low is None else f"{self.low:.12g}"
        high = "any" if self.high is None else f"{self.high:.12g}"
        return f"[{low}, {high}]"


def parameter(
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    live: bool = False,
    allow_nan: bool = False,
) -> Any:
    """A dataclass field that is a node parameter.

    Args:
        default: its default; a tuple for a list.
        description: one sentence with the unit.
        low: smallest allowed value.
        high: largest allowed value.
        choices: allowed values.
        live: may be changed while the node runs.
        allow_nan: NaN stands for "none".
    """
    meta = dict(
        description=description,
        low=low,
        high=high,
        choices=choices,
        read_only=not live,
        allow_nan=allow_nan,
    )
    return dataclasses.field(default=default, metadata={_KEY: meta})


@dataclass_transform(frozen_default=True)
def parameters(cls: type[P]) -> type[P]:
    """Makes a class of ``parameter`` fields a frozen dataclass that checks each value.

    A method ``check(self)``, if there is one, then checks what concerns several values together.
    """

    def check_all(self: Any) -> None:
        for spec in specs(type(self)):
            object.__setattr__(self, spec.name, spec.check(getattr(self, spec.name)))
        if hasattr(self, "check"):
            self.check()

    cls.__post_init__ = check_all  # pyright: ignore[reportAttributeAccessIssue]
    return dataclasses.dataclass(frozen=True)(cls)


def specs(cls: type) -> list[ParameterSpec]:
    """The parameters of a class made by ``parameters``, in order."""
    hints = typing.get_type_hints(cls)
    return [_spec(field, hints[field.name]) for field in dataclasses.fields(cls)]


def _spec(field: dataclasses.Field[Any], hint: Any) -> ParameterSpec:
    is_list = typing.get_origin(hint) is tuple
    item = typing.get_args(hint)[0] if is_list else hint
    if isinstance(item, types.UnionType) or item not in (bool, int, float, str):
        raise TypeError(f"{field.name}: parameters cannot be of type {hint}")
    default: Any = field.default
    return ParameterSpec(field.name, item, is_list, default, **field.metadata[_KEY])


def from_values(cls: type[P], values: Mapping[str, Any]) -> P:
    """Builds the parameters from values by name; those not named keep their defaults.

    Raises:
        ParameterError: an unknown name, or a value that is not allowed.
    """
    known = [spec.name for spec in specs(cls)]
    unknown = [name for name in values if name not in known]
    if unknown:
        raise ParameterError(f"unknown parameters {unknown}, known are {known}")
    return cls(**values)


def replaced(params: P, values: Mapping[str, Any]) -> P:
    """A copy with some values changed, checked as a whole; for changes while a node runs.

    Raises:
        ParameterError: an unknown name, a read-only parameter, or a value that is not allowed.
    """
    by_name = {spec.name: spec for spec in specs(type(params))}
    for name in values:
        if name not in by_name:
            raise ParameterError(f"unknown parameter {name!r}, known are {list(by_name)}")
        if by_name[name].read_only:
            raise ParameterError(f"{name} is fixed while the node is configured")
    current = {name: getattr(params, name) for name in by_name}
    return type(params)(**{**current, **values})


def check_address(name: str, address: str) -> None:
    """Raises ParameterError unless a parameter's value is an IP address."""
    try:
        ip_address(address)
    except ValueError as error:
        raise ParameterError(
            f"{name}: {address!r} is no IP address, such as '192.168.1.5'"
        ) from error
