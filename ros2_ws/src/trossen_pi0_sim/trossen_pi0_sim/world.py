"""The simulated world: physics, object, task progress. Steps without ROS and without wall clock."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from trossen_pi0_core.errors import JointError
from trossen_pi0_core.joints import JOINTS_PER_ARM
from trossen_pi0_sim.disturbance import Disturbance
from trossen_pi0_sim.progress import TaskProgress, TaskState
from trossen_pi0_sim.rendering import CameraRenderer
from trossen_pi0_sim.scene import (
    ACTUATOR_NAMES,
    ARMS,
    FINGER_BODIES,
    GRASP_SITE,
    JOINT_NAMES,
    OBJECT,
    TABLE_GEOM,
    TIMESTEP_S,
    build_model,
    set_variant,
)
from trossen_pi0_sim.tasks import Variant, find_variant, start_pose

Array = NDArray[np.float64]

STEPS_PER_TICK = 2
"""Physics steps of a tick."""

TICK_S = STEPS_PER_TICK * TIMESTEP_S
"""Time of a tick [s]: 1/300, which divides both 1/30 and 1/50."""

_TICKS_PER_JUDGEMENT = 5


@dataclass(frozen=True)
class Snapshot:
    """The world after a tick. Immutable, so any thread may read it.

    Attributes:
        time_s: simulated time [s].
        qpos: MuJoCo's joint positions, shape (nq,), for rendering.
        positions: the 14 joints, shape (14,) [rad; m for carriages].
        velocities: likewise [rad/s; m/s].
        efforts: likewise [N m; N].
        object_pose: centre and orientation of the object, world frame, shape (7,): x y z [m], then
            quaternion w x y z.
    """

    time_s: float
    qpos: Array
    positions: Array
    velocities: Array
    efforts: Array
    object_pose: Array


@dataclass(frozen=True)
class GroundTruth:
    """The truth about the object, for the expert and for evaluation.

    Attributes:
        variant: scenario.
        seed: of the episode.
        object_pose: shape (7,), see Snapshot.
        object_half_size: half edge lengths along its own axes [m].
    """

    variant: str
    seed: int
    object_pose: Array
    object_half_size: tuple[float, float, float]


class World:
    """Two arms, table and object.

    One thread owns the world: it alone calls ``step``, ``reset``, ``place_arms`` and ``render``.
    Any thread may call ``command`` and read ``snapshot``, ``ground_truth`` and ``progress``.
    """

    def __init__(self, seed: int = 0, variant: str = "red_cube", *, visuals: bool = True) -> None:
        """Builds the world and begins an episode with both arms folded at zero.

        Args:
            seed: of the episode: start pose of the object and disturbance.
            variant: scenario, see ``trossen_pi0_sim.tasks.VARIANTS``.
            visuals: whether pictures can be rendered.

        Raises:
            ParameterError: unknown variant, or a seed out of range.
        """
        self.variant: Variant = find_variant(variant)
        self.seed = seed
        self.model = build_model(visuals=visuals)
        self._data = mujoco.MjData(self.model)
        self._index()
        self._renderers: dict[tuple[int, int], CameraRenderer] = {}
        self._targets: list[Array | None] = [None] * len(ARMS)
        self._ticks = self._began_ticks = 0
        self.progress = TaskProgress()
        self._disturbance: Disturbance | None = None
        self.reset(seed, variant)

    def _index(self) -> None:
        model = self.model
        joints = [model.joint(name) for name in JOINT_NAMES]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self._dof = np.array([joint.dofadr[0] for joint in joints])
        self._ctrl = np.array([model.actuator(name).id for name in ACTUATOR_NAMES])
        mirrors = [model.joint(f"{arm.prefix}right_carriage_joint").qposadr[0] for arm in ARMS]
        self._mirrored = np.array(mirrors)
        start = model.joint(OBJECT).qposadr[0]
        self._object_qpos = slice(start, start + 7)
        start = model.joint(OBJECT).dofadr[0]
        self._object_dof = slice(start, start + 6)
        self._object_geom = model.geom(OBJECT).id
        self._table_geom = model.geom(TABLE_GEOM).id
        self._finger_bodies = [[model.body(name).id for name in arm] for arm in FINGER_BODIES]
        self._grasp_sites = [model.site(f"{arm.prefix}{GRASP_SITE}").id for arm in ARMS]

    # -- any thread ----------------------------------------------------------------------------

    def command(self, arm: int, positions: ArrayLike | None) -> None:
        """Sets the targets of one arm from the next tick on; the last ones hold until then.

        Args:
            arm: 0 for the left arm, 1 for the right one.
            positions: shape (7,) [rad; m for the carriage], or None to stop where the arm is.

        Raises:
            JointError: wrong count, or values that are not finite.
        """
        self._targets[arm] = (
            self.snapshot.positions[arm * JOINTS_PER_ARM :][:JOINTS_PER_ARM].copy()
            if positions is None
            else checked_positions(positions, JOINTS_PER_ARM)
        )

    def command_both(self, positions: ArrayLike) -> None:
        """Sets the targets of both arms, shape (14,), left arm first; see ``command``."""
        targets = checked_positions(positions, len(JOINT_NAMES))
        for arm in range(len(ARMS)):
            self.command(arm, targets[arm * JOINTS_PER_ARM :][:JOINTS_PER_ARM])

    @property
    def ground_truth(self) -> GroundTruth:
        """Where the object is."""
        return GroundTruth(
            self.variant.name, self.seed, self.snapshot.object_pose, self.variant.half_size
        )

    @property
    def episode_s(self) -> float:
        """Simulated time since the episode began [s]; the same to the bit for each episode."""
        return (self._ticks - self._began_ticks) * TICK_S

    # -- the owner's thread --------------------------------------------------------------------

    def step(self, ticks: int = 1) -> Snapshot:
        """Advances by ticks of ``TICK_S`` and returns the newest snapshot."""
        for _ in range(ticks):
            for arm, target in enumerate(self._targets):
                if target is not None:
                    first = arm * JOINTS_PER_ARM
                    self._data.ctrl[self._ctrl[first : first + JOINTS_PER_ARM]] = target
            if self._disturbance is not None:
                self._disturb(self._disturbance)
            mujoco.mj_step(self.model, self._data, nstep=STEPS_PER_TICK)
            self._ticks += 1
            if self._ticks % _TICKS_PER_JUDGEMENT == 0:
                self.progress.update(self.task_state())
        self.snapshot = self._take_snapshot()
        return self.snapshot

    def reset(self, seed: int, variant: str | None = None) -> None:
        """Begins a new episode: puts the object at the pose of the seed, at rest.

        The arms stay as they are, so drivers may be attached.

        Args:
            seed: of the episode.
            variant: scenario; None keeps the present one.

        Raises:
            ParameterError: unknown variant, or a seed out of range. Nothing is changed then.
        """
        chosen = self.variant if variant is None else find_variant(variant)
        pose = start_pose(seed, chosen)
        self.seed = seed
        self.variant = chosen
        set_variant(self.model, chosen)
        self._began_ticks = self._ticks
        self.progress = TaskProgress()
        self._disturbance = Disturbance(seed) if chosen.disturbed else None
        self._data.qpos[self._object_qpos] = pose
        self._data.qvel[self._object_dof] = 0.0
        self._refresh()

    def place_arms(self, positions: ArrayLike) -> None:
        """Puts both arms somewhere at once, at rest, and holds them there.

        Only without drivers: a driver in position mode sends its last goal again and the arm jumps
        back.

        Args:
            positions: shape (14,) [rad; m for carriages].

        Raises:
            JointError: wrong count, or values that are not finite.
        """
        joints = checked_positions(positions, len(JOINT_NAMES))
        object_pose = self._data.qpos[self._object_qpos].copy()
        mujoco.mj_resetData(self.model, self._data)
        self._data.time = self._ticks * TICK_S
        self._data.qpos[self._qpos] = joints
        self._data.qpos[self._mirrored] = joints[JOINTS_PER_ARM - 1 :: JOINTS_PER_ARM]
        self._data.qpos[self._object_qpos] = object_pose
        self._data.ctrl[self._ctrl] = joints
        self.command_both(joints)
        self._refresh()

    def render(
        self, camera: str, width: int = 640, height: int = 480, *, qpos: Array | None = None
    ) -> NDArray[np.uint8]:
        """A picture, uint8 RGB of shape (height, width, 3).

        Args:
            camera: one of ``trossen_pi0_core.contract.CAMERAS``.
            width: of the picture [pixels].
            height: of the picture [pixels].
            qpos: of a snapshot of this episode; None: of the present.

        Raises:
            ParameterError: unknown camera.
            RenderError: there is no OpenGL.
        """
        size = (width, height)
        if size not in self._renderers:
            self._renderers[size] = CameraRenderer(self.model, width, height)
        return self._renderers[size].render(self._data.qpos if qpos is None else qpos, camera)

    def task_state(self) -> TaskState:
        """What the task's progress is judged from."""
        data = self._data
        at = data.qpos[self._object_qpos][:3].copy()
        touching = self._touching()
        grips = [data.site_xpos[site] for site in self._grasp_sites]
        bodies = set(self.model.geom_bodyid[list(touching)]) if touching else set()
        left, right = (sum(body in bodies for body in arm) for arm in self._finger_bodies)
        return TaskState(
            time_s=self.episode_s,
            object_position=at,
            object_speed=float(np.linalg.norm(data.qvel[self._object_dof][:3])),
            on_table=self._table_geom in touching,
            left_fingers=left,
            right_fingers=right,
            grasp_distance=min(float(np.linalg.norm(grip - at)) for grip in grips),
        )

    def state_hash(self) -> str:
        """Hash of the physical state; equal seeds and equal commands give equal hashes."""
        data = self._data
        parts = (data.qpos, data.qvel, data.ctrl, data.qacc_warmstart)
        return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()

    def close(self) -> None:
        """Frees what rendering holds."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def _refresh(self) -> None:
        mujoco.mj_forward(self.model, self._data)
        self.snapshot = self._take_snapshot()

    def _take_snapshot(self) -> Snapshot:
        data = self._data
        qpos = data.qpos.copy()
        return Snapshot(
            time_s=self._ticks * TICK_S,
            qpos=qpos,
            positions=qpos[self._qpos],
            velocities=data.qvel[self._dof],
            efforts=data.actuator_force[self._ctrl],
            object_pose=qpos[self._object_qpos],
        )

    def _touching(self) -> set[int]:
        """Geoms that touch the object."""
        pairs = self._data.contact.geom
        mine = pairs[(pairs == self._object_geom).any(axis=1)]
        return set(mine[mine != self._object_geom].tolist())

    def _disturb(self, disturbance: Disturbance) -> None:
        """Moves the object along the push, in the plane of the table."""
        data = self._data
        pose = data.qpos[self._object_qpos]
        distance = float(np.linalg.norm(data.site_xpos[self._grasp_sites[1]] - pose[:3]))
        fingers = {body for arm in self._finger_bodies for body in arm}
        touched = any(self.model.geom_bodyid[geom] in fingers for geom in self._touching())
        yaw = 2 * np.arctan2(pose[6], pose[3])
        at = np.array([pose[0], pose[1], yaw])
        target = disturbance.target(self.episode_s, distance, at, touched=touched)
        if target is not None:
            data.qpos[self._object_qpos][:2] = target[:2]
            data.qpos[self._object_qpos][3:] = [
                np.cos(target[2] / 2),
                0.0,
                0.0,
                np.sin(target[2] / 2),
            ]
            data.qvel[self._object_dof] = 0.0


def checked_positions(positions: ArrayLike | Sequence[float], count: int) -> Array:
    """Joint positions as an array of their own, shape (count,).

    Raises:
        JointError: another count, or values that are not finite.
    """
    array = np.array(positions, dtype=np.float64)
    if array.shape != (count,) or not np.isfinite(array).all():
        raise JointError(f"need {count} finite joint positions, got {array.tolist()}")
    return array
