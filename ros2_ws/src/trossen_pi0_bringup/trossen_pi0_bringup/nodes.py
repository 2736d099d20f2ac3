"""The nodes of the suite and how arguments set them: one table for launch files and supervisor."""

from __future__ import annotations

import subprocess
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import get_package_prefix, get_package_share_directory

from trossen_pi0_bringup import cameras
from trossen_pi0_bringup.arguments import (
    ARM_CONTROLLER,
    DESCRIPTION,
    LEADER_ARMS,
    MONITOR,
    POLICY,
    RECORDER,
    SIM,
    SIM_LEADERS,
    Arguments,
)
from trossen_pi0_bringup.kit import (
    ARMS,
    arm_address,
    arm_addresses,
    arm_parameters,
    camera_parameters,
    camera_topics,
    cameras_of,
    is_single,
    leader_addresses,
    picture_topic,
)
from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters import ArmControllerParameters, specs
from trossen_pi0_core.parameters.description import INSTALLED, MODEL
from trossen_pi0_description.packages import (
    ROBOT_STATE_PUBLISHER,
    has_vendors_description,
    is_installed,
)

PACKAGE = "trossen_pi0_bringup"

_AGGREGATOR = "diagnostic_aggregator"

_DIAGNOSED = {
    "leaders": (LEADER_ARMS,),
    "cameras": (POLICY, *CAMERAS),
    "policy": (POLICY,),
    "recording": (RECORDER,),
    "simulation": (SIM,),
}
"""Groups of ``diagnostics.yaml`` and the nodes that fill them; without any they are ignored."""

_RECORDER_ENDING_S = 10.0
"""What waits for a slow disk is written before the recorder ends."""

_TF_RATE = 30.0
"""Of robot_state_publisher, as that of the description node [Hz]."""


@dataclass(frozen=True)
class NodeSpec:
    """One process to start.

    Attributes:
        name: node name.
        package: ROS package of the executable.
        executable: its name.
        parameters: parameters set by arguments; they win over the files.
        parameter_files: YAML files, later ones win.
        arguments: further words of its command line.
        remappings: names of topics that are others, each (from, to).
        required: the suite ends when it ends.
        ending_s: how long it may take to end, beyond what any node may [s].
    """

    name: str
    package: str
    executable: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    parameter_files: tuple[Path, ...] = ()
    arguments: tuple[str, ...] = ()
    remappings: tuple[tuple[str, str], ...] = ()
    required: bool = True
    ending_s: float = 0.0


def shipped(kind: str, name: str) -> Path:
    """Path of an installed file of this package, such as ``shipped("config", "policy.yaml")``."""
    return Path(get_package_share_directory(PACKAGE)) / kind / name


def node_specs(arguments: Arguments) -> list[NodeSpec]:
    """The processes that the arguments ask for, in the order of their start.

    Raises:
        ParameterError: arguments that do not go together.
    """
    nodes: list[NodeSpec] = []
    if arguments["sim"]:
        nodes.append(suite_node(arguments, SIM, "trossen_pi0_sim", "sim_node", _sim(arguments)))
        nodes += _sim_leaders(arguments)
    else:
        _refuse_sim_only(arguments)
        nodes += [_camera(arguments, camera) for camera in cameras_of(arguments)]
    nodes.append(arm_controller_node(arguments))
    nodes += _leaders(arguments)
    policy = policy_node(arguments)
    if policy:
        nodes.append(policy)
    if arguments["record"]:
        nodes.append(recorder_node(arguments))
    nodes += _description(arguments)
    if arguments["monitor"]:
        monitor = suite_node(arguments, MONITOR, "trossen_pi0_monitor", "monitor_node", {})
        nodes.append(replace(monitor, required=False))
    if arguments["rviz"]:
        words = ("-d", str(shipped("rviz", "bimanual.rviz")), *_remapped_pictures(arguments))
        nodes.append(NodeSpec("rviz", "rviz2", "rviz2", arguments=words, required=False))
    return nodes + _aggregator(arguments, {node.name for node in nodes})


def arm_controller_node(arguments: Arguments) -> NodeSpec:
    """What owns the arms."""
    parameters = _arms(arguments)
    return suite_node(
        arguments, ARM_CONTROLLER, "trossen_pi0_control", "arm_controller", parameters
    )


def policy_node(arguments: Arguments) -> NodeSpec | None:
    """What plans; None where an operator leads the arms and no backend is named."""
    if arguments["teleop"] and "backend" not in arguments.given:
        return None
    return suite_node(arguments, POLICY, "trossen_pi0_policy", "policy_node", _policy(arguments))


def recorder_node(arguments: Arguments) -> NodeSpec:
    """What records every run."""
    parameters = recorder(arguments)
    return suite_node(arguments, RECORDER, "trossen_pi0_data", "recorder_node", parameters)


def node_values(spec: NodeSpec) -> dict[str, Any]:
    """The parameters that a node of the suite gets from files and arguments together.

    Raises:
        ParameterError: a file that cannot be read.
    """
    values: dict[str, Any] = {}
    for path in spec.parameter_files:
        values.update(_values(path, spec.name))
    return {**values, **spec.parameters}


def _remapped_pictures(arguments: Arguments) -> tuple[str, ...]:
    """Words that have a viewer with a fixed layout hear the named image topics."""
    rules = {picture_topic(c): topic for c, topic in camera_topics(arguments).items()}
    moved = [("-r", f"{usual}:={topic}") for usual, topic in rules.items() if usual != topic]
    return ("--ros-args", *(word for rule in moved for word in rule)) if moved else ()


def suite_node(
    arguments: Arguments, name: str, package: str, executable: str, parameters: dict[str, Any]
) -> NodeSpec:
    """A node of the suite with its shipped parameters, those of ``params_file`` and these."""
    files = [shipped("config", f"{name}.yaml")]
    if name in (ARM_CONTROLLER, LEADER_ARMS) and arguments["sim"]:
        files.append(shipped("config", f"{name}_sim.yaml"))
    if parameters.get("backend") == "expert":
        files.append(shipped("config", "policy_expert.yaml"))
    if arguments["params_file"]:
        files.append(_params_file(arguments["params_file"]))
    ending_s = _RECORDER_ENDING_S if name == RECORDER else 0.0
    spec = NodeSpec(name, package, executable, parameters, tuple(files), ending_s=ending_s)
    return replace(spec, ending_s=_parking_s(spec)) if name == ARM_CONTROLLER else spec


def _parking_s(spec: NodeSpec) -> float:
    """How long the arms may move to their shutdown pose [s]; 0 without one."""
    given = node_values(spec)
    known = {spec.name: spec for spec in specs(ArmControllerParameters)}
    pose, timeout_s = (
        known[name].check(given.get(name, known[name].default))
        for name in ("shutdown_pose", "shutdown_timeout_s")
    )
    return float(timeout_s) if pose else 0.0  # pyright: ignore[reportArgumentType] - checked


def _values(path: Path, node: str) -> dict[str, Any]:
    """What a ROS parameter file says to a node."""
    try:
        content = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ParameterError(f"params_file: cannot read {path}: {error}") from error
    values: dict[str, Any] = {}
    for name, part in (content if isinstance(content, dict) else {}).items():
        if isinstance(part, dict) and str(name).rpartition("/")[2] in ("**", node):
            values.update(part.get("ros__parameters") or {})
    return values


def _params_file(text: str) -> Path:
    path = Path(text).expanduser().resolve()
    if not path.is_file():
        raise ParameterError(f"params_file: there is no file {path}")
    return path


def _sim(arguments: Arguments) -> dict[str, Any]:
    addresses = tuple(arm_address(arguments, arm) for arm in ARMS)  # it always has both
    return {**arguments.node_parameters(SIM), "arm_addresses": addresses}


def _arms(arguments: Arguments) -> dict[str, Any]:
    return {
        **arguments.node_parameters(ARM_CONTROLLER),
        **arm_parameters(arguments),
        "arm_addresses": arm_addresses(arguments),
    }


def _sim_leaders(arguments: Arguments) -> list[NodeSpec]:
    """What serves the simulated leaders, if they are wanted."""
    given = arguments.node_parameters(SIM_LEADERS)
    if not arguments["teleop"]:
        if given:
            raise ParameterError("hand: only for simulated leaders, but teleop is false")
        return []
    if is_single(arguments):
        raise ParameterError("teleop: simulated leaders come in pairs; use bimanual.launch.py")
    parameters = {**given, "arm_addresses": leader_addresses(arguments)}
    return [suite_node(arguments, SIM_LEADERS, "trossen_pi0_sim", "sim_leaders", parameters)]


def _leaders(arguments: Arguments) -> list[NodeSpec]:
    """The leader-arm node, if it is wanted."""
    given = arguments.node_parameters(LEADER_ARMS)
    if not arguments["teleop"]:
        wrong = sorted({"left_leader_address", "right_leader_address", *given} & arguments.given)
        if wrong:
            raise ParameterError(f"{wrong}: only for leader arms, but teleop is false")
        return []
    parameters = {
        **given,
        **arm_parameters(arguments, "leader"),
        "arm_addresses": leader_addresses(arguments),
    }
    if is_single(arguments):
        parameters["follower_prefixes"] = arm_parameters(arguments)["urdf_prefixes"]
    return [suite_node(arguments, LEADER_ARMS, "trossen_pi0_control", "leader_arms", parameters)]


