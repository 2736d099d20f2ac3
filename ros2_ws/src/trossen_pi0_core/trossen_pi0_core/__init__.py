"""What the suite knows without ROS and without JAX."""

from trossen_pi0_core.contract import CAMERAS, ActionChunk, Observation
from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.limits import JointLimits

__all__ = [
    "CAMERAS",
    "ActionChunk",
    "JointLimits",
    "JointMap",
    "Observation",
    "TrossenPi0Error",
]
