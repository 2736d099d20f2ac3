"""Paths of chunks: where the grippers go, and how much of it was executed when."""

from __future__ import annotations

import numpy as np
import pytest

from fixtures.robots import sliding_kit
from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.errors import DescriptionError, JointError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.kinematics import KinematicTree
from trossen_pi0_monitor.plans import PlanHistory
from trossen_pi0_monitor.tips import Tips
from trossen_pi0_monitor.trail import Trail

NAMES = JointMap().urdf_names
SECOND = 1_000_000_000
TENTH = SECOND // 10


def tips() -> Tips:
    return Tips(KinematicTree.from_urdf(sliding_kit()), JointMap(), "ee_gripper_link")


def chunk(number: int, t_first_ns: int, *, run: str = "run", rows: int = 11) -> ActionChunk:
    """The left gripper goes 0.1 m along x each row, the right one up; both open by 0.02 m."""
    positions = np.zeros((rows, 14))
    positions[:, 0] = positions[:, 8] = 0.1 * np.arange(rows)
    positions[:, [6, 13]] = 0.01
    return ActionChunk(run, number, t_first_ns, t_first_ns, TENTH, NAMES, positions)


def test_paths_are_those_of_the_tips() -> None:
    paths = tips().paths(NAMES, chunk(1, 0).positions)
    assert list(paths) == ["left", "right"]
    np.testing.assert_allclose(paths["left"].points[3], [0.3, 0.5, 0.0], atol=1e-12)
    np.testing.assert_allclose(paths["right"].points[3], [0.0, -0.5, 0.3], atol=1e-12)
    np.testing.assert_allclose(
        paths["left"].fingers[3], [[0.3, 0.49, 0.0], [0.3, 0.51, 0.0]], atol=1e-12
    )


def test_what_the_robot_lacks_is_named() -> None:
    tree = KinematicTree.from_urdf(sliding_kit())
    with pytest.raises(DescriptionError, match="unknown link 'follower_left_nose'"):
        Tips(tree, JointMap(), "nose")
    with pytest.raises(JointError, match="follower_right_joint_0"):
        tips().paths(NAMES[:7], np.zeros((1, 7)))


def test_rows_are_executed_from_the_chunks_arrival_to_the_present() -> None:
    history = PlanHistory(tips())
    history.add(chunk(1, SECOND), SECOND + 2 * TENTH)  # two rows were past on arrival
    assert history.plans[0].executed is None
    history.advance(SECOND + 5 * TENTH, "run", 0)
    assert history.plans[0].executed == (2.0, 5.0)
    history.advance(SECOND + 99 * TENTH, "run", 0)
    assert history.plans[0].executed == (2.0, 10.0)


def test_nothing_is_executed_of_a_run_that_the_arms_do_not_follow() -> None:
    history = PlanHistory(tips())
    history.add(chunk(1, SECOND), SECOND)
    history.advance(2 * SECOND, "another run", 0)
    assert history.plans[0].executed is None


def test_rows_that_limits_delay_are_executed_later() -> None:
    history = PlanHistory(tips())
    history.add(chunk(1, SECOND), SECOND)
    history.advance(SECOND + 5 * TENTH, "run", 2 * TENTH)
    assert history.plans[0].executed == (0.0, 3.0)


def test_the_older_chunk_ends_where_the_newer_one_takes_over() -> None:
    history = PlanHistory(tips())
    history.add(chunk(1, SECOND), SECOND)
    history.add(chunk(2, SECOND + 4 * TENTH), SECOND + 3 * TENTH)  # due a tenth after it came
    history.advance(SECOND + 3 * TENTH, "run", 0)
    newer, older = history.plans
    assert (newer.executed, older.executed) == (None, (0.0, 3.0))
    history.advance(SECOND + 6 * TENTH, "run", 0)
    assert (newer.executed, older.executed) == ((0.0, 2.0), (0.0, 4.0))


def test_a_chunk_to_be_executed_in_part_is_not_executed_further() -> None:
    history = PlanHistory(tips())
    blocking = ActionChunk("run", 1, 0, 0, TENTH, NAMES, chunk(1, 0).positions, execute_rows=4)
    history.add(blocking, 0)
    history.advance(SECOND, "run", 0)
    assert history.plans[0].executed == (0.0, 4.0)


def test_so_many_chunks_of_one_run_are_kept() -> None:
    history = PlanHistory(tips(), keep=2)
    for number in range(1, 6):
        history.add(chunk(number, number * TENTH), 0)
    assert [plan.chunk.chunk_id for plan in history.plans] == [5, 4, 3]
    history.keep = 0
    assert [plan.chunk.chunk_id for plan in history.plans] == [5]
    history.add(chunk(1, SECOND, run="next"), 0)
    assert [plan.chunk.run_id for plan in history.plans] == ["next"]
    history.add(chunk(2, SECOND, run="next", rows=0), 0)
    assert [plan.chunk.chunk_id for plan in history.plans] == [1]


def test_paths_are_forgotten_a_second_after_their_end() -> None:
    history = PlanHistory(tips())
    history.add(chunk(1, 0), 0)  # 11 rows of a tenth of a second
    history.drop_past(21 * TENTH - 1)
    assert len(history.plans) == 1
    history.drop_past(21 * TENTH)
    assert not history.plans


def test_the_trail_holds_the_last_seconds_in_even_steps() -> None:
    trail = Trail(tips(), keep_s=1.0)
    positions = np.zeros(14)
    for i in range(200):  # two seconds at 100 Hz, 1 mm each along x
        positions[0] = 0.001 * i
        trail.add(i * SECOND // 100, NAMES, positions.tolist())
    gone = trail.points(199 * SECOND // 100)
    steps = np.diff(gone["left"][:, 0])
    np.testing.assert_allclose(steps, 0.003, atol=1e-9)
    np.testing.assert_allclose(gone["left"][[0, -1], 0], [0.099, 0.198], atol=1e-9)
    np.testing.assert_allclose(gone["right"], np.tile([0, -0.5, 0], (34, 1)), atol=1e-12)


def test_the_trail_begins_anew_when_the_clock_jumps_back_and_with_another_order() -> None:
    trail = Trail(tips(), keep_s=10.0)
    trail.add(SECOND, NAMES, [0.0] * 14)
    trail.add(2 * SECOND, NAMES, [0.1] * 14)
    assert len(trail.points(2 * SECOND)["left"]) == 2
    trail.add(SECOND, NAMES, [0.2] * 14)
    np.testing.assert_allclose(trail.points(SECOND)["left"], [[0.2, 0.5, 0.2]], atol=1e-12)
    trail.add(2 * SECOND, NAMES[::-1], [0.3] * 14)
    assert len(trail.points(2 * SECOND)["left"]) == 1


def test_joint_states_that_cannot_be_drawn_are_refused_or_left_out() -> None:
    trail = Trail(tips(), keep_s=10.0)
    trail.add(SECOND, NAMES, [0.1] * 14)
    with pytest.raises(JointError, match=r"joints missing: \['follower_right_joint_0'"):
        trail.add(2 * SECOND, NAMES[:7], [0.2] * 7)
    with pytest.raises(JointError, match=r"14 joint names but values of shape \(13,"):
        trail.add(2 * SECOND, NAMES, [0.2] * 13)
    trail.add(3 * SECOND, NAMES, [np.nan, *[0.2] * 13])
    gone = trail.points(3 * SECOND)
    assert len(gone["left"]) == 1
    np.testing.assert_allclose(gone["right"][:, 0], [0.1, 0.2])
