"""Which processes a replay starts, and what it refuses before any of them."""

import pytest

from fixtures.bags import Episode
from trossen_pi0_bringup.arguments import Arguments, parse_command_line
from trossen_pi0_bringup.replay import REPLAY_ARGUMENTS, main
from trossen_pi0_bringup.replay_nodes import REPLAY_LAUNCH_ARGUMENTS, replay_specs
from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import EpisodeError, ParameterError


@pytest.fixture
def folder(tmp_path):
    return Episode("one", seconds=0.5, size=(16, 32), prompt="hand it over").write(tmp_path)


def specs(*words):
    arguments = Arguments(REPLAY_LAUNCH_ARGUMENTS, parse_command_line(list(words)))
    return {spec.name: spec for spec in replay_specs(arguments)}


def test_observations_go_to_a_policy_on_the_episodes_clock(folder):
    nodes = specs(f"episode:={folder}", "rate:=2.0", "execution:=blocking")
    assert list(nodes) == ["replay", "policy"]
    pictures = tuple(f"/{c}/color/image_raw" for c in CAMERAS)
    assert nodes["replay"].parameters == {
        "episode": str(folder),
        "rate": 2.0,
        "awaits": ("/joint_states", *pictures),
    }
    policy = nodes["policy"].parameters
    assert policy["use_sim_time"] is True
    assert policy["start_pose"] == ""
    assert policy["backend"] == "openpi"
    assert policy["prompt"] == "hand it over"
    assert policy["execution"] == "blocking"
    assert policy["cameras"] == CAMERAS
    assert policy["camera_topics"] == pictures
    assert [file.name for file in nodes["replay"].parameter_files] == ["replay.yaml"]


def test_a_prompt_that_is_named_goes_before_the_episodes(folder):
    policy = specs(f"episode:={folder}", "prompt:=take the brick")["policy"]
    assert policy.parameters["prompt"] == "take the brick"


def test_actions_go_to_the_simulated_kit(folder):
    nodes = specs(f"episode:={folder}", "mode:=actions", "seed:=7")
    assert list(nodes) == ["sim", "arm_controller", "replay"]
    assert nodes["sim"].parameters["seed"] == 7
    assert nodes["replay"].parameters["mode"] == "actions"


def test_actions_go_to_real_arms(folder):
    nodes = specs(f"episode:={folder}", "mode:=actions", "sim:=false")
    assert list(nodes) == ["arm_controller", "replay"]
    assert nodes["arm_controller"].parameters["arm_addresses"] == ("192.168.1.5", "192.168.1.4")


def test_the_replay_node_can_be_started_alone_at_any_rate(folder):
    nodes = specs(f"episode:={folder}", "alone:=true", "rate:=0.0")
    assert list(nodes) == ["replay"]
    assert "awaits" not in nodes["replay"].parameters


def test_a_policy_gets_the_cameras_that_are_played(folder):
    topics = "topics:=[/joint_states,/cam_high/color/image_raw]"
    nodes = specs(f"episode:={folder}", topics)
    assert nodes["policy"].parameters["cameras"] == ("cam_high",)
    assert nodes["replay"].parameters["awaits"] == ("/joint_states", "/cam_high/color/image_raw")


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["seed:=3"], ParameterError, r"\['seed'\]: only for mode 'actions'"),
        (["mode:=actions", "backend:=pi0"], ParameterError, r"\['backend'\]: only for mode 'obser"),
        (["backend:=expert"], ParameterError, "has no /sim/ground_truth"),
        (["start_s:=3.0"], ParameterError, "start_s: 3 s lies behind the end"),
        (["rate:=0.0"], ParameterError, r"rate: 0 lies outside \(0, 10\]"),
        (["rate:=20.0"], ParameterError, r"rate: 20 lies outside \(0, 10\]"),
        (["topics:=[/joint_states]"], ParameterError, "the policy needs /joint_states and"),
        (["topics:=[/cam_low/color/image_raw]"], ParameterError, "one of the cameras"),
        (["topics:=[/none]"], EpisodeError, r"no messages of \['/none'\]"),
    ],
)
def test_what_does_not_go_together_is_refused(folder, words, error, message):
    with pytest.raises(error, match=message):
        specs(f"episode:={folder}", *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "episode: need the folder of an episode, got none"),
        (["episode:=/nowhere"], "/nowhere does not exist"),
        (["episode:=FOLDER", "loop:=true"], "loop: this command plays once"),
        (["episode:=FOLDER", "mode:=actions", "sim:=false"], "sim: this command moves simulated"),
        (["episode:=FOLDER", "mode:=actions"], "lies outside"),
    ],
)
def test_the_command_ends_with_status_2_before_it_starts_anything(
    folder, tmp_path, capsys, words, message
):
    words = [word.replace("FOLDER", str(folder)) for word in words]
    assert main([*words, f"run_dir:={tmp_path / 'run'}"]) == 2
    assert message in capsys.readouterr().out.replace("\n", " ")
    assert not (tmp_path / "run").exists()


def test_every_default_can_be_typed():
    for argument in REPLAY_ARGUMENTS:
        assert argument.spec.description.endswith("."), argument.name
