"""What is drawn of plans and trails, and the status in words."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fixtures.robots import sliding_kit
from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.errors import DescriptionError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_monitor.drawing import GONE, NEWEST, OLDEST, Stroke, age_colour, between_rows
from trossen_pi0_monitor.status_text import (
    BAD,
    BUSY,
    GOOD,
    ControllerView,
    PolicyView,
    status_level,
    status_lines,
)
from trossen_pi0_monitor.view import Following, MotionView, Style, following

NAMES = JointMap().urdf_names
SECOND = 1_000_000_000
TENTH = SECOND // 10


def moving_view(style: Style | None = None) -> MotionView:
    """Two chunks of a run, the second due at row 4 of the first, and one second of joints."""
    view = MotionView(sliding_kit(), JointMap(), style=style)
    positions = np.zeros((11, 14))
    positions[:, 0] = 0.1 * np.arange(11)
    positions[:, [6, 13]] = 0.01
    for number, t_first in ((1, SECOND), (2, SECOND + 4 * TENTH)):
        chunk = ActionChunk("run", number, t_first, t_first, TENTH, NAMES, positions)
        view.add_chunk(chunk, t_first)
    for i in range(11):
        view.add_joints(SECOND + i * TENTH, NAMES, [0.05 * i] * 14)
    return view


def by_name(strokes: list[Stroke]) -> dict[tuple[str, int], Stroke]:
    named = {(stroke.group, stroke.number): stroke for stroke in strokes}
    assert len(named) == len(strokes)
    return named


def test_executed_rows_are_solid_over_a_faint_plan_coloured_by_age() -> None:
    drawn = by_name(moving_view().strokes(SECOND + 6 * TENTH, Following("run")))
    newer, older = drawn["executed/left", 0], drawn["executed/left", 1]
    np.testing.assert_allclose(newer.points[:, 0], [0.0, 0.1, 0.2], atol=1e-9)
    np.testing.assert_allclose(older.points[:, 0], [0.0, 0.1, 0.2, 0.3, 0.4], atol=1e-9)
    assert (newer.rgba, older.rgba) == (NEWEST, OLDEST)
    assert newer.points[0, 2] > older.points[0, 2]
    for age, rgba in ((0, NEWEST), (1, OLDEST)):
        plan = drawn["plan/left", age]
        np.testing.assert_allclose(plan.points[:, 0], 0.1 * np.arange(11), atol=1e-9)
        assert plan.rgba == (*rgba[:3], 0.35)
        assert plan.width < drawn["executed/left", age].width
    assert {name for name, _ in drawn} == {
        f"{group}/{arm}"
        for group in ("plan", "opening", "executed", "gone")
        for arm in ("left", "right")
    }


def test_rungs_are_as_long_as_the_planned_opening() -> None:
    drawn = by_name(moving_view().strokes(SECOND, None))
    rungs = drawn["opening/left", 0]
    assert rungs.pairs
    np.testing.assert_allclose(rungs.points[:, 0], [0, 0, 0.5, 0.5, 1, 1], atol=1e-9)
    np.testing.assert_allclose(rungs.points[:, 1], [0.49, 0.51] * 3, atol=1e-9)
    assert ("opening/left", 1) not in drawn


def test_nothing_is_solid_while_the_arms_do_not_execute() -> None:
    assert following("run", executing=False, delay_s=0.0) is None
    assert following("", executing=True, delay_s=0.0) is None
    assert following("run", executing=True, delay_s=0.25) == Following("run", SECOND // 4)
    drawn = by_name(moving_view().strokes(SECOND + 6 * TENTH, None))
    assert not [name for name in drawn if name[0].startswith("executed")]


def test_the_path_gone_is_drawn_for_so_long() -> None:
    view = moving_view(Style(trail_s=0.5))
    gone = by_name(view.strokes(2 * SECOND, None))["gone/left", 0]
    assert gone.rgba == GONE
    np.testing.assert_allclose(gone.points[:, 0], 0.05 * np.arange(5, 11), atol=1e-9)
    view.style = Style(trail_s=0.2, history=0)
    drawn = by_name(view.strokes(2 * SECOND, None))
    assert len(drawn["gone/left", 0].points) == 3
    assert ("plan/left", 1) not in drawn
    view.clear()
    assert view.strokes(2 * SECOND, None) == []


def test_a_description_without_the_tip_is_refused() -> None:
    with pytest.raises(DescriptionError, match="unknown link 'follower_left_toe'"):
        MotionView(sliding_kit(), JointMap(), "toe")


def test_colours_go_from_the_newest_to_the_oldest() -> None:
    assert [age_colour(age, 2) for age in (0, 2, 9)] == [NEWEST, OLDEST, OLDEST]
    np.testing.assert_allclose(age_colour(1, 2), (np.array(NEWEST) + OLDEST) / 2)
    assert age_colour(0, 0) == NEWEST


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(0, 2, [0, 1, 2]), (0.5, 2.25, [0.5, 1, 2, 2.25]), (1.2, 1.4, [1.2, 1.4]), (1, 1, [1, 1])],
)
def test_part_of_a_path(first: float, last: float, expected: list[float]) -> None:
    points = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 2.0], [2.0, 0.0, 4.0], [3.0, 0.0, 6.0]])
    part = between_rows(points, first, last)
    np.testing.assert_allclose(part, np.outer(expected, [1.0, 0.0, 2.0]), atol=1e-12)


# Status text -------------------------------------------------------------------------------------

POLICY = PolicyView("RUNNING", "", "pi0", "grab the cube", "rtc", 12, 0.083, 0.1)
CONTROLLER = ControllerView("EXECUTING", "", "autonomous", 0.18, 0.05)


def test_status_in_words() -> None:
    assert status_lines(POLICY, CONTROLLER) == [
        "policy RUNNING  pi0",
        '"grab the cube"',
        "chunk 12  rtc  inference 83 ms",
        "arms EXECUTING",
        "chunk age 180 ms",
    ]
    assert status_level(POLICY, CONTROLLER) == GOOD


def test_what_is_not_known_is_said() -> None:
    assert status_lines(None, None) == ["policy: nothing heard", "arms: nothing heard"]
    assert status_level(None, CONTROLLER) == BUSY
    policy = PolicyView("IDLE", "", "expert", "", "async", 0, math.nan, 4.2)
    controller = ControllerView("FAULT", "x" * 200, "test", math.nan, 0.0)
    lines = status_lines(policy, controller)
    assert lines[:2] == [
        "policy IDLE (silent for 4 s)  expert",
        "chunk 0  async  inference none yet",
    ]
    assert lines[2] == "arms FAULT  TEST: nothing is sent to the arms"
    assert lines[3] == "x" * 69 + "…"
    assert len(lines) == 4
    assert status_level(policy, CONTROLLER) == BUSY
    assert status_level(policy, controller) == BAD
    assert status_level(PolicyView("STALLED", *list(vars(POLICY).values())[1:]), CONTROLLER) == BUSY
