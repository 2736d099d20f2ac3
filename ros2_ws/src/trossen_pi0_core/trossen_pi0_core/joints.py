"""Joint names and their order, written once.

The suite's order is the data sets' order: for each arm in turn, six revolute joints [rad] and the
left gripper carriage [m]. openpi's ALOHA layout is the same order for the arms (left, right).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trossen_pi0_core.errors import JointError

ARM_JOINTS = (*(f"joint_{i}" for i in range(6)), "left_carriage_joint")
"""Joints of one WidowX AI arm: joint_0..joint_5 [rad], left_carriage_joint [m]."""

JOINTS_PER_ARM = len(ARM_JOINTS)


@dataclass(frozen=True)
class JointMap:
    """Names of the same joints in the URDF and in LeRobot data sets.

    Attributes:
        arms: names of the arms, in the order of their values.
        urdf_prefixes: URDF prefix of each arm, as in ``stationary_ai`` of trossen_arm_description.
    """

    arms: tuple[str, ...] = ("left", "right")
    urdf_prefixes: tuple[str, ...] = ("follower_left_", "follower_right_")

    def __post_init__(self) -> None:
        if not self.arms:
            raise JointError("a joint map needs at least one arm, got none")
        for label, values in (("arm", self.arms), ("URDF prefix", self.urdf_prefixes)):
            if len(set(values)) != len(values):
                raise JointError(f"each {label} must be named once, got {list(values)}")
        if len(self.arms) != len(self.urdf_prefixes):
            raise JointError(
                f"need one URDF prefix for each of the arms {list(self.arms)}, "
                f"got {list(self.urdf_prefixes)}"
            )

    @property
    def size(self) -> int:
        """Number of joints over all arms."""
        return len(self.arms) * JOINTS_PER_ARM

    @property
    def urdf_names(self) -> tuple[str, ...]:
        """URDF joint names, in order."""
        return tuple(f"{prefix}{joint}" for prefix in self.urdf_prefixes for joint in ARM_JOINTS)

    @property
    def dataset_names(self) -> tuple[str, ...]:
        """Names in LeRobot data sets (``bi_widowxai_follower``), in order."""
        return tuple(f"{arm}_{joint}.pos" for arm in self.arms for joint in ARM_JOINTS)

    def arm_slice(self, arm: str) -> slice:
        """Where the values of one arm lie in a vector of all joints."""
        if arm not in self.arms:
            raise JointError(f"unknown arm {arm!r}, the arms are {list(self.arms)}")
        start = self.arms.index(arm) * JOINTS_PER_ARM
        return slice(start, start + JOINTS_PER_ARM)


def select_joints(
    names: Sequence[str], values: ArrayLike, wanted: Sequence[str]
) -> NDArray[np.float64]:
    """Picks values by joint name.

    Args:
        names: names of the given values, in any order; further joints are ignored.
        values: one value per name along the last axis [rad; m for carriages].
        wanted: names to return, in order.

    Returns:
        float64 array, last axis ``len(wanted)``.

    Raises:
        JointError: a wanted name is missing or stands twice, or the counts differ.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0 or array.shape[-1] != len(names):
        raise JointError(f"{len(names)} joint names but values of shape {array.shape}")
    index = {name: i for i, name in enumerate(names)}
    if len(index) != len(names):
        repeated = sorted({name for name in names if list(names).count(name) > 1})
        raise JointError(f"joints named more than once: {repeated}")
    missing = [name for name in wanted if name not in index]
    if missing:
        raise JointError(f"joints missing: {missing}; given: {list(names)}")
    return array[..., [index[name] for name in wanted]]
