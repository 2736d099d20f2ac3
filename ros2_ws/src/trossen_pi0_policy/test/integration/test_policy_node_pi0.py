"""The policy node with π0 in its own process, over DDS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from fixtures.checkpoints import SPREAD, STAGED_STATE, write_seeded_checkpoint
from trossen_pi0_msgs.action import RunPolicy
from trossen_pi0_msgs.msg import PolicyStatus
from trossen_pi0_policy.backends import pi0
from trossen_pi0_policy.state import PREPARING

LOADING_S = 60.0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(write_seeded_checkpoint(tmp_path_factory.mktemp("tiny") / "5"))


def start(ros, checkpoint, **parameters):
    values = {"flow_steps": 2, "compilation_cache": "", "rate_of_inference": 5, **parameters}
    ros.start_policy(backend="pi0", checkpoint=checkpoint, **values)
    return ros.kit


def wait_until_ready(ros):
    def ready():
        status = ros.kit.status
        return status and not status.missing and not status.reason

    ros.wait_until(ready, "all inputs and the compiled model", LOADING_S)


def test_the_model_is_compiled_at_activation_and_a_run_gets_its_chunks(ros, checkpoint):
    kit = start(ros, checkpoint)
    kit.wait_for_status(lambda status: status.reason == PREPARING, "the preparation")
    wait_until_ready(ros)
    assert kit.status.state == PolicyStatus.IDLE
    assert kit.chunks == []
    handle = kit.send("grab and handover the red cube")
    kit.wait_for_chunks(3)
    status = kit.wait_for_status(lambda status: status.chunk_id >= 3, "the third chunk")
    handle.cancel_goal_async()
    _, result = kit.result(handle)
    assert result.outcome == RunPolicy.Result.STOPPED
    assert status.inference_failures == 0
    first, second = (np.reshape(chunk.positions, (-1, 14)) for chunk in kit.chunks[:2])
    assert first.shape == (50, 14)
    assert (np.abs(first - STAGED_STATE) < 10 * SPREAD).all()
    assert (first != second).any()  # each has noise of its own
    assert status.inference_latency_p50_s < 1.0  # nothing was compiled for an observation


def test_a_missing_checkpoint_is_said_before_and_in_a_run(ros, tmp_path):
    kit = start(ros, str(tmp_path / "missing"), stall_timeout_s=0.5)
    reason = f"{tmp_path}/missing does not exist"
    kit.wait_for_status(lambda status: status.reason.startswith(reason), "the reason")
    _, result = kit.result(kit.send())
    assert result.outcome == RunPolicy.Result.FAILED
    assert reason in result.message


def test_a_checkpoint_that_comes_later_is_found(ros, checkpoint, tmp_path):
    place = tmp_path / "missing"
    kit = start(ros, str(place))
    kit.wait_for_status(lambda status: "does not exist" in status.reason, "the reason")
    place.symlink_to(checkpoint)
    wait_until_ready(ros)
    kit.call(kit.start)
    kit.wait_for_chunks(1)


def test_after_a_failure_the_node_can_be_configured_again(ros, checkpoint, tmp_path):
    place = tmp_path / "missing"
    kit = start(ros, str(place))
    kit.wait_for_status(lambda status: "does not exist" in status.reason, "the reason")
    ros.policy.trigger_deactivate()
    ros.policy.trigger_cleanup()
    place.symlink_to(checkpoint)
    assert ros.policy.autostart()
    wait_until_ready(ros)
    kit.call(kit.start)
    kit.wait_for_chunks(1)


def test_a_run_begun_while_the_model_compiles_waits_for_it(ros, checkpoint, monkeypatch):
    inside = []
    tried = pi0.Pi0Backend._tried_policy

    def slow(backend):
        inside.append(time.monotonic())
        ros.wait_until(lambda: time.monotonic() > inside[0] + 1.0, "a second")
        return tried(backend)

    monkeypatch.setattr(pi0.Pi0Backend, "_tried_policy", slow)
    kit = start(ros, checkpoint, stall_timeout_s=0.3)
    ros.wait_until(lambda: inside, "the preparation")
    handle = kit.send()
    ros.wait_until(lambda: kit.chunks, "the first chunk", LOADING_S)
    assert handle.accepted


def node_process(ros, *parameters):
    words = [word for parameter in parameters for word in ("-p", parameter)]
    return subprocess.Popen(
        [sys.executable, "-m", "trossen_pi0_policy.node", "--ros-args", *words],
        env={**os.environ, "ROS_DOMAIN_ID": str(ros.domain)},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_without_a_checkpoint_the_process_ends_and_says_what_to_give(ros):
    process = node_process(ros, "backend:=pi0")
    _, errors = process.communicate(timeout=30.0)
    assert process.returncode == 2
    assert "error: checkpoint: the backend 'pi0' needs a checkpoint: a folder" in errors


@pytest.mark.parametrize("moment", ["while it imports", "while it compiles", "while it infers"])
def test_a_signal_ends_the_process(ros, checkpoint, tmp_path, moment):
    compiled = tmp_path / "compiled"
    settings = (f"checkpoint:={checkpoint}", f"compilation_cache:={compiled}", "start_pose:=''")
    process = node_process(ros, "backend:=pi0", *settings)
    kit = ros.kit
    try:
        if moment == "while it infers":
            wait_until_ready(ros)
            kit.call(kit.start)
            kit.wait_for_chunks(1)
        elif moment == "while it compiles":
            # Small programs are kept before the model itself is compiled.
            ros.wait_until(lambda: list(compiled.glob("*")), "a compiled program", LOADING_S)
        else:
            kit.wait_for_status(lambda status: status.reason == PREPARING, "the preparation")
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=15.0)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    assert time.monotonic() - began < 5.0
