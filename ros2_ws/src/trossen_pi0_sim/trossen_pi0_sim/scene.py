"""The MuJoCo model of the kit: table, frame, two arms, four cameras, a light room and one object.

Poses and fields of view are those of TrossenRobotics' ``stationary_ai`` model. World frame: see
``trossen_pi0_sim.tasks``. Units: m, kg, rad.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from trossen_arm_sim import ARM_MODEL_PATH

from trossen_pi0_core.joints import ARM_JOINTS
from trossen_pi0_sim.meshes import decimated
from trossen_pi0_sim.tasks import (
    GOAL_HALF_SIZE,
    GOAL_XY,
    TABLE_HALF_SIZE,
    TABLE_TOP_Z,
    VARIANTS,
    Variant,
)
from trossen_pi0_sim.textures import add_materials

TIMESTEP_S = 1 / 600
"""Physics step [s]; divides both 1/30 s and 1/50 s."""

OBJECT = "object"
"""Name of the object's body, joint and geom."""

TABLE_GEOM = "table_top"

CLUTTER = ("clutter_box", "clutter_block", "clutter_cylinder", "clutter_ball")
"""Geoms that nothing touches, out of sight until ``looks`` lays them about."""

OUT_OF_SIGHT = (0.0, 0.0, -5.0)
"""Below the floor [m]."""

ARM_ACTUATORS = (*ARM_JOINTS[:-1], "left_gripper")
"""Actuators of one arm in the order of its joints, without prefix."""

GRASP_SITE = "grasp"
"""Site between the fingertips, without prefix: x along the approach, y along the opening."""

# Centre of the fingertip pads on link_6 [m].
_GRASP_POINT = (0.1487, 0.0, 0.0)

_SQRT_HALF = 0.5**0.5


@dataclass(frozen=True)
class ArmMount:
    """One arm of the kit: its name, prefix in the model, base pose and wrist camera."""

    name: str
    prefix: str
    position: tuple[float, float, float]
    quaternion: tuple[float, float, float, float]
    camera: str


ARMS = (
    ArmMount(
        "left",
        "left_",
        (-0.019982, 0.4575, 0.039086),
        (_SQRT_HALF, 0.0, 0.0, -_SQRT_HALF),
        "cam_left_wrist",
    ),
    ArmMount(
        "right",
        "right_",
        (-0.019982, -0.4575, 0.039086),
        (_SQRT_HALF, 0.0, 0.0, _SQRT_HALF),
        "cam_right_wrist",
    ),
)
"""The arms in the order of all joint vectors."""

JOINT_NAMES = tuple(f"{arm.prefix}{joint}" for arm in ARMS for joint in ARM_JOINTS)
"""Model names of the 14 joints in the suite's order."""

ACTUATOR_NAMES = tuple(f"{arm.prefix}{name}" for arm in ARMS for name in ARM_ACTUATORS)
"""Model names of their actuators."""

FINGER_BODIES = tuple(
    tuple(f"{arm.prefix}{body}" for body in ("carriage_left", "carriage_right")) for arm in ARMS
)
"""Bodies of the two fingers of each arm."""


def build_model(*, visuals: bool = True) -> mujoco.MjModel:
    """Compiles the kit; the object is the red cube until ``set_variant``.

    Args:
        visuals: with meshes, room, lights and textures; without, it compiles in a tenth of the
            time and has the same joints, actuators and contacts.
    """
    spec = mujoco.MjSpec()
    spec.compiler.autolimits = True
    _set_options(spec)
    _add_table(spec)
    _add_frame(spec, visuals=visuals)
    meshes = _meshes() if visuals else {}
    for mount in ARMS:
        _attach_arm(spec, mount, meshes)
    _add_object(spec, VARIANTS["red_cube"])
    if visuals:
        _add_room(spec)
        _add_clutter(spec)
        add_materials(spec)
    return spec.compile()


def set_variant(model: mujoco.MjModel, variant: Variant) -> None:
    """Gives a compiled model the object of a scenario; renderers of the model stay valid.

    What comes out depends on the scenario alone, not on the one before.
    """
    geom, body = model.geom(OBJECT), model.body(OBJECT)
    half = np.array(variant.half_size)
    geom.size[:] = half
    geom.rbound[:] = np.linalg.norm(half)
    model.geom_aabb[geom.id] = [0.0, 0.0, 0.0, *half]
    geom.rgba[:] = variant.rgba
    geom.friction[0] = variant.friction
    body.mass[:] = variant.mass_kg
    squares = half**2
    body.inertia[:] = variant.mass_kg / 3 * (squares.sum() - squares)
    mujoco.mj_setConst(model, mujoco.MjData(model))


