"""Launch arguments: one table for ``ros2 launch`` and for the supervisor."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters import (
    ArmControllerParameters,
    DescriptionParameters,
    LeaderArmsParameters,
    MonitorParameters,
    ParameterSpec,
    PolicyParameters,
    RecorderParameters,
    ReplayParameters,
    SimLeadersParameters,
    SimParameters,
    specs,
)

ARM_CONTROLLER, POLICY, SIM = "arm_controller", "policy", "sim"
LEADER_ARMS, SIM_LEADERS, RECORDER = "leader_arms", "sim_leaders", "recorder"
REPLAY, DESCRIPTION, MONITOR = "replay", "robot_description", "monitor"
"""Names of the suite's nodes, which are also those of their YAML files."""

NODE_PARAMETERS = {
    ARM_CONTROLLER: ArmControllerParameters,
    POLICY: PolicyParameters,
    SIM: SimParameters,
    LEADER_ARMS: LeaderArmsParameters,
    SIM_LEADERS: SimLeadersParameters,
    RECORDER: RecorderParameters,
    REPLAY: ReplayParameters,
    DESCRIPTION: DescriptionParameters,
    MONITOR: MonitorParameters,
}


@dataclass(frozen=True)
class Argument:
    """A launch argument.

    Attributes:
        spec: name, type, allowed values and description.
        targets: parameters that it sets, each (node, parameter).
        default: what is said of the default where it depends on other arguments.
    """

    spec: ParameterSpec
    targets: tuple[tuple[str, str], ...] = ()
    default: str = ""

    @property
    def name(self) -> str:
        """Its name."""
        return self.spec.name

    @property
    def default_text(self) -> str:
        """The default as a person would type it."""
        return self.default or as_text(self.spec.default)


def as_text(value: Any) -> str:
    """A value as it is typed behind ``name:=``."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(as_text(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _parameter(node: str, name: str, *more: tuple[str, str], **changes: Any) -> Argument:
    """An argument that sets a node's parameter of the same name, or of another ``name=``."""
    sets = changes.pop("sets", name)
    spec = next(s for s in specs(NODE_PARAMETERS[node]) if s.name == sets)
    target = (node, spec.name)
    default = changes.pop("default", "")
    return Argument(dataclasses.replace(spec, name=name, **changes), (target, *more), default)


def own_argument(name: str, default: Any, description: str, **more: Any) -> Argument:
    """An argument that sets no parameter by itself.

    Args:
        name: its name.
        default: its default; the type of its values is taken from it.
        description: one sentence with the unit.
        **more: further fields of ParameterSpec, and ``said``, as ``Argument.default``.
    """
    said = more.pop("said", "")
    spec = ParameterSpec(
        name, type(default), is_list=False, default=default, description=description, **more
    )
    return Argument(spec, default=said)


def _arm_address(arm: str) -> Argument:
    return own_argument(
        f"{arm}_arm_address",
        "",
        f"IP address of the {arm} arm's controller.",
        said={
            "left": "192.168.1.5, in simulation 127.0.0.2",
            "right": "192.168.1.4, in simulation 127.0.0.3",
        }[arm],
    )


