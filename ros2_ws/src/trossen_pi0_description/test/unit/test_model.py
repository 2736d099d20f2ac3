"""Poses and checks of the robot model."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from trossen_pi0_description.model import FIXED, DescriptionError, Joint, Link, Pose, Robot

ANGLES = [
    (0.1, -0.2, 0.3),
    (3.0, 1.2, -3.0),
    (0.4, np.pi / 2, 0.0),
    (-0.7, -np.pi / 2, 0.0),
    (0.4, np.pi / 2 - 1e-7, 1.0),
]


@pytest.mark.parametrize("angles", ANGLES)
def test_rpy_turns_about_fixed_axes(angles):
    turned = Rotation.from_euler("xyz", angles).as_matrix()
    again = Rotation.from_euler("xyz", Pose.of(rotation=turned).rpy).as_matrix()
    np.testing.assert_allclose(again, turned, atol=1e-9)


def test_rpy_of_a_quarter_turn_about_y():
    quarter = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    assert Pose.of(rotation=quarter).rpy == pytest.approx((0.0, np.pi / 2, 0.0))


def test_poses_are_chained_from_the_outside():
    quarter = Pose.of((1.0, 0.0, 0.0), [[0, -1, 0], [1, 0, 0], [0, 0, 1]])
    inner = Pose.of((0.0, 2.0, 0.0))
    np.testing.assert_allclose((quarter @ inner).position, [-1.0, 0.0, 0.0], atol=1e-12)
    back = quarter.inverse() @ quarter
    np.testing.assert_allclose(back.position, 0.0, atol=1e-12)
    np.testing.assert_allclose(back.rotation, np.eye(3), atol=1e-12)


def test_names_that_stand_twice_are_refused():
    with pytest.raises(DescriptionError, match=r"links named more than once: \['a'\]"):
        Robot("r", (Link("a"), Link("a")), ())
    joints = tuple(Joint(name, FIXED, "a", "b", Pose.of()) for name in ("j", "k"))
    with pytest.raises(DescriptionError, match=r"children named more than once: \['b'\]"):
        Robot("r", (Link("a"), Link("b")), joints)
