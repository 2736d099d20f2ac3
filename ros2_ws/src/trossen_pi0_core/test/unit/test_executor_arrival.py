"""Motions end where they lead, however unevenly the ticks come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from trossen_pi0_core.executor import State

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Rig


@pytest.mark.parametrize("seed", range(20))
def test_a_move_to_a_position_limit_ends_there_with_uneven_ticks(
    make_rig: Callable[..., Rig], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rig = make_rig((0.9999, -0.9), acceleration=10.0)
    rig.move((1.0, -1.0))  # the filter lets a joint come near to a limit only as it can stop there
    for _ in range(400):
        rig.tick(step_ms=int(rng.integers(1, 25)))
        if rig.state != State.MOVING:
            break
    assert rig.state == State.HOLDING
    np.testing.assert_allclose(rig.executor.command, [1.0, -1.0], rtol=0.0, atol=1e-9)
    np.testing.assert_allclose(rig.tick(5).positions, [1.0, -1.0], rtol=0.0, atol=1e-9)
