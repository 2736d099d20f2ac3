"""``trossen-pi0`` on a real checkpoint: files, figures, and a served model."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from openpi_client.websocket_client_policy import WebsocketClientPolicy

from fixtures.checkpoints import PROMPT, SPREAD, STAGED_STATE, write_seeded_checkpoint
from trossen_pi0_core.contract import ActionPrefix, Observation
from trossen_pi0_core.errors import BackendError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.openpi import OpenpiClient, ServerConfig
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_policy.backends import BackendContext, InferenceRequest, make_backend
from trossen_pi0_policy.backends.base import PrefixSupport
from trossen_pi0_policy.cli.main import main
from trossen_pi0_policy.pi0.policy import load_policy

# openpi's client uses websockets in a way that its newest versions no longer recommend.
pytestmark = pytest.mark.filterwarnings(r"ignore:connect\(\) must be used:DeprecationWarning")

DEADLINE_S = 90.0
CAMERAS = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_seeded_checkpoint(tmp_path_factory.mktemp("tiny") / "5")


@pytest.fixture
def folder(tmp_path):
    """An observation and noise in files, as they are described to users."""
    request = observation()
    images = {f"images/{camera}": image for camera, image in request["images"].items()}
    np.savez(
        tmp_path / "obs.npz", state=request["state"], prompt=np.array(request["prompt"]), **images
    )
    np.save(tmp_path / "noise.npy", noise())
    return tmp_path


def observation(seed=1, size=(48, 64)):
    rng = np.random.default_rng(seed)
    return {
        "state": (STAGED_STATE + 0.05).astype(np.float32),
        "images": {camera: rng.integers(0, 256, (3, *size), np.uint8) for camera in CAMERAS},
        "prompt": PROMPT,
    }


def noise():
    return np.random.default_rng(2).standard_normal((50, 32)).astype(np.float32)


def infer(folder, checkpoint, *more, out="actions.npy"):
    """The status of ``trossen-pi0 infer`` and what it wrote."""
    words = ["--observation", str(folder / "obs.npz"), "--noise", str(folder / "noise.npy")]
    status = main(
        ["infer", "--checkpoint", str(checkpoint), *words, "--out", str(folder / out), *more]
    )
    return status, np.load(folder / out) if (folder / out).exists() else None


# infer --------------------------------------------------------------------------------------------


def test_the_same_files_give_the_same_actions_as_the_policy_in_python(folder, checkpoint):
    assert infer(folder, checkpoint, out="first.npy")[0] == 0
    words = [sys.executable, "-m", "trossen_pi0_policy", "infer", "--checkpoint", str(checkpoint)]
    for name, file in (("observation", "obs"), ("noise", "noise"), ("out", "second")):
        words += [f"--{name}", str(folder / f"{file}.{'npz' if file == 'obs' else 'npy'}")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done.stderr
    assert "50 rows of 14 joints" in done.stdout
    assert (folder / "first.npy").read_bytes() == (folder / "second.npy").read_bytes()
    policy = load_policy(checkpoint, dtype="float32")
    expected = policy.infer_one(observation(), noise=noise())["actions"]
    actions = np.load(folder / "first.npy")
    np.testing.assert_array_equal(actions, expected)
    assert actions.dtype == np.float32
    assert (np.abs(actions - STAGED_STATE) < 10 * SPREAD).all()


def test_half_precision_is_near_and_other_steps_are_not(folder, checkpoint):
    _, exact = infer(folder, checkpoint)
    _, half = infer(folder, checkpoint, "--dtype", "bfloat16")
    _, coarse = infer(folder, checkpoint, "--steps", "2")
    assert exact is not None
    assert half is not None
    assert coarse is not None
    rounding = np.abs((half - exact) / SPREAD).mean()
    fewer_steps = np.abs((coarse - exact) / SPREAD).mean()
    assert 0.0 < rounding < 0.05
    assert fewer_steps > 2.0 * rounding


def test_a_prompt_changes_the_actions(folder, checkpoint):
    _, told = infer(folder, checkpoint)
    request = observation()
    images = {f"images/{camera}": image for camera, image in request["images"].items()}
    np.savez(folder / "obs.npz", state=request["state"], **images)
    _, default = infer(folder, checkpoint)
    np.testing.assert_array_equal(told, default)  # the checkpoint says which
    _, other = infer(folder, checkpoint, "--default-prompt", "wave")
    assert (told != other).any()


def test_a_wrong_config_lists_paths_and_shapes(folder, checkpoint, capsys):
    status, actions = infer(folder, checkpoint, "--config", "sim")
    assert (status, actions) == (1, None)
    error = capsys.readouterr().err
    assert "12 leaves missing:" in error
    assert "49 leaves of another shape" in error
    path = "PaliGemma/img/Transformer/encoderblock/LayerNorm_0/bias"
    assert f"{path}: expected (1, 192), given (2, 32)\n" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("words", "status", "says"),
    [
        (("--config", "pi7"), 2, "config 'pi7' is not one of"),
        (("--asset-id", "other"), 1, "no norm stats of asset 'other', only of ['sim']"),
    ],
)
def test_what_the_checkpoint_does_not_have(folder, checkpoint, capsys, words, status, says):
    assert infer(folder, checkpoint, *words) == (status, None)
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"state": np.zeros(13)}, "'state' must be 14 numbers, got float32 of shape (13,)"),
        ({"images/cam_high": None}, "needs a picture of cam_high"),
        ({"images/cam_top": np.zeros((3, 8, 8), np.uint8)}, "unknown cameras ['cam_top']"),
    ],
)
def test_observations_that_the_model_cannot_take(folder, checkpoint, capsys, changes, says):
    with np.load(folder / "obs.npz") as archive:
        arrays = {**{name: archive[name] for name in archive.files}, **changes}
    np.savez(folder / "obs.npz", **{k: v for k, v in arrays.items() if v is not None})
    assert infer(folder, checkpoint) == (1, None)
    assert says in capsys.readouterr().err


def test_noise_of_another_horizon(folder, checkpoint, capsys):
    np.save(folder / "noise.npy", noise()[:10])
    assert infer(folder, checkpoint) == (1, None)
    assert "noise must have shape (50, 32), got (10, 32)" in capsys.readouterr().err


# benchmark ----------------------------------------------------------------------------------------


def test_benchmark_of_the_smallest_preset(tmp_path, capsys):
    file = tmp_path / "figures.json"
    words = ["benchmark", "--preset", "tiny", "--random-weights", "--calls", "5", "--batch", "2"]
    words += ["--rtc", "guided"]
    assert main([*words, "--json", str(file)]) == 0
    assert (
        "tiny, random weights, auto, 10 steps, 3 cameras, batch 2, rtc guided"
        in capsys.readouterr().out
    )
    report = json.loads(file.read_text())
    assert len(report["calls_ms"]) == 5
    assert 0.0 < report["percentiles_ms"]["p50"] < 1e3
    assert report["warm_up_s"] > report["calls_ms"][0] / 1e3


# serve --------------------------------------------------------------------------------------------


class Served:
    """``trossen-pi0 serve`` in a process of its own."""

    def __init__(self, log, *words):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = log
        command = [sys.executable, "-m", "trossen_pi0_policy", "serve", "--port", str(self.port)]
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [*command, *words], stdout=file, stderr=subprocess.STDOUT, env={**os.environ}
            )

    def wait_until_healthy(self):
        end = time.monotonic() + DEADLINE_S
        while self.health() != 200:
            assert time.monotonic() < end, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.05)

    def health(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5.0)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", "/healthz")
            return connection.getresponse().status
        return None

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(15.0)


@pytest.fixture(scope="module")
def served(checkpoint, tmp_path_factory):
    log = tmp_path_factory.mktemp("serve") / "log.txt"
    limits = ("--max-batch", "4", "--max-message-mb", "1", "--dtype", "float32")
    server = Served(log, "--checkpoint", str(checkpoint), *limits)
    try:
        server.wait_until_healthy()
        yield server
        assert server.end() == 0, log.read_text()
        assert "Traceback" not in log.read_text()
    finally:
        server.process.kill()


def test_openpis_client_is_answered(served):
    client = WebsocketClientPolicy("127.0.0.1", served.port)
    metadata = client.get_server_metadata()
    assert (metadata["config"], metadata["action_horizon"]) == ("tiny", 50)
    answer = client.infer(observation())
    assert answer["actions"].shape == (50, 14)
    assert (np.abs(answer["actions"] - STAGED_STATE) < 10 * SPREAD).all()
    assert answer["policy_timing"]["infer_ms"] > 0.0
    assert answer["server_timing"]["infer_ms"] >= answer["policy_timing"]["infer_ms"]


def test_a_prefix_is_agreed_with(served):
    """Through openpi's own client too, which sends whatever it is given."""
    client = WebsocketClientPolicy("127.0.0.1", served.port)
    assert client.get_server_metadata()["rtc"] == "guided"
    free = client.infer(observation())["actions"]
    assert "committed_rows" not in client.infer(observation())
    rows = STAGED_STATE + SPREAD * np.linspace(-0.5, 0.5, 20)[:, None]
    bound = client.infer({**observation(), "rtc": {"prefix": rows, "frozen": 6}})
    assert bound["committed_rows"] == 6
    gap_free, gap_bound = (
        (np.abs(actions[:6] - rows[:6]) / SPREAD).mean() for actions in (free, bound["actions"])
    )
    assert gap_bound < 0.2 * gap_free
    with pytest.raises(RuntimeError, match=r"frozen must lie in 0\.\.20"):
        client.infer({**observation(), "rtc": {"prefix": rows, "frozen": 21}})


