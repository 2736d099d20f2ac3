"""Describes the kit by walking the MuJoCo model that the simulation runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import mujoco
import numpy as np
from trossen_arm_sim import ARM_MODEL_PATH

from trossen_pi0_core.joints import ARM_JOINTS, JointMap
from trossen_pi0_core.limits import WXAI_LOWER, WXAI_UPPER, WXAI_VELOCITY
from trossen_pi0_description.model import (
    FIXED,
    PRISMATIC,
    REVOLUTE,
    DescriptionError,
    Inertial,
    Joint,
    Limits,
    Link,
    Mesh,
    Part,
    Pose,
    Robot,
)
from trossen_pi0_description.shapes import pose_of, shape_parts
from trossen_pi0_sim.scene import ARMS, TABLE_GEOM, ArmMount, build_model
from trossen_pi0_sim.tasks import TABLE_TOP_Z

WORLD, TABLE, FRAME = "world", "tabletop_link", "frame_link"
"""Links that belong to no arm; the last two are those of ``stationary_ai``, on the table's top."""

TABLE_IN_WORLD = Pose.of((0.0, 0.0, TABLE_TOP_Z))
"""The world frame of the simulation lies on the table's underside."""

GRIPPER = "ee_gripper_link"
"""Frame between the gripper's tips, without prefix: x along the approach, y along the opening."""

_IN_TABLE = TABLE_IN_WORLD.inverse()
_ROBOT = "stationary_ai"
_GRIPPER_SITE = "ee_site"
_LIMITED = (*ARM_JOINTS, "right_carriage_joint")

# MuJoCo's cameras look along -z with y up, optical frames along z with y down.
_OPTICAL_IN_MUJOCO = Pose.of(rotation=np.diag([1.0, -1.0, -1.0]))
# x forward, y left, z up, as seen from an optical frame.
_BODY_IN_OPTICAL = Pose.of(rotation=[[0, -1, 0], [0, 0, -1], [1, 0, 0]])


def describe_kit(joint_map: JointMap | None = None, *, optical_frames: bool = True) -> Robot:
    """The kit with the arms that are named, their wrist cameras, and the two other cameras.

    Args:
        joint_map: names of the arms and their prefixes; both arms by default.
        optical_frames: with ``<camera>_color_frame`` and ``<camera>_color_optical_frame``, which
            realsense2_camera publishes itself for a real camera.

    Raises:
        DescriptionError: an arm that the kit does not have.
    """
    joints = JointMap() if joint_map is None else joint_map
    mounts = {mount.name: mount for mount in ARMS}
    unknown = [arm for arm in joints.arms if arm not in mounts]
    if unknown:
        raise DescriptionError(f"unknown arms {unknown}, the kit has {list(mounts)}")
    arms = [
        (mounts[arm], prefix) for arm, prefix in zip(joints.arms, joints.urdf_prefixes, strict=True)
    ]
    return _Walk(build_model(), arms, optical_frames=optical_frames).robot()


