"""The nodes of the suite and how arguments set them: one table for launch files and supervisor."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import get_package_prefix, get_package_share_directory

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

REAL_ARM_ADDRESSES = {"left": "192.168.1.5", "right": "192.168.1.4"}
"""Followers of the stationary kit as it is delivered."""

SIM_ARM_ADDRESSES = {"left": "127.0.0.2", "right": "127.0.0.3"}
"""Where the simulated kit serves its arms."""

REAL_LEADER_ADDRESSES = {"left": "192.168.1.3", "right": "192.168.1.2"}
"""Leaders of the stationary kit as it is delivered."""

SIM_LEADER_ADDRESSES = {"left": "127.0.0.4", "right": "127.0.0.5"}
"""Where the simulated leaders are served."""

_RECORDER_ENDING_S = 10.0
"""What waits for a slow disk is written before the recorder ends."""

_TF_RATE = 30.0
"""Of robot_state_publisher, as that of the description node [Hz]."""

_COLOUR_MODULE = {"d405": "depth_module", "d435": "rgb_camera"}


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
        required: the suite ends when it ends.
        ending_s: how long it may take to end, beyond what any node may [s].
    """

    name: str
    package: str
    executable: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    parameter_files: tuple[Path, ...] = ()
    arguments: tuple[str, ...] = ()
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
        nodes += [_camera(arguments, camera) for camera in CAMERAS]
    nodes.append(
        suite_node(
            arguments, ARM_CONTROLLER, "trossen_pi0_control", "arm_controller", _arms(arguments)
        )
    )
    nodes += _leaders(arguments)
    if not arguments["teleop"] or "backend" in arguments.given:
        nodes.append(
            suite_node(arguments, POLICY, "trossen_pi0_policy", "policy_node", _policy(arguments))
        )
    if arguments["record"]:
        nodes.append(
            suite_node(
                arguments, RECORDER, "trossen_pi0_data", "recorder_node", recorder(arguments)
            )
        )
    nodes += _description(arguments)
    if arguments["monitor"]:
        monitor = suite_node(arguments, MONITOR, "trossen_pi0_monitor", "monitor_node", {})
        nodes.append(replace(monitor, required=False))
    if arguments["rviz"]:
        words = ("-d", str(shipped("rviz", "bimanual.rviz")), *_remapped_pictures(arguments))
        nodes.append(NodeSpec("rviz", "rviz2", "rviz2", arguments=words, required=False))
    return nodes


def arm_addresses(arguments: Arguments) -> tuple[str, str]:
    """Addresses of the left and the right arm."""
    kit = SIM_ARM_ADDRESSES if arguments["sim"] else REAL_ARM_ADDRESSES
    left, right = (arguments[f"{arm}_arm_address"] or kit[arm] for arm in ("left", "right"))
    return left, right


def leader_addresses(arguments: Arguments) -> tuple[str, str]:
    """Addresses of the left and the right leader."""
    kit = SIM_LEADER_ADDRESSES if arguments["sim"] else REAL_LEADER_ADDRESSES
    left, right = (arguments[f"{arm}_leader_address"] or kit[arm] for arm in ("left", "right"))
    return left, right


def camera_topics(arguments: Arguments) -> dict[str, str]:
    """Camera name -> image topic."""
    return {c: arguments[f"{c}_topic"] or _picture_topic(c) for c in CAMERAS}


def _picture_topic(camera: str) -> str:
    """Where a camera's pictures come unless the arguments say otherwise."""
    return f"/{camera}/color/image_raw"


def _remapped_pictures(arguments: Arguments) -> tuple[str, ...]:
    """Words that have a viewer with a fixed layout hear the named image topics."""
    rules = {_picture_topic(c): topic for c, topic in camera_topics(arguments).items()}
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
    if name == ARM_CONTROLLER:
        ending_s = _parking_s(files, parameters)
    return NodeSpec(name, package, executable, parameters, tuple(files), ending_s=ending_s)


def _parking_s(files: Sequence[Path], parameters: Mapping[str, Any]) -> float:
    """How long the arms may move to their shutdown pose [s]; 0 without one."""
    given: dict[str, Any] = {}
    for path in files:
        given.update(_values(path, ARM_CONTROLLER))
    given.update(parameters)
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
    return {**arguments.node_parameters(SIM), "arm_addresses": arm_addresses(arguments)}


def _arms(arguments: Arguments) -> dict[str, Any]:
    addresses = arm_addresses(arguments)
    return {**arguments.node_parameters(ARM_CONTROLLER), "arm_addresses": addresses}


def _sim_leaders(arguments: Arguments) -> list[NodeSpec]:
    """What serves the simulated leaders, if they are wanted."""
    given = arguments.node_parameters(SIM_LEADERS)
    if not arguments["teleop"]:
        if given:
            raise ParameterError("hand: only for simulated leaders, but teleop is false")
        return []
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
    parameters = {**given, "arm_addresses": leader_addresses(arguments)}
    return [suite_node(arguments, LEADER_ARMS, "trossen_pi0_control", "leader_arms", parameters)]


def _policy(arguments: Arguments) -> dict[str, Any]:
    parameters = arguments.node_parameters(POLICY)
    if "backend" not in arguments.given:
        parameters["backend"] = "expert" if arguments["sim"] else "openpi"
    elif arguments["backend"] == "expert" and not arguments["sim"]:
        raise ParameterError(
            "backend 'expert' needs the true pose of the object, which only sim:=true has"
        )
    parameters["camera_topics"] = tuple(camera_topics(arguments).values())
    return parameters


def recorder(arguments: Arguments) -> dict[str, Any]:
    """Parameters of the recorder, which records every run."""
    return {
        **arguments.node_parameters(RECORDER),
        "record_runs": True,
        "camera_topics": tuple(camera_topics(arguments).values()),
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
    serial = arguments[f"{camera}_serial"]
    if not serial:
        raise ParameterError(
            f"{camera}_serial: real cameras are told apart by their serial numbers, got none; "
            "`rs-enumerate-devices -s` lists them"
        )
    module = _COLOUR_MODULE[arguments["camera_model"]]
    parameters = {
        "camera_name": camera,
        "serial_no": f"_{serial.lstrip('_')}",  # the underscore keeps it a string in YAML
        "enable_color": True,
        "enable_depth": False,
        "enable_infra1": False,
        "enable_infra2": False,
        f"{module}.color_profile": arguments["camera_profile"],
    }
    return NodeSpec(camera, "realsense2_camera", "realsense2_camera_node", parameters)
