"""What the launch with the same arguments would use."""

from __future__ import annotations

from dataclasses import dataclass

from trossen_pi0_bringup.arguments import SIM, Arguments
from trossen_pi0_bringup.cameras import camera_profile
from trossen_pi0_bringup.kit import camera_topics
from trossen_pi0_bringup.nodes import arm_controller_node, node_values, policy_node, recorder_node
from trossen_pi0_core.parameters import (
    ArmControllerParameters,
    PolicyParameters,
    RecorderParameters,
    SimParameters,
    from_values,
)


@dataclass(frozen=True)
class CameraPlan:
    """A camera that is used.

    Attributes:
        name: such as 'cam_high'.
        topic: of its pictures.
        serial: its number; empty in simulation, and where none was given.
        width: of its pictures [pixels].
        height: of its pictures [pixels].
        rate_hz: of its pictures [Hz].
    """

    name: str
    topic: str
    serial: str
    width: int
    height: int
    rate_hz: float


@dataclass(frozen=True)
class Plan:
    """What is looked at.

    Attributes:
        sim: whether the kit is simulated.
        arms: the arm controller's parameters.
        policy: the policy node's; None: none is started.
        recorder: the recorder's.
        record: whether runs are recorded.
        cameras: that are used.
    """

    sim: bool
    arms: ArmControllerParameters
    policy: PolicyParameters | None
    recorder: RecorderParameters
    record: bool
    cameras: tuple[CameraPlan, ...]

    @property
    def addresses(self) -> dict[str, str]:
        """Name of each arm -> address."""
        return dict(zip(self.arms.arms, self.arms.arm_addresses, strict=True))


def plan_of(arguments: Arguments) -> Plan:
    """The plan that arguments stand for.

    Raises:
        ParameterError: arguments that are not allowed, or do not go together.
    """
    asked = policy_node(arguments)
    return Plan(
        sim=arguments["sim"],
        arms=from_values(ArmControllerParameters, node_values(arm_controller_node(arguments))),
        policy=from_values(PolicyParameters, node_values(asked)) if asked else None,
        recorder=from_values(RecorderParameters, node_values(recorder_node(arguments))),
        record=arguments["record"],
        cameras=tuple(_cameras(arguments)),
    )


def _cameras(arguments: Arguments) -> list[CameraPlan]:
    if arguments["sim"]:
        kit = from_values(SimParameters, arguments.node_parameters(SIM))
        width, height, rate = kit.width, kit.height, kit.fps
    else:
        width, height, rate = camera_profile(arguments["camera_profile"])
    return [
        CameraPlan(name, topic, arguments[f"{name}_serial"].lstrip("_"), width, height, rate)
        for name, topic in camera_topics(arguments).items()
    ]
