"""Statistics are read and written as openpi does it, and normalising can be undone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trossen_pi0_core.errors import NormStatsError
from trossen_pi0_core.transforms import (
    NormStats,
    load_norm_stats,
    normalise,
    save_norm_stats,
    unnormalise,
)

OPENPI_FILE = Path(__file__).parents[1] / "data" / "openpi_norm_stats.json"
"""Written by openpi's ``normalize.save``."""

ARM = NormStats(
    mean=np.array([1.0, -2.0, 0.5]),
    std=np.array([0.5, 2.0, 0.0]),
    q01=np.array([0.0, -4.0, 0.5]),
    q99=np.array([2.0, 4.0, 0.5]),
)


def entry(**changes: Any) -> dict[str, Any]:
    fields = {"mean": [0.0, 1.0], "std": [1.0, 2.0], "q01": [-1.0, 0.0], "q99": [1.0, 2.0]}
    return {**fields, **changes}


def content(**changes: Any) -> dict[str, Any]:
    return {"norm_stats": {"state": entry(**changes), "actions": entry()}}


def test_z_scores_are_openpi_s_with_its_epsilon() -> None:
    result = normalise([[2.0, 0.0, 0.5]], ARM, quantiles=False)
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, [[1 / 0.500001, 2 / 2.000001, 0.0]])


def test_quantiles_span_minus_one_to_one_and_do_not_clip() -> None:
    result = normalise([-1.0, 4.0, 0.5], ARM, quantiles=True)
    np.testing.assert_allclose(result, [-2.0, 1.0, -1.0], rtol=1e-6)
    assert result[1] == 8 / (8 + 1e-6) * 2 - 1


def test_a_joint_that_never_moved_stays_finite() -> None:
    # The epsilon of 1e-6 is all that divides: half a unit away is half a million.
    assert normalise([0, 0, 1.0], ARM, quantiles=False)[2] == pytest.approx(5e5)


@pytest.mark.parametrize("quantiles", [False, True])
def test_unnormalising_undoes_normalising(*, quantiles: bool) -> None:
    values = np.random.default_rng(1).normal(0, 3, (4, 5, 3))
    there = normalise(values, ARM, quantiles=quantiles)
    np.testing.assert_allclose(unnormalise(there, ARM, quantiles=quantiles), values, rtol=1e-9)


def test_the_model_s_padding_is_left_alone_by_quantiles_and_nearly_by_z_scores() -> None:
    padded = np.array([0.0, 0.0, 0.0, 5.0])
    assert unnormalise(padded, ARM, quantiles=True)[3] == 5.0
    assert unnormalise(padded, ARM, quantiles=False)[3] == 5.0 * (1 + 1e-6)


@pytest.mark.parametrize("quantiles", [False, True])
def test_longer_statistics_are_cut(*, quantiles: bool) -> None:
    short = np.array([0.3, 0.4])
    there = normalise(short, ARM, quantiles=quantiles)
    assert there.shape == (2,)
    np.testing.assert_allclose(unnormalise(there, ARM, quantiles=quantiles), short)


def test_shorter_statistics_are_refused() -> None:
    with pytest.raises(NormStatsError, match="4 values need 4 statistics, there are 3"):
        normalise(np.zeros(4), ARM, quantiles=False)


@pytest.mark.parametrize("function", [normalise, unnormalise])
def test_the_caller_s_array_is_not_edited(function: Callable[..., Any]) -> None:
    for quantiles in (False, True):
        values = np.ones((2, 4 if function is unnormalise else 3))
        values.flags.writeable = False
        function(values, ARM, quantiles=quantiles)
        assert (values == 1).all()


def test_statistics_are_read_only_copies() -> None:
    mean = np.zeros(2)
    stats = NormStats(mean, np.ones(2))
    mean[0] = 5
    assert stats.mean[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        stats.mean[0] = 1


def test_without_quantiles_there_is_no_normalising_by_them() -> None:
    with pytest.raises(NormStatsError, match="quantiles need q01 and q99"):
        normalise(np.zeros(2), NormStats(np.zeros(2), np.ones(2)), quantiles=True)


def test_a_file_of_openpi_is_read_to_the_last_bit() -> None:
    stats = load_norm_stats(OPENPI_FILE)
    assert set(stats) == {"state", "actions"}
    raw = json.loads(OPENPI_FILE.read_text())["norm_stats"]
    for name, entry in stats.items():
        assert entry.dimensions == 14
        for field, array in entry.fields().items():
            assert array is not None
            assert array.tolist() == raw[name][field]


def test_a_written_file_is_read_back_to_the_last_bit(tmp_path: Path) -> None:
    stats = {"state": ARM, "actions": NormStats(np.array([1 / 3]), np.array([1e-30]))}
    file = save_norm_stats(tmp_path / "assets" / "lab" / "handover", stats)
    assert file == tmp_path / "assets" / "lab" / "handover" / "norm_stats.json"
    for place in (file, file.parent, str(file.parent)):
        back = load_norm_stats(place)
        assert back["actions"].q01 is None
        for name, entry in stats.items():
            for field, array in entry.fields().items():
                np.testing.assert_array_equal(back[name].fields()[field], array)


def test_a_written_file_has_openpi_s_layout(tmp_path: Path) -> None:
    stats = load_norm_stats(OPENPI_FILE)
    assert json.loads(save_norm_stats(tmp_path, stats).read_text()) == json.loads(
        OPENPI_FILE.read_text()
    )


def test_writing_needs_state_and_actions(tmp_path: Path) -> None:
    with pytest.raises(NormStatsError, match=r"\['actions'\] are missing"):
        save_norm_stats(tmp_path, {"state": ARM})
    assert not list(tmp_path.iterdir())


def test_a_missing_file_names_the_path_and_what_lies_near(tmp_path: Path) -> None:
    save_norm_stats(tmp_path / "lab" / "handover", {"state": ARM, "actions": ARM})
    with pytest.raises(NormStatsError, match=r"there is no .*norm_stats\.json") as caught:
        load_norm_stats(tmp_path)
    assert str(caught.value).endswith(f"there are some in ['{tmp_path / 'lab' / 'handover'}']")
    with pytest.raises(NormStatsError, match=r"there is no .*nowhere$"):
        load_norm_stats(tmp_path / "lab" / "handover" / "nowhere")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1"),
        ("[1]", "must hold a map 'norm_stats'"),
        ('{"norm_stats": 3}', "must hold a map 'norm_stats'"),
        ('{"norm_stats": {"state": {}}}', r"\['actions'\] are missing, there are \['state'\]"),
        (json.dumps({"norm_stats": {"state": [], "actions": {}}}), "state: .* got list"),
        (
            json.dumps({"norm_stats": {"state": {"mean": [1]}, "actions": {}}}),
            r"state: statistics need 'mean' and 'std', got \['mean'\]",
        ),
        (json.dumps(content(std=[1.0])), "same length.*'std': 1"),
        (json.dumps(content(std=[1.0, -1.0])), "state: std must be 0 or more, got -1.0"),
        (json.dumps(content(mean=[0.0, float("nan")])), "mean must be finite, got nan"),
        (json.dumps(content(q01=None)), "q01 and q99 must be given together"),
        (json.dumps(content(q01=[2.0, 0.0])), "got 1.0 below 2.0 in dimension 0"),
        (json.dumps(content(mean=[[0.0, 1.0]])), r"got shape \(1, 2\)"),
        (json.dumps(content(mean="abc")), "mean must be a list of numbers"),
        (json.dumps(content(mean=[])), r"got shape \(0,\)"),
    ],
)
def test_a_malformed_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "norm_stats.json"
    file.write_text(text)
    with pytest.raises(NormStatsError, match=message) as caught:
        load_norm_stats(tmp_path)
    assert str(file) in str(caught.value)
