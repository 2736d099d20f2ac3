"""A leader arm behind the vendor's driver: moved by hand, it carries its own weight."""

from __future__ import annotations

import numpy as np
import trossen_arm
from numpy.typing import NDArray
from typing_extensions import override

from trossen_pi0_control.trossen import TrossenArm
from trossen_pi0_core.joints import JOINTS_PER_ARM
from trossen_pi0_core.parameters import LeaderArmsParameters

_AT_ONCE_S = 0.0


class LeaderArm(TrossenArm):
    """A ``TrossenArm`` whose commands are external efforts.

    Enabled it is in the driver's mode ``external_effort``: its controller compensates gravity and
    friction and adds the commanded efforts, so that with none it is weightless and can be moved.
    Disabled, after an error, and when it is released, it is idle: its joints are braked.
    """

    @override
    def enable(self) -> None:
        """External-effort mode without efforts."""
        with self._lock, self._calling("switching to external-effort mode"):
            self._driver.set_all_modes(trossen_arm.Mode.external_effort)
            self._tell(np.zeros(JOINTS_PER_ARM))

    @override
    def command(self, targets: NDArray[np.float64]) -> None:
        """Sets the external efforts."""
        self._check(targets, "efforts")
        with self._calling("commanding efforts"):
            self._tell(targets)

    def _tell(self, efforts: NDArray[np.float64]) -> None:
        self._driver.set_all_external_efforts(
            trossen_arm.VectorDouble(efforts.tolist()), _AT_ONCE_S, False
        )


def leader_arms(params: LeaderArmsParameters) -> list[LeaderArm]:
    """The leaders that the parameters describe, not yet connected.

    Raises:
        ParameterError: an unknown model or end effector.
    """
    each = zip(
        params.arms,
        params.arm_addresses,
        params.for_each_arm("arm_models"),
        params.for_each_arm("end_effectors"),
        strict=True,
    )
    return [
        LeaderArm(
            f"leader {name}",
            address,
            model=model,
            end_effector=end_effector,
            timeout_s=params.connect_timeout_s,
            control_rate=params.read_rate,
        )
        for name, address, model, end_effector in each
    ]
