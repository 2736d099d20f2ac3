"""Figures of offline evaluation on arrays whose errors are known by hand."""

from __future__ import annotations

import numpy as np
import pytest

from trossen_pi0_core.errors import DatasetError
from trossen_pi0_training.offline.metrics import (
    Errors,
    Grip,
    Jumps,
    Recorded,
    moment_errors,
    normalised,
)
from trossen_pi0_training.offline.moments import Moment, WorstMoments
from trossen_pi0_training.offline.plan import Motion
from trossen_pi0_training.offline.predictors import constant_velocity, hold, seed_of

NAN = np.nan
RECORDED = Recorded(np.array([[0.0, 0.0], [0.0, 1.0], [NAN, NAN]]), np.array([True, True, False]))
CHUNK = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]])


def of(*chunks, recorded=RECORDED):
    errors = Errors(3, 2)
    errors.add(np.array(chunks), recorded)
    return errors


def test_errors_are_those_of_the_rows_that_were_recorded():
    errors = of(CHUNK)
    np.testing.assert_array_equal(errors.curve, [[1, 0], [2, 1], [NAN, NAN]])
    np.testing.assert_array_equal(errors.rows, [1, 1, 0])
    np.testing.assert_array_equal(errors.mean_abs(), [1.5, 0.5])
    np.testing.assert_array_equal(errors.mean_abs(1, 3), [2, 1])
    np.testing.assert_array_equal(errors.mean_abs(2, 3), [NAN, NAN])
    np.testing.assert_allclose(errors.rmse(), [np.sqrt(2.5), np.sqrt(0.5)])
    np.testing.assert_array_equal(errors.bias(), [1.5, -0.5])


def test_samples_count_as_moments_of_their_own():
    errors = of(CHUNK, -CHUNK)
    np.testing.assert_array_equal(errors.rows, [2, 2, 0])
    np.testing.assert_array_equal(errors.mean_abs(), [1.5, 0.5])
    np.testing.assert_array_equal(errors.bias(), [0.0, -0.5])


def test_parts_put_together_are_the_whole():
    other = Recorded(np.zeros((3, 2)), np.ones(3, bool))
    whole = of(CHUNK)
    whole.add(CHUNK[None] / 7, other)
    parts = of(CHUNK)
    parts.merge(of(CHUNK / 7, recorded=other))
    np.testing.assert_array_equal(parts.rows, [2, 2, 1])
    for name in ("curve", "rows"):
        np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name))
    np.testing.assert_array_equal(parts.rmse(), whole.rmse())
    np.testing.assert_array_equal(parts.quantile(0.5), whole.quantile(0.5))


def test_quantiles_are_near_those_of_the_errors():
    errors = Errors(1, 3)
    for i in range(1, 101):
        chunk = np.array([[[i / 1000, 0.0, -1e9]]])
        errors.add(chunk, Recorded(np.zeros((1, 3)), np.array([True])))
    found = errors.quantile(0.95)
    assert found[0] == pytest.approx(0.095, rel=0.02)
    assert found[1] == 0.0
    assert 99.0 < found[2] < 110.0  # beyond the last bin
    assert errors.quantile(0.5)[0] == pytest.approx(0.050, rel=0.02)
    assert np.isnan(Errors(1, 3).quantile(0.95)).all()


def test_joints_that_rest_are_not_averaged():
    scale = np.array([2.0, NAN, 0.5])
    errors = np.array([[1.0, 9.0, 0.5], [0.0, 9.0, 0.0]])
    np.testing.assert_array_equal(normalised(errors, scale), [0.75, 0.0])


def test_each_sample_of_a_moment_has_its_error():
    found = moment_errors(np.array([CHUNK, 0 * CHUNK]), RECORDED, np.array([1.0, 2.0]))
    np.testing.assert_array_equal(found, [0.875, 0.125])


@pytest.mark.parametrize(
    ("predicted", "recorded", "expected"),
    [
        ("0011", "0011", Grip(4, 4, 1, 0, 0, [0])),
        ("0111", "0011", Grip(4, 3, 1, 0, 0, [-1])),
        ("0001", "0011", Grip(4, 3, 1, 0, 0, [1])),
        ("1111", "0011", Grip(4, 2, 1, 0, 0, [-2])),
        ("0000", "0011", Grip(4, 2, 1, 1, 0, [])),
        ("0010", "0000", Grip(4, 3, 0, 0, 1, [])),
        ("0000", "0000", Grip(4, 4, 0, 0, 0, [])),
        ("1100", "1000", Grip(4, 3, 1, 0, 0, [1])),
        ("", "", Grip()),
    ],
)
def test_gripper_timing(predicted, recorded, expected):
    """1 stands for closed, which is below the middle."""
    grip = Grip()
    ours, real = (
        np.array([0.01 if c == "1" else 0.03 for c in text]) for text in (predicted, recorded)
    )
    grip.add(ours, real, 0.02)
    assert grip == expected
    both = Grip()
    both.merge(grip)
    both.merge(grip)
    assert both.rows == 2 * expected.rows
    assert both.steps == 2 * expected.steps


