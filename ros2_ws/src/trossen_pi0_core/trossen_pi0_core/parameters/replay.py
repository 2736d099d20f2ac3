"""Parameters of the replay node."""

from __future__ import annotations

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.parameters.joint_maps import check_joint_map
from trossen_pi0_core.parameters.spec import parameter, parameters

OBSERVATIONS, ACTIONS = "observations", "actions"
"""What can be replayed."""

CLOCK_TOPIC = "/clock"

_SLOWEST_ACTIONS, _FASTEST_ACTIONS = 0.05, 2.0


@parameters
class ReplayParameters:
    """What the replay node can be told. Lists per arm are in the order of ``arms``."""

    autostart: bool = parameter(True, "Configure and activate the node at start.")
    episode: str = parameter("", "Folder of the episode.")
    mode: str = parameter(
        OBSERVATIONS,
        "'observations' publishes pictures, joint states and /clock as they were recorded; "
        "'actions' has the arm controller execute the recorded commands.",
        choices=(OBSERVATIONS, ACTIONS),
    )
    waits: bool = parameter(
        False, "Begins by /replay/start; otherwise as soon as the node is active."
    )
    rate: float = parameter(
        1.0,
        "Episode time over real time; 0: as fast as the messages are taken; with actions 0.05 "
        "to 2.",
        low=0.0,
        high=100.0,
        live=True,
    )
    start_s: float = parameter(0.0, "Begins so long after the first message [s].", low=0.0)
    duration_s: float = parameter(0.0, "Plays so much of the episode [s]; 0: all.", low=0.0)
    loop: bool = parameter(False, "observations: begins again at the end.", live=True)
    topics: tuple[str, ...] = parameter(
        (), "observations: topics to publish; empty: pictures, camera infos and joint states."
    )
    awaits: tuple[str, ...] = parameter(
        (), "observations: published topics that must have a subscriber before the start."
    )
    clock_rate: float = parameter(
        100.0, "observations: rate of /clock in real time [Hz].", low=1.0, high=1000.0
    )
    step_s: float = parameter(
        1.0 / 30.0, "observations: episode time of one step [s].", low=0.001, high=60.0, live=True
    )
    status_rate: float = parameter(10.0, "Rate of /replay/status [Hz].", low=1.0, high=100.0)
    arms: tuple[str, ...] = parameter(("left", "right"), "Names of the arms.")
    urdf_prefixes: tuple[str, ...] = parameter(
        ("follower_left_", "follower_right_"), "URDF joint name prefix of each arm."
    )
    row_rate: float = parameter(
        100.0, "actions: rate of the rows of a chunk [Hz].", low=10.0, high=500.0
    )
    chunk_s: float = parameter(
        1.0, "actions: how far ahead a chunk reaches [s].", low=0.2, high=10.0
    )
    rest_s: float = parameter(
        0.5, "actions: rest at the first pose before the motion [s].", low=0.2, high=60.0
    )
    controller_timeout_s: float = parameter(
        10.0, "actions: longest wait for the arm controller at the start [s].", low=0.5, high=600.0
    )
    ramp_timeout_s: float = parameter(
        60.0, "actions: longest motion to the first pose [s].", low=1.0, high=600.0
    )
    silence_s: float = parameter(
        2.0, "actions: ends when the arm controller is silent for longer [s].", low=0.2, high=60.0
    )

    @property
    def joint_map(self) -> JointMap:
        """Names of the joints."""
        return JointMap(self.arms, self.urdf_prefixes)

    def check(self) -> None:
        """Checks what the ranges cannot say."""
        check_joint_map(self)
        if CLOCK_TOPIC in self.topics:
            raise ParameterError(f"topics: {CLOCK_TOPIC} is made by the replay node itself")
        if self.mode != ACTIONS:
            return
        if not _SLOWEST_ACTIONS <= self.rate <= _FASTEST_ACTIONS:
            raise ParameterError(
                f"rate: {self.rate:g} lies outside [{_SLOWEST_ACTIONS}, {_FASTEST_ACTIONS}], "
                "which is allowed for mode 'actions'"
            )
        for name in ("loop", "topics", "awaits"):
            if getattr(self, name):
                raise ParameterError(f"{name}: only for mode 'observations'")
