"""The prefix of a request: what is refused, and that it comes out as it went in."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from trossen_pi0_core.errors import ObservationError
from trossen_pi0_core.transforms import (
    ByteTokenizer,
    NormStats,
    PolicyTransform,
    TransformConfig,
    mask_from_runs,
)
from trossen_pi0_core.transforms.request import request_prefix

ROWS = np.arange(3 * 14.0).reshape(3, 14) / 10


def test_a_request_without_one() -> None:
    assert request_prefix({}, 14) is None
    assert request_prefix({"rtc": None}, 14) is None


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
@pytest.mark.parametrize("frozen", [0, 3, np.int32(2)])
def test_numbers_of_any_kind_are_taken(dtype: Any, frozen: Any) -> None:
    rows = (10 * ROWS).astype(dtype)
    rows.flags.writeable = False
    found = request_prefix({"rtc": {"prefix": rows, "frozen": frozen}}, 14)
    assert found is not None
    assert found.positions.dtype == np.float64
    np.testing.assert_array_equal(found.positions, rows)
    assert (found.frozen, type(found.frozen)) == (int(frozen), int)


@pytest.mark.parametrize(
    ("rtc", "says"),
    [
        (ROWS, "'rtc' must be a map of 'prefix' and 'frozen', got ndarray"),
        ({"prefix": ROWS}, r"'rtc' must be a map of .*, got \['prefix'\]"),
        ({"prefix": ROWS, "frozen": 1, "more": 2}, r"got \['frozen', 'more', 'prefix'\]"),
        ({"prefix": None, "frozen": 0}, r"shape \(rows >= 1, 14\), got object of shape \(\)"),
        ({"prefix": "rows", "frozen": 0}, r"shape \(rows >= 1, 14\), got <U4"),
        ({"prefix": [[1.0], [1.0, 2.0]], "frozen": 0}, "must be rows of 14 numbers"),
        ({"prefix": ROWS[:, :13], "frozen": 1}, r"got float64 of shape \(3, 13\)"),
        ({"prefix": ROWS[0], "frozen": 1}, r"got float64 of shape \(14,\)"),
        ({"prefix": ROWS[:0], "frozen": 0}, r"got float64 of shape \(0, 14\)"),
        ({"prefix": ROWS > 0, "frozen": 0}, "got bool of shape"),
        ({"prefix": ROWS * 1e7, "frozen": 1}, r"within \+-1e\+06, got 2000000.0 at index 2 of row"),
        ({"prefix": np.where(ROWS == 1.5, np.nan, ROWS), "frozen": 1}, "got nan at index 1 of row"),
        ({"prefix": np.where(ROWS == 0, -np.inf, ROWS), "frozen": 1}, "got -inf at index 0"),
        ({"prefix": ROWS, "frozen": 4}, r"frozen must lie in 0\.\.3, .* got 4"),
        ({"prefix": ROWS, "frozen": -1}, r"frozen must lie in 0\.\.3, .* got -1"),
        ({"prefix": ROWS, "frozen": 1.0}, "'frozen' in 'rtc' must be a whole number, got float"),
        ({"prefix": ROWS, "frozen": True}, "must be a whole number, got bool"),
    ],
)
def test_what_is_malformed_is_refused(rtc: Any, says: str) -> None:
    with pytest.raises(ObservationError, match=says):
        request_prefix({"rtc": rtc}, 14)


@pytest.mark.parametrize("quantiles", [False, True])
@pytest.mark.parametrize("delta", [None, mask_from_runs(6, -1, 6, -1)])
def test_what_the_model_sees_is_what_its_answer_would_be(quantiles: bool, delta: Any) -> None:
    rng = np.random.default_rng(3)
    spread = rng.uniform(0.1, 2.0, 14)
    mean = rng.standard_normal(14)
    stats = NormStats(mean, spread, mean - spread, mean + 2 * spread)
    transform = PolicyTransform(
        TransformConfig(quantiles=quantiles, delta_mask=delta),
        {"state": stats, "actions": stats},
        ByteTokenizer(),
    )
    request = {"state": rng.standard_normal(14), "rtc": {"prefix": ROWS, "frozen": 2}}
    assert transform.prefix({"state": request["state"]}) is None
    given = transform.prefix(request)
    assert given is not None
    rows, frozen = given
    assert (rows.shape, rows.dtype, frozen) == ((3, 32), np.float32, 2)
    assert not rows[:, 14:].any()
    np.testing.assert_allclose(transform.outputs(rows, request), ROWS, rtol=0, atol=1e-5)
