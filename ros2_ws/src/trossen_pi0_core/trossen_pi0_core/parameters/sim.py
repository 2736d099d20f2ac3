"""Parameters of the simulated kit."""

from __future__ import annotations

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters.bounds import check_bounds, error, warning
from trossen_pi0_core.parameters.spec import check_address, parameter, parameters

VARIANTS = ("red_cube", "blue_brick", "wooden_block", "disturbance")
"""Task variants, after the scenarios of the reference's results."""

PROMPTS = {
    "red_cube": "grab and handover the red cube",
    "blue_brick": "grab and handover the blue brick",
    "wooden_block": "grab and handover the wooden block",
    "disturbance": "grab and handover the red cube",
}
"""What an operator would say to have each variant's object handed over."""


def variants_of(text: str) -> list[str]:
    """Task variants that are named with commas between them, or all by ``all``.

    Raises:
        ParameterError: an unknown one.
    """
    if text == "all":
        return list(VARIANTS)
    names = [part.strip() for part in text.split(",")]
    unknown = [name for name in names if name not in VARIANTS]
    if unknown:
        raise ParameterError(f"variants: {unknown} are not among {list(VARIANTS)}, or 'all'")
    return names


RESTING, SWINGING = "rest", "swing"
"""What the hand that holds the simulated leaders does."""


@parameters
class SimParameters:
    """What the simulated kit can be told."""

    variant: str = parameter("red_cube", "Task variant of the first episode.", choices=VARIANTS)
    seed: int = parameter(0, "Seed of the first episode.", low=0, high=2**32 - 1)
    arm_addresses: tuple[str, ...] = parameter(
        ("127.0.0.2", "127.0.0.3"), "Loopback addresses that the left and right arm are served on."
    )
    width: int = parameter(320, "Width of the pictures [pixels].", low=16, high=1920)
    height: int = parameter(240, "Height of the pictures [pixels].", low=16, high=1080)
    fps: float = parameter(30.0, "Rate of each camera [Hz].", low=1.0, high=60.0)
    image_reliability: str = parameter(
        "reliable",
        "Quality of service of the image topics; realsense2_camera's default is reliable.",
        choices=("best_effort", "reliable"),
    )
    status_rate: float = parameter(
        10.0, "Rate of /sim/status and /sim/ground_truth [Hz].", low=1.0, high=100.0
    )
    warn_real_time_factor: float = warning(
        0.95, "speed of the simulation over real time [1]", low=0.0, high=1.0, small=True
    )
    error_real_time_factor: float = error(
        0.5, "speed of the simulation over real time [1]", low=0.0, high=1.0, small=True
    )
    warn_skipped: int = warning(
        60, "pictures that were not rendered in time [1/min]", low=1, high=1000000
    )
    error_skipped: int = error(
        1200, "pictures that were not rendered in time [1/min]", low=1, high=1000000
    )

    def check(self) -> None:
        """Checks what concerns several parameters together."""
        check_bounds(self, low=("real_time_factor",))
        if len(set(self.arm_addresses)) != 2 or len(self.arm_addresses) != 2:
            raise ParameterError(
                f"arm_addresses: need two different addresses, got {list(self.arm_addresses)}"
            )
        for address in self.arm_addresses:
            check_address("arm_addresses", address)


@parameters
class SimLeadersParameters:
    """What the simulated leader arms can be told."""

    arm_addresses: tuple[str, ...] = parameter(
        ("127.0.0.4", "127.0.0.5"),
        "Loopback addresses that the left and right leader are served on.",
    )
    follower_prefixes: tuple[str, ...] = parameter(
        ("follower_left_", "follower_right_"), "URDF joint name prefix of each one's follower."
    )
    motion: str = parameter(
        SWINGING,
        "What the hand does while the followers follow: 'rest', or 'swing' around where it is.",
        choices=(RESTING, SWINGING),
        live=True,
    )
    amplitude: float = parameter(
        0.2, "Of the swing of the first joint [rad].", low=0.0, high=1.0, live=True
    )
    frequency: float = parameter(
        0.25, "Of the swing of the first joint [Hz].", low=0.01, high=3.0, live=True
    )

    def check(self) -> None:
        """Checks what concerns several parameters together."""
        for name in ("arm_addresses", "follower_prefixes"):
            values = getattr(self, name)
            if len(set(values)) != 2 or len(values) != 2:
                raise ParameterError(f"{name}: need two different ones, got {list(values)}")
        for address in self.arm_addresses:
            check_address("arm_addresses", address)
