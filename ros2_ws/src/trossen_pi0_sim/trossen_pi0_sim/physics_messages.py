"""What the node and the physics process tell each other, each pickled in a packet of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_sim.progress import Stage

LARGEST_PACKET = 65536
"""Most bytes of a packet between the two processes."""


@dataclass(frozen=True)
class Report:
    """The state of the simulation at one instant.

    Attributes:
        time_s: simulated time [s].
        wall_s: the instant on the monotonic clock, which all processes share [s].
        qpos: MuJoCo's joint positions, shape (nq,).
        object_pose: centre and orientation of the object, world frame, shape (7,): x y z [m], then
            quaternion w x y z.
        real_time_factor: simulated over wall time in the last second [1].
        seed: of the present episode.
        variant: scenario of the present episode.
        stage: furthest stage of the present episode.
        failed: the task can no longer be done.
        reason: why; empty otherwise.
    """

    time_s: float
    wall_s: float
    qpos: NDArray[np.float64]
    object_pose: NDArray[np.float64]
    real_time_factor: float
    seed: int
    variant: str
    stage: Stage
    failed: bool
    reason: str


@dataclass(frozen=True)
class ResetRequest:
    """From the node: begin a new episode."""

    seed: int
    variant: str | None


@dataclass(frozen=True)
class Answer:
    """To the node: the start or a reset went well, or what was wrong."""

    error: str = ""
