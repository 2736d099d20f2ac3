"""``make replay`` as people call it: recorded observations to a policy, actions to the arms."""

import dataclasses
import math
import signal
import threading
from pathlib import Path

import numpy as np
import psutil
import pytest
import websockets.sync.server
from openpi_client import msgpack_numpy

from fixtures.bags import Episode
from fixtures.stacks import started_commands
from trossen_pi0_core.joints import JointMap

ARMS = ["left_arm_address:=127.0.0.160", "right_arm_address:=127.0.0.161"]
PICTURES = ["camera_width:=160", "camera_height:=120", "camera_fps:=10"]
NAMES = JointMap().urdf_names
STAGED = dict(
    zip(NAMES, np.tile([0, math.pi / 3, math.pi / 6, math.pi / 5, 0, 0, 0], 2), strict=True)
)


@dataclasses.dataclass
class Gentle(Episode):
    """Arms that swing around the staged pose, above the table."""

    def positions(self, time_s, lead_s=0.0):
        at = time_s + lead_s
        swings = {
            name: 0.015 if name.endswith("carriage_joint") else 0.15 + 0.02 * (i % 7)
            for i, name in enumerate(NAMES)
        }
        swings = {n: s for n, s in swings.items() if not n.endswith(("joint_1", "joint_2"))}
        return {
            name: STAGED[name] + swings.get(name, 0.0) * math.sin(math.pi * at / 4) ** 2
            for name in NAMES
        }


@pytest.fixture
def start(tmp_path):
    with started_commands(tmp_path) as run:
        yield run


@pytest.fixture
def policy_port():
    """A server that says: stay where you are."""

    def talk(connection):
        connection.send(msgpack_numpy.packb({}))
        for message in connection:
            state = np.asarray(msgpack_numpy.unpackb(message)["state"], np.float32)
            connection.send(msgpack_numpy.packb({"actions": np.tile(state, (50, 1))}))

    with websockets.sync.server.serve(talk, "127.0.0.1", 0, compression=None) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


def test_a_policy_makes_chunks_of_recorded_observations(start, tmp_path, policy_port):
    folder = Gentle("seen", seconds=5.0, size=(48, 64)).write(tmp_path)
    command = start("replay", f"episode:={folder}", f"policy_port:={policy_port}")
    assert command.wait(100) == 0, command.text()
    summary = command.summary()
    assert summary["messages"] == 500 + 4 * 150
    assert summary["chunks"] >= 4  # one each 25 of 150 rows
    # Those of the last observation begin when the recording is over.
    assert summary["chunks"] - 2 <= summary["compared_chunks"] <= summary["chunks"]
    # Rows stay at the state, the recorded commands go on: the further ahead, the worse.
    ahead = [part["joints_mean_rad"] for part in summary["error_ahead"]]
    assert ahead[0] < ahead[-1]
    assert 0.005 < summary["error"]["joints_mean_rad"] < 0.2
    assert summary["error"]["joints_max_rad"] < 0.3


@pytest.mark.slow
def test_a_policy_that_cannot_be_reached_is_told(start, tmp_path):
    folder = Gentle("seen", seconds=1.0, size=(48, 64)).write(tmp_path)
    command = start("replay", f"episode:={folder}", "policy_port:=9", "ready_timeout_s:=15")
    assert command.wait(60) == 3, command.text()
    assert "the policy is not ready:" in command.text()


@pytest.mark.timeout(200)
def test_the_arms_execute_recorded_commands_again(start, tmp_path):
    folder = Gentle("done", seconds=3.0, size=(48, 64), outcome="failure").write(tmp_path)
    command = start("replay", f"episode:={folder}", "mode:=actions", *ARMS, *PICTURES)
    assert command.wait(150) == 0, command.text()
    summary = command.summary()
    assert summary["state"] == "finished"
    assert summary["commands"] >= 80
    assert summary["error"]["joints_max_rad"] < 0.01
    assert summary["error"]["joints_rms_rad"] < 0.003
    assert summary["error"]["carriages_max_m"] < 0.001


@pytest.mark.timeout(200)
def test_ctrl_c_lets_the_arms_hold(start, tmp_path):
    folder = Gentle("long", seconds=20.0, size=(32, 32), outcome="failure").write(tmp_path)
    command = start("replay", f"episode:={folder}", "mode:=actions", *ARMS, *PICTURES)
    command.wait_for(r"^ +[1-9]\d*\.\d of 20\.0 s", 100)
    nodes = psutil.Process(command.process.pid).children(recursive=True)
    command.process.send_signal(signal.SIGINT)
    assert command.wait(15) == 130
    assert "had to be killed" not in command.text()
    _, alive = psutil.wait_procs(nodes, 1.0)
    assert not alive
    log = (command.folder / "log" / "arm_controller.log").read_text()
    assert "HOLDING" in log.split("EXECUTING")[-1]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_cube_is_handed_over_again(start, tmp_path):
    episodes = tmp_path / "episodes"
    recorded = start(
        "record_expert", "episodes:=1", "seed:=3", f"episodes_dir:={episodes}", *ARMS, *PICTURES
    )
    assert recorded.wait(180) == 0, recorded.text()
    (folder,) = [path for path in Path(episodes).iterdir() if path.is_dir()]
    command = start("replay", f"episode:={folder}", "mode:=actions", *ARMS, *PICTURES)
    assert command.wait(180) == 0, command.text()
    summary = command.summary()
    assert summary["success"] is True
    assert summary["error"]["joints_max_rad"] < 0.02
    assert summary["error"]["carriages_max_m"] < 0.002
