"""Stages of a handover, judged from made-up states of the world."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trossen_pi0_sim.progress import Stage, TaskProgress, TaskState

AWAY: dict[str, Any] = {"grasp_distance": 0.3}
REACHED: dict[str, Any] = {"grasp_distance": 0.01}
GRASPED: dict[str, Any] = {**REACHED, "right_fingers": 2}
LIFTED: dict[str, Any] = {**GRASPED, "on_table": False, "at": (0.0, 0.0, 0.2)}
HELD_BY_BOTH: dict[str, Any] = {**LIFTED, "left_fingers": 2}
HANDED_OVER: dict[str, Any] = {**HELD_BY_BOTH, "right_fingers": 0}
RELEASED: dict[str, Any] = {**AWAY, "at": (0.01, 0.21, 0.04)}


def state(
    time_s: float,
    *,
    at: tuple[float, float, float] = (0.1, -0.2, 0.04),
    speed: float = 0.0,
    on_table: bool = True,
    left_fingers: int = 0,
    right_fingers: int = 0,
    grasp_distance: float = 0.3,
) -> TaskState:
    return TaskState(
        time_s, np.array(at), speed, on_table, left_fingers, right_fingers, grasp_distance
    )


def follow(*steps: dict[str, Any], every_s: float = 1.0) -> TaskProgress:
    progress = TaskProgress()
    for index, step in enumerate(steps):
        progress.update(state(index * every_s, **step))
    return progress


@pytest.mark.parametrize(
    ("steps", "stage"),
    [
        ([AWAY], Stage.NONE),
        ([AWAY, REACHED], Stage.REACHED),
        ([REACHED, GRASPED], Stage.GRASPED),
        ([REACHED, GRASPED, LIFTED], Stage.LIFTED),
        ([REACHED, GRASPED, LIFTED, HELD_BY_BOTH], Stage.LIFTED),
        ([REACHED, GRASPED, LIFTED, HELD_BY_BOTH, HANDED_OVER], Stage.HANDED_OVER),
    ],
)
def test_stages_are_reached_in_order(steps: list[dict[str, Any]], stage: Stage) -> None:
    progress = follow(*steps)
    assert progress.stage == stage
    assert not progress.success
    assert not progress.failed


def test_success_after_resting_half_a_second_in_the_goal() -> None:
    progress = follow(GRASPED, LIFTED, HANDED_OVER)
    progress.update(state(10.0, **RELEASED))
    progress.update(state(10.49, **RELEASED))
    assert not progress.success
    progress.update(state(10.51, **RELEASED))
    assert progress.success
    assert progress.stage == Stage.PLACED


@pytest.mark.parametrize(
    "change",
    [
        {"speed": 0.05},
        {"left_fingers": 1},
        {"at": (0.01, 0.27, 0.04)},
        {"at": (0.07, 0.21, 0.04)},
        {"on_table": False},
    ],
    ids=["moving", "touched", "beyond the goal", "beside the goal", "in the air"],
)
def test_no_success_unless_it_rests_released_in_the_goal(change: dict[str, Any]) -> None:
    end = {**RELEASED, **change}
    progress = follow(GRASPED, LIFTED, HANDED_OVER, end, end, end)
    assert progress.stage == Stage.HANDED_OVER


def test_rest_begins_anew_after_a_move() -> None:
    progress = follow(GRASPED, LIFTED, HANDED_OVER)
    for time_s, speed in ((10.0, 0.0), (10.4, 0.1), (10.5, 0.0), (10.9, 0.0)):
        progress.update(state(time_s, **RELEASED, speed=speed))
    assert not progress.success


def test_no_success_without_a_handover() -> None:
    progress = follow(GRASPED, LIFTED, RELEASED, RELEASED, RELEASED)
    assert progress.stage == Stage.LIFTED


def test_stages_stay_reached() -> None:
    assert follow(GRASPED, LIFTED, AWAY).stage == Stage.LIFTED


def test_falling_off_the_table_fails_for_good() -> None:
    progress = follow(GRASPED, LIFTED, {"at": (0.5, 0.0, -0.1), "on_table": False})
    assert progress.failed
    assert progress.reason == "the object fell off the table"
    progress.update(state(9.0, **HANDED_OVER))
    assert progress.stage == Stage.LIFTED


def test_diverged_physics_fails() -> None:
    progress = follow({"at": (float("nan"), 0.0, 0.0)})
    assert progress.failed
    assert "not finite" in progress.reason


def test_stages_have_the_numbers_of_the_message() -> None:
    assert [stage.value for stage in Stage] == [0, 1, 2, 3, 4, 5]
