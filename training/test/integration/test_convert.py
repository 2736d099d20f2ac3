"""Recorded episodes to data sets, without the lerobot library."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.bags import Episode
from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import DatasetError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_training import convert as converting
from trossen_pi0_training import publish as publishing
from trossen_pi0_training.convert import Result, convert, main
from trossen_pi0_training.convert_options import Options
from trossen_pi0_training.dataset import LeRobotFrames

URDF = JointMap().urdf_names
ROOT = "set"


def _options(home: Path, **changes: Any) -> Options:
    values: dict[str, Any] = {
        "episodes": (home / "episodes",),
        "repo_id": "lab/cube",
        "root": home / ROOT,
        "writer": "native",
        "workers": 2,
    }
    return Options(**{**values, **changes})


def _convert(home: Path, **changes: Any) -> Result:
    return convert(_options(home, **changes))


def _write(home: Path, *episodes: Episode) -> None:
    for each in episodes:
        each.write(home / "episodes")


def _left_behind(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir() if path.name != "episodes")


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_frames_are_those_that_were_recorded(tmp_path: Path, version: str) -> None:
    shuffled = [URDF[i] for i in np.random.default_rng(0).permutation(14)]
    episodes = [
        Episode("a", seconds=1.0, seed=1, prompt="grab the red cube"),
        Episode("b", seconds=0.6, seed=2, prompt="put it back", joint_names=shuffled),
    ]
    for i, each in enumerate(episodes):
        each.began_ns += i * 10**12
    _write(tmp_path, *episodes)
    result = _convert(tmp_path, version=version)
    assert (result.episodes, result.skipped, result.reused) == (2, (), 0)
    data = LeRobotFrames(tmp_path / ROOT)
    assert data.names("action") == JointMap().dataset_names
    assert data.tasks == ("grab the red cube", "put it back")
    assert data.cameras == ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
    for span, episode in zip(data.episodes, episodes, strict=True):
        assert span.length >= round(episode.seconds * 30) - 3
        for row in (0, 7, span.length - 1):
            frame = data.frame(span.first + row)
            assert frame.task == episode.prompt
            for camera, image in frame.images.items():
                wanted = episode.picture(camera, row)
                assert np.abs(image.astype(int) - wanted).mean() < 8, (camera, row)
            at_s = row / 30
            state = np.array([episode.positions(at_s)[name] for name in URDF])
            np.testing.assert_allclose(frame.state, state, atol=0.011)  # half a period of 100 Hz
            action = np.array([episode.positions(at_s, 0.1)[name] for name in URDF])
            np.testing.assert_allclose(frame.action, action, atol=0.011)
    data.close()
    assert _left_behind(tmp_path) == [ROOT]


def test_manifest_says_where_it_came_from(tmp_path: Path) -> None:
    _write(tmp_path, Episode("a", seed=7), Episode("b", outcome="failure"))
    _convert(tmp_path)
    manifest = json.loads((tmp_path / ROOT / "meta/conversion.json").read_text())
    (episode,) = manifest["episodes"]
    assert (episode["name"], episode["seed"], episode["outcome"]) == ("a", 7, "success")
    path = tmp_path / "episodes/a/a_0.mcap"
    digest = subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout
    assert episode["sha256"] == {"a_0.mcap": digest.split()[0]}
    assert manifest["skipped"][0]["name"] == "b"
    assert manifest["options"]["fps"] == 30
    assert manifest["software"]["pyarrow"]


def test_statistics_are_numpys_over_all_frames(tmp_path: Path) -> None:
    _write(tmp_path, Episode("a", seed=1), Episode("b", seed=2, seconds=1.5))
    _convert(tmp_path)
    found = json.loads((tmp_path / ROOT / "meta/stats.json").read_text())
    data = LeRobotFrames(tmp_path / ROOT)
    for feature in ("action", "observation.state"):
        column = data.column(feature).astype(np.float64)
        for name, value in (
            ("mean", column.mean(axis=0)),
            ("std", column.std(axis=0)),
            ("min", column.min(axis=0)),
            ("max", column.max(axis=0)),
            ("q01", np.quantile(column, 0.01, axis=0)),
            ("q99", np.quantile(column, 0.99, axis=0)),
        ):
            np.testing.assert_allclose(found[feature][name], value, err_msg=f"{feature} {name}")
    data.close()


def test_validation_episodes_go_into_a_data_set_of_their_own(tmp_path: Path) -> None:
    _write(tmp_path, *(Episode(f"e{i}", seconds=0.4, cameras=("cam_high",)) for i in range(4)))
    result = _convert(tmp_path, val_fraction=0.25, cameras=("cam_high",))
    assert [each.repo_id for each in result.data_sets] == ["lab/cube", "lab/cube_val"]
    train, val = (LeRobotFrames(tmp_path / name) for name in (ROOT, f"{ROOT}_val"))
    assert (len(train.episodes), len(val.episodes)) == (3, 1)
    names = [
        episode["name"]
        for root in (ROOT, f"{ROOT}_val")
        for episode in json.loads((tmp_path / root / "meta/conversion.json").read_text())[
            "episodes"
        ]
    ]
    assert sorted(names) == ["e0", "e1", "e2", "e3"]
    assert _left_behind(tmp_path) == [ROOT, f"{ROOT}_val"]


def test_validation_episodes_may_stand_at_the_end(tmp_path: Path) -> None:
    _write(tmp_path, *(Episode(f"e{i}", seconds=0.4, cameras=("cam_high",)) for i in range(4)))
    _convert(tmp_path, val_fraction=0.5, one_dataset=True, cameras=("cam_high",))
    data = LeRobotFrames(tmp_path / ROOT)
    assert data.splits == {"train": range(2), "val": range(2, 4)}


BAD = {
    "truncated": (Episode("bad", truncate=0.3), "its recorder was killed"),
    "no_commands": (Episode("bad", stop_s={"/arm_controller/command": 0.0}), "command"),
    "no_joints": (Episode("bad", stop_s={"/joint_states": 0.0}), "joint"),
    "no_camera": (Episode("bad", cameras=CAMERAS[:3]), "cam_right_wrist"),
    "camera_stops": (
        Episode("bad", seconds=2.0, stop_s={"/cam_low/color/image_raw": 1.0}),
        "no frames in the last .* cam_low",
    ),
    "out_of_order": (
        Episode("bad", shift_ns={"cam_low": lambda i: -50_000_000 if i == 10 else 0}),
        "cam_low: stamped no later than a picture before",
    ),
    "other_joints": (Episode("bad", joint_names=URDF[:13]), "joint"),
    "empty": (Episode("bad", seconds=0.0), "no messages"),
    "short": (Episode("bad", seconds=0.02), "."),
    "no_prompt": (Episode("bad", prompt=" "), "it has no prompt"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_episode_is_skipped_or_refused(tmp_path: Path, case: str) -> None:
    bad, message = BAD[case]
    _write(tmp_path, Episode("good", seconds=0.5), bad)
    with pytest.raises(
        DatasetError, match=rf"(?s)1 episodes cannot be converted.*bad: .*{message}"
    ):
        _convert(tmp_path, strict=True)
    assert ROOT not in _left_behind(tmp_path)
    result = _convert(tmp_path, resume=True)
    assert result.episodes == 1
    assert [each.name for each in result.skipped] == ["bad"]
    manifest = json.loads((tmp_path / ROOT / "meta/conversion.json").read_text())
    assert [each["name"] for each in manifest["episodes"]] == ["good"]
    assert _left_behind(tmp_path) == [ROOT]


def test_damaged_picture_data_is_found(tmp_path: Path) -> None:
    _write(tmp_path, Episode("good", seconds=0.5), Episode("bad", seconds=1.0))
    path = tmp_path / "episodes/bad/bad_0.mcap"
    content = bytearray(path.read_bytes())
    for at in range(len(content) // 3, len(content) // 3 + 400):
        content[at] ^= 0x5A
    path.write_bytes(bytes(content))
    result = _convert(tmp_path)
    assert [each.name for each in result.skipped] == ["bad"]


def test_cut_off_episode_is_taken_up_to_its_end_where_that_is_wanted(tmp_path: Path) -> None:
    _write(tmp_path, Episode("cut", seconds=2.0, truncate=0.4, state="recording"))
    result = _convert(tmp_path, include=("success", "interrupted"))
    data = LeRobotFrames(tmp_path / ROOT)
    assert 15 <= len(data) < 50
    assert result.data_sets[0].shards[0].origin.notes


def test_nothing_to_convert_is_an_error(tmp_path: Path) -> None:
    _write(tmp_path, Episode("a", seconds=0.1, outcome="failure"))
    with pytest.raises(DatasetError, match="no episode to convert:\n  a: outcome failure"):
        _convert(tmp_path)
    _write(tmp_path, Episode("b", truncate=0.5))
    with pytest.raises(DatasetError, match="no episode to convert"):
        _convert(tmp_path)
    assert _left_behind(tmp_path) == []


def test_data_set_that_is_there_is_kept_unless_it_may_be_replaced(tmp_path: Path) -> None:
    _write(tmp_path, Episode("a", seconds=0.4))
    _convert(tmp_path)
    before = (tmp_path / ROOT / "meta/info.json").read_bytes()
    _write(tmp_path, Episode("b", seconds=0.4))
    with pytest.raises(DatasetError, match="is there already: --overwrite replaces it"):
        _convert(tmp_path)
    assert (tmp_path / ROOT / "meta/info.json").read_bytes() == before
    assert _convert(tmp_path, overwrite=True).episodes == 2
    assert len(LeRobotFrames(tmp_path / ROOT).episodes) == 2
    assert _left_behind(tmp_path) == [ROOT]


def test_failed_check_leaves_the_old_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, Episode("a", seconds=0.4))
    _convert(tmp_path)
    before = (tmp_path / ROOT / "meta/conversion.json").read_bytes()

    def fail(*_arguments: object) -> None:
        raise DatasetError("spoilt")

    monkeypatch.setattr(publishing, "check", fail)
    with pytest.raises(DatasetError, match="spoilt"):
        _convert(tmp_path, overwrite=True)
    assert (tmp_path / ROOT / "meta/conversion.json").read_bytes() == before
    monkeypatch.undo()
    assert _convert(tmp_path, resume=True, overwrite=True).reused == 1


def test_changed_episode_is_converted_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, Episode("a", seconds=0.4), Episode("b", seconds=0.4, prompt="before"))
    monkeypatch.setattr(publishing, "check", _raise_interrupt)
    with pytest.raises(KeyboardInterrupt):
        _convert(tmp_path)
    monkeypatch.undo()
    path = tmp_path / "episodes/b/episode.json"
    path.write_text(path.read_text().replace("before", "after"))
    with pytest.raises(DatasetError, match="--resume goes on with it"):
        _convert(tmp_path)
    assert _convert(tmp_path, resume=True).reused == 1
    assert LeRobotFrames(tmp_path / ROOT).tasks == ("grab the red cube", "after")


def _raise_interrupt(*_arguments: object) -> None:
    raise KeyboardInterrupt


def test_killed_conversion_goes_on_where_it_was(tmp_path: Path) -> None:
    _write(tmp_path, *(Episode(f"e{i}", cameras=("cam_high",)) for i in range(6)))
    arguments = ["--episodes", str(tmp_path / "episodes"), "--repo-id", "lab/cube"]
    arguments += ["--root", str(tmp_path / ROOT), "--writer", "native", "--workers", "1"]
    arguments += ["--cameras", "cam_high"]
    command = [sys.executable, "-m", "trossen_pi0_training.convert", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shards = tmp_path / f"{ROOT}.converting" / "shards"
    deadline = time.monotonic() + 60
    while len(_finished(shards)) < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = len(_finished(shards))
    assert not (tmp_path / ROOT).exists()
    command.append("--resume")
    resumed = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert resumed.returncode == 0, resumed.stderr
    told = re.search(r"^6 episodes .*; (\d) were there already$", resumed.stdout, re.MULTILINE)
    assert told is not None, resumed.stdout
    assert done <= int(told[1]) < 6
    data = LeRobotFrames(tmp_path / ROOT)
    assert len(data.episodes) == 6
    assert _left_behind(tmp_path) == [ROOT]


def _finished(shards: Path) -> list[Path]:
    if not shards.is_dir():
        return []
    return [path for path in shards.iterdir() if path.suffix != ".part"]


def test_second_conversion_to_the_same_place_is_refused(tmp_path: Path) -> None:
    _write(tmp_path, Episode("a", seconds=0.4))
    refused: list[str] = []

    def progress(done: int, total: int, name: str) -> None:
        if done == 0:
            with pytest.raises(DatasetError) as caught:
                _convert(tmp_path, resume=True)
            refused.append(str(caught.value))

    convert(_options(tmp_path), progress)
    assert refused == [f"another conversion to {tmp_path / ROOT} is running"]


def test_command_line_reports_and_tells_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write(tmp_path, Episode("a", seconds=0.5), Episode("b", truncate=0.5))
    arguments = ["--episodes", str(tmp_path / "episodes"), "--repo-id", "lab/cube"]
    arguments += ["--root", str(tmp_path / ROOT), "--format", "v2.1"]
    assert main(arguments) == 0
    told = capsys.readouterr()
    assert "lab/cube: 1 episodes" in told.out
    assert "skipped b: " in told.out
    assert "episodes/min" in told.out
    assert main(arguments) == 1
    assert "is there already" in capsys.readouterr().err


def test_library_that_is_not_there_is_told_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TROSSEN_PI0_LEROBOT_PYTHON", str(tmp_path / "nothing"))
    monkeypatch.setattr(converting, "make_plan", _raise_interrupt)
    with pytest.raises(DatasetError, match=r"make lerobot-env ARGS=v3\.0"):
        _convert(tmp_path, writer="lerobot")
