import numpy as np
import pytest

from trossen_pi0_training.stats import BASIC, ImageHistogram, of_values, to_json


def test_values_are_numpys() -> None:
    values = np.random.default_rng(0).normal(size=(137, 14)).astype(np.float32)
    found = of_values(values)
    wide = values.astype(np.float64)
    np.testing.assert_allclose(found["mean"], wide.mean(axis=0))
    np.testing.assert_allclose(found["std"], wide.std(axis=0))
    np.testing.assert_array_equal(found["min"], wide.min(axis=0))
    np.testing.assert_array_equal(found["max"], wide.max(axis=0))
    np.testing.assert_allclose(found["q01"], np.quantile(wide, 0.01, axis=0))
    np.testing.assert_allclose(found["q90"], np.quantile(wide, 0.9, axis=0))
    assert found["count"].tolist() == [137]


def test_column_of_numbers_has_one_dimension() -> None:
    found = of_values(np.array([1, 2, 3, 6]))
    assert found["mean"].tolist() == [3.0]
    assert found["q50"].tolist() == [2.5]


def test_pictures_are_numpys_over_all_pixels_and_parts() -> None:
    images = np.random.default_rng(1).integers(0, 200, size=(7, 12, 10, 3), dtype=np.uint8)
    parts = [ImageHistogram(), ImageHistogram()]
    for i, image in enumerate(images):
        parts[i % 2].add(image)
    found = ImageHistogram.merged(parts).statistics()
    pixels = images.reshape(-1, 3) / 255.0
    for name, value in (
        ("mean", pixels.mean(axis=0)),
        ("std", pixels.std(axis=0)),
        ("min", pixels.min(axis=0)),
        ("max", pixels.max(axis=0)),
        ("q01", np.quantile(pixels, 0.01, axis=0, method="inverted_cdf")),
        ("q50", np.quantile(pixels, 0.5, axis=0, method="inverted_cdf")),
        ("q99", np.quantile(pixels, 0.99, axis=0, method="inverted_cdf")),
    ):
        assert found[name].shape == (3, 1, 1)
        np.testing.assert_allclose(found[name].ravel(), value, atol=1e-12, err_msg=name)
    assert found["count"].tolist() == [7]


def test_one_colour_has_no_spread() -> None:
    histogram = ImageHistogram()
    histogram.add(np.full((4, 4, 3), (0, 128, 255), dtype=np.uint8))
    found = histogram.statistics()
    assert found["std"].ravel().tolist() == pytest.approx([0.0, 0.0, 0.0], abs=1e-7)
    assert found["min"].ravel().tolist() == [0.0, 128 / 255, 1.0]
    assert found["max"].ravel().tolist() == [0.0, 128 / 255, 1.0]


def test_json_has_the_names_asked_for() -> None:
    content = to_json({"action": of_values(np.zeros((3, 2)))}, BASIC)
    assert set(content["action"]) == set(BASIC)
    assert content["action"]["mean"] == [0.0, 0.0]
