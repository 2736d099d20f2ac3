"""Declares a parameter dataclass on a node and keeps it up to date."""

from __future__ import annotations

import math
from collections.abc import Callable
from difflib import get_close_matches
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

_OF_EVERY_NODE = ("use_sim_time", "start_type_description_service")

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
        self,
        node: Node,
        cls: type[P],
        on_change: Callable[[P], None] | None = None,
        on_check: Callable[[P, P], None] | None = None,
    ) -> None:
        """Declares the parameters; values come from launch files, YAML and the command line.

        Args:
            node: node to declare on.
            cls: class made by ``trossen_pi0_core.parameters.spec.parameters``.
            on_change: called with the new parameters after each accepted change.
            on_check: called with the present and the proposed parameters, which fit the dataclass;
                raises ParameterError to refuse what only the running node can judge.

        Raises:
            ParameterError: a value that is not allowed, or one for an unknown parameter.
        """
        self._specs = {spec.name: spec for spec in specs(cls)}
        self._on_change = on_change
        self._on_check = on_check
        self._refuse_unknown(node)
        values = {spec.name: _declare(node, spec) for spec in self._specs.values()}
        self.value: P = from_values(cls, values)
        node.add_pre_set_parameters_callback(self._typed)
        node.add_on_set_parameters_callback(self._check)
        node.add_post_set_parameters_callback(self._apply)

    def _refuse_unknown(self, node: Node) -> None:
        """ROS ignores values for parameters that nobody declares; here they are mistakes."""
        with node.handle:
            given: dict[str, Parameter] = node.handle.get_parameters(Parameter)
        unknown = sorted(name for name in given if not self._known(name))
        if unknown:
            close = get_close_matches(unknown[0], self._specs, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise ParameterError(
                f"unknown parameters {unknown} of node {node.get_name()!r}{hint}; "
                f"known are {sorted(self._specs)}"
            )

    def _known(self, name: str) -> bool:
        return name in self._specs or name in _OF_EVERY_NODE or name.startswith("qos_overrides.")

    def _changes(self, parameters: list[Parameter]) -> dict[str, Any]:
        return {p.name: _plain(p.value) for p in parameters if p.name in self._specs}

    def _typed(self, parameters: list[Parameter]) -> list[Parameter]:
        return [
            _as_declared(parameter, self._specs.get(parameter.name)) for parameter in parameters
        ]

    def _check(self, parameters: list[Parameter]) -> SetParametersResult:
        try:
            proposed = replaced(self.value, self._changes(parameters))
            if self._on_check:
                self._on_check(self.value, proposed)
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
    loose = ParameterDescriptor(dynamic_typing=True)
    value = _plain(node.declare_parameter(spec.name, default, loose).value)
    if spec.is_list and not value:  # an empty list in YAML arrives as None
        value = ()
        node.set_parameters([Parameter(spec.name, _LIST_TYPES[spec.type], [])])
    value = spec.check(value)
    node.set_descriptor(spec.name, descriptor(spec))
    return value


def _as_declared(parameter: Parameter, spec: ParameterSpec | None) -> Parameter:
    """What a person types, in the declared type: 0 is 0.0 for a float, nan is NaN where it may be.

    The command line takes a number without a point for an integer, and only ``.nan`` for NaN.
    """
    if spec is None or spec.is_list or spec.type is not float:
        return parameter
    value = parameter.value
    if isinstance(value, int) and not isinstance(value, bool):
        return Parameter(parameter.name, value=float(value))
    if spec.allow_nan and isinstance(value, str) and value.strip().lower() == "nan":
        return Parameter(parameter.name, value=math.nan)
    return parameter


def descriptor(spec: ParameterSpec) -> ParameterDescriptor:
    """The parameter as ``ros2 param describe`` shows it."""
    described = ParameterDescriptor(
        description=spec.description,
        additional_constraints="; ".join(_constraints(spec)),
        read_only=spec.read_only,
        dynamic_typing=True,
    )
    if not _has_ros_range(spec) or spec.low is None or spec.high is None:
        return described
    if spec.type is int:
        described.integer_range = [IntegerRange(from_value=int(spec.low), to_value=int(spec.high))]
    else:
        described.floating_point_range = [
            FloatingPointRange(from_value=float(spec.low), to_value=float(spec.high))
        ]
    return described


def _has_ros_range(spec: ParameterSpec) -> bool:
    """ROS knows ranges with two ends, of single numbers, and without NaN."""
    return None not in (spec.low, spec.high) and not spec.is_list and not spec.allow_nan


def _constraints(spec: ParameterSpec) -> list[str]:
    """What is allowed and has no place in the other fields of a descriptor."""
    each = "each " if spec.is_list else ""
    constraints: list[str] = []
    if spec.choices:
        constraints.append(f"{each}one of {list(spec.choices)}")
    if (spec.low, spec.high) != (None, None) and not _has_ros_range(spec):
        constraints.append(f"{each}in {spec.allowed_range}" if each else spec.allowed_range)
    if spec.allow_nan:
        constraints.append("NaN: none")
    return constraints


def _plain(value: Any) -> Any:
    """ROS hands out arrays for lists of numbers."""
    return tuple(value) if isinstance(value, list) or hasattr(value, "tolist") else value
