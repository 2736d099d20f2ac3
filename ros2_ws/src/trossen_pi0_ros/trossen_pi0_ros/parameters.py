"""Declares a parameter dataclass on a node and keeps it up to date."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters import ParameterSpec, from_values, replaced, specs

P = TypeVar("P")

_LIST_TYPES = {
    bool: Parameter.Type.BOOL_ARRAY,
    int: Parameter.Type.INTEGER_ARRAY,
    float: Parameter.Type.DOUBLE_ARRAY,
    str: Parameter.Type.STRING_ARRAY,
}


class NodeParameters(Generic[P]):
    """The parameters of a node, declared with description, range and ``read_only``.

    ``value`` is the checked dataclass; a change with ``ros2 param set`` makes a new one. A change
    that the dataclass refuses is refused with its reason, and the old value stays in force.
    """

    def __init__(
        self, node: Node, cls: type[P], on_change: Callable[[P], None] | None = None
    ) -> None:
        """Declares the parameters; values come from launch files, YAML and the command line.

        Args:
            node: node to declare on.
            cls: class made by ``trossen_pi0_core.parameters.spec.parameters``.
            on_change: called with the new parameters after each accepted change.

        Raises:
            ParameterError: a value that is not allowed.
        """
        self._specs = {spec.name: spec for spec in specs(cls)}
        self._on_change = on_change
        overrides: dict[str, Any] = {}
        for spec in self._specs.values():
            overrides[spec.name] = _plain(_declare(node, spec))
        self.value: P = from_values(cls, overrides)
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    def _changes(self, parameters: list[Parameter]) -> dict[str, Any]:
        return {p.name: _plain(p.value) for p in parameters if p.name in self._specs}

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            replaced(self.value, self._changes(parameters))
        except ParameterError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, parameters: list[Parameter]) -> None:
        changes = self._changes(parameters)
        if changes:
            self.value = replaced(self.value, changes)
            if self._on_change:
                self._on_change(self.value)


def _declare(node: Node, spec: ParameterSpec) -> Any:
    """Declares one parameter and returns its value.

    Typed dynamically: ROS gives empty lists no type, and "1" shall do where 1.0 is meant. The
    dataclass checks types and ranges; the ranges are declared for ``ros2 param describe``.
    """
    default = list(spec.default) if isinstance(spec.default, tuple) else spec.default
    if default == []:
        default = Parameter(spec.name, _LIST_TYPES[spec.type], [])
        default = default.value
    try:
        return node.declare_parameter(spec.name, default, descriptor(spec)).value
    except Exception as error:
        raise ParameterError(f"{spec.name}: {error}") from error


def descriptor(spec: ParameterSpec) -> ParameterDescriptor:
    """The parameter as ``ros2 param describe`` shows it."""
    constraints = []
    if spec.choices:
        constraints.append(f"one of {list(spec.choices)}")
    if spec.allow_nan:
        constraints.append("NaN: none")
    described = ParameterDescriptor(
        description=spec.description,
        additional_constraints="; ".join(constraints),
        read_only=spec.read_only,
        dynamic_typing=True,
    )
    if spec.low is None or spec.high is None or spec.is_list or spec.allow_nan:
        return described
    if spec.type is int:
        described.integer_range = [IntegerRange(from_value=int(spec.low), to_value=int(spec.high))]
    elif spec.type is float:
        described.floating_point_range = [
            FloatingPointRange(from_value=float(spec.low), to_value=float(spec.high))
        ]
    return described


def _plain(value: Any) -> Any:
    """ROS hands out arrays for lists of numbers."""
    return tuple(value) if isinstance(value, list) or hasattr(value, "tolist") else value