def test_the_backend_hands_its_prefix_to_the_server(served):
    joints = JointMap()
    parameters = PolicyParameters(backend="openpi", policy_port=served.port, image_size=56)
    seen = Observation(
        stamp_ns=1,
        joint_names=joints.urdf_names,
        state=STAGED_STATE,
        images={"cam_high": np.zeros((48, 64, 3), np.uint8)},
        prompt=PROMPT,
    )
    offsets = SPREAD * np.linspace(-0.5, 0.5, 20)[:, None]
    rows = (STAGED_STATE + offsets).astype(np.float64)
    backend = make_backend("openpi", BackendContext(parameters))
    with contextlib.closing(backend):
        backend.prepare()
        assert backend.prefix_support is PrefixSupport.GUIDED
        free = backend.infer(InferenceRequest(seen, 33_333_333))
        bound = backend.infer(InferenceRequest(seen, 33_333_333, ActionPrefix(rows, 6)))
    assert (free.committed_rows, bound.committed_rows) == (0, 6)
    gaps = [(np.abs(found.positions[:6] - rows[:6]) / SPREAD).mean() for found in (free, bound)]
    assert gaps[1] < 0.2 * gaps[0], gaps


def test_four_clients_are_answered_together(served):
    """Each client holds its arms elsewhere, and each gets the answers to its own state."""
    clients = [WebsocketClientPolicy("127.0.0.1", served.port) for _ in range(4)]
    together = threading.Barrier(len(clients))
    answers = [[] for _ in clients]

    def ask(index):
        together.wait(10.0)
        for i in range(5):
            answers[index].append(clients[index].infer(observation(seed=100 * index + i)))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(clients))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30.0)
    assert [len(of_client) for of_client in answers] == [5] * 4
    for answer in (answer for of_client in answers for answer in of_client):
        assert answer["actions"].shape == (50, 14)
        assert np.isfinite(answer["actions"]).all()
        assert (np.abs(answer["actions"] - STAGED_STATE) < 10 * SPREAD).all()


