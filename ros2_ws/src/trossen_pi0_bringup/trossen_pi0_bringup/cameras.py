"""The real cameras: one realsense2_camera node each."""

from __future__ import annotations

import re
from typing import Any

from trossen_pi0_bringup.arguments import Arguments
from trossen_pi0_core.errors import ParameterError

PACKAGE, EXECUTABLE = "realsense2_camera", "realsense2_camera_node"

COLOUR_MODULE = {"d405": "depth_module", "d435": "rgb_camera"}
"""Model -> the module that has its colour stream. A D405 has no colour sensor of its own."""

DIAGNOSTICS_PERIOD_S = 1.0

_PROFILE = re.compile(r"(\d+)x(\d+)x(\d+)")


def camera_profile(text: str) -> tuple[int, int, int]:
    """Width [pixels], height [pixels] and rate [Hz] of a profile such as ``640x480x30``.

    Raises:
        ParameterError: of another form.
    """
    found = _PROFILE.fullmatch(text.replace(" ", "").lower())
    if not found or "0" in (sizes := found.groups()):
        raise ParameterError(f"camera_profile: need a profile such as '640x480x30', got {text!r}")
    width, height, rate = map(int, sizes)
    return width, height, rate


def camera_serial(arguments: Arguments, camera: str) -> str:
    """Serial number of a camera.

    Raises:
        ParameterError: none was given.
    """
    serial: str = arguments[f"{camera}_serial"].lstrip("_")
    if not serial:
        raise ParameterError(
            f"{camera}_serial: real cameras are told apart by their serial numbers, got none; "
            "`rs-enumerate-devices -s` lists them"
        )
    return serial


def camera_parameters(arguments: Arguments, camera: str) -> dict[str, Any]:
    """Parameters of a camera's node, colour alone.

    Raises:
        ParameterError: no serial number, or a malformed profile.
    """
    module = COLOUR_MODULE[arguments["camera_model"]]
    width, height, rate = camera_profile(arguments["camera_profile"])
    return {
        "camera_name": camera,
        # The underscore keeps it a string in YAML; the node takes it off.
        "serial_no": f"_{camera_serial(arguments, camera)}",
        "enable_color": True,
        "enable_depth": False,
        "enable_infra": False,
        "enable_infra1": False,
        "enable_infra2": False,
        f"{module}.color_profile": f"{width}x{height}x{rate}",
        f"{module}.color_format": "RGB8",
        "diagnostics_period": DIAGNOSTICS_PERIOD_S,
    }


def camera_remappings(camera: str) -> tuple[tuple[str, str], ...]:
    """Puts the colour of a D405 where that of a D435 is.

    Up to 4.57.2 the node calls everything from the depth module rectified, a D405's colour too.
    """
    return ((f"/{camera}/color/image_rect_raw", f"/{camera}/color/image_raw"),)
