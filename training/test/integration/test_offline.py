"""Offline evaluation of real episodes by real policies: a checkpoint, and servers."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fixtures.bags import Episode
from fixtures.checkpoints import write_seeded_checkpoint
from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import ObservationError
from trossen_pi0_core.images import resize_with_pad
from trossen_pi0_core.joints import JointMap
from trossen_pi0_data.bag_reader import EpisodeReader
from trossen_pi0_data.frames import EpisodeFrames
from trossen_pi0_policy.pi0.policy import load_policy
from trossen_pi0_policy.serving import PolicyServer, ServedPolicy, ServerOptions
from trossen_pi0_training.convert import convert
from trossen_pi0_training.convert_options import Options as ConvertOptions
from trossen_pi0_training.offline.command import main
from trossen_pi0_training.offline.evaluation import HOLD, POLICY, VELOCITY
from trossen_pi0_training.offline.predictors import seed_of

NAMES = JointMap().urdf_names
SECONDS = 2.0
HORIZON = 20


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Two good episodes, one with its joints in another order, and a tiny checkpoint."""
    folder = tmp_path_factory.mktemp("offline")
    shuffled = [NAMES[i] for i in np.random.default_rng(0).permutation(14)]
    Episode("a", seconds=SECONDS, seed=1).write(folder / "episodes")
    other = Episode("b", seconds=SECONDS, seed=25, prompt="put it back", joint_names=shuffled)
    info = other.write(folder / "episodes") / "episode.json"
    told = json.loads(info.read_text())
    for key in ("joint_names", "dataset_joint_names"):
        told[key] = told[key][7:] + told[key][:7]
    info.write_text(json.dumps(told))
    write_seeded_checkpoint(folder / "tiny" / "5")
    return folder


class Recorded(ServedPolicy):
    """Answers with the very actions that follow in the episode whose state it is shown."""

    def __init__(self, *folders: Path, joints: int = 14, off: float = 0.0) -> None:
        self.seen: list[dict[str, Any]] = []
        self._joints, self._off = joints, off
        self._known = []
        for folder in folders:
            frames = EpisodeFrames(EpisodeReader(folder))
            columns = [frames.joint_names.index(name) for name in NAMES]
            each = list(frames.frames(pictures=False))
            states = np.array([f.observation.state[columns] for f in each], np.float32)
            actions = np.array([f.action[columns] for f in each], np.float32)
            self._known.append((states, actions))

    @property
    def metadata(self):
        return {"config": "recorded", "cameras": ["cam_high"]}

    @property
    def max_batch(self):
        return 1

    def prepare(self, request):
        return request

    def infer(self, prepared):
        (request,) = prepared
        state = np.asarray(request["state"])
        if not state.any():  # the trial observation
            return [self._answer(np.zeros((HORIZON, 14), np.float32))]
        self.seen.append(dict(request))
        for states, actions in self._known:
            at = np.nonzero((np.abs(states - state) < 1e-6).all(axis=1))[0]
            if len(at):
                rows = actions[at[0] : at[0] + HORIZON]
                behind = np.repeat(rows[-1:], HORIZON - len(rows), axis=0) + 7.0
                return [self._answer(np.concatenate([rows, behind]) + self._off)]
        raise ObservationError("this state was never recorded")

    def _answer(self, actions):
        return {"actions": actions[:, : self._joints], "policy_timing": {"infer_ms": 0.1}}


def serve(policy):
    return PolicyServer(policy, ServerOptions(port=0))


def run(home, *words, output="out", episodes="episodes"):
    """Status, and the figures if there are any."""
    folder = home / output
    shutil.rmtree(folder, ignore_errors=True)
    given = ["--episodes", str(home / episodes)] if episodes else []
    status = main([*given, *words, "--output", str(folder)])
    if status:
        assert not folder.exists()
        return status, {}
    assert sorted(path.name for path in folder.iterdir()) == ["offline.html", "offline.json"]
    return status, json.loads((folder / "offline.json").read_text())


