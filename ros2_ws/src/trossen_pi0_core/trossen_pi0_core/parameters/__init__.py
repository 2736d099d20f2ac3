"""Parameters of the nodes: one frozen, checked dataclass each."""

from trossen_pi0_core.parameters.arm_controller import ArmControllerParameters
from trossen_pi0_core.parameters.policy import PolicyParameters
from trossen_pi0_core.parameters.sim import SimParameters
from trossen_pi0_core.parameters.spec import ParameterSpec, Value, from_values, replaced, specs

__all__ = [
    "ArmControllerParameters",
    "ParameterSpec",
    "PolicyParameters",
    "SimParameters",
    "Value",
    "from_values",
    "replaced",
    "specs",
]
