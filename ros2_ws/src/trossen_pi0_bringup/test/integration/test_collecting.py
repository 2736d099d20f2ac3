"""``make record-expert`` and ``make teleop`` as people call them."""

import signal
import time

import pytest

from fixtures.stacks import started_commands
from trossen_pi0_data.bag_reader import EpisodeReader
from trossen_pi0_data.episode_info import EpisodeInfo

PICTURES = ["camera_width:=160", "camera_height:=120", "camera_fps:=15"]
ARMS = ["left_arm_address:=127.0.0.156", "right_arm_address:=127.0.0.157"]
LEADERS = ["left_leader_address:=127.0.0.158", "right_leader_address:=127.0.0.159"]


@pytest.fixture
def call(tmp_path):
    with started_commands(tmp_path, *ARMS, *PICTURES) as run:
        yield run


def test_the_expert_is_recorded_and_what_is_there_is_left_out(call, tmp_path):
    folder = tmp_path / "episodes"
    words = ["seed:=4", f"episodes_dir:={folder}"]
    first = call("record_expert", "episodes:=1", *words)
    assert first.wait(150.0) == 0, first.text()
    episode = folder / "expert_red_cube_000004"
    info = EpisodeInfo.read(episode)
    assert (info.state, info.outcome, info.seed) == ("finished", "success", 4)
    assert info.prompt == "grab and handover the red cube"
    assert info.dropped == 0
    assert info.duration_s > 8.0
    reader = EpisodeReader(episode)
    assert not reader.problems
    assert reader.topics["/arm_controller/command"].messages > 200
    # Half an episode is thrown away when it is interrupted; the first one stays.
    second = call("record_expert", "episodes:=2", *words)
    second.wait_for("1 of 2 episodes are in")
    deadline = time.monotonic() + 90.0
    while not (folder / "expert_red_cube_000005").exists():
        assert time.monotonic() < deadline, second.text()
        time.sleep(0.1)
    second.process.send_signal(signal.SIGINT)
    assert second.wait(30.0) == 130, second.text()
    assert [path.name for path in folder.iterdir() if path.is_dir()] == [episode.name]
    third = call("record_expert", "episodes:=1", *words)
    assert third.wait(30.0) == 0, third.text()
    assert "1 of 1 episodes are in" in third.text()


def test_teleop_follows_the_scripted_hand_until_the_end(call):
    teleop = call("teleop", "duration_s:=4", *LEADERS)
    assert teleop.wait(90.0) == 0, teleop.text()
    assert "FOLLOWING" in teleop.text()
    assert "the followers hold" in teleop.text()