def from_checkpoint(home, *words, **where):
    words = ("--checkpoint", str(home / "tiny"), "--dtype", "float32", "--steps", "2", *words)
    return run(home, *words, **where)


# A policy that is right -----------------------------------------------------------------------


def test_a_server_that_answers_what_was_recorded_has_no_error(home, capsys):
    policy = Recorded(home / "episodes" / "a", home / "episodes" / "b")
    with serve(policy) as server:
        url = f"ws://127.0.0.1:{server.port}"
        status, found = run(home, "--server", url, "--stride", "7", "--execute-rows", "2:12")
    assert status == 0
    assert [each["name"] for each in found["episodes"]] == ["a", "b"]
    frames = [each["frames"] for each in found["episodes"]]
    assert frames == [60, 60]
    assert found["moments"] == 2 * 9
    errors = found["predictors"][POLICY]
    assert len(errors["rows"]) == HORIZON
    assert (errors["rows"][0], errors["rows"][-1]) == (18, 12)  # the last ones behind the end
    assert max(errors["mean_abs"]) < 1e-6
    assert max(map(max, errors["steps"])) < 1e-6
    assert errors["normalised"] < 1e-6
    # Commands lead the state by 0.1 s: the sine moves on by that and by each row.
    lead = np.abs(np.sin(0.1 + np.arange(HORIZON) / 30)).mean()
    assert 0.2 * lead < found["predictors"][HOLD]["mean_abs"][0] < lead
    assert found["predictors"][VELOCITY]["normalised"] < found["predictors"][HOLD]["normalised"]
    assert all(each["agreement"] == 1.0 for each in found["grippers"] if each["agreement"])
    assert found["first_row"]["policy_mean"] == pytest.approx(found["first_row"]["recorded_mean"])
    assert found["settings"]["executed"] == [2, 12]
    assert "error 0.00 % of the joints' range" in capsys.readouterr().err


def test_the_server_sees_what_the_node_would_send(home):
    policy = Recorded(home / "episodes" / "a", home / "episodes" / "b")
    with serve(policy) as server:
        run(home, "--server", f"ws://127.0.0.1:{server.port}", "--stride", "30")
    assert [each["prompt"] for each in policy.seen] == ["grab the red cube"] * 2 + [
        "put it back"
    ] * 2
    frames = list(EpisodeFrames(EpisodeReader(home / "episodes" / "a")))
    for request, frame in zip(policy.seen[:2], (frames[0], frames[30]), strict=True):
        assert set(request["images"]) == set(CAMERAS)
        for camera, image in request["images"].items():
            wanted = resize_with_pad(frame.observation.images[camera], 224, 224)
            np.testing.assert_array_equal(image, wanted.transpose(2, 0, 1))
        np.testing.assert_array_equal(request["state"], frame.observation.state.astype(np.float32))


def test_a_constant_error_is_told_as_it_is(home):
    policy = Recorded(home / "episodes" / "a", home / "episodes" / "b", off=0.25)
    with serve(policy) as server:
        _, found = run(home, "--server", f"ws://127.0.0.1:{server.port}", "--stride", "20")
    errors = found["predictors"][POLICY]
    for name in ("mean_abs", "rmse", "bias"):
        np.testing.assert_allclose(errors[name], 0.25, atol=1e-5)
    np.testing.assert_allclose(errors["p95"], 0.25, rtol=0.04)
    parts = 0.25 / np.array(found["range"])
    assert errors["normalised"] == pytest.approx(parts.mean(), rel=1e-4)


# A checkpoint ---------------------------------------------------------------------------------


