"""The compatibility switch does to pictures what the vendor's client does, and nothing else."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from trossen_pi0_core.transforms import (
    ByteTokenizer,
    NormStats,
    PolicyTransform,
    TransformConfig,
)
from trossen_pi0_core.transforms.reference_client import squash_and_swap

STATS = {name: NormStats(np.zeros(14), np.ones(14)) for name in ("state", "actions")}
FRAME = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)


def test_it_fills_the_square_instead_of_padding() -> None:
    result = squash_and_swap(np.full((480, 640, 3), 200, np.uint8), 224, 224)
    assert result.shape == (224, 224, 3)
    assert (result == 200).all()


def test_red_and_blue_change_places() -> None:
    frame = np.empty((2, 2, 3), np.uint8)
    frame[:] = (1, 2, 3)
    assert squash_and_swap(frame, 2, 2)[0, 0].tolist() == [3, 2, 1]


def test_it_takes_the_nearest_four_pixels_and_does_not_average_over_more() -> None:
    # Bilinear without antialiasing: of 8 columns the 2 results lie at 1.5 and 5.5.
    frame = np.zeros((2, 8, 3), np.uint8)
    frame[:, [1, 2, 5], 0] = 100, 50, 40
    assert squash_and_swap(frame, 2, 2)[0, :, 2].tolist() == [75, 20]


def test_pixels_are_those_of_the_client_s_two_calls() -> None:
    expected = cv2.cvtColor(cv2.resize(FRAME, (224, 224)), cv2.COLOR_BGR2RGB)
    np.testing.assert_array_equal(squash_and_swap(FRAME, 224, 224), expected)


def test_the_switch_changes_the_pictures_only() -> None:
    request = {"state": np.zeros(14), "images": {"cam_high": FRAME}, "prompt": "grab"}
    config = TransformConfig()
    plain, compatible = (
        PolicyTransform(c, STATS, ByteTokenizer()).inputs(request)
        for c in (config, dataclasses.replace(config, reference_client_compat=True))
    )
    np.testing.assert_array_equal(compatible.images[0], squash_and_swap(FRAME, 224, 224))
    assert not plain.images[0, :28].any()
    assert not compatible.images[1:].any()
    for name in ("image_mask", "state", "tokens", "token_mask"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(compatible, name))
