"""Arguments and processes of a replay: one table for launch file and supervisor."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from trossen_pi0_bringup.arguments import (
    ARM_CONTROLLER,
    LAUNCH_ARGUMENTS,
    POLICY,
    REPLAY,
    SIM,
    Argument,
    Arguments,
    own_argument,
)
from trossen_pi0_bringup.kit import arm_addresses
from trossen_pi0_bringup.nodes import NodeSpec, suite_node
from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters import ReplayParameters, from_values, specs
from trossen_pi0_core.parameters.replay import ACTIONS, OBSERVATIONS
from trossen_pi0_data.episode_info import CameraInfo
from trossen_pi0_data.plain_bag import JOINTS_TOPIC
from trossen_pi0_data.replay_plan import ReplayPlan, plan_replay

REPLAY_LAUNCH_FILE = "replay.launch.py"

TRUTH_TOPIC = "/sim/ground_truth"
"""What the scripted expert sees; recorded in simulation."""

_FASTEST_POLICY = 10.0

_OF_REPLAY = ("episode", "mode", "waits", "rate", "start_s", "duration_s", "loop", "topics")

_OF_POLICY = (
    "prompt",
    "backend",
    "policy_host",
    "policy_port",
    "policy_api_key",
    "checkpoint",
    "model_config",
    "model_dtype",
    "flow_steps",
    "tokenizer_file",
    "compilation_cache",
    "replay_file",
    "execution",
    "rate_of_inference",
)

_OF_ARMS = ("sim", "left_arm_address", "right_arm_address")

_OF_SIM = ("variant", "seed", "camera_width", "camera_height", "camera_fps")


def _from_launch(*names: str) -> list[Argument]:
    by_name = {argument.name: argument for argument in LAUNCH_ARGUMENTS}
    return [by_name[name] for name in names]


def _of_replay() -> list[Argument]:
    by_name = {spec.name: spec for spec in specs(ReplayParameters)}
    return [Argument(by_name[name], ((REPLAY, name),)) for name in _OF_REPLAY]


REPLAY_LAUNCH_ARGUMENTS: tuple[Argument, ...] = (
    *_of_replay(),
    own_argument("alone", False, "Starts the replay node alone: what it needs is running."),
    *_from_launch(*_OF_POLICY, *_OF_ARMS, *_OF_SIM, "params_file"),
)
"""Arguments of ``replay.launch.py``."""


def replay_plan(arguments: Arguments) -> ReplayPlan:
    """What the arguments ask for; opens the episode.

    Raises:
        ParameterError: arguments that are not allowed, or do not go together.
        EpisodeError: the episode cannot be replayed.
    """
    _refuse_other_mode(arguments)
    plan = plan_replay(from_values(ReplayParameters, arguments.node_parameters(REPLAY)))
    if plan.track is not None:
        return plan
    wants_truth = arguments.get("backend") == "expert" and "backend" in arguments.given
    if wants_truth and not _has_truth(plan):
        raise ParameterError(
            f"backend 'expert' needs the true pose of the object, and {plan.reader.folder} has "
            f"no {TRUTH_TOPIC}"
        )
    return plan


def replay_specs(arguments: Arguments) -> list[NodeSpec]:
    """The processes that the arguments ask for, in the order of their start.

    With observations the policy node, on the episode's clock and without an arm controller; with
    actions the arm controller, and the simulated kit unless ``sim`` is false.

    Raises:
        ParameterError: arguments that are not allowed, or do not go together.
        EpisodeError: the episode cannot be replayed.
    """
    plan = replay_plan(arguments)
    actions = plan.track is not None
    nodes: list[NodeSpec] = []
    if actions and not arguments["alone"]:
        nodes = _arms(arguments)
    nodes.append(_replay(arguments, plan))
    if not actions and not arguments["alone"]:
        nodes.append(_policy(arguments, plan))
    return nodes


def _replay(arguments: Arguments, plan: ReplayPlan) -> NodeSpec:
    parameters = arguments.node_parameters(REPLAY)
    parameters["episode"] = str(Path(parameters["episode"]).expanduser().resolve())
    if plan.track is None and not arguments["alone"]:
        heard = [JOINTS_TOPIC, *(plan.published[each.topic] for each in _cameras(plan).values())]
        if _backend(arguments, plan) == "expert":
            heard.append(TRUTH_TOPIC)
            parameters["topics"] = tuple(dict.fromkeys([*plan.topics, TRUTH_TOPIC]))
        parameters["awaits"] = tuple(heard)
    return suite_node(arguments, REPLAY, "trossen_pi0_data", "replay_node", parameters)


def _policy(arguments: Arguments, plan: ReplayPlan) -> NodeSpec:
    cameras = _cameras(plan)
    if not cameras or JOINTS_TOPIC not in plan.topics:
        raise ParameterError(
            f"topics: the policy needs {JOINTS_TOPIC} and one of the cameras {list(CAMERAS)}, "
            f"{list(plan.topics)} are played; alone:=true plays them without a policy"
        )
    if not 0.0 < arguments["rate"] <= _FASTEST_POLICY:
        raise ParameterError(
            f"rate: {arguments['rate']:g} lies outside (0, {_FASTEST_POLICY:g}]: the policy node "
            "takes a faster clock for one that was set; alone:=true plays at any rate"
        )
    parameters = arguments.node_parameters(POLICY)
    parameters |= {
        "backend": _backend(arguments, plan),
        "cameras": tuple(cameras),
        "camera_topics": tuple(plan.published[each.topic] for each in cameras.values()),
        "start_pose": "",  # there are no arms
        "use_sim_time": True,
    }
    if "prompt" not in arguments.given and plan.reader.info.prompt:
        parameters["prompt"] = plan.reader.info.prompt
    return suite_node(arguments, POLICY, "trossen_pi0_policy", "policy_node", parameters)


def _cameras(plan: ReplayPlan) -> dict[str, CameraInfo]:
    """Cameras of the policy that the episode has and that are played."""
    there = plan.reader.info.cameras
    return {
        name: there[name] for name in CAMERAS if name in there and there[name].topic in plan.topics
    }


def _arms(arguments: Arguments) -> list[NodeSpec]:
    addresses = {"arm_addresses": arm_addresses(arguments)}
    nodes: list[NodeSpec] = []
    if arguments["sim"]:
        parameters: Mapping[str, Any] = arguments.node_parameters(SIM)
        nodes.append(
            suite_node(arguments, SIM, "trossen_pi0_sim", "sim_node", {**parameters, **addresses})
        )
    arms = {**arguments.node_parameters(ARM_CONTROLLER), **addresses}
    nodes.append(
        suite_node(arguments, ARM_CONTROLLER, "trossen_pi0_control", "arm_controller", arms)
    )
    return nodes


def _backend(arguments: Arguments, plan: ReplayPlan) -> str:
    """The policy; by default the expert where the episode has what it needs."""
    if plan.track is not None or arguments["alone"]:
        return ""
    if "backend" in arguments.given:
        return arguments["backend"]
    return "expert" if _has_truth(plan) else "openpi"


def _has_truth(plan: ReplayPlan) -> bool:
    topics = plan.reader.topics
    return TRUTH_TOPIC in topics and topics[TRUTH_TOPIC].messages > 0


def _refuse_other_mode(arguments: Arguments) -> None:
    mode = arguments["mode"]
    foreign = _OF_POLICY if mode == ACTIONS else (*_OF_ARMS, *_OF_SIM)
    other = OBSERVATIONS if mode == ACTIONS else ACTIONS
    wrong = sorted(set(foreign) & arguments.given)
    if wrong:
        raise ParameterError(f"{wrong}: only for mode {other!r}, but mode is {mode!r}")
