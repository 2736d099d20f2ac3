"""Checkpoints that come with the suite."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from trossen_pi0_policy.checkpoints import DownloadError, fetch, find_checkpoint
from trossen_pi0_policy.checkpoints.shipped import shipped_names
from trossen_pi0_policy.pi0.policy import load_policy

PACKAGE = Path(__file__).parents[2]


def contents(folder):
    """All files of a folder."""
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", shipped_names())
def test_each_is_complete_small_and_has_a_card(name):
    folder = fetch(f"shipped://{name}")
    assert find_checkpoint(folder).asset_ids
    files = {path: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    assert max(files.values()) < 16 * 2**20
    assert (folder / "README.md").read_text().startswith(f"# {name}\n")


def test_it_answers_with_motions_that_the_arms_can_make():
    policy = load_policy("shipped://sim_handover", dtype="float32", steps=4)
    metadata = policy.metadata
    rng = np.random.default_rng(3)
    images = {c: rng.integers(0, 256, (3, 48, 64), np.uint8) for c in metadata["camera_names"]}
    state = np.asarray(metadata["reset_pose"], np.float32)
    answer = policy.infer_one({"state": state, "images": images, "prompt": "grab the red cube"})
    assert answer["actions"].shape == (50, 14)
    assert np.abs(answer["actions"][0] - state).max() < 0.5


def test_unknown_names_are_told_with_those_there_are():
    with pytest.raises(DownloadError, match=r"no 'pi7' comes .* one of \['sim_handover'\]"):
        fetch("shipped://pi7")


def test_the_package_holds_them(tmp_path):
    command = [sys.executable, "setup.py", "-q", "build", "--build-base", str(tmp_path)]
    subprocess.run(command, cwd=PACKAGE, check=True, timeout=100)
    for name in shipped_names():
        (built,) = tmp_path.rglob(f"shipped/{name}")
        assert contents(built) == contents(fetch(f"shipped://{name}"))