def test_a_checkpoint_is_run_as_the_node_runs_it(home):
    _, found = from_checkpoint(home, "--stride", "60", "--worst", "2", output="one")
    policy = load_policy(home / "tiny", dtype="float32", steps=2)
    sums = np.zeros(14)
    for name in ("a", "b"):
        frames = EpisodeFrames(EpisodeReader(home / "episodes" / name))
        columns = [frames.joint_names.index(joint) for joint in NAMES]
        each = list(frames)
        seen = each[0].observation
        policy.seed(seed_of(0, name, 0, 0))
        request = {
            "state": seen.state[columns].astype(np.float32),
            "images": {camera: i.transpose(2, 0, 1) for camera, i in seen.images.items()},
            "prompt": frames.prompt,
        }
        rows = policy.infer_one(request)["actions"]
        actions = np.array([frame.action[columns] for frame in each[: len(rows)]])
        sums += np.abs(rows - actions).mean(axis=0)
    np.testing.assert_allclose(found["predictors"][POLICY]["mean_abs"], sums / 2, rtol=1e-4)
    assert found["policy"]["metadata"]["config"] == "tiny"
    assert found["timing"]["answers"] == 2


def test_a_seed_decides_and_others_can_be_compared(home):
    words = ("--stride", "20", "--samples", "2", "--max-frames", "2")
    _, first = from_checkpoint(home, *words, output="first")
    again = (*words, "--compare", str(home / "first" / "offline.json"))
    _, second = from_checkpoint(home, *again, "--episodes-limit", "2", output="second")
    assert second["predictors"] == first["predictors"]
    assert np.shape(first["sample_spread"]) == (50, 14)
    best, mean = (first["predictors"][n]["normalised"] for n in ("policy, best sample", POLICY))
    assert 0 < best < mean
    page = (home / "second" / "offline.html").read_text()
    assert "<td>first</td>" in page
    assert "cannot be compared" not in page
    _, third = from_checkpoint(home, *again, "--seed", "1", "--stride", "30", output="third")
    assert third["predictors"][POLICY] != first["predictors"][POLICY]
    assert third["predictors"][HOLD] == first["predictors"][HOLD]
    page = (home / "third" / "offline.html").read_text()
    assert "first cannot be compared line by line: stride 20 instead of 30" in page


def test_the_page_needs_nothing_else_and_shows_the_worst_moments(home):
    _, found = from_checkpoint(home, "--worst", "3", output="page")
    page = (home / "page" / "offline.html").read_text()
    assert not re.search(r'(?:src|href)="(?!data:image/)', page)
    assert page.count('class="moment"') == len(found["worst"]) == 2  # others are too near
    assert page.count("data:image/jpeg") == 4 * len(found["worst"])
    for text in ("Error by step ahead", "Grippers", "put it back", "Time of the answers"):
        assert text in page


# Data sets ------------------------------------------------------------------------------------


def test_a_data_set_has_the_figures_of_its_episodes(home):
    root = home / "set"
    convert(ConvertOptions(episodes=(home / "episodes",), repo_id="lab/set", root=root,
                           writer="native", version="v2.1", codec="h264"))  # fmt: skip
    policy = Recorded(home / "episodes" / "a", home / "episodes" / "b")
    with serve(policy) as server:
        url = f"ws://127.0.0.1:{server.port}"
        _, bags = run(home, "--server", url, "--worst", "1")
        words = ("--dataset", str(root), "--server", url, "--worst", "1")
        _, found = run(home, *words, episodes="")
        status, _ = run(home, *words, "--rate", "50", episodes="")
    assert status == 1  # of another rate
    assert [each["name"] for each in found["episodes"]] == [f"{root}/0", f"{root}/1"]
    assert [each["prompt"] for each in found["prompts"]] == ["grab the red cube", "put it back"]
    assert found["moments"] == bags["moments"]
    assert found["predictors"][POLICY]["normalised"] < 1e-6
    np.testing.assert_allclose(
        found["predictors"][HOLD]["mean_abs"], bags["predictors"][HOLD]["mean_abs"], atol=1e-6
    )


# What cannot be used --------------------------------------------------------------------------