def _set_options(spec: mujoco.MjSpec) -> None:
    """Contacts that do not let an object slip while it is held: with the packaged settings a cube
    slips 10 mm when set-points arrive at 30 Hz without interpolation.
    """
    option = spec.option
    option.timestep = TIMESTEP_S
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = 10.0


def _stiff(geom: mujoco.MjsGeom) -> None:
    geom.solref = [0.004, 1.0]
    geom.condim = 4


def _add_box(
    spec: mujoco.MjSpec,
    name: str,
    position: tuple[float, float, float],
    half_size: tuple[float, float, float],
    rgba: tuple[float, float, float, float],
    quaternion: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0),
    *,
    solid: bool = True,
) -> mujoco.MjsGeom:
    return spec.worldbody.add_geom(
        name=name,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        pos=position,
        size=half_size,
        quat=quaternion,
        rgba=rgba,
        contype=int(solid),
        conaffinity=int(solid),
    )


_WOOD = (0.80, 0.66, 0.48, 1.0)
_BLACK = (0.13, 0.13, 0.14, 1.0)
_ARM = (0.17, 0.17, 0.18, 1.0)
_GOAL_PATCH = (0.55, 0.72, 0.55, 1.0)


def _add_table(spec: mujoco.MjSpec) -> None:
    half = TABLE_TOP_Z / 2
    table = _add_box(spec, TABLE_GEOM, (0, 0, half), (*TABLE_HALF_SIZE, half), _WOOD)
    _stiff(table)
    for x in (-0.33, 0.33):
        for y in (-0.56, 0.56):
            _add_box(
                spec,
                f"table_leg_{x}_{y}",
                (x, y, _FLOOR_Z / 2),
                (0.03, 0.03, -_FLOOR_Z / 2),
                _BLACK,
            )
    patch = (GOAL_HALF_SIZE, GOAL_HALF_SIZE, 0.0005)
    _add_box(spec, "goal_patch", (*GOAL_XY, TABLE_TOP_Z), patch, _GOAL_PATCH, solid=False)


def _add_frame(spec: mujoco.MjSpec, *, visuals: bool) -> None:
    """Aluminium profiles of the kit: arm bars, front and back bar, camera gantry."""
    tilt_high = (0.843391, 0.0, 0.5373, 0.0)
    tilt_low = (0.998848, 0.0, -0.0479781, 0.0)
    bars = {
        "bar_left": ((0, 0.457, 0.03), (0.3685, 0.0375, 0.01)),
        "bar_right": ((0, -0.457, 0.03), (0.3685, 0.0375, 0.01)),
        "bar_front": ((0.35, 0, 0.03), (0.01, 0.425, 0.01)),
        "bar_back": ((-0.39, 0, 0.01), (0.01, 0.5, 0.01)),
        "gantry_top": ((-0.38, 0, 1.05), (0.02, 0.445, 0.01)),
        "gantry_left": ((-0.38, 0.42774, 0.54), (0.02, 0.01, 0.52)),
        "gantry_right": ((-0.38, -0.42774, 0.54), (0.02, 0.01, 0.52)),
    }
    for name, (position, half_size) in bars.items():
        _add_box(spec, name, position, half_size, _BLACK)
    body = (0.0115, 0.021, 0.021)
    _add_box(spec, "cam_high_body", (-0.327972, 0, 1.05484), body, _BLACK, tilt_high)
    _add_box(spec, "cam_low_body", (-0.388301, 0, 0.0513276), body, _BLACK, tilt_low)
    if visuals:
        spec.worldbody.add_camera(
            name="cam_high",
            pos=[-0.324675, 0.009, 1.047775],
            quat=[-0.6904, -0.153, 0.153, 0.6904],
            fovy=65.0,
        )
        spec.worldbody.add_camera(
            name="cam_low",
            pos=[-0.378474, 0.009, 0.051132],
            quat=[-0.4754, -0.5234, 0.5234, 0.4754],
            fovy=125.0,
        )


def _meshes() -> dict[str, Path]:
    folder = Path(ARM_MODEL_PATH).parent
    arm = mujoco.MjSpec.from_file(ARM_MODEL_PATH)
    shown = {geom.meshname for geom in arm.geoms}
    return decimated({mesh.name: folder / mesh.file for mesh in arm.meshes if mesh.name in shown})


