"""Parameters of the node that publishes the robot's description."""

from __future__ import annotations

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.parameters.joint_maps import check_joint_map
from trossen_pi0_core.parameters.spec import parameter, parameters

MODEL, INSTALLED = "model", "trossen_arm_description"
"""Where a description can come from."""


@parameters
class DescriptionParameters:
    """What the description node can be told. Lists per arm are in the order of ``arms``."""

    source: str = parameter(
        MODEL,
        "'model': made from the simulation's model; 'trossen_arm_description': stationary_ai of "
        "that package, which must be installed, with the frames of this suite's cameras.",
        choices=(MODEL, INSTALLED),
    )
    urdf_file: str = parameter("", "URDF file to publish instead; empty: none.")
    optical_frames: bool = parameter(
        True,
        "Adds <camera>_color_frame and <camera>_color_optical_frame, which realsense2_camera "
        "publishes itself for real cameras.",
    )
    arms: tuple[str, ...] = parameter(("left", "right"), "Names of the arms.")
    urdf_prefixes: tuple[str, ...] = parameter(
        ("follower_left_", "follower_right_"), "URDF joint name prefix of each arm."
    )
    tf_rate: float = parameter(
        30.0, "Rate of /tf, at most that of the joint states [Hz].", low=1.0, high=500.0
    )

    @property
    def joint_map(self) -> JointMap:
        """Names of the joints."""
        return JointMap(self.arms, self.urdf_prefixes)

    def check(self) -> None:
        """Checks what the ranges cannot say."""
        check_joint_map(self)
        if self.source == INSTALLED and self.joint_map != JointMap():
            raise ParameterError(
                f"source: {INSTALLED!r} has the arms and prefixes of stationary_ai, "
                f"{list(JointMap().urdf_prefixes)}, got {list(self.urdf_prefixes)}"
            )