def test_bad_episodes_are_left_out_or_refused(home, tmp_path, capsys):
    episodes = tmp_path / "episodes"
    shutil.copytree(home / "episodes" / "a", episodes / "a")
    Episode("silent", seconds=1.0, prompt=" ", seed=25).write(episodes)
    Episode("blind", seconds=1.0, cameras=CAMERAS[1:]).write(episodes)
    Episode("cut", seconds=SECONDS, truncate=0.5, seed=1).write(episodes)
    broken = Episode("broken", seconds=1.0).write(episodes)
    (broken / "broken_0.mcap").write_bytes(b"no bag")
    with serve(Recorded(episodes / "a", episodes / "silent")) as server:
        url = f"ws://127.0.0.1:{server.port}"
        status, found = run(tmp_path, "--server", url)
        strict, _ = run(tmp_path, "--server", url, "--strict", output="strict")
        told = capsys.readouterr().err
        status_with, prompted = run(tmp_path, "--server", url, "--default-prompt", "wave")
    assert (status, strict, status_with) == (0, 1, 0)
    assert [each["name"] for each in found["episodes"]] == ["a", "cut"]
    assert found["left_out"].keys() == {"silent", "blind", "broken"}
    assert found["left_out"]["silent"] == (
        "it has no prompt; --default-prompt gives one to those without"
    )
    assert "has no cameras ['cam_high']" in found["left_out"]["blind"]
    notes = {each["name"]: each["notes"] for each in found["episodes"]}
    assert any("has no footer" in note for note in notes["cut"])
    assert "blind: left out: blind has no cameras ['cam_high']" in told
    assert re.search(r"offline: blind: blind has no cameras", told)
    assert "silent" in [each["name"] for each in prompted["episodes"]]


def test_a_policy_for_other_arms_is_refused(home, capsys):
    with serve(Recorded(joints=7)) as server:
        status, _ = run(home, "--server", f"ws://127.0.0.1:{server.port}")
    assert status == 2
    assert "actions must have shape (horizon >= 1, 14), got (20, 7)" in capsys.readouterr().err


def test_a_policy_that_fails_on_an_observation_is_no_result(home, capsys):
    with serve(Recorded()) as server:
        status, _ = run(home, "--server", f"ws://127.0.0.1:{server.port}")
    assert status == 2
    assert "this state was never recorded" in capsys.readouterr().err


def test_a_server_that_is_not_there_is_told(home, capsys):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        status, _ = run(home, "--server", f"ws://127.0.0.1:{probe.getsockname()[1]}")
    assert status == 2
    assert "cannot be reached: Connection refused" in capsys.readouterr().err
    status, _ = run(home, "--server", "http://127.0.0.1:1")
    assert status == 2
    assert "nor a ws:// or wss:// URL" in capsys.readouterr().err


def test_cameras_that_the_model_needs_must_be_there(home, tmp_path, capsys):
    status, _ = from_checkpoint(home, "--cameras", "cam_low,cam_left_wrist")
    assert status == 2
    assert "the model needs the camera 'cam_high'" in capsys.readouterr().err
    status, found = from_checkpoint(home, "--cameras", "cam_high", "--max-frames", "1")
    assert status == 0
    assert found["settings"]["cameras"] == ["cam_high"]
    page = (home / "out" / "offline.html").read_text()
    assert "the model also takes cam_left_wrist, cam_right_wrist" in page
    status, _ = from_checkpoint(home, "--horizon", "51")
    assert status == 2
    assert "the policy's chunks have 50 rows, got 51" in capsys.readouterr().err


def test_a_folder_without_episodes_and_a_damaged_checkpoint_are_told(home, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    status, _ = run(tmp_path, "--server", "ws://127.0.0.1:1", episodes="empty")
    assert status == 1
    assert "there is no episode in" in capsys.readouterr().err
    shutil.copytree(home / "tiny" / "5", tmp_path / "bad")
    shutil.rmtree(tmp_path / "bad" / "params")
    status, _ = run(home, "--checkpoint", str(tmp_path / "bad"))
    assert status == 2
    assert str(tmp_path / "bad") in capsys.readouterr().err.replace("\n", "")