def _attach_arm(spec: mujoco.MjSpec, mount: ArmMount, meshes: dict[str, Path]) -> None:
    arm = mujoco.MjSpec.from_file(ARM_MODEL_PATH)
    for geom in list(arm.geoms):
        if geom.meshname and geom.meshname not in meshes:
            arm.delete(geom)
    for mesh in list(arm.meshes):
        if mesh.name in meshes:
            mesh.file = str(meshes[mesh.name])
        else:
            arm.delete(mesh)
    for finger in ("carriage_left", "carriage_right"):
        for geom in arm.body(finger).geoms:
            if geom.type != mujoco.mjtGeom.mjGEOM_MESH:
                _stiff(geom)
    if arm.material("trossen_black"):
        arm.material("trossen_black").rgba = _ARM
    wrist = arm.body("link_6")
    wrist.add_site(name=GRASP_SITE, pos=_GRASP_POINT)
    frame = spec.worldbody.add_frame(pos=mount.position, quat=mount.quaternion)
    frame.attach_body(arm.body("base_link"), mount.prefix, "")
    spec.camera(f"{mount.prefix}cam").name = mount.camera


def _add_object(spec: mujoco.MjSpec, variant: Variant) -> None:
    body = spec.worldbody.add_body(name=OBJECT)
    body.add_freejoint(name=OBJECT)
    geom = body.add_geom(
        name=OBJECT,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=variant.half_size,
        rgba=variant.rgba,
        mass=variant.mass_kg,
        friction=[variant.friction, 0.005, 0.0001],
        priority=1,
    )
    _stiff(geom)


def _add_clutter(spec: mujoco.MjSpec) -> None:
    kinds = {"clutter_cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER}
    kinds["clutter_ball"] = mujoco.mjtGeom.mjGEOM_SPHERE
    for name in CLUTTER:
        spec.worldbody.add_geom(
            name=name,
            type=kinds.get(name, mujoco.mjtGeom.mjGEOM_BOX),
            size=(0.02, 0.02, 0.02),
            pos=OUT_OF_SIGHT,
            contype=0,
            conaffinity=0,
        )


_FLOOR_Z = -0.75
_ROOM_HALF = 2.2
_ROOM_HEIGHT = 2.6
_WALL = (0.86, 0.87, 0.88, 1.0)
_CEILING = (0.93, 0.93, 0.93, 1.0)
_FLOOR = (0.60, 0.62, 0.63, 1.0)


def _add_room(spec: mujoco.MjSpec) -> None:
    """A plain light room. Without it black arms are seen against a black background, and a skybox
    costs more to draw than six boxes.
    """
    half, thick = _ROOM_HALF, 0.05
    middle = _FLOOR_Z + _ROOM_HEIGHT / 2
    walls = {
        "wall_front": ((half, 0, middle), (thick, half, _ROOM_HEIGHT / 2), _WALL),
        "wall_back": ((-half, 0, middle), (thick, half, _ROOM_HEIGHT / 2), _WALL),
        "wall_left": ((0, half, middle), (half, thick, _ROOM_HEIGHT / 2), _WALL),
        "wall_right": ((0, -half, middle), (half, thick, _ROOM_HEIGHT / 2), _WALL),
        "floor": ((0, 0, _FLOOR_Z - thick), (half, half, thick), _FLOOR),
        "ceiling": ((0, 0, _FLOOR_Z + _ROOM_HEIGHT + thick), (half, half, thick), _CEILING),
    }
    for name, (position, half_size, rgba) in walls.items():
        _add_box(spec, name, position, half_size, rgba, solid=False)
    spec.worldbody.add_light(
        name="lamp",
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[0.6, -0.4, 2.0],
        dir=[-0.25, 0.2, -1.0],
        diffuse=[0.30, 0.30, 0.30],
        specular=[0.0, 0.0, 0.0],
        castshadow=False,
    )
    headlight = spec.visual.headlight
    headlight.ambient = np.array([0.62, 0.62, 0.62])
    headlight.diffuse = np.array([0.25, 0.25, 0.25])
    headlight.specular = np.array([0.0, 0.0, 0.0])
    spec.visual.quality.offsamples = 0
    spec.visual.quality.shadowsize = 0
    spec.visual.quality.numquads = 1
    spec.visual.map.znear = 0.01
    spec.visual.map.zfar = 20.0
    spec.stat.extent = 1.0
    spec.visual.global_.offwidth = 1920
    spec.visual.global_.offheight = 1080
