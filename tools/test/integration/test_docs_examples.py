"""The examples of docs/extending.md do what the page says."""

import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
import yaml
from domain_coordinator import domain_id
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor

from doc_checks.examples import example_files, write_example
from trossen_pi0_core.errors import BackendError
from trossen_pi0_core.openpi import OpenpiClient, ServerConfig
from trossen_pi0_core.parameters import PolicyParameters, RecorderParameters, from_values
from trossen_pi0_msgs.action import MoveTo
from trossen_pi0_policy.backends import BackendContext, InferenceRequest, make_backend
from trossen_pi0_policy.backends.trial import trial_observation
from trossen_pi0_policy.serving import PolicyServer, ServerOptions
from trossen_pi0_training.config.command_line import parse_config

PAGE = Path(__file__).resolve().parents[3] / "docs/extending.md"
DEADLINE_S = 30.0


def example(name, folder):
    """The example's module."""
    path = write_example(PAGE, name, folder)
    return SimpleNamespace(**runpy.run_path(str(path)))


def test_each_example_is_run_here():
    text = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{name}"' in text for name in example_files(PAGE))


def test_an_own_policy_answers_the_policy_node_and_tells_what_is_wrong(tmp_path):
    waving = example("waving.py", tmp_path).Waving()
    with PolicyServer(waving, ServerOptions(port=0)) as server:
        parameters = PolicyParameters(policy_port=server.port)
        backend = make_backend("openpi", BackendContext(parameters))
        backend.prepare()
        observation = trial_observation(parameters)
        rows = backend.infer(InferenceRequest(observation, 33_333_333)).positions
        assert backend.metadata == {"policy": "waving"}
        backend.close()
        client = OpenpiClient(ServerConfig(port=server.port))
        client.connect()
        with pytest.raises(BackendError, match="state: need 14 values"):
            client.infer({"state": np.zeros(7), "images": {}, "prompt": ""})
        client.close()
    moved = np.abs(rows - observation.state).max(axis=0)
    assert rows.shape == (50, 14)
    assert moved[5] == pytest.approx(0.3, abs=0.01)
    assert np.delete(moved, 5).max() < 1e-6


def test_an_own_arm_is_moved_by_the_arm_controller(tmp_path):
    path = write_example(PAGE, "own_arms.py", tmp_path)
    with domain_id() as domain:
        environment = {**os.environ, "ROS_DOMAIN_ID": str(domain)}
        words = [sys.executable, str(path), "--ros-args", "-p", "round_trip_limit_s:=1.0"]
        process = subprocess.Popen(words, env=environment)
        context = Context()
        rclpy.init(args=[], context=context, domain_id=int(domain))
        node = rclpy.create_node("operator", context=context)
        executor = SingleThreadedExecutor(context=context)
        executor.add_node(node)
        try:
            result = moved(node, executor)
        finally:
            process.send_signal(signal.SIGINT)
            status = process.wait(DEADLINE_S)
            executor.shutdown()
            node.destroy_node()
            rclpy.try_shutdown(context=context)
    assert result.success, result.message
    assert result.error < 0.01
    assert status == 0


def moved(node, executor):
    """The result of a small move; the arm controller may still be on its way to being active."""
    client = ActionClient(node, MoveTo, "/arm_controller/move_to")
    assert client.wait_for_server(DEADLINE_S)
    goal = MoveTo.Goal(joint_names=["follower_left_joint_0"], positions=[0.2])
    end_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < end_s:
        sent = client.send_goal_async(goal)
        executor.spin_until_future_complete(sent, DEADLINE_S)
        handle = sent.result()
        assert handle is not None
        answer = handle.get_result_async()
        executor.spin_until_future_complete(answer, DEADLINE_S)
        result = answer.result().result
        if "not active" not in result.message:
            return result
    raise AssertionError("the arm controller did not become active")


def test_own_cameras_are_parameters_that_the_nodes_take(tmp_path):
    content = yaml.safe_load(write_example(PAGE, "two_cameras.yaml", tmp_path).read_text())
    nodes = {"/**/policy": PolicyParameters, "/**/recorder": RecorderParameters}
    assert content.keys() == nodes.keys()
    for name, cls in nodes.items():
        parameters = from_values(cls, content[name]["ros__parameters"])
        assert parameters.image_topics == {
            "cam_high": "/my_camera/image",
            "cam_right_wrist": "/wrist/image_color",
        }


def test_an_own_training_config_is_found_by_name(tmp_path):
    path = write_example(PAGE, "my_configs.py", tmp_path)
    config = parse_config(
        ["pi0_stack_cups", "--config-file", str(path), "--exp-name", "first"], "train"
    )
    assert (config.data.repo_id, config.model) == ("lab/stack_cups", "pi0_lora")
    assert (config.num_train_steps, config.batch_size) == (10_000, 16)


def test_an_own_task_is_done_by_the_expert(tmp_path):
    path = write_example(PAGE, "green_bar.py", tmp_path)
    run = subprocess.run(
        [sys.executable, str(path)], check=True, capture_output=True, text=True, timeout=100
    )
    lines = run.stdout.splitlines()
    assert len(lines) == 2
    assert all("variant='green_bar', success=True" in line for line in lines), lines
