"""Malformed limits refuse, and no step leaves the limits."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.limits import (
    WXAI_LOWER,
    WXAI_UPPER,
    WXAI_VELOCITY,
    JointLimits,
    per_joint,
)


def make_limits(**changes: Any) -> JointLimits:
    values: dict[str, Any] = {
        "names": ("a", "b"),
        "lower": [-1.0, 0.0],
        "upper": [1.0, 0.04],
        "velocity": [2.0, 0.1],
        "acceleration": [10.0, 1.0],
    }
    return JointLimits(**{**values, **changes})


def test_limits_of_the_arm_are_the_tighter_of_driver_and_urdf() -> None:
    assert WXAI_LOWER == (-3.054, 0.0, 0.0, -1.5707, -1.5707, -3.1415, 0.0)
    assert WXAI_UPPER == (3.054, 3.1415, 2.356, 1.5707, 1.5707, 3.1415, 0.04)
    assert WXAI_VELOCITY == (3.375, 3.375, 3.375, 7.0, 7.0, 7.0, 0.25)


def test_limits_keep_their_own_read_only_copies() -> None:
    lower = np.array([-1.0, 0.0])
    limits = make_limits(lower=lower)
    lower[0] = -100.0
    assert limits.lower[0] == -1.0
    with pytest.raises(ValueError, match="read-only"):
        limits.lower[0] = -100.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lower": [-1.0]}, r"lower limits need 2 values, got shape \(1,\)"),
        ({"upper": 1.0}, r"upper limits need 2 values, got shape \(\)"),
        ({"velocity": [[2.0, 0.1]]}, r"velocity limits need 2 values, got shape \(1, 2\)"),
        ({"acceleration": [1, 2, 3]}, r"acceleration limits need 2 values, got shape \(3,\)"),
        ({"lower": [math.nan, 0.0]}, r"lower limits must be finite, got \[nan, 0.0\]"),
        ({"velocity": [math.inf, 1.0]}, r"velocity limits must be finite, got \[inf, 1.0\]"),
        ({"lower": [1.0, 0.0]}, r"lower limit must lie below the upper one: \['a'\]"),
        ({"upper": [1.0, -0.1]}, r"lower limit must lie below the upper one: \['b'\]"),
        ({"velocity": [0.0, -1.0]}, r"velocity limit must be greater than 0: \['a', 'b'\]"),
        ({"acceleration": [1.0, 0.0]}, r"acceleration limit must be greater than 0: \['b'\]"),
    ],
)
def test_malformed_limits_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        make_limits(**changes)


def test_the_tighter_limits_of_two_apply() -> None:
    tight = make_limits().tightened([-0.5, -1.0], [2.0, 0.03], [3.0, 0.05])
    np.testing.assert_array_equal(tight.lower, [-0.5, 0.0])
    np.testing.assert_array_equal(tight.upper, [1.0, 0.03])
    np.testing.assert_array_equal(tight.velocity, [2.0, 0.05])
    np.testing.assert_array_equal(tight.acceleration, [10.0, 1.0])


@pytest.mark.parametrize(
    ("lower", "upper", "velocity", "message"),
    [
        ([-1.0], [1.0, 1.0], [1.0, 1.0], "lower limits need 2 values"),
        ([-1.0, math.nan], [1.0, 1.0], [1.0, 1.0], "lower limits must be finite"),
        ([-1.0, -1.0], [1.0, 1.0], [1.0, 0.0], "velocity limit must be greater than 0"),
        ([1.5, -1.0], [2.0, 1.0], [1.0, 1.0], "lower limit must lie below the upper one"),
    ],
)
def test_other_limits_that_are_malformed_or_leave_no_room_are_refused(
    lower: list[float], upper: list[float], velocity: list[float], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        make_limits().tightened(lower, upper, velocity)


def test_a_part_of_the_speed_can_be_used_and_never_more_than_all() -> None:
    slow = make_limits().slowed(0.5)
    np.testing.assert_array_equal(slow.velocity, [1.0, 0.05])
    np.testing.assert_array_equal(slow.upper, [1.0, 0.04])
    for fraction in (0.0, -0.5, 1.01, math.nan):
        with pytest.raises(ParameterError, match=r"must lie in \(0, 1\], got"):
            make_limits().slowed(fraction)


def test_one_arm_s_values_stand_for_all_arms() -> None:
    seven = np.arange(7.0)
    np.testing.assert_array_equal(per_joint(seven, 14, "x"), [*seven, *seven])
    np.testing.assert_array_equal(per_joint(seven, 7, "x"), seven)
    np.testing.assert_array_equal(per_joint(np.arange(14.0), 14, "x"), np.arange(14.0))
    with pytest.raises(ParameterError, match=r"x needs 7 values .each arm alike. or 14, got 6"):
        per_joint(np.arange(6.0), 14, "x")