def test_jumps_are_from_the_measured_position():
    jumps = Jumps(2)
    assert np.isnan(jumps.mean).all()
    jumps.add(np.array([[1.0, 2.0], [3.0, 2.0]]), np.array([2.0, 2.0]))
    other = Jumps(2)
    other.add(np.array([[0.0, 5.0]]), np.array([4.0, 2.0]))
    jumps.merge(other)
    np.testing.assert_array_equal(jumps.mean, [2.0, 1.0])
    np.testing.assert_array_equal(jumps.most, [4.0, 3.0])


def test_holding_repeats_the_state():
    np.testing.assert_array_equal(hold(np.array([1.0, 2.0]), 3), [[1, 2], [1, 2], [1, 2]])


def test_constant_velocity_goes_on_from_the_commands_before():
    state = np.array([9.0])
    before = [np.array([0.6]), np.array([0.4]), np.array([0.1]), np.array([0.0])]
    np.testing.assert_allclose(constant_velocity(before, state, 3), [[0.8], [1.0], [1.2]])
    np.testing.assert_array_equal(constant_velocity([*before[:3], None], state, 2), [[0.6], [0.6]])
    np.testing.assert_array_equal(constant_velocity([None, *before[1:]], state, 2), [[9.0], [9.0]])


def test_seeds_differ_by_all_that_they_are_made_of():
    found = seed_of(0, "a", 0, 0)
    assert found == seed_of(0, "a", 0, 0) == 450999037
    others = {seed_of(1, "a", 0, 0), seed_of(0, "b", 0, 0), seed_of(0, "a", 1, 0)}
    assert len({found, *others, seed_of(0, "a", 0, 1)}) == 5


def test_the_range_is_that_of_almost_all_commands():
    commands = np.zeros((1001, 14))
    commands[:, 0] = np.linspace(0, 1, 1001)
    commands[5, 1] = 100.0  # one wild command
    commands[:, 6] = np.linspace(0.01, 0.03, 1001)
    motion = Motion.of([commands[:500], commands[500:]])
    assert motion.scale[0] == pytest.approx(0.98)
    assert np.isnan(motion.scale[1])
    assert motion.scale[6] == pytest.approx(0.0196)
    assert motion.grip_middle[0] == pytest.approx(0.02)
    assert np.isnan(motion.grip_middle[1])
    with pytest.raises(DatasetError, match="no joint moves"):
        Motion.of([np.zeros((50, 14))])


def moment(frame, error, episode="a", judged=4):
    valid = np.arange(4) < judged
    nothing = np.zeros((1, 2))
    return Moment(
        episode=episode,
        prompt="",
        frame=frame,
        time_s=frame / 30,
        error=error,
        hold_error=0.0,
        joint_errors=np.zeros(2),
        state=np.zeros(2),
        chunks=np.zeros((1, 4, 2)),
        recorded=Recorded(np.zeros((4, 2)), valid),
        before=nothing,
        pictures={},
    )


def kept(worst):
    return [(each.episode, each.frame) for each in worst.moments]


def test_the_worst_moments_are_kept_one_for_each_chunk():
    worst = WorstMoments(2)
    for frame, error in ((0, 0.1), (2, 0.3), (3, 0.29), (10, 0.25), (20, 0.05), (30, 0.28)):
        worst.add(moment(frame, error))
    assert kept(worst) == [("a", 2), ("a", 30)]
    worst.add(moment(2, 0.9, episode="b"))
    assert kept(worst) == [("b", 2), ("a", 2)]
    worst.add(moment(50, 5.0, judged=1))
    assert kept(worst) == [("b", 2), ("a", 2)]
    other = WorstMoments(2)
    other.add(moment(5, 0.5))
    worst.merge(other)
    assert kept(worst) == [("b", 2), ("a", 5)]
    nothing = WorstMoments(0)
    nothing.add(moment(0, 1.0))
    assert kept(nothing) == []
