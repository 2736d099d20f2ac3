"""Makes a launch description from the tables of arguments and nodes."""

# The launch system is part of a ROS 2 installation and not on PyPI.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

from __future__ import annotations

import time

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch_ros.actions import Node

from trossen_pi0_bringup.arguments import LAUNCH_ARGUMENTS, Arguments
from trossen_pi0_bringup.nodes import NodeSpec, node_specs, recording_command
from trossen_pi0_bringup.transport import transport_environment


def launch_description() -> LaunchDescription:
    """Declares the arguments, sets the transport, and starts the nodes."""
    given: dict[str, str] = {}

    def remember_given(context: LaunchContext) -> None:
        names = {argument.name for argument in LAUNCH_ARGUMENTS}
        given.update({n: v for n, v in context.launch_configurations.items() if n in names})

    def start(_: LaunchContext) -> list[object]:
        arguments = Arguments(LAUNCH_ARGUMENTS, given)
        actions: list[object] = []
        for spec in node_specs(arguments):
            actions += _start(spec)
        if arguments["record"]:
            folder = arguments["bag"] or time.strftime("bag_%Y%m%d_%H%M%S")
            actions.append(ExecuteProcess(cmd=recording_command(arguments, folder), output="log"))
        return actions

    return LaunchDescription(
        [
            # Before the declarations, which would fill in the defaults.
            OpaqueFunction(function=remember_given),
            *(
                DeclareLaunchArgument(
                    argument.name,
                    default_value=argument.default_text,
                    description=argument.spec.description,
                    choices=list(argument.spec.choices) or None,
                )
                for argument in LAUNCH_ARGUMENTS
                if not argument.default
            ),
            *(
                DeclareLaunchArgument(
                    argument.name,
                    default_value="",
                    description=f"{argument.spec.description} Default: {argument.default}.",
                )
                for argument in LAUNCH_ARGUMENTS
                if argument.default
            ),
            *(
                SetEnvironmentVariable(name, value)
                for name, value in transport_environment().items()
            ),
            OpaqueFunction(function=start),
        ]
    )


def _start(spec: NodeSpec) -> list[object]:
    node = Node(
        package=spec.package,
        executable=spec.executable,
        name=spec.name,
        namespace="",
        parameters=[*(str(path) for path in spec.parameter_files), dict(spec.parameters)],
        arguments=list(spec.arguments),
        output="screen",
        emulate_tty=True,
        sigterm_timeout="2",
        sigkill_timeout="2",
    )
    if not spec.required:
        return [node]
    end = EmitEvent(event=Shutdown(reason=f"{spec.name} has ended"))
    return [node, RegisterEventHandler(OnProcessExit(target_action=node, on_exit=[end]))]
