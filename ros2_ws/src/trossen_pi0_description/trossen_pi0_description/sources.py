"""Where the robot's description comes from."""

from __future__ import annotations

from pathlib import Path

from trossen_pi0_core.parameters import DescriptionParameters
from trossen_pi0_core.parameters.description import INSTALLED
from trossen_pi0_description.frames import FrameTree, require_joints
from trossen_pi0_description.installed import installed_urdf
from trossen_pi0_description.kit import describe_kit
from trossen_pi0_description.model import DescriptionError
from trossen_pi0_description.writing import to_urdf


def load_description(parameters: DescriptionParameters) -> str:
    """The text of the URDF that the parameters ask for.

    Raises:
        DescriptionError: there is none, it is malformed, or it lacks a joint of the arms.
    """
    if parameters.urdf_file:
        text = _read(Path(parameters.urdf_file).expanduser())
    elif parameters.source == INSTALLED:
        text = installed_urdf(optical_frames=parameters.optical_frames)
    else:
        kit = describe_kit(parameters.joint_map, optical_frames=parameters.optical_frames)
        text = to_urdf(kit)
    require_joints(FrameTree(text), parameters.joint_map.urdf_names)
    return text


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DescriptionError(f"urdf_file: cannot read {path}: {error}") from error
