"""A look at an arm's controller that changes nothing: it clears no error and takes no command."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import trossen_arm
from numpy.typing import NDArray

from trossen_pi0_control.arm import ArmLimits
from trossen_pi0_control.trossen import TrossenArm
from trossen_pi0_core.errors import DriverError


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        driver_version: of the driver on this machine.
        firmware_version: of the arm's controller.
        error: what the controller says of its error state, such as 'No error'.
        modes: the joints' modes; idle: on their brakes.
        limits: what the controller allows.
        positions: shape (7,) [rad; m for the carriage].
    """

    driver_version: str
    firmware_version: str
    error: str
    modes: frozenset[str]
    limits: ArmLimits
    positions: NDArray[np.float64]


def inspect_arm(
    name: str, address: str, *, model: str, end_effector: str, timeout_s: float
) -> Inspection:
    """Connects, reads and disconnects. The arm is on its brakes meanwhile, and after it.

    An error from before stays, and is told. Only for an arm that no driver is connected to.

    Args:
        name: of the arm, for messages.
        address: IP address of its controller.
        model: name in ``trossen_arm.Model``.
        end_effector: name in ``trossen_arm.StandardEndEffector``.
        timeout_s: longest wait for the controller [s].

    Raises:
        ParameterError: an unknown model or end effector.
        DriverError: no connection, an error state, or versions that do not fit.
    """
    arm = _Inspected(
        name,
        address,
        model=model,
        end_effector=end_effector,
        timeout_s=timeout_s,
        control_rate=100.0,
    )
    try:
        return arm.inspect()
    finally:
        arm.release()


class _Inspected(TrossenArm):
    def inspect(self) -> Inspection:
        with self._lock:
            self._configure(clear_error=False)
            limits = self._read_limits()
            with self._calling("reading"):
                driver = self._driver
                return Inspection(
                    driver.get_driver_version(),
                    driver.get_controller_version(),
                    driver.get_error_information(),
                    frozenset(trossen_arm.Mode(mode).name for mode in driver.get_modes()),
                    limits,
                    np.array(driver.get_all_positions()),
                )


def is_version_mismatch(error: DriverError) -> bool:
    """Whether the driver refused a controller with other firmware."""
    return "versions of the driver and controller firmware" in str(error)
