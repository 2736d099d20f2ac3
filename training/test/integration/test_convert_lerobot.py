"""Data sets of ours, loaded by the lerobot library in its own environment."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fixtures.bags import Episode
from trossen_pi0_training import layout, lerobot_env
from trossen_pi0_training.convert import convert
from trossen_pi0_training.convert_options import LIBRARY, NATIVE, Options
from trossen_pi0_training.dataset import LeRobotFrames

CASES = [(layout.V30, LIBRARY), (layout.V30, NATIVE), (layout.V21, NATIVE)]
PROMPTS = ("grab the red cube", "put it back", "grab the red cube")


def _need_library(version: str) -> None:
    if lerobot_env.find_python(version) is None:
        pytest.skip(f"no environment with lerobot: make lerobot-env ARGS={version}")


def _convert(home: Path, version: str, writer: str) -> Path:
    for i, prompt in enumerate(PROMPTS):
        episode = Episode(f"e{i}", seconds=0.5 + 0.2 * i, seed=i, prompt=prompt)
        episode.began_ns += i * 10**12
        episode.write(home / "episodes")
    root = home / "set"
    convert(Options((home / "episodes",), "lab/cube", root, version, writer, workers=2))
    return root


def _load(version: str, root: Path, save: Path) -> dict[str, NDArray[Any]]:
    job = {"job": "check", "repo_id": "lab/cube", "root": str(root), "save": str(save)}
    lerobot_env.run_job(version, job, timeout_s=300)
    with np.load(save) as content:
        return dict(content)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("version", "writer"), CASES)
def test_library_reads_the_same_frames_and_statistics(
    tmp_path: Path, version: str, writer: str
) -> None:
    _need_library(version)
    _need_library(layout.V30 if writer == LIBRARY else version)
    root = _convert(tmp_path, version, writer)
    theirs = _load(version, root, tmp_path / "read.npz")
    ours = LeRobotFrames(root)
    assert len(theirs["index"]) == len(ours)
    for i in range(len(ours)):
        frame = ours.frame(i)
        assert (theirs["index"][i], theirs["task"][i]) == (i, frame.task)
        assert (theirs["episode_index"][i], theirs["frame_index"][i]) == (
            frame.episode,
            frame.frame,
        )
        assert theirs["timestamp"][i] == pytest.approx(frame.time_s)
        np.testing.assert_array_equal(theirs["observation.state"][i], frame.state)
        np.testing.assert_array_equal(theirs["action"][i], frame.action)
        for camera, image in frame.images.items():
            picture = theirs[layout.image_key(camera)][i].astype(int)
            assert np.abs(picture - image).max() <= 3, (i, camera)  # other colour conversion
    for feature in (layout.STATE, layout.ACTION):
        column = ours.column(feature).astype(np.float64)
        for name, value in (
            ("mean", column.mean(axis=0)),
            ("std", column.std(axis=0)),
            ("min", column.min(axis=0)),
            ("max", column.max(axis=0)),
        ):
            np.testing.assert_allclose(theirs[f"stats/{feature}/{name}"], value, atol=1e-7)
    assert theirs["stats/action/count"].tolist() == [len(ours)]
    ours.close()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_data_set_of_the_librarys_own_opens(tmp_path: Path) -> None:
    _need_library(layout.V30)
    random = np.random.default_rng(0)
    episodes: list[str] = []
    states: list[NDArray[np.float32]] = []
    names = [f"left_joint_{i}.pos" for i in range(3)]
    for number in range(2):
        folder = tmp_path / f"e{number}"
        folder.mkdir()
        state = random.normal(size=(6 + number, 3)).astype(np.float32)
        pictures = np.full((len(state), 32, 48, 3), 50 + 100 * number, dtype=np.uint8)
        np.save(folder / "state.npy", state)
        np.save(folder / "action.npy", state + 1)
        (folder / "top.raw").write_bytes(pictures.tobytes())
        episodes.append(str(folder))
        states.append(state)
    vector = {"dtype": "float32", "shape": [3], "names": names}
    picture = {"dtype": "video", "shape": [32, 48, 3], "names": ["height", "width", "channels"]}
    features = {
        "action": vector,
        "observation.state": vector,
        "observation.images.top": picture,
    }
    job = {"job": "record", "repo_id": "lab/own", "fps": 30, "features": features}
    job |= {"cameras": ["top"], "task": "look", "episodes": episodes}
    root = tmp_path / "own"
    lerobot_env.run_job(layout.V30, job | {"root": str(root)}, timeout_s=300)
    data = LeRobotFrames(root, joint_names=names)
    assert [each.length for each in data.episodes] == [6, 7]
    np.testing.assert_array_equal(data.column(layout.STATE), np.concatenate(states))
    assert data.tasks == ("look",)
    for i, level in ((0, 50), (5, 50), (6, 150), (12, 150)):
        assert data.frame(i).images["cam_high"].mean() == pytest.approx(level, abs=3)
    data.close()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_library_that_fails_leaves_no_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\necho 'no space left' >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setenv("TROSSEN_PI0_LEROBOT_PYTHON", str(script))
    with pytest.raises(lerobot_env.DatasetError, match=r"(?s)status 3\):\nno space left"):
        _convert(tmp_path, layout.V30, LIBRARY)
    assert not (tmp_path / "set").exists()
    assert json.loads((tmp_path / "episodes/e0/episode.json").read_text())["name"] == "e0"
