"""Parameters of the nodes: one frozen, checked dataclass each."""

from trossen_pi0_core.parameters.arm_controller import ArmControllerParameters
from trossen_pi0_core.parameters.description import DescriptionParameters
from trossen_pi0_core.parameters.leader_arms import LeaderArmsParameters
from trossen_pi0_core.parameters.monitor import MonitorParameters
from trossen_pi0_core.parameters.policy import PolicyParameters
from trossen_pi0_core.parameters.recorder import RecorderParameters
from trossen_pi0_core.parameters.replay import ReplayParameters
from trossen_pi0_core.parameters.sim import SimLeadersParameters, SimParameters
from trossen_pi0_core.parameters.spec import ParameterSpec, Value, from_values, replaced, specs

__all__ = [
    "ArmControllerParameters",
    "DescriptionParameters",
    "LeaderArmsParameters",
    "MonitorParameters",
    "ParameterSpec",
    "PolicyParameters",
    "RecorderParameters",
    "ReplayParameters",
    "SimLeadersParameters",
    "SimParameters",
    "Value",
    "from_values",
    "replaced",
    "specs",
]