LAUNCH_ARGUMENTS: tuple[Argument, ...] = (
    own_argument("sim", True, "Simulated kit instead of real arms and cameras."),
    _parameter(ARM_CONTROLLER, "mode"),
    _parameter(POLICY, "prompt"),
    _parameter(POLICY, "backend", default="expert in simulation, else openpi"),
    _parameter(POLICY, "policy_host"),
    _parameter(POLICY, "policy_port"),
    _parameter(POLICY, "policy_api_key"),
    _parameter(POLICY, "checkpoint"),
    _parameter(POLICY, "model_config"),
    _parameter(POLICY, "model_dtype"),
    _parameter(POLICY, "flow_steps"),
    _parameter(POLICY, "tokenizer_file"),
    _parameter(POLICY, "compilation_cache"),
    _parameter(POLICY, "replay_file"),
    _parameter(POLICY, "execution"),
    _parameter(POLICY, "rate_of_inference", default="25, for the expert 5"),
    _parameter(ARM_CONTROLLER, "temporal_ensemble_coefficient"),
    _parameter(ARM_CONTROLLER, "blend_s"),
    _parameter(ARM_CONTROLLER, "shutdown_pose"),
    _parameter(ARM_CONTROLLER, "realtime_priority"),
    _parameter(POLICY, "niceness"),
    _parameter(POLICY, "control_rate", (ARM_CONTROLLER, "command_rate")),
    _parameter(POLICY, "start_pose"),
    _arm_address("left"),
    _arm_address("right"),
    own_argument(
        "teleop",
        False,
        "Starts the leader arms, which an operator moves and the arms follow; and no policy, "
        "unless `backend` is named.",
    ),
    *(
        own_argument(
            f"{arm}_leader_address",
            "",
            f"IP address of the {arm} leader's controller.",
            said=f"{real}, in simulation {simulated}",
        )
        for arm, real, simulated in (
            ("left", "192.168.1.3", "127.0.0.4"),
            ("right", "192.168.1.2", "127.0.0.5"),
        )
    ),
    _parameter(LEADER_ARMS, "alignment"),
    _parameter(LEADER_ARMS, "force_feedback_gain"),
    _parameter(SIM_LEADERS, "hand", sets="motion"),
    *(
        own_argument(f"{camera}_serial", "", f"Serial number of the RealSense camera {camera}.")
        for camera in CAMERAS
    ),
    *(
        own_argument(
            f"{camera}_topic", "", f"Image topic of {camera}.", said=f"/{camera}/color/image_raw"
        )
        for camera in CAMERAS
    ),
    _parameter(
        POLICY,
        "cameras",
        choices=CAMERAS,
        description="Cameras that are used, such as 'cam_high,cam_right_wrist'.",
        default="all; with one arm, all but the other arm's wrist",
    ),
    own_argument("camera_model", "d405", "Model of the real cameras.", choices=("d405", "d435")),
    own_argument(
        "camera_profile", "640x480x30", "Width x height x rate of the real cameras' colour."
    ),
    _parameter(SIM, "variant"),
    _parameter(SIM, "seed"),
    _parameter(SIM, "camera_width", sets="width"),
    _parameter(SIM, "camera_height", sets="height"),
    _parameter(SIM, "camera_fps", sets="fps"),
    own_argument(
        "params_file", "", "YAML file with parameters of any node, over the shipped ones."
    ),
    own_argument(
        "diagnostics",
        "auto",
        "Groups /diagnostics for rqt_robot_monitor; 'auto': where diagnostic_aggregator is "
        "installed.",
        choices=("auto", "true", "false"),
    ),
    own_argument(
        "description", True, "Publishes the robot's description and its frames, for viewers."
    ),
    _parameter(DESCRIPTION, "urdf_file"),
    own_argument("monitor", True, "Draws plans, paths and status for RViz and Foxglove."),
    own_argument("rviz", False, "Opens RViz."),
    own_argument("record", False, "Records every run of the policy as an episode."),
    _parameter(RECORDER, "episodes_dir"),
    _parameter(RECORDER, "image_compression"),
)
"""Arguments of ``bimanual.launch.py``."""


class Arguments(Mapping[str, Any]):
    """Checked arguments by name; ``given`` are those that were named."""

    def __init__(self, table: tuple[Argument, ...], texts: Mapping[str, str]) -> None:
        """Args:
        table: the arguments that there are.
        texts: what was typed, by name.

        Raises:
            ParameterError: an unknown name or a value that is not allowed.
        """
        by_name = {argument.name: argument for argument in table}
        for name in texts:
            if name not in by_name:
                raise ParameterError(_unknown(name, list(by_name)))
        self.table = table
        self.given = frozenset(texts)
        self._values = {
            name: parse_text(argument.spec, texts[name]) if name in texts else argument.spec.default
            for name, argument in by_name.items()
        }

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Any:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def node_parameters(self, node: str) -> dict[str, Any]:
        """Parameters of a node that the named arguments set."""
        return {
            parameter: self[argument.name]
            for argument in self.table
            if argument.name in self.given
            for target, parameter in argument.targets
            if target == node
        }


def parse_text(spec: ParameterSpec, text: str) -> Any:
    """The typed text as a checked value: YAML for numbers and lists, strings as they stand."""
    if spec.type is str and not spec.is_list:
        return spec.check(text)
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ParameterError(f"{spec.name}: cannot read {text!r}: {error}") from error
    if spec.type is float and str(text).strip().lower() in ("nan", ".nan"):
        value = float("nan")
    if spec.type is str and isinstance(value, str):  # a list without brackets
        value = [word.strip() for word in value.split(",") if word.strip()]
    return spec.check(value)


def parse_command_line(words: list[str]) -> dict[str, str]:
    """``name:=value`` words as a mapping.

    Raises:
        ParameterError: a word of another form.
    """
    texts: dict[str, str] = {}
    for word in words:
        name, separator, text = word.partition(":=")
        if not separator or not name:
            raise ParameterError(f"arguments have the form name:=value, got {word!r}")
        texts[name] = text
    return texts


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f", did you mean {close[0]!r}?" if close else "."
    return f"unknown argument {name!r}{hint} Known are: {', '.join(known)}"
