"""Deltas and padding, and back."""

from __future__ import annotations

import numpy as np
import pytest

from trossen_pi0_core.transforms import (
    ALOHA_DELTA_RUNS,
    mask_from_runs,
    to_absolute,
    to_delta,
)
from trossen_pi0_core.transforms.actions import pad_last

STATE = np.array([1.0, 2.0, 3.0])
ABSOLUTE = np.array([[1.5, 2.0, 9.0], [0.0, 4.0, 8.0]])


def test_openpi_s_mask_for_two_arms_leaves_the_carriages_absolute() -> None:
    mask = mask_from_runs(*ALOHA_DELTA_RUNS)
    assert mask == (True,) * 6 + (False,) + (True,) * 6 + (False,)
    assert mask_from_runs(2, 0, -1) == (True, True, False)


def test_masked_joints_are_relative_to_the_state() -> None:
    delta = to_delta(ABSOLUTE, STATE, (True, False, True))
    assert delta.tolist() == [[0.5, 2.0, 6.0], [-1.0, 4.0, 5.0]]


def test_joints_beyond_the_mask_stay_absolute() -> None:
    assert to_delta(ABSOLUTE, STATE, (True,)).tolist() == [[0.5, 2.0, 9.0], [-1.0, 4.0, 8.0]]


@pytest.mark.parametrize("mask", [None, (), (True,), (True, False, True)])
def test_absolute_undoes_delta(mask: tuple[bool, ...] | None) -> None:
    back = to_absolute(to_delta(ABSOLUTE, STATE, mask), STATE, mask)
    np.testing.assert_allclose(back, ABSOLUTE, rtol=1e-15)


def test_batches_have_a_state_each() -> None:
    states = np.stack([STATE, 10 * STATE])
    delta = to_delta(np.stack([ABSOLUTE, ABSOLUTE]), states, (True,))
    assert delta[:, :, 0].tolist() == [[0.5, -1.0], [-8.5, -10.0]]


def test_the_precision_is_that_of_the_actions() -> None:
    assert to_delta(ABSOLUTE.astype(np.float32), STATE, (True,)).dtype == np.float32


@pytest.mark.parametrize("function", [to_delta, to_absolute])
@pytest.mark.parametrize("mask", [None, (True, True)])
def test_the_caller_s_actions_are_not_edited(function, mask: tuple[bool, ...] | None) -> None:
    actions = ABSOLUTE.copy()
    result = function(actions, STATE, mask)
    assert result is not actions
    result[:] = 0
    np.testing.assert_array_equal(actions, ABSOLUTE)


def test_padding_appends_zeros_and_cutting_undoes_it() -> None:
    padded = pad_last(ABSOLUTE, 5)
    assert padded.tolist() == [[1.5, 2, 9, 0, 0], [0, 4, 8, 0, 0]]
    np.testing.assert_array_equal(padded[:, :3], ABSOLUTE)
    same = pad_last(ABSOLUTE, 3)
    assert not np.shares_memory(same, ABSOLUTE)
