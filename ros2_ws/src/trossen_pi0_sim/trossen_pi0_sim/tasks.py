"""The handover task: what is handed over, where it starts and where it shall end.

World frame: on the floor of the table's underside, x away from the camera frame, y to the left arm,
z up; metres. The table's top is at ``TABLE_TOP_Z``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters.sim import VARIANTS as VARIANT_NAMES

TABLE_TOP_Z = 0.02
"""Height of the table's top [m]."""

TABLE_HALF_SIZE = (0.38, 0.61)
"""Half edge lengths of the table along x and y [m]."""

GOAL_XY = (0.0, 0.20)
"""Centre of the goal region [m]."""

GOAL_HALF_SIZE = 0.06
"""Half edge length of the square goal region [m]: where the object's centre must come to rest."""

START_X = (-0.15, 0.20)
"""Range of the object's start along x [m]."""

START_Y = (-0.30, -0.03)
"""Range of the object's start along y [m]."""

Pose = NDArray[np.float64]
"""Position [m] and unit quaternion, shape (7,): x y z, then w x y z."""


@dataclass(frozen=True)
class Variant:
    """One scenario of the handover.

    Attributes:
        name: one of ``trossen_pi0_core.parameters.sim.VARIANTS``.
        half_size: half edge lengths of the object along its own axes [m].
        rgba: its colour.
        mass_kg: its mass [kg].
        friction: sliding friction of its surface [1].
        disturbed: whether it is pushed aside while the gripper approaches.
    """

    name: str
    half_size: tuple[float, float, float]
    rgba: tuple[float, float, float, float]
    mass_kg: float
    friction: float = 1.0
    disturbed: bool = False


_RED = (0.80, 0.06, 0.06, 1.0)

VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("red_cube", (0.02, 0.02, 0.02), _RED, 0.030),
        Variant("blue_brick", (0.030, 0.016, 0.018), (0.07, 0.18, 0.75, 1.0), 0.040),
        Variant("wooden_block", (0.02, 0.02, 0.03), (0.66, 0.45, 0.25, 1.0), 0.060, 0.8),
        Variant("disturbance", (0.02, 0.02, 0.02), _RED, 0.030, disturbed=True),
    )
}
"""The scenarios by name."""


def find_variant(name: str) -> Variant:
    """The scenario of that name.

    Raises:
        ParameterError: there is none.
    """
    if name not in VARIANTS:
        raise ParameterError(f"variant: {name!r} is not one of {list(VARIANT_NAMES)}")
    return VARIANTS[name]


def start_pose(seed: int, variant: Variant) -> Pose:
    """Where the object starts: anywhere in the start range, turned by any angle about z.

    Args:
        seed: equal seeds give equal poses.
        variant: scenario.

    Raises:
        ParameterError: a seed outside [0, 2**32 - 1].
    """
    rng = episode_rng(seed, stream=0)
    yaw = rng.uniform(-math.pi, math.pi)
    return np.array(
        [
            rng.uniform(*START_X),
            rng.uniform(*START_Y),
            TABLE_TOP_Z + variant.half_size[2],
            math.cos(yaw / 2),
            0.0,
            0.0,
            math.sin(yaw / 2),
        ]
    )


def episode_rng(seed: int, stream: int) -> np.random.Generator:
    """Random numbers of an episode; streams of the same seed are independent.

    Raises:
        ParameterError: a seed outside [0, 2**32 - 1].
    """
    if not 0 <= seed < 2**32:
        raise ParameterError(f"seed: {seed} lies outside [0, {2**32 - 1}]")
    return np.random.default_rng([seed, stream])
