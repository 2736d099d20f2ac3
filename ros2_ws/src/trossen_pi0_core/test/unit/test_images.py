"""Pictures are fitted and padded, never squashed, as openpi's own client does."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from openpi_client import image_tools

from trossen_pi0_core.images import POLICY_IMAGE_SIZE, resize_with_pad


def noise(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_openpi_takes_224_squared() -> None:
    assert POLICY_IMAGE_SIZE == (224, 224)


def test_a_wide_picture_is_padded_above_and_below() -> None:
    result = resize_with_pad(np.full((480, 640, 3), 200, np.uint8), 224, 224)
    assert result.shape == (224, 224, 3)
    assert result.dtype == np.uint8
    # 640x480 becomes 224x168: 28 black rows above and below.
    assert (result[:28] == 0).all()
    assert (result[28:196] == 200).all()
    assert (result[196:] == 0).all()


def test_a_tall_picture_is_padded_left_and_right() -> None:
    result = resize_with_pad(np.full((4, 2, 3), 9, np.uint8), 4, 4)
    assert result[:, :, 0].tolist() == [[0, 9, 9, 0]] * 4


def test_an_odd_rest_goes_below() -> None:
    result = resize_with_pad(np.full((1, 4, 3), 9, np.uint8), 4, 4)
    assert result[:, :, 0].tolist() == [[0] * 4, [9] * 4, [0] * 4, [0] * 4]


def test_colours_and_sides_stay_where_they_are() -> None:
    image = np.zeros((2, 4, 3), np.uint8)
    image[:, 0], image[:, 3] = (255, 10, 20), (1, 2, 3)
    result = resize_with_pad(image, 4, 4)
    assert result[1, 0].tolist() == [255, 10, 20]
    assert result[2, 3].tolist() == [1, 2, 3]


def test_halving_averages_with_rounding() -> None:
    image = np.zeros((2, 2, 3), np.uint8)
    image[..., 0] = [[0, 100], [200, 255]]
    # PIL's triangle filter takes all four pixels alike: 555 / 4 = 138.75.
    assert resize_with_pad(image, 1, 1).tolist() == [[[139, 0, 0]]]


def test_a_picture_of_the_right_size_is_left_alone() -> None:
    image = noise(224, 224)
    assert resize_with_pad(image, 224, 224) is image


@pytest.mark.parametrize(("height", "width"), [(1, 1000), (1000, 1)])
def test_a_sliver_stays_visible(height: int, width: int) -> None:
    result = resize_with_pad(np.full((height, width, 3), 50, np.uint8), 224, 224)
    assert result.shape == (224, 224, 3)
    assert (result == 50).sum() == 224 * 3


@pytest.mark.parametrize(
    ("height", "width"),
    [(480, 640), (240, 320), (224, 224), (720, 1280), (640, 480), (100, 37), (37, 100), (481, 643)],
)
@pytest.mark.parametrize("size", [(224, 224), (128, 96)])
def test_pixels_are_those_of_openpi_s_client(
    height: int, width: int, size: tuple[int, int]
) -> None:
    image = noise(height, width)
    np.testing.assert_array_equal(
        resize_with_pad(image, *size), image_tools.resize_with_pad(image, *size)
    )
