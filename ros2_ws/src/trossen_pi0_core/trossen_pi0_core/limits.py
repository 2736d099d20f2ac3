"""Limits of the joints."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.joints import JOINTS_PER_ARM

# Per joint of one arm: the tighter of the driver's defaults and the URDF of trossen_arm_description
# (stationary_ai). The carriage may go to 0.044 m in the URDF and to 0.04 m in the driver.
WXAI_LOWER = (-3.054, 0.0, 0.0, -1.5707, -1.5707, -3.1415, 0.0)
WXAI_UPPER = (3.054, 3.1415, 2.356, 1.5707, 1.5707, 3.1415, 0.04)
WXAI_VELOCITY = (3.375, 3.375, 3.375, 7.0, 7.0, 7.0, 0.25)


@dataclass(frozen=True)
class JointLimits:
    """Limits of all joints, each array of shape (joints,).

    Attributes:
        names: joint names, for messages.
        lower: smallest position [rad; m for carriages].
        upper: largest position [rad; m for carriages].
        velocity: largest speed [rad/s; m/s for carriages].
        acceleration: largest acceleration [rad/s^2; m/s^2 for carriages].

    Raises:
        ParameterError: a length, a non-finite value, lower >= upper, or a speed or acceleration
            that is not greater than 0. A malformed limit never becomes a wide one.
    """

    names: tuple[str, ...]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    velocity: NDArray[np.float64]
    acceleration: NDArray[np.float64]

    def __post_init__(self) -> None:
        for label in ("lower", "upper", "velocity", "acceleration"):
            values = np.array(getattr(self, label), dtype=np.float64)
            values.flags.writeable = False
            object.__setattr__(self, label, values)
            if values.shape != (len(self.names),):
                raise ParameterError(
                    f"{label} limits need {len(self.names)} values, got shape {values.shape}"
                )
            if not np.isfinite(values).all():
                raise ParameterError(f"{label} limits must be finite, got {values.tolist()}")
        self._refuse(self.lower >= self.upper, "lower limit must lie below the upper one")
        self._refuse(self.velocity <= 0, "velocity limit must be greater than 0")
        self._refuse(self.acceleration <= 0, "acceleration limit must be greater than 0")

    def _refuse(self, bad: NDArray[np.bool_], rule: str) -> None:
        if bad.any():
            raise ParameterError(f"{rule}: {[self.names[i] for i in np.flatnonzero(bad)]}")

    def tightened(self, lower: ArrayLike, upper: ArrayLike, velocity: ArrayLike) -> JointLimits:
        """The tighter of these limits and others, such as those the driver reports.

        Args:
            lower: shape (joints,) [rad; m].
            upper: shape (joints,) [rad; m].
            velocity: shape (joints,) [rad/s; m/s].

        Raises:
            ParameterError: the others are malformed, or leave a joint no room.
        """
        others = JointLimits(
            self.names,
            np.asarray(lower),
            np.asarray(upper),
            np.asarray(velocity),
            self.acceleration,
        )
        return JointLimits(
            self.names,
            np.maximum(self.lower, others.lower),
            np.minimum(self.upper, others.upper),
            np.minimum(self.velocity, others.velocity),
            self.acceleration,
        )

    def slowed(self, fraction: float) -> JointLimits:
        """The same positions and accelerations with a part of the speeds.

        Raises:
            ParameterError: the fraction does not lie in (0, 1].
        """
        if not 0.0 < fraction <= 1.0:
            raise ParameterError(f"the fraction of the speed must lie in (0, 1], got {fraction}")
        return JointLimits(
            self.names, self.lower, self.upper, self.velocity * fraction, self.acceleration
        )


def per_joint(values: ArrayLike, joints: int, label: str) -> NDArray[np.float64]:
    """Spreads limits given for one arm over all arms; a full list is taken as it is.

    Raises:
        ParameterError: neither one arm's nor all joints' count.
    """
    array = np.asarray(values, dtype=np.float64).reshape(-1)
    if array.size == joints:
        return array.copy()
    if array.size == JOINTS_PER_ARM and joints % JOINTS_PER_ARM == 0:
        return np.tile(array, joints // JOINTS_PER_ARM)
    raise ParameterError(
        f"{label} needs {JOINTS_PER_ARM} values (each arm alike) or {joints}, got {array.size}"
    )