def test_bad_observations_are_named_and_the_next_is_answered(served):
    client = OpenpiClient(ServerConfig(port=served.port))
    try:
        with pytest.raises(BackendError, match=r"bad observation: .*'state' must be 14 numbers"):
            client.infer({**observation(), "state": np.zeros(7)})
        with pytest.raises(BackendError, match="takes no observation of this size"):
            client.infer(observation(size=(480, 640)))
        assert client.infer(observation())["actions"].shape == (50, 14)
        assert served.health() == 200
    finally:
        client.close()


def test_the_way_through_the_server_costs_little(served):
    """Round trip without what the server spends on preparing and inferring."""
    client = OpenpiClient(ServerConfig(port=served.port))
    request = observation(size=(224, 224))
    added_ms = []
    try:
        for _ in range(20):
            began_s = time.perf_counter()
            answer = client.infer(request)
            total_ms = (time.perf_counter() - began_s) * 1e3
            added_ms.append(total_ms - answer["server_timing"]["infer_ms"])
    finally:
        client.close()
    assert np.median(added_ms) < 20.0  # 2 ms on two idle cores


def test_serving_what_is_no_checkpoint_ends_with_its_reason(tmp_path):
    (tmp_path / "empty").mkdir()
    server = Served(tmp_path / "log.txt", "--checkpoint", str(tmp_path / "empty"))
    assert server.process.wait(DEADLINE_S) == 1
    text = server.log.read_text()
    assert "holds no complete checkpoint" in text
    assert "Traceback" not in text
