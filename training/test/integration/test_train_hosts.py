"""Trainings of two processes that come together as those of two hosts do."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from trossen_pi0_policy.checkpoints import find_checkpoint, read_metadata, read_parameters
from trossen_pi0_training.run.trackers import read_losses

DEADLINE_S = 400.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", autouse=True)
def compiled_once(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path_factory.mktemp("compiled")))
        yield


def start(words, **environment):
    command = [sys.executable, "-m", "trossen_pi0_training.train", "debug", *map(str, words)]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


def start_two(words, *, of_second=()):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    common = {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": "2",
        "JAX_CPU_COLLECTIVES_IMPLEMENTATION": "gloo",
    }
    first = start(words, JAX_PROCESS_ID="0", **common)
    return first, start([*words, *of_second], JAX_PROCESS_ID="1", **common)


def finish(*processes):
    texts = []
    try:
        texts.extend(process.communicate(timeout=DEADLINE_S)[1] for process in processes)
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], texts


def options(home, name, *more):
    return ["--checkpoint-base", home, "--exp-name", name, "--augment", "none", *more]


def test_two_processes_train_and_resume_as_one(tmp_path):
    half = ["--num-train-steps", 4, "--save-interval", 2, "--validation.interval", 4]
    half += ["--log-interval", 2]
    whole = [*half[2:], "--num-train-steps", 8]
    assert finish(start(options(tmp_path, "one", *whole)))[0] == [0]
    for more in (half, [*whole, "--resume"]):
        statuses, texts = finish(*start_two(options(tmp_path, "two", *more)))
        assert statuses == [0, 0], texts
        assert "val_loss" in texts[0]
        assert "val_loss" not in texts[1]
    assert "resuming from step 4" in texts[0]
    one, two = (read_losses(tmp_path / "debug" / name) for name in ("one", "two"))
    assert sorted(two) == list(range(8))
    lines = (tmp_path / "debug" / "two" / "losses.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(8))
    assert list(two.values()) == pytest.approx([one[step] for step in two], rel=1e-3)
    assert len(list((tmp_path / "debug" / "two" / "tensorboard").glob("events*"))) == 2
    folder = tmp_path / "debug" / "two"
    info = read_metadata(folder)
    assert info.folder.step == 8
    for leaf in read_parameters(folder, info.shapes).values():
        assert np.isfinite(leaf).all()


def test_a_signal_to_one_stops_both_behind_the_same_step(tmp_path):
    more = ["--num-train-steps", 1_000_000, "--log-interval", 2, "--validation.interval", 0]
    processes = start_two(options(tmp_path, "stopped", *more))
    losses = tmp_path / "debug" / "stopped" / "losses.jsonl"
    deadline = time.monotonic() + DEADLINE_S
    while not losses.exists() or not losses.read_text():
        assert time.monotonic() < deadline
        assert processes[0].poll() is None, finish(*processes)
        time.sleep(0.05)
    processes[1].send_signal(signal.SIGTERM)
    statuses, texts = finish(*processes)
    assert statuses == [143, 143], texts
    step = find_checkpoint(losses.parent).step
    assert f"go on from step {step} with --resume" in texts[0]
    assert step == max(read_losses(losses.parent)) + 1


def test_what_is_wrong_in_one_ends_both(tmp_path):
    words = options(tmp_path, "none", "--num-train-steps", 4)
    processes = start_two(words, of_second=["--data.default-prompt", "red " * 30])
    statuses, texts = finish(*processes)
    assert statuses == [1, 1], texts
    assert "process 1: prompts are too long" in texts[0]
    assert "prompts are too long" in texts[1]
    assert not (tmp_path / "debug").exists()
