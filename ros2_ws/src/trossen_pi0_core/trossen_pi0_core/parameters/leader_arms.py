"""Parameters of the leader-arm node."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.joints import ARM_JOINTS, JOINTS_PER_ARM, JointMap
from trossen_pi0_core.limits import per_joint
from trossen_pi0_core.parameters.bounds import check_bounds, error, warning
from trossen_pi0_core.parameters.joint_maps import check_joint_map
from trossen_pi0_core.parameters.priority import priority_parameter
from trossen_pi0_core.parameters.spec import check_address, parameter, parameters

REFUSE, RAMP = "refuse", "ramp"
"""What happens when teleoperation is started and leaders and followers stand apart."""

_CARRIAGE = ARM_JOINTS.index("left_carriage_joint")


@parameters
class LeaderArmsParameters:
    """What the leader-arm node can be told. Lists per arm are in the order of ``arms``."""

    autostart: bool = parameter(True, "Configure and activate the node at start.")
    realtime_priority: int = priority_parameter()
    arms: tuple[str, ...] = parameter(("left", "right"), "Names of the arms.")
    urdf_prefixes: tuple[str, ...] = parameter(
        ("leader_left_", "leader_right_"), "URDF joint name prefix of each leader."
    )
    follower_prefixes: tuple[str, ...] = parameter(
        ("follower_left_", "follower_right_"), "URDF joint name prefix of each one's follower."
    )
    arm_addresses: tuple[str, ...] = parameter(
        ("192.168.1.3", "192.168.1.2"), "IP address of each leader's controller."
    )
    arm_models: tuple[str, ...] = parameter(
        ("wxai_v0",), "Driver model name of each arm; one name stands for all."
    )
    end_effectors: tuple[str, ...] = parameter(
        ("wxai_v0_leader",), "Driver end-effector name of each arm; one name stands for all."
    )
    connect_timeout_s: float = parameter(
        5.0, "Longest wait for an arm controller to answer [s].", low=0.5, high=60.0
    )
    leader_stale_s: float = parameter(
        0.1,
        "A leader whose feedback stands still for this long is a fault [s].",
        low=0.02,
        high=5.0,
    )
    read_rate: float = parameter(
        100.0, "Rate at which the leaders are read and told forces [Hz].", low=50.0, high=500.0
    )
    chunk_rate: float = parameter(
        50.0, "Rate of the chunks that the followers are sent [Hz].", low=10.0, high=200.0
    )
    prediction_s: float = parameter(
        0.03,
        "The followers are led on at the leaders' speed for so long beyond a reading; then they "
        "come to rest unless the next one has come [s].",
        low=0.0,
        high=0.2,
        live=True,
    )
    alignment: str = parameter(
        REFUSE,
        "When leaders and followers stand apart at the start: 'refuse', or 'ramp' the followers "
        "slowly to the leaders.",
        choices=(REFUSE, RAMP),
        live=True,
    )
    alignment_tolerance: float = parameter(
        0.1, "A joint that differs by more stands apart [rad].", low=0.001, high=1.0, live=True
    )
    carriage_tolerance: float = parameter(
        0.01, "A carriage that differs by more stands apart [m].", low=0.0005, high=0.04, live=True
    )
    ramp_timeout_s: float = parameter(
        20.0, "Longest motion of the followers to the leaders [s].", low=1.0, high=120.0, live=True
    )
    jump: float = parameter(
        0.1,
        "A joint that goes further between two readings than its speed limit allows, and this, "
        "has jumped [rad; carriage a tenth of it in m].",
        low=0.001,
        high=3.0,
    )
    controller_timeout_s: float = parameter(
        0.5,
        "The followers hold when the arm controller's status or joint states are older [s].",
        low=0.15,
        high=10.0,
    )
    force_feedback_gain: float = parameter(
        0.0,
        "The leaders are pushed back with this part of the external efforts that the followers "
        "measure; 0: not at all [1].",
        low=0.0,
        high=1.0,
        live=True,
    )
    force_feedback_limit: tuple[float, ...] = parameter(
        (3.0, 3.0, 3.0, 1.0, 1.0, 1.0, 10.0),
        "Largest efforts of it [N m; carriage N]: 7 values for all arms alike, or all joints.",
        low=0.0,
        high=100.0,
    )
    force_feedback_fade_s: float = parameter(
        1.0, "Over this time it fades in [s].", low=0.05, high=10.0
    )
    status_rate: float = parameter(10.0, "Rate of /teleop/status [Hz].", low=1.0, high=100.0)
    warn_tick_lateness_s: float = warning(
        0.005, "99th percentile of how late ticks begin [s]", low=0.0001, high=10.0
    )
    error_tick_lateness_s: float = error(
        0.05, "99th percentile of how late ticks begin [s]", low=0.0001, high=10.0
    )
    warn_missed_deadlines: int = warning(
        10, "ticks that began more than a period late [1/min]", low=1, high=1000000
    )
    error_missed_deadlines: int = error(
        600, "ticks that began more than a period late [1/min]", low=1, high=1000000
    )

    @property
    def joint_map(self) -> JointMap:
        """Names of the leaders' joints."""
        return JointMap(self.arms, self.urdf_prefixes)

    @property
    def follower_map(self) -> JointMap:
        """Names of the followers' joints, in the same order."""
        return JointMap(self.arms, self.follower_prefixes)

    @property
    def tolerances(self) -> NDArray[np.float64]:
        """Largest differences at the start, shape (joints,) [rad; m for carriages]."""
        return self._with_carriages(self.alignment_tolerance, self.carriage_tolerance)

    @property
    def jumps(self) -> NDArray[np.float64]:
        """Smallest jumps, shape (joints,) [rad; m for carriages]."""
        return self._with_carriages(self.jump, self.jump / 10.0)

    @property
    def force_limits(self) -> NDArray[np.float64]:
        """Largest efforts of the force feedback, shape (joints,) [N m; N for carriages]."""
        return per_joint(self.force_feedback_limit, self.joint_map.size, "force_feedback_limit")

    def for_each_arm(self, name: str) -> tuple[str, ...]:
        """A list parameter with one entry an arm, a single entry repeated."""
        values = getattr(self, name)
        return values * len(self.arms) if len(values) == 1 else values

    def check(self) -> None:
        """Checks what concerns several parameters together."""
        check_joint_map(self)
        check_joint_map(self, "follower_map", "follower_prefixes")
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
        assert self.force_limits.size == self.joint_map.size  # or it has raised
        if self.chunk_rate > self.read_rate:
            raise ParameterError(
                f"chunk_rate: {self.chunk_rate:g} Hz is more often than the leaders are read, "
                f"{self.read_rate:g} Hz"
            )

    def _with_carriages(self, revolute: float, carriage: float) -> NDArray[np.float64]:
        values = np.full(self.joint_map.size, revolute)
        values[_CARRIAGE::JOINTS_PER_ARM] = carriage
        return values
