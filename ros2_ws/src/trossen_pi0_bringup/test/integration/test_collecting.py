"""``make record-expert`` and ``make teleop`` as people call them."""

import os
import signal
import subprocess
import sys
import time

import pytest
from domain_coordinator import domain_id

from trossen_pi0_data.bag_reader import EpisodeReader
from trossen_pi0_data.episode_info import EpisodeInfo

PICTURES = ["camera_width:=160", "camera_height:=120", "camera_fps:=15"]
ARMS = ["left_arm_address:=127.0.0.156", "right_arm_address:=127.0.0.157"]
LEADERS = ["left_leader_address:=127.0.0.158", "right_leader_address:=127.0.0.159"]


class Call:
    """One call of a command of the bringup package."""

    def __init__(self, command, folder, domain, *words):
        self.output = folder / f"{command}_{time.monotonic_ns()}.txt"
        words = [f"run_dir:={folder / 'run'}", *ARMS, *PICTURES, *words]
        with self.output.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", f"trossen_pi0_bringup.{command}", *words],
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
            )

    @property
    def text(self):
        return self.output.read_text(errors="replace")

    def ends(self, status, timeout_s):
        try:
            ended = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            pytest.fail(f"still running after {timeout_s} s:\n{self.text}")
        assert ended == status, self.text

    def says(self, text, timeout_s=60.0):
        deadline = time.monotonic() + timeout_s
        while text not in self.text:
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"no {text!r} in the output:\n{self.text}")
            time.sleep(0.05)


@pytest.fixture
def call(tmp_path):
    calls = []
    with domain_id() as domain:

        def run(command, *words):
            calls.append(Call(command, tmp_path, domain, *words))
            return calls[-1]

        yield run
        for each in calls:
            if each.process.poll() is None:
                each.process.send_signal(signal.SIGINT)
                each.process.wait(15)


def test_the_expert_is_recorded_and_what_is_there_is_left_out(call, tmp_path):
    folder = tmp_path / "episodes"
    words = ["seed:=4", f"episodes_dir:={folder}"]
    first = call("record_expert", "episodes:=1", *words)
    first.ends(0, 150.0)
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
    second.says("1 of 2 episodes are in")
    deadline = time.monotonic() + 90.0
    while not (folder / "expert_red_cube_000005").exists():
        assert time.monotonic() < deadline, second.text
        time.sleep(0.1)
    second.process.send_signal(signal.SIGINT)
    second.ends(130, 30.0)
    assert [path.name for path in folder.iterdir() if path.is_dir()] == [episode.name]
    third = call("record_expert", "episodes:=1", *words)
    third.ends(0, 30.0)
    assert "1 of 1 episodes are in" in third.text


def test_teleop_follows_the_scripted_hand_until_the_end(call):
    teleop = call("teleop", "duration_s:=4", *LEADERS)
    teleop.ends(0, 90.0)
    assert "FOLLOWING" in teleop.text
    assert "the followers hold" in teleop.text
