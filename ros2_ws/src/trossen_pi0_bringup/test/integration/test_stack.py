"""The whole stack as people start it: real nodes, real driver, simulated kit."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import closing
from http.client import HTTPConnection

import av
import numpy as np
import psutil
import pytest
import rclpy
from PIL import Image
from rclpy.context import Context
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    LivelinessPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)

from fixtures.checkpoints import write_seeded_checkpoint
from fixtures.layouts import TOPIC_TYPES, all_topics, rviz_topics
from fixtures.stacks import OpenpiServer, started_stacks
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.scheduling import realtime_refusal


@pytest.fixture
def start(tmp_path):
    with started_stacks(tmp_path) as run:
        yield run


def assert_layouts_fit(domain):
    """Each topic of the shipped layouts is published with its type, and RViz can hear its own."""
    context = Context()
    rclpy.init(context=context, domain_id=domain)
    node = Node("viewer", context=context)
    try:
        deadline = time.monotonic() + 30.0
        while missing := {t for t in all_topics() if not node.get_publishers_info_by_topic(t)}:
            assert time.monotonic() < deadline, f"nobody publishes {sorted(missing)}"
            time.sleep(0.05)
        for topic in all_topics():
            for publisher in node.get_publishers_info_by_topic(topic):
                assert publisher.topic_type == TOPIC_TYPES[topic], topic
        for wanted in rviz_topics():
            asked = QoSProfile(
                depth=wanted.depth,
                reliability=ReliabilityPolicy[wanted.reliability.upper().replace(" ", "_")],
                durability=DurabilityPolicy[wanted.durability.upper().replace(" ", "_")],
                liveliness=LivelinessPolicy.AUTOMATIC,
            )
            for publisher in node.get_publishers_info_by_topic(wanted.topic):
                fits, why = qos_check_compatible(publisher.qos_profile, asked)
                assert fits == QoSCompatibility.OK, f"{wanted.topic}: {why}"
    finally:
        node.destroy_node()
        context.shutdown()


def assert_priorities(nodes):
    """Inference yields to the rest; threads that talk to the arms go before all if they may."""

    def threads(name):
        (node,) = (node for node in nodes if name in node.cmdline()[1])
        return sorted(thread.id for thread in node.threads())  # the main thread first

    def niceness(name):
        return [os.getpriority(os.PRIO_PROCESS, thread) for thread in threads(name)]

    assert set(niceness("policy_node")) == {10}
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert niceness("sim_node")[0] == niceness("arm_controller")[0] == ours
    real_time = [t for t in threads("arm_controller") if os.sched_getparam(t).sched_priority]
    assert len(real_time) == (0 if realtime_refusal(50) else 2)


def assert_all_gone(processes, timeout_s=1.0):
    _, alive = psutil.wait_procs(processes, timeout_s)
    assert not alive, alive


@pytest.mark.timeout(180)
def test_cube_is_handed_over_and_the_run_leaves_its_results(start):
    stack = start("seed:=3", "video:=true", "scene:=true")
    stack.wait_for("stack ready")
    nodes = stack.nodes()
    assert len(nodes) >= 3
    assert_priorities(nodes)
    assert_layouts_fit(stack.domain)
    status = stack.wait(120)
    assert status == 0, stack.text()
    assert_all_gone(nodes)
    (episode,) = stack.summary()["episodes"]
    assert episode["success"] is True
    assert episode["stage"] == "placed"
    assert episode["outcome"] == "done"
    assert episode["chunks"] > 10
    assert episode["controller"]["position_limit_events"] == 0
    assert episode["tracking_error"]["joints_max_rad"] < 0.6  # the simulated servos lag by 0.1 s
    with av.open(str(stack.folder / "video.mp4")) as video:
        frames = [f.to_ndarray(format="rgb24") for f in video.decode(video=0)]
    assert len(frames) > 100
    middle = frames[len(frames) // 2]
    for tile in (middle[:240, :320], middle[:240, 320:], middle[240:, :320], middle[240:, 320:]):
        assert tile.std() > 10  # each camera shows something
    assert (stack.folder / "joints.png").stat().st_size > 20_000
    with Image.open(stack.folder / "scene.png") as scene:
        assert scene.size == (1280, 720)
        picture = np.asarray(scene.convert("RGB")).astype(int)
    red, green, blue = np.moveaxis(picture[:, 400:], 2, 0)  # right of status and legend
    assert ((green > 180) & (red < 90) & (blue < 140)).sum() > 40  # the newest plan


def test_ctrl_c_ends_everything_within_five_seconds(start):
    stack = start()
    stack.wait_for("arms executing")
    nodes = stack.nodes()
    begun = time.monotonic()
    stack.process.send_signal(signal.SIGINT)
    assert stack.wait(10) == 130
    assert time.monotonic() - begun < 5.0
    assert_all_gone(nodes)
    assert "had to be killed" not in stack.text()


def test_nodes_do_not_outlive_a_killed_supervisor(start):
    stack = start()
    stack.wait_for("stack ready")
    nodes = stack.nodes()
    stack.process.kill()
    stack.process.wait()
    assert_all_gone(nodes, 5.0)


def test_test_mode_runs_everything_and_moves_nothing(start):
    stack = start("mode:=test", "max_duration_s:=6")
    assert stack.wait(90) == 0, stack.text()
    (episode,) = stack.summary()["episodes"]
    assert episode["chunks"] > 2
    assert episode["stage"] == "none"
    assert episode["tracking_error"] == {}  # no command was sent


def test_a_node_that_dies_ends_the_run_with_its_log(start):
    stack = start()
    stack.wait_for("arms executing")
    (policy,) = [p for p in stack.nodes() if "policy_node" in " ".join(p.cmdline())]
    policy.kill()
    assert stack.wait(15) == 3
    assert "policy ended with signal SIGKILL" in stack.text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["backend:=pi7"], "backend: 'pi7' is not one of ['openpi', 'pi0', 'expert', 'replay']"),
        (["promt:=x"], "unknown argument 'promt', did you mean 'prompt'?"),
        (["sim:=false"], "sim: this command runs the simulated kit"),
        (["rviz:=true"], "rviz: RViz is not installed by this tool"),
        (["episodes:=0"], "episodes: 0 lies outside [1, 10000]"),
    ],
)
def test_bad_arguments_end_with_two_and_say_why(start, words, message):
    stack = start(*words)
    assert stack.wait(20) == 2
    assert message in stack.text()


def test_an_arm_address_that_is_taken_is_named(start):
    with socket.create_server(("127.0.0.113", 50001)):
        stack = start()
        assert stack.wait(60) == 3
    assert "the right arm cannot be served on '127.0.0.113'" in stack.text()


def test_an_openpi_server_drives_the_arms(start):
    target = [0.3, 1.2, 0.7, 0.4, 0.1, -0.2, 0.02] * 2
    server = OpenpiServer(target)
    try:
        stack = start(
            "backend:=openpi",
            f"policy_port:={server.port}",
            "max_duration_s:=8",
            "prompt:=grab the 'red' cube",
        )
        assert stack.wait(90) == 1  # the server's policy does not know the task
    finally:
        server.close()
    request = server.requests[-1]
    assert request["prompt"] == "grab the 'red' cube"
    assert sorted(request["images"]) == [
        "cam_high",
        "cam_left_wrist",
        "cam_low",
        "cam_right_wrist",
    ]
    for image in request["images"].values():
        assert image.shape == (3, 224, 224)
        assert image.dtype == np.uint8
        assert image[:, :28].max() == 0  # 4:3 pictures are padded above and below
        assert image[:, 28:196].std() > 10
    np.testing.assert_allclose(request["state"], target, atol=0.03)
    (episode,) = stack.summary()["episodes"]
    assert episode["outcome"] == "timeout"
    assert JointMap().size == 14


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Random weights, whose actions stay near the staged pose."""
    return str(write_seeded_checkpoint(tmp_path_factory.mktemp("tiny") / "5"))


