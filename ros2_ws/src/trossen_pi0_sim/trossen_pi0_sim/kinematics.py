"""Inverse kinematics of one arm of the kit."""

from __future__ import annotations

from collections.abc import Iterable

import mujoco
import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import BackendError
from trossen_pi0_core.joints import ARM_JOINTS
from trossen_pi0_sim.scene import GRASP_SITE, ArmMount

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

_POSITION_TOLERANCE_M = 2e-4
_ANGLE_TOLERANCE_RAD = 2e-3
_ITERATIONS = 80
_DAMPING = 0.02
_MAX_STEP_RAD = 0.3
_LIMIT_MARGIN_RAD = 0.02


class ArmKinematics:
    """Poses of one arm's grasp site, and joint angles that reach them.

    Not thread-safe: it works on a MuJoCo state of its own.
    """

    def __init__(self, model: mujoco.MjModel, mount: ArmMount) -> None:
        self._model = model
        self._data = mujoco.MjData(model)
        self._name = mount.name
        joints = [model.joint(f"{mount.prefix}{joint}") for joint in ARM_JOINTS[:-1]]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dof = np.array([joint.dofadr[0] for joint in joints])
        ranges = np.array([joint.range for joint in joints])
        self._low = ranges[:, 0] + _LIMIT_MARGIN_RAD
        self._high = ranges[:, 1] - _LIMIT_MARGIN_RAD
        self._site = model.site(f"{mount.prefix}{GRASP_SITE}").id

    def forward(self, joints: Vector) -> tuple[Vector, Matrix]:
        """Position [m] and rotation matrix of the grasp site in the world frame.

        Args:
            joints: shape (6,) [rad].
        """
        data = self._data
        data.qpos[self._qpos] = joints
        mujoco.mj_kinematics(self._model, data)
        return data.site_xpos[self._site].copy(), data.site_xmat[self._site].reshape(3, 3).copy()

    def solve(self, position: Vector, rotation: Matrix, seeds: Iterable[Vector]) -> Vector:
        """Joint angles, shape (6,) [rad], that bring the grasp site to a pose.

        Args:
            position: shape (3,), world frame [m].
            rotation: shape (3, 3): columns are the site's axes in the world frame.
            seeds: where to begin, each of shape (6,) [rad]; the first that converges is taken.

        Raises:
            BackendError: no seed leads to the pose.
        """
        for seed in seeds:
            joints = self._descend(position, rotation, np.clip(seed, self._low, self._high))
            if joints is not None:
                return joints
        raise BackendError(
            f"the {self._name} arm cannot reach x {position[0]:.3f} y {position[1]:.3f} "
            f"z {position[2]:.3f} m with its gripper along {rotation[:, 0].round(2).tolist()}"
        )

    def _descend(self, position: Vector, rotation: Matrix, joints: Vector) -> Vector | None:
        """Damped least squares on the site's Jacobian."""
        jac_position = np.empty((3, self._model.nv))
        jac_rotation = np.empty((3, self._model.nv))
        damping = _DAMPING**2 * np.eye(6)
        for _ in range(_ITERATIONS):
            at, turned = self.forward(joints)
            offset, angle = position - at, _rotation_vector(rotation @ turned.T)
            if (
                np.linalg.norm(offset) < _POSITION_TOLERANCE_M
                and np.linalg.norm(angle) < _ANGLE_TOLERANCE_RAD
            ):
                return joints
            mujoco.mj_comPos(self._model, self._data)
            mujoco.mj_jacSite(self._model, self._data, jac_position, jac_rotation, self._site)
            jacobian = np.vstack([jac_position[:, self._dof], jac_rotation[:, self._dof]])
            error = np.concatenate([offset, angle])
            step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + damping, error)
            step *= min(1.0, _MAX_STEP_RAD / max(float(np.abs(step).max()), 1e-12))
            joints = np.clip(joints + step, self._low, self._high)
        return None


def _rotation_vector(rotation: Matrix) -> Vector:
    """Axis times angle [rad] of a rotation matrix."""
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(rotation).ravel())
    vector = np.empty(3)
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector
