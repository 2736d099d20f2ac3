"""Statistics of many rows, a part at a time."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fixtures.training import debug_config
from trossen_pi0_core.transforms import save_norm_stats
from trossen_pi0_training.dataset_index import EpisodeSpan
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.feed.synthetic import synthetic_stats
from trossen_pi0_training.moments_of_rows import BINS, stats_of_rows
from trossen_pi0_training.norm_stats import SIDECAR, compute, read_stats


def test_they_are_those_of_all_rows_at_once():
    rng = np.random.default_rng(0)
    rows = np.concatenate([1000.0 + rng.normal(size=(4000, 3)), rng.gamma(2.0, size=(977, 3))])
    parts = np.split(rows, [1, 10, 1200, 4100])
    found = stats_of_rows(lambda: parts)
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, rows.std(axis=0), rtol=1e-10)
    bin_width = (rows.max(axis=0) - rows.min(axis=0)) / BINS
    assert found.q01 is not None
    assert found.q99 is not None
    for quantile, share in ((found.q01, 0.01), (found.q99, 0.99)):
        below = (rows < quantile - bin_width).mean(axis=0)
        not_above = (rows <= quantile + bin_width).mean(axis=0)
        assert (below <= share).all()
        assert (share <= not_above).all()


def test_values_that_never_change_are_their_own_quantiles():
    found = stats_of_rows(lambda: [np.full((5, 2), 0.25)])
    np.testing.assert_array_equal(found.q01, [0.25, 0.25])
    np.testing.assert_array_equal(found.q99, [0.25, 0.25])
    np.testing.assert_array_equal(found.std, [0.0, 0.0])


def test_no_rows_have_none():
    with pytest.raises(ValueError, match="at least one row"):
        stats_of_rows(list)


@pytest.mark.parametrize(
    ("sidecar", "said"),
    [
        (None, "do not say what data they are of: made_of.json is missing there, which openpi"),
        ("[1, 2]", r"made_of.json must hold a map with the keys \['frames'\], got \[1, 2\]"),
        ("{", "made_of.json cannot be read"),
        ('{"frames": 4}', "are of other data: frames: 4, now 5"),
    ],
)
def test_stats_must_say_what_they_are_of(tmp_path, sidecar, said):
    config = debug_config(tmp_path)
    with pytest.raises(
        TrainingError, match="norm stats cannot be used: no normalisation statistics"
    ):
        read_stats(config, {"frames": 5})
    save_norm_stats(config.stats_folder, synthetic_stats(14))
    if sidecar is not None:
        (config.stats_folder / SIDECAR).write_text(sidecar)
    with pytest.raises(TrainingError, match=said) as caught:
        read_stats(config, {"frames": 5})
    assert "make them with `python -m trossen_pi0_training.norm_stats debug`" in str(caught.value)
    (config.stats_folder / SIDECAR).write_text(json.dumps({"frames": 5}))
    assert read_stats(config, {"frames": 5})["state"].dimensions == 14


def test_a_value_that_is_not_finite_names_its_episode():
    values = np.zeros((7, 2), np.float32)
    values[5, 1] = np.nan
    spans = {0: EpisodeSpan(0, 0, 3, (), "a"), 1: EpisodeSpan(1, 3, 4, (), "a")}
    frames: Any = SimpleNamespace(
        root="set", joint_names=("a", "b"), episodes=spans, select=lambda _, __: values
    )
    found = compute(frames, (0,), 2, delta=False)
    np.testing.assert_array_equal(found["state"].mean, [0.0, 0.0])
    said = "set: episode 1 has 1 values that are not finite in .*, the first in frame 2 of b: nan"
    with pytest.raises(TrainingError, match=said):
        compute(frames, (0, 1), 2, delta=False)
