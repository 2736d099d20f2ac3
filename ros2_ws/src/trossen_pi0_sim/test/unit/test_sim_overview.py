"""The picture from outside."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from trossen_pi0_core.errors import JointError, ParameterError
from trossen_pi0_sim.expert import STAGED
from trossen_pi0_sim.overview import OverviewRenderer, Tube
from trossen_pi0_sim.scene import ARMS

OBJECT_POSE = (0.1, -0.1, 0.04, 1.0, 0.0, 0.0, 0.0)
GREEN = (0.0, 1.0, 0.0, 1.0)


@pytest.fixture(scope="module")
def overview() -> Iterator[OverviewRenderer]:
    renderer = OverviewRenderer(320, 180)
    yield renderer
    renderer.close()


def coloured(picture: NDArray[np.uint8], channel: int) -> NDArray[np.bool_]:
    """Where one channel is bright and the others are not."""
    values = picture.astype(int)
    others = np.delete(values, channel, axis=2).max(axis=2)
    return (values[..., channel] > 120) & (others < 0.6 * values[..., channel])


def test_both_arms_table_and_object_are_seen(overview: OverviewRenderer) -> None:
    picture = overview.render(STAGED, OBJECT_POSE)
    assert (picture.shape, picture.dtype) == ((180, 320, 3), np.uint8)
    assert 10 < coloured(picture, 0).sum() < 400  # the red cube
    dark = picture.max(axis=2) < 110
    assert dark[:90, :160].sum() > 500
    assert dark[:90, 160:].sum() > 500
    gone = overview.render(STAGED)
    assert coloured(gone, 0).sum() == 0
    blue = overview.render(STAGED, OBJECT_POSE, "blue_brick")
    assert coloured(blue, 2).sum() > 10


def test_tubes_are_drawn_where_they_are(overview: OverviewRenderer) -> None:
    along_y = np.array([[0.1, -0.2, 0.1], [0.1, 0.0, 0.1], [0.1, 0.2, 0.1]])
    drawn = coloured(overview.render(STAGED, None, tubes=[Tube(along_y, GREEN, 0.01)]), 1)
    columns = np.flatnonzero(drawn.any(axis=0))
    assert columns[0] < 150
    assert columns[-1] > 170
    assert drawn[:, columns[0] : columns[-1]].any(axis=0).all()  # without a gap
    assert not coloured(overview.render(STAGED, None), 1).any()


def test_pairs_leave_gaps(overview: OverviewRenderer) -> None:
    ends = np.array([[0.1, y, 0.1] for y in (-0.2, -0.1, 0.1, 0.2)])
    drawn = coloured(overview.render(STAGED, None, tubes=[Tube(ends, GREEN, 0.01, pairs=True)]), 1)
    columns = drawn.any(axis=0).astype(int)
    assert (np.diff(columns) == 1).sum() == 2


def test_what_lies_within_an_arm_shines_through(overview: OverviewRenderer) -> None:
    x, y, _ = ARMS[0].position
    inside = np.array([[x, y, 0.08], [x, y, 0.11]])
    drawn = coloured(overview.render(STAGED, None, tubes=[Tube(inside, GREEN, 0.008)]), 1)
    assert drawn.sum() > 5


def test_what_cannot_be_shown_is_refused(overview: OverviewRenderer) -> None:
    with pytest.raises(JointError, match="need 14 finite joint positions"):
        overview.render(STAGED[:7])
    with pytest.raises(ParameterError, match="variant: 'green_ball' is not one of"):
        overview.render(STAGED, None, "green_ball")
