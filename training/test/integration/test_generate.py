"""Data sets of the scripted expert, made without ROS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import DatasetError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_sim.expert import STAGED
from trossen_pi0_training import generate, generate_worker, layout
from trossen_pi0_training.config.fields import DataConfig
from trossen_pi0_training.config.registry import find_config
from trossen_pi0_training.dataset import LeRobotFrames
from trossen_pi0_training.feed.selection import example_frames, open_dataset, select_episodes
from trossen_pi0_training.tables import read_json

pytestmark = pytest.mark.timeout(300)


def words(root: Path, *more: str) -> list[str]:
    small = ["--width", "64", "--height", "48", "--codec", "h264"]
    return ["--repo-id", "local/made", "--root", str(root), *small, *more]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made") / "set"
    options = ("--episodes", "2", "--variants", "red_cube,blue_brick", "--workers", "2")
    more = ("--val-fraction", "0.5", "--recovery", "0")
    assert generate.main(words(root, *options, *more)) == 0
    return root


def test_the_frames_are_those_of_a_recording(made: Path) -> None:
    frames = LeRobotFrames(made, JointMap().dataset_names)
    assert frames.fps == 30
    assert set(frames.cameras) == set(CAMERAS)
    assert frames.splits == {"train": range(1), "val": range(1, 2)}
    tasks = {episode.tasks for episode in frames.episodes}
    assert tasks == {
        ("grab and handover the red cube",),
        ("grab and handover the blue brick",),
    }
    states, actions = frames.column(layout.STATE), frames.column(layout.ACTION)
    for episode in frames.episodes:
        rows = slice(episode.first, episode.first + episode.length)
        assert 6.0 < episode.length / 30 < 20.0
        np.testing.assert_allclose(states[rows][0], STAGED, atol=0.02)
        # The arms follow what they are told, and lag.
        assert np.abs(states[rows][3:] - actions[rows][:-3]).mean() < 0.02
        first, last = frames.frame(rows.start), frames.frame(rows.stop - 1)
        for camera in CAMERAS:
            assert first.images[camera].shape == (48, 64, 3)
            assert first.images[camera].std() > 5
        assert np.abs(first.images["cam_high"].astype(int) - last.images["cam_high"]).mean() > 1
    frames.close()
    manifest = read_json(made / layout.MANIFEST)
    assert [each["outcome"] for each in manifest["episodes"]] == ["success"] * 2
    assert {each["seed"] for each in manifest["episodes"]} == {0, 1}


def test_the_same_wish_gives_the_same_values(made: Path, tmp_path: Path) -> None:
    wish = generate.parse(
        words(tmp_path / "again", "--episodes", "1", "--workers", "1", "--recovery", "0")
    )
    generate.generate(wish)
    again = LeRobotFrames(tmp_path / "again", JointMap().dataset_names)
    there = LeRobotFrames(made, JointMap().dataset_names)
    number = next(e.index for e in there.episodes if "red" in e.tasks[0])
    span = there.episodes[number]
    for column in (layout.STATE, layout.ACTION):
        np.testing.assert_array_equal(
            again.column(column), there.column(column)[span.first : span.first + span.length]
        )


def test_recoveries_begin_where_a_grasp_has_gone_wrong(tmp_path: Path) -> None:
    root = tmp_path / "set"
    generate.generate(
        generate.parse(words(root, "--episodes", "2", "--recovery", "1", "--cameras", "cam_high"))
    )
    frames = LeRobotFrames(root, JointMap().dataset_names)
    states, actions = frames.column(layout.STATE), frames.column(layout.ACTION)
    for episode in frames.episodes:
        assert np.abs(states[episode.first] - STAGED).max() > 0.1
        np.testing.assert_allclose(actions[episode.first], states[episode.first], atol=0.15)
        np.testing.assert_allclose(actions[episode.first + episode.length - 1], STAGED, atol=0.01)


def test_approaches_end_with_the_object_lifted(tmp_path: Path) -> None:
    root = tmp_path / "set"
    options = ("--episodes", "1", "--approaches", "2", "--cameras", "cam_high")
    few = ("--looks", "0", "--recovery", "0")
    generate.generate(generate.parse(words(root, *options, *few)))
    config = replace(
        find_config("debug"),
        data=DataConfig("local/made", root, cameras=("cam_high",), frame_step=2),
    )
    frames = open_dataset(config.data)
    assert list(frames.outcomes.values()) == ["success", "cut", "cut"]
    whole, *cut = frames.episodes
    assert len(example_frames(frames, whole.index, config)) == (whole.length + 1) // 2
    for episode in cut:
        assert 90 < episode.length < 180 < whole.length
        chosen = example_frames(frames, episode.index, config)
        assert (chosen.start, chosen.step) == (episode.first, 2)
        assert chosen.stop - 1 + 50 == episode.first + episode.length  # all rows of the last chunk
        last = frames.column(layout.ACTION)[episode.first + episode.length - 1]
        assert last[13] < 0.02  # the right gripper holds
        assert select_episodes(frames, config.data).left_out == ()


def test_beginnings_end_after_two_seconds_and_look_at_their_first_frames(tmp_path: Path) -> None:
    root = tmp_path / "set"
    options = ("--episodes", "1", "--beginnings", "2", "--cameras", "cam_high")
    wish = generate.parse(words(root, *options, "--recovery", "0", "--looks", "0"))
    generate.generate(wish)
    config = replace(find_config("debug"), data=DataConfig("", root, cameras=("cam_high",)))
    frames = open_dataset(config.data)
    assert list(frames.outcomes.values()) == ["success", "cut", "cut"]
    poses = []
    for episode in frames.episodes[1:]:
        assert episode.length == 60
        chosen = example_frames(frames, episode.index, config)
        assert list(chosen) == list(range(episode.first, episode.first + 11))
        poses.append(frames.column(layout.ACTION)[episode.first + 49])
    assert np.abs(poses[0] - poses[1]).max() > 0.02  # another object, another way
    scene = wish.scene(7, tmp_path, generate_worker.Extent.BEGINNING)
    seen = [each.images["cam_high"] for each in generate_worker._frames(scene)]
    fresh = [i for i in range(1, 60) if seen[i] is not seen[i - 1]]
    assert fresh == list(range(1, 12))


def test_pictures_come_at_the_cameras_rate(tmp_path: Path) -> None:
    wish = generate.parse(words(tmp_path / "set", "--camera-rate", "10"))
    frames = generate_worker._frames(wish.scene(0, tmp_path))
    seen = [next(frames).images["cam_right_wrist"] for _ in range(60)]
    fresh = [i for i in range(1, 60) if not np.array_equal(seen[i], seen[i - 1])]
    assert fresh[-10:] == list(range(30, 60, 3))


def test_what_is_there_is_not_replaced(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = read_json(made / layout.MANIFEST)
    assert generate.main(words(made, "--episodes", "1")) == 1
    assert "is there already: --overwrite replaces it" in capsys.readouterr().err
    assert read_json(made / layout.MANIFEST) == before


def test_too_many_failures_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generate, "_MORE_ATTEMPTS", 0)
    wish = generate.parse(
        words(tmp_path / "set", "--episodes", "1", "--sway", "0.1", "--workers", "2")
    )
    with pytest.raises(
        DatasetError, match=r"\d+ episodes gave 0 successes, 1 are wanted; the last"
    ):
        generate.generate(wish)
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(
    ("given", "wrong"),
    [
        (["--variants", "green_ball"], r"variants must be of .*red_cube.*, got \['green_ball'\]"),
        (["--cameras", "cam_top"], r"cameras must be of .*, got \['cam_top'\]"),
        (["--episodes", "0"], "episodes must lie in 1..1000000, got 0"),
        (["--sway", "1"], r"sway must lie in 0.0..0.1, got 1.0"),
        (["--recovery", "1.5"], r"recovery must lie in 0.0..1.0, got 1.5"),
        (["--looks", "2"], r"looks must lie in 0.0..1.0, got 2.0"),
        (["--approaches", "-1"], r"approaches must lie in 0..1000000, got -1"),
        (["--beginnings", "-1"], r"beginnings must lie in 0..1000000, got -1"),
        (["--camera-rate", "20"], r"camera rate must divide 30 frames/s, got 20"),
        (["--width", "4"], "width must lie in 16..1920, got 4"),
    ],
)
def test_bad_input_is_refused(
    tmp_path: Path, given: list[str], wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DatasetError, match=wrong):
        generate.parse(words(tmp_path / "set", *given))
    assert generate.main(words(tmp_path / "set", *given)) == 1
    assert capsys.readouterr().err.startswith("generate: ")


def test_a_failed_episode_leaves_nothing(tmp_path: Path) -> None:
    scene = generate.parse(words(tmp_path / "set", "--sway", "0.1")).scene(0, tmp_path)
    assert generate_worker.make_episode(scene).startswith("it came as far as ")
    assert not list(tmp_path.iterdir())