class _Walk:
    """One pass through a compiled model."""

    def __init__(
        self, model: mujoco.MjModel, arms: list[tuple[ArmMount, str]], *, optical_frames: bool
    ) -> None:
        self._model = model
        self._arms = arms
        self._optical_frames = optical_frames
        self._meshes = _packaged_meshes()
        self._links: list[Link] = []
        self._joints: list[Joint] = []

    def robot(self) -> Robot:
        """The whole of it."""
        self._add_surroundings()
        for mount, prefix in self._arms:
            for body in self._bodies(mount):
                self._add_body(body, mount, prefix)
            self._add_gripper(mount, prefix)
        for camera in range(self._model.ncam):
            self._add_camera(camera)
        return Robot(_ROBOT, tuple(self._links), tuple(self._joints))

    # -- what stands still -------------------------------------------------------------------------

    def _add_surroundings(self) -> None:
        """Table and frame: all of the world that can be touched, but the cameras' bodies."""
        self._links.append(Link(WORLD))
        solid = [
            geom
            for geom in np.flatnonzero(self._model.geom_bodyid == 0)
            if self._model.geom_contype[geom] and not self._camera_of(geom)
        ]
        table_word = TABLE_GEOM.partition("_")[0]
        on_table = [g for g in solid if self._model.geom(g).name.startswith(table_word)]
        on_frame = [geom for geom in solid if geom not in on_table]
        table, frame = (self._all_parts(geoms, _IN_TABLE) for geoms in (on_table, on_frame))
        self._fix(Link(TABLE, table, table), WORLD, TABLE_IN_WORLD)
        self._fix(Link(FRAME, frame, frame), TABLE, Pose.of())

    def _fix(self, link: Link, parent: str, origin: Pose, joint: str = "") -> None:
        self._links.append(link)
        name = joint or f"{link.name.removesuffix('_link')}_joint"
        self._joints.append(Joint(name, FIXED, parent, link.name, origin))

    # -- arms --------------------------------------------------------------------------------------

    def _bodies(self, mount: ArmMount) -> Iterator[int]:
        """The arm's bodies, each after its parent."""
        for body in range(1, self._model.nbody):
            if self._model.body(body).name.startswith(mount.prefix):
                yield body

    def _add_body(self, body: int, mount: ArmMount, prefix: str) -> None:
        model = self._model
        geoms = np.flatnonzero(model.geom_bodyid == body)
        touched = [geom for geom in geoms if model.geom_contype[geom]]
        link = Link(
            self._link_name(body),
            self._all_parts([geom for geom in geoms if geom not in touched], Pose.of()),
            self._all_parts(touched, Pose.of()),
            _inertial(model, body),
        )
        parent, place = self._parent(int(model.body_parentid[body]))
        origin = place @ pose_of(model.body_pos[body], model.body_quat[body])
        if not model.body_jntnum[body]:
            self._fix(link, parent, origin, f"{prefix}mount_joint")
            return
        self._links.append(link)
        self._joints.append(self._joint(body, mount, prefix, parent, link.name, origin))

    def _joint(
        self, body: int, mount: ArmMount, prefix: str, parent: str, child: str, origin: Pose
    ) -> Joint:
        model = self._model
        index = int(model.body_jntadr[body])
        name = model.joint(index).name
        kinds = {
            int(mujoco.mjtJoint.mjJNT_HINGE): REVOLUTE,
            int(mujoco.mjtJoint.mjJNT_SLIDE): PRISMATIC,
        }
        kind = kinds.get(int(model.jnt_type[index]))
        if model.body_jntnum[body] != 1 or kind is None or np.any(model.jnt_pos[index]):
            raise DescriptionError(
                f"{name}: a body needs one hinge or slide through its origin, got another joint"
            )
        leader = self._leader(index)
        return Joint(
            _renamed(name, mount, prefix),
            kind,
            parent,
            child,
            origin,
            axis=model.jnt_axis[index].copy(),
            limits=self._limits(index, name.removeprefix(mount.prefix), leader),
            mimic="" if leader is None else _renamed(model.joint(leader).name, mount, prefix),
        )

    def _leader(self, joint: int) -> int | None:
        """The joint whose position this one is held at."""
        model = self._model
        for i in range(model.neq):
            held = model.eq_type[i] == mujoco.mjtEq.mjEQ_JOINT and model.eq_obj1id[i] == joint
            if held and np.array_equal(model.eq_data[i, :5], [0, 1, 0, 0, 0]):
                return int(model.eq_obj2id[i])
        return None

    def _limits(self, joint: int, name: str, leader: int | None) -> Limits:
        """The tighter of the model's and those that the arm controller keeps to."""
        model = self._model
        if name not in _LIMITED:
            raise DescriptionError(f"{name}: no limits are known, only of {list(_LIMITED)}")
        row = min(_LIMITED.index(name), len(ARM_JOINTS) - 1)  # both carriages have the same
        low, high = model.jnt_range[joint]
        driven = joint if leader is None else leader
        (actuators,) = np.nonzero(model.actuator_trnid[:, 0] == driven)
        return Limits(
            max(float(low), WXAI_LOWER[row]),
            min(float(high), WXAI_UPPER[row]),
            WXAI_VELOCITY[row],
            float(model.actuator_forcerange[actuators[0], 1]),
        )

    def _add_gripper(self, mount: ArmMount, prefix: str) -> None:
        site = self._model.site(f"{mount.prefix}{_GRIPPER_SITE}")
        parent = self._link_name(int(site.bodyid[0]))
        self._fix(Link(f"{prefix}{GRIPPER}"), parent, pose_of(site.pos, site.quat))

    # -- cameras -----------------------------------------------------------------------------------

    def _add_camera(self, camera: int) -> None:
        """``<camera>_link``, and what realsense2_camera publishes below it."""
        model = self._model
        name, body = model.camera(camera).name, int(model.cam_bodyid[camera])
        if body and not self._is_described(body):
            return
        seen = pose_of(model.cam_pos[camera], model.cam_quat[camera])
        origin = seen @ _OPTICAL_IN_MUJOCO @ _BODY_IN_OPTICAL
        housing = [geom for geom in range(model.ngeom) if self._camera_of(geom) == name]
        parts = self._all_parts(housing, origin.inverse())
        link, colour = f"{name}_link", f"{name}_color_frame"
        parent, place = self._parent(body)
        self._fix(Link(link, parts, parts), parent, place @ origin)
        if self._optical_frames:
            self._fix(Link(colour), link, Pose.of(), f"{name}_color_joint")
            optical = Link(f"{name}_color_optical_frame")
            self._fix(optical, colour, _BODY_IN_OPTICAL.inverse(), f"{name}_color_optical_joint")

    def _camera_of(self, geom: int) -> str:
        """The camera whose housing it is, among those that stand still."""
        name = self._model.geom(geom).name.removesuffix("_body")
        cameras = [self._model.camera(i).name for i in range(self._model.ncam)]
        return name if name in cameras else ""

    # -- parts -------------------------------------------------------------------------------------

    def _all_parts(self, geoms: Iterable[int], frame: Pose) -> tuple[Part, ...]:
        """Geoms in a frame in which their body's frame has this pose."""
        parts = (p for geom in geoms for p in shape_parts(self._model, geom, self._meshes))
        return tuple(Part(frame @ part.pose, part.shape, part.rgba) for part in parts)

    def _parent(self, body: int) -> tuple[str, Pose]:
        """The link that a body has become, and the body's pose in it."""
        return (self._link_name(body), Pose.of()) if body else (FRAME, _IN_TABLE)

    def _link_name(self, body: int) -> str:
        name = self._model.body(body).name
        for mount, prefix in self._arms:
            if name.startswith(mount.prefix):
                return _renamed(name, mount, prefix)
        raise DescriptionError(f"body {name!r} belongs to no arm")

    def _is_described(self, body: int) -> bool:
        name = self._model.body(body).name
        return any(name.startswith(mount.prefix) for mount, _ in self._arms)


def _renamed(name: str, mount: ArmMount, prefix: str) -> str:
    return f"{prefix}{name.removeprefix(mount.prefix)}"


def _packaged_meshes() -> dict[str, Mesh]:
    """The arm's meshes as they are packaged, by name without prefix."""
    folder = Path(ARM_MODEL_PATH).resolve().parent
    meshes: dict[str, Mesh] = {}
    for mesh in mujoco.MjSpec.from_file(ARM_MODEL_PATH).meshes:
        x, y, z = mesh.scale.tolist()
        meshes[mesh.name] = Mesh(folder / mesh.file, (x, y, z))
    return meshes


def _inertial(model: mujoco.MjModel, body: int) -> Inertial:
    centre = pose_of(model.body_ipos[body], model.body_iquat[body])
    tensor = centre.rotation @ np.diag(model.body_inertia[body]) @ centre.rotation.T
    return Inertial(float(model.body_mass[body]), centre.position, tensor)
