"""Where the grippers are, by forward kinematics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from trossen_pi0_core.joints import ARM_JOINTS, JointMap, select_joints
from trossen_pi0_core.kinematics import KinematicTree

Array = NDArray[np.float64]

CARRIAGE = ARM_JOINTS[-1]


@dataclass(frozen=True)
class TipPath:
    """What one gripper does, row by row.

    Attributes:
        points: between its fingertips, in the root's frame, shape (rows, 3) [m].
        fingers: the two ends of its opening there, shape (rows, 2, 3) [m].
    """

    points: Array
    fingers: Array


class Tips:
    """The grippers of the arms.

    Attributes:
        arms: their names.
        frame: the robot's root, in which all positions are given.
        joint_names: joints whose positions must be known.
    """

    def __init__(self, tree: KinematicTree, joint_map: JointMap, tip_link: str) -> None:
        """Args:
        tree: the robot.
        joint_map: its arms and their prefixes.
        tip_link: frame between the fingertips, without prefix; its y lies along the opening.

        Raises:
            DescriptionError: the robot has no such link.
        """
        self.arms = joint_map.arms
        self.frame = tree.root
        self._tree = tree
        self._links = [f"{prefix}{tip_link}" for prefix in joint_map.urdf_prefixes]
        self._carriages = [f"{prefix}{CARRIAGE}" for prefix in joint_map.urdf_prefixes]
        moving = (joint for link in self._links for joint in tree.joints_to(link))
        self.joint_names = tuple(dict.fromkeys((*moving, *self._carriages)))

    def paths(self, names: Sequence[str], positions: ArrayLike) -> dict[str, TipPath]:
        """The way of each arm's gripper.

        Args:
            names: of the joints.
            positions: shape (rows, joints) [rad; m for carriages].

        Raises:
            JointError: a joint of an arm is missing.
        """
        return {
            arm: self._path(link, carriage, names, positions)
            for arm, link, carriage in zip(self.arms, self._links, self._carriages, strict=True)
        }

    def _path(
        self, link: str, carriage: str, names: Sequence[str], positions: ArrayLike
    ) -> TipPath:
        poses = self._tree.poses(link, names, positions)
        half = select_joints(names, positions, [carriage]).reshape(-1, 1)
        points, along = poses[:, :3, 3].copy(), poses[:, :3, 1]
        fingers = np.stack([points - half * along, points + half * along], axis=1)
        return TipPath(points, fingers)
