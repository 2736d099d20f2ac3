"""MuJoCo's geoms as shapes that a URDF knows."""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np

from trossen_pi0_description.model import (
    Box,
    Cylinder,
    DescriptionError,
    Mesh,
    Part,
    Pose,
    Rgba,
    Shape,
    Sphere,
    Vector,
)

_DEFAULT_RGBA = (0.5, 0.5, 0.5, 1.0)  # a geom that has it shows its material's colour


def shape_parts(model: mujoco.MjModel, geom: int, meshes: Mapping[str, Mesh]) -> list[Part]:
    """A geom in its body's frame; a capsule becomes a cylinder and two balls.

    Args:
        model: the compiled model.
        geom: its index.
        meshes: those of the arm by name, without an arm's prefix.

    Raises:
        DescriptionError: a kind of geom that a URDF does not have, or an unknown mesh.
    """
    pose = pose_of(model.geom_pos[geom], model.geom_quat[geom])
    kind, size = int(model.geom_type[geom]), model.geom_size[geom]
    if kind == mujoco.mjtGeom.mjGEOM_MESH:
        return [_mesh_part(model, geom, pose, meshes)]
    shapes: list[tuple[Pose, Shape]] = []
    if kind == mujoco.mjtGeom.mjGEOM_BOX:
        x, y, z = (2 * float(half) for half in size)
        shapes.append((Pose.of(), Box((x, y, z))))
    elif kind == mujoco.mjtGeom.mjGEOM_SPHERE:
        shapes.append((Pose.of(), Sphere(float(size[0]))))
    elif kind in (mujoco.mjtGeom.mjGEOM_CYLINDER, mujoco.mjtGeom.mjGEOM_CAPSULE):
        radius, half = float(size[0]), float(size[1])
        shapes.append((Pose.of(), Cylinder(radius, 2 * half)))
        if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
            shapes += [(Pose.of((0.0, 0.0, end)), Sphere(radius)) for end in (-half, half)]
    else:
        raise DescriptionError(
            f"geom {geom} {model.geom(geom).name!r}: a URDF has meshes, boxes, cylinders and "
            f"balls, got {mujoco.mjtGeom(kind).name}"
        )
    colour = _colour(model, geom)
    return [Part(pose @ place, shape, colour) for place, shape in shapes]


def _mesh_part(model: mujoco.MjModel, geom: int, pose: Pose, meshes: Mapping[str, Mesh]) -> Part:
    """MuJoCo moves and turns a mesh's vertices to its centre; a URDF takes those of the file."""
    mesh = int(model.geom_dataid[geom])
    name = model.mesh(mesh).name
    found = [key for key in meshes if name == key or name.endswith(f"_{key}")]
    if not found:
        raise DescriptionError(f"mesh {name!r} has no file, only {sorted(meshes)} have")
    moved = pose_of(model.mesh_pos[mesh], model.mesh_quat[mesh])
    return Part(pose @ moved.inverse(), meshes[max(found, key=len)], _colour(model, geom))


def pose_of(position: Vector, quaternion: Vector) -> Pose:
    """A pose from MuJoCo's numbers: shape (3,) [m] and (4,), w first."""
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, quaternion)
    return Pose.of(position.copy(), matrix)


def _colour(model: mujoco.MjModel, geom: int) -> Rgba:
    own = model.geom_rgba[geom]
    material = int(model.geom_matid[geom])
    if material >= 0 and np.allclose(own, _DEFAULT_RGBA):
        own = model.mat_rgba[material]
    red, green, blue, alpha = (round(float(value), 4) for value in own)
    return red, green, blue, alpha
