"""How far a handover has come, judged from the state of the world."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_sim.tasks import GOAL_HALF_SIZE, GOAL_XY, TABLE_TOP_Z

REST_S = 0.5
"""How long the object must rest in the goal region to count as placed [s]."""

_AROUND_M = 0.03
_REST_SPEED = 0.02
_FALLEN_M = 0.05


class Stage(IntEnum):
    """Stages of a handover, in order; the values are those of the message SimStatus."""

    NONE = 0
    REACHED = 1
    GRASPED = 2
    LIFTED = 3
    HANDED_OVER = 4
    PLACED = 5


@dataclass(frozen=True)
class TaskState:
    """What the judgement needs to know of the world at one instant.

    Attributes:
        time_s: simulated time [s].
        object_position: centre of the object, world frame, shape (3,) [m].
        object_speed: speed of its centre [m/s].
        on_table: it touches the table.
        left_fingers: how many fingers of the left gripper touch it, 0 to 2.
        right_fingers: likewise of the right gripper.
        grasp_distance: from its centre to the nearer gripper's grasp point [m].
    """

    time_s: float
    object_position: NDArray[np.float64]
    object_speed: float
    on_table: bool
    left_fingers: int
    right_fingers: int
    grasp_distance: float


class TaskProgress:
    """Follows one episode. Stages are reached in order and are kept once they are reached.

    Attributes:
        stage: furthest stage so far.
        failed: the task can no longer be done.
        reason: why it failed; empty otherwise.
    """

    def __init__(self) -> None:
        self.stage = Stage.NONE
        self.failed = False
        self.reason = ""
        self._resting_since: float | None = None

    @property
    def success(self) -> bool:
        """The object was handed over and rests, released, in the goal region."""
        return self.stage == Stage.PLACED

    def update(self, state: TaskState) -> None:
        """Takes in the state at one instant; times must not decrease."""
        if self.success or self.failed:
            return
        if not np.isfinite(state.object_position).all():
            self._fail("the simulation diverged: the object's position is not finite")
        elif state.object_position[2] < TABLE_TOP_Z - _FALLEN_M:
            self._fail("the object fell off the table")
        else:
            while self._next_reached(state):
                self.stage = Stage(self.stage + 1)

    def _fail(self, reason: str) -> None:
        self.failed = True
        self.reason = reason

    def _next_reached(self, state: TaskState) -> bool:
        if self.stage == Stage.NONE:
            return state.grasp_distance < _AROUND_M
        if self.stage == Stage.REACHED:
            return state.right_fingers == 2
        if self.stage == Stage.GRASPED:
            return state.right_fingers == 2 and not state.on_table
        if self.stage == Stage.LIFTED:
            return state.left_fingers == 2 and state.right_fingers == 0 and not state.on_table
        if self.stage == Stage.HANDED_OVER:
            return self._rests_at_goal(state)
        return False

    def _rests_at_goal(self, state: TaskState) -> bool:
        offset = np.abs(state.object_position[:2] - GOAL_XY)
        resting = (
            state.on_table
            and state.left_fingers == state.right_fingers == 0
            and state.object_speed < _REST_SPEED
            and bool((offset <= GOAL_HALF_SIZE).all())
        )
        if not resting:
            self._resting_since = None
            return False
        if self._resting_since is None:
            self._resting_since = state.time_s
        return state.time_s - self._resting_since >= REST_S