def _policy(arguments: Arguments) -> dict[str, Any]:
    parameters = arguments.node_parameters(POLICY)
    if "backend" not in arguments.given:
        scripted = arguments["sim"] and not is_single(arguments)
        parameters["backend"] = "expert" if scripted else "openpi"
    elif arguments["backend"] == "expert" and is_single(arguments):
        raise ParameterError("backend 'expert' hands over from one arm to the other: needs both")
    elif arguments["backend"] == "expert" and not arguments["sim"]:
        raise ParameterError(
            "backend 'expert' needs the true pose of the object, which only sim:=true has"
        )
    return {**parameters, **arm_parameters(arguments), **camera_parameters(arguments)}


def recorder(arguments: Arguments) -> dict[str, Any]:
    """Parameters of the recorder, which records every run."""
    return {
        **arguments.node_parameters(RECORDER),
        "record_runs": True,
        **arm_parameters(arguments),
        **camera_parameters(arguments),
    }


def _description(arguments: Arguments) -> list[NodeSpec]:
    """Who publishes the robot's description; robot_state_publisher where it is installed.

    The suite goes on without it.
    """
    if not arguments["description"]:
        if "urdf_file" in arguments.given:
            raise ParameterError("urdf_file: only for the robot's description, which is off")
        return []
    vendors = not arguments["sim"] and has_vendors_description()
    parameters = {
        **arguments.node_parameters(DESCRIPTION),
        "source": INSTALLED if vendors else MODEL,
        "optical_frames": arguments["sim"],  # real cameras' nodes publish their own
    }
    package = "trossen_pi0_description"
    if not is_installed(ROBOT_STATE_PUBLISHER):
        node = suite_node(arguments, DESCRIPTION, package, "description_node", parameters)
        return [replace(node, required=False)]
    publisher = {"robot_description": _urdf(package, parameters), "publish_frequency": _TF_RATE}
    return [
        NodeSpec(
            ROBOT_STATE_PUBLISHER,
            ROBOT_STATE_PUBLISHER,
            ROBOT_STATE_PUBLISHER,
            publisher,
            required=False,
        )
    ]


def _urdf(package: str, parameters: Mapping[str, Any]) -> str:
    """What the description node would publish. Made by another process: the interpreter of a launch
    file need not have what that takes.
    """
    command = [str(Path(get_package_prefix(package)) / "lib" / package / "urdf")]
    command += ["--source", parameters["source"], "--urdf-file", parameters.get("urdf_file", "")]
    command += [] if parameters["optical_frames"] else ["--no-optical-frames"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        said = result.stderr.strip().removeprefix("error: ")
        raise ParameterError(f"{said}; `description:=false` starts without a description")
    return result.stdout


def _refuse_sim_only(arguments: Arguments) -> None:
    only_sim = {
        a.name for a in arguments.table if any(node in (SIM, SIM_LEADERS) for node, _ in a.targets)
    } & arguments.given
    if only_sim:
        raise ParameterError(f"{sorted(only_sim)}: only for the simulated kit, but sim is false")


def _camera(arguments: Arguments, camera: str) -> NodeSpec:
    """A realsense2_camera node; its topics lie under the node's name."""
    return NodeSpec(
        camera,
        cameras.PACKAGE,
        cameras.EXECUTABLE,
        cameras.camera_parameters(arguments, camera),
        remappings=cameras.camera_remappings(camera),
    )


def _aggregator(arguments: Arguments, started: Collection[str]) -> list[NodeSpec]:
    """What groups /diagnostics for rqt_robot_monitor, where it is wanted or installed."""
    wanted = arguments["diagnostics"]
    if wanted == "false" or (wanted == "auto" and not is_installed(_AGGREGATOR)):
        return []
    if not is_installed(_AGGREGATOR):
        raise ParameterError(
            f"diagnostics: the ROS package {_AGGREGATOR} is not installed; "
            f"`apt install ros-jazzy-{_AGGREGATOR.replace('_', '-')}`, or leave it at 'auto'"
        )
    ignored = {
        f"{group}.type": f"{_AGGREGATOR}/IgnoreAnalyzer"
        for group, nodes in _DIAGNOSED.items()
        if not set(nodes) & set(started)
    }
    files = (shipped("config", "diagnostics.yaml"),)
    return [NodeSpec(_AGGREGATOR, _AGGREGATOR, "aggregator_node", ignored, files, required=False)]