def assert_model_drove_the_arms(stack):
    """For its time, near the staged pose, without a fault; the task is beyond random weights."""
    (episode,) = stack.summary()["episodes"]
    assert episode["outcome"] == "timeout"
    assert episode["chunks"] >= 4
    assert episode["stage"] == "none"
    controller = episode["controller"]
    assert controller["position_limit_events"] == 0
    assert controller["chunks_rejected"] == 0
    assert 0.002 < episode["tracking_error"]["joints_max_rad"] < 0.3  # they move, and follow
    assert episode["tracking_error"]["carriages_max_mm"] > 0.5
    assert "FAULT" not in stack.text()


@pytest.mark.timeout(180)
def test_pi0_in_the_node_drives_the_arms(start, checkpoint, tmp_path):
    stack = start(
        "backend:=pi0",
        f"checkpoint:={checkpoint}",
        f"compilation_cache:={tmp_path}/compiled",
        "max_duration_s:=5",
    )
    assert stack.wait(120) == 1, stack.text()
    assert_model_drove_the_arms(stack)
    assert list((tmp_path / "compiled").iterdir())


def wait_until_healthy(port, server, timeout_s=60.0):
    """Until the server has loaded and compiled."""
    deadline = time.monotonic() + timeout_s
    while server.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), closing(HTTPConnection("127.0.0.1", port)) as http:
            http.request("GET", "/healthz")
            if http.getresponse().status == 200:
                return
        time.sleep(0.05)
    pytest.fail("the server does not serve")


@pytest.mark.timeout(180)
def test_without_a_named_policy_the_one_that_comes_with_the_suite_finds_the_cube(start):
    stack = start("seed:=1000100", "max_duration_s:=25", policy=())
    assert stack.wait(150) in (0, 1), stack.text()
    (episode,) = stack.summary()["episodes"]
    assert episode["stage"] != "none", stack.text()
    assert episode["controller"]["chunks_rejected"] == 0
    said = (stack.folder / "parameters" / "policy.yaml").read_text()
    assert "checkpoint: shipped://sim_handover" in said


@pytest.mark.timeout(180)
def test_a_served_checkpoint_drives_the_arms(start, checkpoint, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "serve.txt"
    words = ["serve", "--checkpoint", checkpoint, "--port", str(port)]
    with log.open("wb") as file:
        server = subprocess.Popen(
            [sys.executable, "-m", "trossen_pi0_policy", *words],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until_healthy(port, server)
        stack = start("backend:=openpi", f"policy_port:={port}", "max_duration_s:=5")
        assert stack.wait(120) == 1, stack.text()
        server.send_signal(signal.SIGTERM)
        assert server.wait(15) == 0, log.read_text()
    finally:
        server.kill()
    assert_model_drove_the_arms(stack)
    assert "Traceback" not in log.read_text()


def test_pi0_without_a_checkpoint_says_what_to_give(start):
    stack = start("backend:=pi0")
    assert stack.wait(60) == 3
    assert "checkpoint: the backend 'pi0' needs a checkpoint: a folder with params/" in stack.text()


def test_without_a_server_the_arms_hold_and_the_reason_is_said(start):
    stack = start("backend:=openpi", "policy_port:=1", "max_duration_s:=5")
    status = stack.wait(90)
    assert status in (1, 3), stack.text()
    assert "127.0.0.1:1" in stack.text()
