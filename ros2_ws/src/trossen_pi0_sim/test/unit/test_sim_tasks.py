"""Scenarios and where their objects start."""

from __future__ import annotations

import numpy as np
import pytest

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters.sim import VARIANTS as PARAMETER_CHOICES
from trossen_pi0_sim.tasks import VARIANTS, find_variant, start_pose


def test_every_variant_of_the_parameter_exists() -> None:
    assert tuple(VARIANTS) == PARAMETER_CHOICES


def test_unknown_variant_names_the_allowed_ones() -> None:
    with pytest.raises(ParameterError, match=r"'green_ball' is not one of .*'red_cube'"):
        find_variant("green_ball")


@pytest.mark.parametrize("name", PARAMETER_CHOICES)
def test_objects_start_on_the_table_in_reach_of_the_right_arm(name: str) -> None:
    variant = find_variant(name)
    poses = np.array([start_pose(seed, variant) for seed in range(500)])
    assert (poses[:, 0] >= -0.15).all()
    assert (poses[:, 0] <= 0.20).all()
    assert (poses[:, 1] >= -0.30).all()
    assert (poses[:, 1] <= -0.03).all()
    assert (poses[:, 2] == 0.02 + variant.half_size[2]).all()
    np.testing.assert_allclose(np.linalg.norm(poses[:, 3:], axis=1), 1.0)
    assert (poses[:, 4:6] == 0.0).all()


def test_seeds_spread_over_the_whole_range_and_repeat() -> None:
    cube = find_variant("red_cube")
    poses = np.array([start_pose(seed, cube) for seed in range(500)])
    np.testing.assert_allclose(poses[:, :2].min(axis=0), [-0.15, -0.30], atol=0.01)
    np.testing.assert_allclose(poses[:, :2].max(axis=0), [0.20, -0.03], atol=0.01)
    np.testing.assert_array_equal(start_pose(7, cube), poses[7])
    assert not np.array_equal(poses[7], poses[8])


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(ParameterError, match=rf"seed: {seed} lies outside \[0, 4294967295\]"):
        start_pose(seed, find_variant("red_cube"))
