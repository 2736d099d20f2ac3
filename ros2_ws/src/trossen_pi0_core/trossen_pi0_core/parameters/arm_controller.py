"""Parameters of the arm controller node."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.joints import JOINTS_PER_ARM, JointMap
from trossen_pi0_core.limits import WXAI_LOWER, WXAI_UPPER, WXAI_VELOCITY, JointLimits, per_joint
from trossen_pi0_core.parameters.bounds import check_bounds, error, warning
from trossen_pi0_core.parameters.joint_maps import check_joint_map
from trossen_pi0_core.parameters.priority import priority_parameter
from trossen_pi0_core.parameters.spec import check_address, parameter, parameters

# Four fifths of what the arm's controller is delivered with (27, 7 and 400). In the simulated kit a
# handover takes up to 1 N m in the joints and 18 N in a closed gripper; a joint that is blocked is
# driven to the controller's own limit.
WXAI_EFFORT = (21.6, 21.6, 21.6, 5.6, 5.6, 5.6, 320.0)


@parameters
class ArmControllerParameters:
    """What the arm controller can be told. Lists per arm are in the order of ``arms``."""

    autostart: bool = parameter(True, "Configure and activate the node at start.")
    realtime_priority: int = priority_parameter()
    mode: str = parameter(
        "autonomous",
        "'autonomous' drives the arms; 'test' runs everything and sends nothing.",
        choices=("autonomous", "test"),
    )
    arms: tuple[str, ...] = parameter(("left", "right"), "Names of the arms.")
    urdf_prefixes: tuple[str, ...] = parameter(
        ("follower_left_", "follower_right_"), "URDF joint name prefix of each arm."
    )
    arm_addresses: tuple[str, ...] = parameter(
        ("192.168.1.5", "192.168.1.4"), "IP address of each arm's controller."
    )
    arm_models: tuple[str, ...] = parameter(
        ("wxai_v0",), "Driver model name of each arm; one name stands for all."
    )
    end_effectors: tuple[str, ...] = parameter(
        ("wxai_v0_follower",), "Driver end-effector name of each arm; one name stands for all."
    )
    connect_timeout_s: float = parameter(
        5.0, "Longest wait for an arm controller to answer [s].", low=0.5, high=60.0
    )
    driver_stale_s: float = parameter(
        0.1, "An arm whose feedback stands still for this long is a fault [s].", low=0.02, high=5.0
    )
    round_trip_limit_s: float = parameter(
        0.02,
        "A control cycle in which the driver takes longer to be told and read is late [s].",
        low=0.002,
        high=5.0,
    )
    round_trip_strikes: int = parameter(
        3,
        "After so many late cycles in a row the arms hold; when further ones take longer than "
        "driver_stale_s together, it is a fault.",
        low=1,
        high=100,
    )
    clock_jump_s: float = parameter(
        0.1,
        "When ROS time steps by more than this, or back, planned motion is dropped and the arms "
        "hold [s].",
        low=0.01,
        high=10.0,
    )
    effort_limit: tuple[float, ...] = parameter(
        WXAI_EFFORT,
        "Largest measured joint efforts [N m; carriage N]: 7 values for all arms alike, or all "
        "joints; longer than effort_time_s beyond is a fault.",
        low=0.0,
    )
    effort_time_s: float = parameter(
        0.5, "For how long an effort may lie beyond its limit [s].", low=0.02, high=10.0
    )
    shutdown_pose: str = parameter(
        "",
        "Pose that the arms move to before they brake when the node is deactivated or ended; "
        "empty: they come to rest where they are.",
        choices=("", "staged", "home"),
    )
    shutdown_timeout_s: float = parameter(
        4.0, "Longest time for that motion; then they come to rest [s].", low=0.1, high=60.0
    )
    control_rate: float = parameter(
        100.0, "Rate of the control loop and of /joint_states [Hz].", low=50.0, high=500.0
    )
    command_rate: float = parameter(
        30.0, "Rate of /arm_controller/command, that of the data set [Hz].", low=1.0, high=500.0
    )
    status_rate: float = parameter(10.0, "Rate of the status topic [Hz].", low=1.0, high=100.0)
    blend_s: float = parameter(
        0.1,
        "Cross-fade when a newer chunk takes over, longer where the limits need it; 0: none [s].",
        low=0.0,
        high=2.0,
        live=True,
    )
    temporal_ensemble_coefficient: float = parameter(
        math.nan,
        "ACT's m: weights exp(-m i), oldest first, over all chunks that cover the present; "
        "NaN: the newest takes over.",
        low=-10.0,
        high=10.0,
        live=True,
        allow_nan=True,
    )
    max_chunk_age_s: float = parameter(
        2.5,
        "A chunk whose observation is older is refused, and the arms hold when the chunk in force "
        "gets older [s].",
        low=0.05,
        high=60.0,
        live=True,
    )
    start_tolerance_s: float = parameter(
        0.1,
        "A run whose first row lies further away than this at the speed of MoveTo begins with a "
        "ramp [s].",
        low=0.0,
        high=2.0,
        live=True,
    )
    staged_pose: tuple[float, ...] = parameter(
        (0.0, math.pi / 3, math.pi / 6, math.pi / 5, 0.0, 0.0, 0.0),
        "Pose 'staged' of each arm [rad; carriage m]: 7 values for all arms alike, or all joints.",
    )
    home_pose: tuple[float, ...] = parameter(
        (0.0,) * JOINTS_PER_ARM, "Pose 'home', likewise: the arms rest on their bases."
    )
    position_lower: tuple[float, ...] = parameter(
        WXAI_LOWER, "Smallest joint positions [rad; m]; the driver's apply where tighter."
    )
    position_upper: tuple[float, ...] = parameter(
        WXAI_UPPER, "Largest joint positions [rad; m]; the driver's apply where tighter."
    )
    velocity_limit: tuple[float, ...] = parameter(
        WXAI_VELOCITY, "Largest joint speeds [rad/s; m/s]; the driver's apply where tighter."
    )
    acceleration_limit: tuple[float, ...] = parameter(
        (15.0, 15.0, 15.0, 30.0, 30.0, 30.0, 2.5), "Largest accelerations [rad/s^2; m/s^2]."
    )
    velocity_fraction: float = parameter(
        0.7,
        "Part of the speed limits that is used, so that the driver never trips [1].",
        low=0.05,
        high=0.9,
    )
    move_velocity_fraction: float = parameter(
        0.3, "Part of the speed limits that MoveTo and ramps use [1].", low=0.01, high=0.9
    )
    warn_tick_lateness_s: float = warning(
        0.005, "99th percentile of how late control ticks begin [s]", low=0.0001, high=10.0
    )
    error_tick_lateness_s: float = error(
        0.05, "99th percentile of how late control ticks begin [s]", low=0.0001, high=10.0
    )
    warn_missed_deadlines: int = warning(
        10,
        "control ticks more than a period late, and late round trips [1/min]",
        low=1,
        high=1000000,
    )
    error_missed_deadlines: int = error(
        600,
        "control ticks more than a period late, and late round trips [1/min]",
        low=1,
        high=1000000,
    )
    warn_limit_events: int = warning(
        1,
        "position, speed, acceleration and effort limit events [1/min]",
        low=1,
        high=1000000,
    )
    error_limit_events: int = error(
        600,
        "position, speed, acceleration and effort limit events [1/min]",
        low=1,
        high=1000000,
    )
    warn_chunk_events: int = warning(
        1, "chunks refused or run out and clock jumps [1/min]", low=1, high=1000000
    )
    error_chunk_events: int = error(
        60, "chunks refused or run out and clock jumps [1/min]", low=1, high=1000000
    )
    warn_chunk_age_s: float = parameter(
        2.0,
        "Diagnostics: age of the chunk in force, first value of a warning; an error is "
        "max_chunk_age_s [s].",
        low=0.01,
        high=60.0,
        live=True,
    )

    @property
    def joint_map(self) -> JointMap:
        """Names of the joints."""
        return JointMap(self.arms, self.urdf_prefixes)

    @property
    def limits(self) -> JointLimits:
        """Limits of all joints as configured; ``velocity_fraction`` is not yet applied."""
        size = self.joint_map.size
        return JointLimits(
            self.joint_map.urdf_names,
            per_joint(self.position_lower, size, "position_lower"),
            per_joint(self.position_upper, size, "position_upper"),
            per_joint(self.velocity_limit, size, "velocity_limit"),
            per_joint(self.acceleration_limit, size, "acceleration_limit"),
        )

    @property
    def efforts(self) -> NDArray[np.float64]:
        """Largest efforts of all joints, shape (joints,) [N m; N for carriages]."""
        return per_joint(self.effort_limit, self.joint_map.size, "effort_limit")

    def for_each_arm(self, name: str) -> tuple[str, ...]:
        """A list parameter with one entry an arm, a single entry repeated."""
        values = getattr(self, name)
        return values * len(self.arms) if len(values) == 1 else values

    def check(self) -> None:
        """Checks what concerns several parameters together."""
        check_joint_map(self)
        limits = self.limits
        if (self.efforts <= 0).any():
            raise ParameterError(
                f"effort_limit: must be greater than 0, got {list(self.effort_limit)}"
            )
        check_bounds(self)
        arms = len(self.arms)
        for name in ("arm_addresses", "arm_models", "end_effectors"):
            if len(self.for_each_arm(name)) != arms:
                raise ParameterError(
                    f"{name}: need one entry for each of the arms {list(self.arms)}, "
                    f"got {list(getattr(self, name))}"
                )
        for address in self.arm_addresses:
            check_address("arm_addresses", address)
        if len(set(self.arm_addresses)) != arms:
            raise ParameterError(
                f"arm_addresses: each arm needs its own, got {list(self.arm_addresses)}"
            )
        for name in ("staged_pose", "home_pose"):
            pose = per_joint(getattr(self, name), limits.lower.size, name)
            outside = (pose < limits.lower) | (pose > limits.upper)
            if outside.any():
                bad = [n for n, out in zip(limits.names, outside, strict=True) if out]
                raise ParameterError(f"{name}: outside the position limits: {bad}")
