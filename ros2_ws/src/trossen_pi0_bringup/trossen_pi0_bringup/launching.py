"""Makes a launch description from the tables of arguments and nodes."""

# The launch system is part of a ROS 2 installation and not on PyPI.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from trossen_pi0_bringup.arguments import (
    LAUNCH_ARGUMENTS,
    Argument,
    Arguments,
    parse_command_line,
)
from trossen_pi0_bringup.nodes import NodeSpec, node_specs
from trossen_pi0_bringup.transport import transport_environment

LAUNCH_FILE = "bimanual.launch.py"


def launch_description(
    table: tuple[Argument, ...] = LAUNCH_ARGUMENTS,
    specs_of: Callable[[Arguments], list[NodeSpec]] = node_specs,
    launch_file: str = LAUNCH_FILE,
) -> LaunchDescription:
    """Declares the arguments, sets the transport, and starts the nodes.

    Args:
        table: its arguments.
        specs_of: the processes that they ask for.
        launch_file: name of the file that is launched.
    """
    given: dict[str, str] = {}

    def remember_given(context: LaunchContext) -> None:
        if any(word.endswith(launch_file) for word in sys.argv):
            # Named on the command line and not included by another file: what is typed is for it.
            # `ros2 launch` itself takes any name without a word.
            Arguments(table, parse_command_line(context.argv))
        names = {argument.name for argument in table}
        given.update({n: v for n, v in context.launch_configurations.items() if n in names})

    def start(_: LaunchContext) -> list[object]:
        arguments = Arguments(table, given)
        actions: list[object] = []
        for spec in specs_of(arguments):
            actions += _start(spec)
        return actions

    return LaunchDescription(
        [
            # Before the declarations, which would fill in the defaults.
            OpaqueFunction(function=remember_given),
            *(_declare(argument) for argument in table),
            *(
                SetEnvironmentVariable(name, value)
                for name, value in transport_environment().items()
            ),
            OpaqueFunction(function=start),
        ]
    )


def _declare(argument: Argument) -> DeclareLaunchArgument:
    """Shows the default; only arguments that were named are passed on to the nodes."""
    said = argument.spec.description
    # Of a list each item is one of them, which the launch system cannot check.
    choices = () if argument.spec.is_list else argument.spec.choices
    if argument.default:
        return DeclareLaunchArgument(
            argument.name,
            default_value="",
            description=f"{said} Default: {argument.default}.",
            choices=["", *choices] if choices else None,
        )
    return DeclareLaunchArgument(
        argument.name,
        default_value=argument.default_text,
        description=said,
        choices=list(choices) or None,
    )


def _typed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Keeps strings what they are, which `launch` would read as YAML."""
    return {
        name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
        for name, value in parameters.items()
    }


def _start(spec: NodeSpec) -> list[object]:
    node = Node(
        package=spec.package,
        executable=spec.executable,
        name=spec.name,
        namespace="",
        parameters=[*(str(path) for path in spec.parameter_files), _typed(spec.parameters)],
        arguments=list(spec.arguments),
        remappings=list(spec.remappings),
        output="screen",
        emulate_tty=True,
        sigterm_timeout=f"{2.0 + spec.ending_s:g}",
        sigkill_timeout="2",
    )
    if not spec.required:
        return [node]
    end = EmitEvent(event=Shutdown(reason=f"{spec.name} has ended"))
    return [node, RegisterEventHandler(OnProcessExit(target_action=node, on_exit=[end]))]
