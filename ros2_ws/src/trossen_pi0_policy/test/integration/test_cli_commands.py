"""The command ``trossen-pi0``: arguments, files, a served policy and its end."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time

import numpy as np
import pytest

from trossen_pi0_core.errors import BackendError, ParameterError
from trossen_pi0_core.openpi import OpenpiClient, ServerConfig
from trossen_pi0_policy.cli import policies
from trossen_pi0_policy.cli.main import main

DEADLINE_S = 20.0


class StatePolicy:
    """Answers 50 rows at the observed state, plus the first value of the noise."""

    metadata = {"robot": "test kit"}  # noqa: RUF012

    def __init__(self, max_batch=1, rtc="none"):
        self.max_batch = max_batch
        self.rtc = rtc
        self.metadata = {**self.metadata, "asked for rtc": rtc}
        self.warm = False
        self.calls = 0
        self.requests = []
        self.asked_for = []

    def warm_up(self):
        self.warm = True

    def prepare(self, request):
        self.requests.append(request)
        return request["state"]

    def infer(self, prepared):
        assert self.warm
        self.calls += 1
        return [{"actions": np.tile(state, (50, 1)), "policy_timing": {}} for state in prepared]

    def infer_one(self, request, *, noise=None):
        self.calls += 1
        self.requests.append(request)
        offset = 0.0 if noise is None else noise[0, 0]
        return {"actions": np.tile(request["state"] + offset, (50, 1)).astype(np.float32)}


SERVE = f"""
import sys
sys.path.insert(0, {os.path.dirname(__file__)!r})
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("cli_commands", {__file__!r})
commands = module_from_spec(spec)
spec.loader.exec_module(commands)
commands.policies.load_from = lambda arguments, max_batch, rtc: commands.StatePolicy(
    max_batch, rtc
)
sys.exit(commands.main(sys.argv[1:]))
"""


@pytest.fixture
def folder(tmp_path):
    """A folder with a checkpoint folder and an observation."""
    (tmp_path / "checkpoint").mkdir()
    write_observation(tmp_path / "obs.npz")
    return tmp_path


@pytest.fixture
def policy(monkeypatch):
    """What is loaded instead of a checkpoint, and with which arguments."""
    made = StatePolicy()

    def load(arguments, max_batch=1, rtc="none"):
        made.asked_for.append(arguments)
        made.max_batch = max_batch
        made.rtc = rtc
        return made

    monkeypatch.setattr(policies, "load_from", load)
    monkeypatch.setattr(policies, "make_random", lambda arguments: load(arguments, 4))
    return made


def write_observation(file, **changes):
    """A good observation; None leaves an array out."""
    arrays = {
        "state": np.arange(14, dtype=np.float32),
        "images/cam_high": np.full((3, 48, 64), 7, np.uint8),
        "images/cam_left_wrist": np.full((3, 48, 64), 8, np.uint8),
        "prompt": np.array("grab the cube"),
        **changes,
    }
    kept = {name: array for name, array in arrays.items() if array is not None}
    np.savez(file, **kept)


def infer(folder, *more):
    return main(
        [
            *("infer", "--checkpoint", str(folder / "checkpoint")),
            *("--observation", str(folder / "obs.npz"), "--out", str(folder / "actions.npy")),
            *more,
        ]
    )


# Arguments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["serve"], ["infer"], ["benchmark"], ["merge"]])
def test_help_needs_no_jax(command):
    code = (
        "import sys\nfrom trossen_pi0_policy.cli.main import main\n"
        f"status = main([*{command!r}, '--help'])\n"
        "heavy = {'jax', 'flax', 'rclpy', 'orbax'} & set(sys.modules)\n"
        "assert not heavy, heavy\nsys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: trossen-pi0")


def test_the_module_is_the_command():
    command = [sys.executable, "-m", "trossen_pi0_policy", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0
    assert all(name in done.stdout for name in ("serve", "infer", "benchmark"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "the following arguments are required: COMMAND"),
        (["fly"], "invalid choice: 'fly'"),
        (["serve"], "the following arguments are required: --checkpoint"),
        (["serve", "--checkpoint", "nowhere"], "checkpoint folder or a URL .* 'nowhere' does not"),
        (["serve", "--checkpoint", ".", "--port", "many"], "--port: invalid int value: 'many'"),
        (["serve", "--checkpoint", ".", "--port", "65536"], r"port: 65536 lies outside \[0, 65535"),
        (["serve", "--checkpoint", ".", "--batch-wait-ms", "nan"], "batch_wait_ms: need a finite"),
        (["serve", "--checkpoint", ".", "--steps", "0"], "whole number from 1 to 1000, got '0'"),
        (["serve", "--checkpoint", ".", "--dtype", "int8"], "invalid choice: 'int8'"),
        (["serve", "--checkpoint", ".", "--tokenizer", "no"], "need a file, but 'no' does not exi"),
        (["serve", "--checkpoint", ".", "--api-key-file", "."], "need a file, but '.' is a folder"),
        (["infer", "--checkpoint", "."], "required: --observation, --out"),
        (["benchmark"], "one of the arguments --checkpoint --preset is required"),
        (["benchmark", "--preset", "tiny"], "--preset needs --random-weights"),
        (["benchmark", "--checkpoint", ".", "--random-weights"], "--random-weights goes with"),
        (
            ["benchmark", "--preset", "tiny", "--random-weights", "--config", "a", "--asset-id=b"],
            "--config, --asset-id goes with --checkpoint, not with --preset",
        ),
        (["benchmark", "--checkpoint", ".", "--calls", "0"], "whole number from 1 to 1000000"),
        (["benchmark", "--checkpoint", ".", "--cameras", "a,,b"], "different camera names"),
        (["benchmark", "--checkpoint", ".", "--json", "no/x.json"], "folder 'no' does not exist"),
    ],
)
def test_wrong_arguments(policy, capsys, words, says):
    assert main(words) == 2
    error = capsys.readouterr().err
    assert re.search(says, error), error
    assert "Traceback" not in error
    assert not policy.asked_for


# infer --------------------------------------------------------------------------------------------


def test_one_observation(folder, policy, capsys):
    assert infer(folder, "--config", "pi0", "--steps", "4") == 0
    actions = np.load(folder / "actions.npy")
    assert actions.dtype == np.float32
    np.testing.assert_array_equal(actions, np.tile(np.arange(14, dtype=np.float32), (50, 1)))
    (request,) = policy.requests
    assert set(request["images"]) == {"cam_high", "cam_left_wrist"}
    assert request["prompt"] == "grab the cube"
    assert (policy.asked_for[0].config, policy.asked_for[0].steps) == ("pi0", 4)
    assert policy.asked_for[0].dtype == "float32"
    assert "50 rows of 14 joints" in capsys.readouterr().out
    assert stat.S_IMODE((folder / "actions.npy").stat().st_mode) & 0o600 == 0o600


def test_noise_of_a_file(folder, policy):
    np.save(folder / "noise.npy", np.full((50, 32), 0.5))
    assert infer(folder, "--noise", str(folder / "noise.npy")) == 0
    assert np.load(folder / "actions.npy")[0, 0] == 0.5


def test_a_prompt_may_be_left_to_the_policy(folder, policy):
    write_observation(folder / "obs.npz", prompt=None)
    assert infer(folder, "--default-prompt", "wave") == 0
    assert "prompt" not in policy.requests[0]
    assert policy.asked_for[0].default_prompt == "wave"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"state": None}, "there is no array 'state'"),
        (
            {"images/cam_high": None, "images/cam_left_wrist": None},
            "there is no array 'images/<camera>'",
        ),
        ({"pose": np.zeros(3)}, r"unknown arrays \['pose'\]; allowed are 'state', 'prompt' and"),
        ({"state": np.array(["a"])}, "state must hold numbers, got <U1"),
        ({"state": np.zeros((2, 7))}, r"state must have 1 dimension and .* got shape \(2, 7\)"),
        ({"state": np.array([0.0, np.nan])}, r"state must be finite, got nan at \(1,\)"),
        ({"images/cam_high": np.zeros((3, 8, 8), int)}, "cam_high must be uint8, or float from 0"),
        ({"images/cam_high": np.zeros((8, 8, 3), np.uint8)}, r"must have shape \(3, height, wid"),
        ({"images/cam_high": np.zeros((8, 8), np.uint8)}, "cam_high must have 3 dimensions"),
        ({"images/cam_high": np.full((3, 8, 8), np.inf)}, "cam_high must be finite, got inf"),
        ({"prompt": np.array(3)}, "prompt must be one text, got int64"),
        ({"prompt": np.array(["a", "b"])}, r"prompt must be one text, got <U1 of shape \(2,\)"),
        ({"state": np.array([None])}, "cannot be read as an .npz file: Object arrays"),
    ],
)
def test_a_bad_observation_is_refused_before_anything_is_loaded(
    folder, policy, capsys, changes, says
):
    write_observation(folder / "obs.npz", **changes)
    assert infer(folder) == 1
    error = capsys.readouterr().err
    assert re.search(says, error), error
    assert error.count("\n") == 1
    assert not policy.asked_for
    assert not (folder / "actions.npy").exists()


@pytest.mark.parametrize("contents", [b"", b"no archive", b"PK\x03\x04 half an archive"])
def test_files_that_are_none(folder, policy, capsys, contents):
    (folder / "obs.npz").write_bytes(contents)
    assert infer(folder) == 1
    assert "cannot be read as an .npz file" in capsys.readouterr().err


def test_a_single_array_is_no_observation(folder, policy, capsys):
    np.save(folder / "one.npy", np.zeros(14))
    (folder / "one.npy").replace(folder / "obs.npz")
    assert infer(folder) == 1
    assert "holds one array without a name, need an .npz file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("noise", "says"),
    [
        (np.zeros((50, 32), int), "noise must hold floats, got int64"),
        (np.zeros(32), "noise must have 2 dimensions"),
        (np.full((50, 32), np.nan), "noise must be finite, got nan at (0, 0)"),
    ],
)
def test_bad_noise(folder, policy, capsys, noise, says):
    np.save(folder / "noise.npy", noise)
    assert infer(folder, "--noise", str(folder / "noise.npy")) == 1
    assert says in capsys.readouterr().err
    assert not policy.asked_for


def test_nothing_is_written_when_the_policy_fails_or_answers_nonsense(folder, policy, capsys):
    (folder / "actions.npy").write_text("from before")

    def fail(request, noise=None):
        raise BackendError("out of order")

    policy.infer_one = fail
    assert infer(folder) == 1
    policy.infer_one = lambda *_, **__: {"actions": np.full((50, 14), np.nan)}
    assert infer(folder) == 1
    error = capsys.readouterr().err
    assert "error: out of order" in error
    assert "700 values that are not; nothing is written" in error
    assert (folder / "actions.npy").read_text() == "from before"
    assert sorted(p.name for p in folder.iterdir()) == ["actions.npy", "checkpoint", "obs.npz"]


# benchmark ----------------------------------------------------------------------------------------


def test_benchmark_of_random_weights(tmp_path, policy, capsys):
    file = tmp_path / "figures.json"
    words = ["benchmark", "--preset", "tiny", "--random-weights", "--calls", "7"]
    assert main([*words, "--cameras", "cam_high,cam_low", "--json", str(file)]) == 0
    output = capsys.readouterr().out
    assert "tiny, random weights, auto, 10 steps, 2 cameras, batch 1, cpu" in output
    assert all(name in output for name in ("median", "p5", "p95", "p99", "load", "peak host"))
    report = json.loads(file.read_text())
    assert policy.warm
    assert policy.calls == 8
    assert len(report["calls_ms"]) == 7
    assert report["percentiles_ms"]["p50"] == pytest.approx(np.median(report["calls_ms"]))
    assert report["settings"]["cameras"] == ["cam_high", "cam_low"]
    assert set(policy.requests[0]["images"]) == {"cam_high", "cam_low"}
    assert policy.requests[0]["images"]["cam_low"].shape == (3, 224, 224)


def test_benchmark_of_a_batch(folder, policy, capsys):
    words = ["benchmark", "--checkpoint", str(folder / "checkpoint"), "--calls", "2"]
    assert main([*words, "--batch", "3"]) == 0
    assert policy.calls == 3
    assert len(policy.requests) == 9
    assert "batch 3" in capsys.readouterr().out


def test_benchmark_with_a_prefix(folder, policy, capsys):
    words = ["benchmark", "--checkpoint", str(folder / "checkpoint"), "--calls", "1"]
    assert main([*words, "--rtc", "guided"]) == 0
    assert policy.rtc == "guided"
    rtc = policy.requests[0]["rtc"]
    assert rtc["prefix"].shape == (25, 14)
    assert 0 < rtc["frozen"] < 25
    assert "batch 1, rtc guided, cpu" in capsys.readouterr().out
    assert main(words) == 0
    assert policy.rtc == "none"
    assert "rtc" not in policy.requests[-1]


def test_a_batch_that_the_policy_does_not_take(policy, capsys):
    words = ["benchmark", "--preset", "tiny", "--random-weights", "--batch", "5"]
    assert main(words) == 2
    assert "--batch: 5 is more than the 4 that the policy takes" in capsys.readouterr().err


def test_compiled_programs_are_kept_in_the_folder(tmp_path):
    folder = tmp_path / "made" / "on the way"
    code = (
        "from pathlib import Path\n"
        "from trossen_pi0_policy.cli.policies import use_compilation_cache\n"
        f"use_compilation_cache(Path({str(folder)!r}))\n"
        "import jax\n"
        "jax.block_until_ready(jax.jit(lambda x: x * 3 + 1)(jax.numpy.ones(7)))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert list(folder.iterdir())


def test_a_cache_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ParameterError, match=r"compilation cache .*file/cache cannot be made"):
        policies.use_compilation_cache(tmp_path / "file" / "cache")


# serve --------------------------------------------------------------------------------------------


@pytest.fixture
def start():
    """Starts ``trossen-pi0`` in a process of its own, with a policy of this test."""
    processes = []

    def make(*words, **environment):
        process = subprocess.Popen(
            [sys.executable, "-c", SERVE, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **environment},
        )
        processes.append(process)
        return process

    yield make
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(process, text):
    """Reads what a process says until it says that."""
    said = []
    end = time.monotonic() + DEADLINE_S
    for line in process.stdout:
        said.append(line)
        if text in line:
            return "".join(said)
        assert time.monotonic() < end
    raise AssertionError(f"it ended without saying {text!r}: {''.join(said)}")


REQUEST = {"state": np.arange(14, dtype=np.float32), "images": {}, "prompt": "x"}


@pytest.mark.parametrize(
    ("number", "rtc", "words"),
    [(signal.SIGINT, "auto", ()), (signal.SIGTERM, "conditioned", ("--rtc", "conditioned"))],
)
def test_serve_until_a_signal(folder, start, number, rtc, words):
    port = free_port()
    process = start(
        *("serve", "--checkpoint", str(folder / "checkpoint"), "--port", str(port), *words),
        TROSSEN_PI0_API_KEY="s3cret",
    )
    said = wait_for(process, f"listening on ws://127.0.0.1:{port}")
    assert "warming up" in said
    config = ServerConfig(port=port, api_key="s3cret")
    with contextlib.closing(OpenpiClient(config)) as client:
        assert client.connect() == {"robot": "test kit", "asked for rtc": rtc}
        assert client.infer(REQUEST)["actions"][0, 13] == 13.0
        process.send_signal(number)
        assert process.wait(DEADLINE_S) == 0
    rest = process.stdout.read()
    assert "stopped" in rest
    assert "Traceback" not in rest
    assert "s3cret" not in said + rest


def test_a_key_file_is_checked_first(folder, start):
    key = folder / "key"
    key.write_text("two words")
    process = start(
        *("serve", "--checkpoint", str(folder / "checkpoint"), "--api-key-file", str(key))
    )
    assert process.wait(DEADLINE_S) == 2
    said = process.stdout.read()
    assert "printable ASCII characters without spaces" in said
    assert "loading" not in said


def test_a_port_in_use_is_found_out_before_loading(folder, start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(*("serve", "--checkpoint", str(folder / "checkpoint"), "--port", str(port)))
        assert process.wait(DEADLINE_S) == 1
    said = process.stdout.read()
    assert f"error: cannot listen on 127.0.0.1, port {port}: the port is in use" in said
    assert "loading" not in said
    assert "Traceback" not in said
