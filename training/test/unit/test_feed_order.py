"""Which examples a batch takes."""

from __future__ import annotations

import numpy as np

from trossen_pi0_training.feed.order import example_numbers


def test_each_epoch_is_a_permutation_of_its_own():
    numbers = np.concatenate([example_numbers(1, 10, 4, step) for step in range(5)])
    first, second = numbers[:10], numbers[10:]
    assert sorted(first) == sorted(second) == list(range(10))
    assert list(first) != list(second)


def test_a_batch_depends_on_seed_and_step_alone():
    later = [example_numbers(3, 1000, 8, step) for step in (200, 7, 200)]
    np.testing.assert_array_equal(later[0], later[2])
    assert set(later[0]) != set(later[1])
    assert set(example_numbers(4, 1000, 8, 7)) != set(later[1])


def test_a_batch_may_be_longer_than_the_data():
    numbers = example_numbers(0, 3, 8, 0)
    assert sorted(numbers[:3]) == sorted(numbers[3:6]) == [0, 1, 2]
