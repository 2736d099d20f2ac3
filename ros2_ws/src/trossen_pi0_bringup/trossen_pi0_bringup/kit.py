"""Which arms and cameras the arguments mean, and where they are."""

from __future__ import annotations

from typing import Any

from trossen_pi0_bringup.arguments import Arguments
from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.joints import JointMap

ARMS = JointMap().arms
"""Arms of the kit, in order."""

BOTH = "both"
"""What the argument ``arm`` says when no single one is meant."""

_REAL_ARMS = {"left": "192.168.1.5", "right": "192.168.1.4"}
_REAL_LEADERS = {"left": "192.168.1.3", "right": "192.168.1.2"}
"""The stationary kit as it is delivered."""

_SIM_ARMS = {"left": "127.0.0.2", "right": "127.0.0.3"}
_SIM_LEADERS = {"left": "127.0.0.4", "right": "127.0.0.5"}
"""Where the simulated kit serves its arms."""

WRISTS = {"left": "cam_left_wrist", "right": "cam_right_wrist"}
"""The camera on each arm."""


def arms_of(arguments: Arguments) -> tuple[str, ...]:
    """The arms that are used: both, or the one that is named."""
    arm: str = arguments.get("arm", BOTH)
    return ARMS if arm == BOTH else (arm,)


def is_single(arguments: Arguments) -> bool:
    """Whether one arm is used."""
    return arms_of(arguments) != ARMS


def cameras_of(arguments: Arguments) -> tuple[str, ...]:
    """The cameras that are used: those named, else all but the wrist of an arm that is not used.

    Raises:
        ParameterError: none, or one named twice.
    """
    if "cameras" in arguments.given:
        named: tuple[str, ...] = arguments["cameras"]
        if not named or len(set(named)) != len(named):
            raise ParameterError(
                f"cameras: need different names out of {list(CAMERAS)}, got {list(named)}"
            )
        return tuple(camera for camera in CAMERAS if camera in named)
    unused = {wrist for arm, wrist in WRISTS.items() if arm not in arms_of(arguments)}
    return tuple(camera for camera in CAMERAS if camera not in unused)


def camera_topics(arguments: Arguments) -> dict[str, str]:
    """Camera name -> image topic, of the cameras that are used."""
    used = cameras_of(arguments)
    return {c: arguments[f"{c}_topic"] or picture_topic(c) for c in used}


def picture_topic(camera: str) -> str:
    """Where a camera's pictures come unless the arguments say otherwise."""
    return f"/{camera}/color/image_raw"


def arm_addresses(arguments: Arguments) -> tuple[str, ...]:
    """Addresses of the arms that are used, in order."""
    return tuple(arm_address(arguments, arm) for arm in arms_of(arguments))


def arm_address(arguments: Arguments, arm: str) -> str:
    """Address of a follower."""
    kit = _SIM_ARMS if arguments["sim"] else _REAL_ARMS
    return arguments[f"{arm}_arm_address"] or kit[arm]


def leader_addresses(arguments: Arguments) -> tuple[str, ...]:
    """Addresses of the leaders of the arms that are used, in order."""
    kit = _SIM_LEADERS if arguments["sim"] else _REAL_LEADERS
    return tuple(arguments[f"{arm}_leader_address"] or kit[arm] for arm in arms_of(arguments))


def arm_parameters(arguments: Arguments, prefix: str = "follower") -> dict[str, Any]:
    """Parameters ``arms`` and ``urdf_prefixes`` of a node, where they are not the defaults."""
    if not is_single(arguments):
        return {}
    arms = arms_of(arguments)
    return {"arms": arms, "urdf_prefixes": tuple(f"{prefix}_{arm}_" for arm in arms)}


def camera_parameters(arguments: Arguments) -> dict[str, Any]:
    """Parameters ``cameras`` and ``camera_topics`` of a node."""
    topics = camera_topics(arguments)
    chosen = {"cameras": tuple(topics)} if tuple(topics) != CAMERAS else {}
    return {**chosen, "camera_topics": tuple(topics.values())}
