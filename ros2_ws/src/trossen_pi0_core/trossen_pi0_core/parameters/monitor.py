"""Parameters of the node that draws what the kit plans and does."""

from __future__ import annotations

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.parameters.joint_maps import check_joint_map
from trossen_pi0_core.parameters.spec import parameter, parameters


@parameters
class MonitorParameters:
    """What the monitor can be told."""

    arms: tuple[str, ...] = parameter(("left", "right"), "Names of the arms.")
    urdf_prefixes: tuple[str, ...] = parameter(
        ("follower_left_", "follower_right_"), "URDF joint name prefix of each arm."
    )
    tip_link: str = parameter(
        "ee_gripper_link",
        "Link between the fingertips, without prefix, whose y lies along the opening.",
    )
    frame: str = parameter(
        "world", "Frame of the status text as long as there is no robot description."
    )
    rate: float = parameter(10.0, "Rate of the markers [Hz].", low=0.5, high=60.0, live=True)
    history: int = parameter(
        1, "So many chunks before the newest are drawn.", low=0, high=10, live=True
    )
    trail_s: float = parameter(
        3.0, "How long the path really gone is drawn [s].", low=0.0, high=60.0, live=True
    )
    line_width: float = parameter(0.008, "Width of the lines [m].", low=0.0005, high=0.1, live=True)
    text_position: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.75), "Where the status text stands: x, y, z [m].", live=True
    )
    text_height: float = parameter(
        0.04, "Height of a line of the status text [m].", low=0.005, high=1.0, live=True
    )

    @property
    def joint_map(self) -> JointMap:
        """Names of the joints."""
        return JointMap(self.arms, self.urdf_prefixes)

    def check(self) -> None:
        """Checks what the ranges cannot say."""
        check_joint_map(self)
        if not self.tip_link.strip():
            raise ParameterError("tip_link: need a link such as 'ee_gripper_link', got none")
        if len(self.text_position) != 3:
            raise ParameterError(
                f"text_position: need x, y and z [m], got {list(self.text_position)}"
            )
