"""The simulation node as a process, seen over DDS."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
import pytest
import rclpy
import trossen_arm
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, Image
from trossen_arm_sim.protocol import TCP_PORT

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_msgs.msg import GroundTruth, SimStatus
from trossen_pi0_msgs.srv import ResetSim
from trossen_pi0_ros.convert import image_to_rgb, time_ns
from trossen_pi0_ros.qos import STATUS
from trossen_pi0_sim.tasks import find_variant, start_pose

STARTED_WITHIN_S = 40.0


def start(domain: int, addresses: tuple[str, str], **parameters: Any) -> subprocess.Popen[str]:
    """The node in a process of its own, with small pictures unless asked otherwise."""
    values = {"width": 64, "height": 48, "arm_addresses": list(addresses), **parameters}
    arguments = [word for name, value in values.items() for word in ("-p", f"{name}:={value}")]
    return subprocess.Popen(
        [sys.executable, "-m", "trossen_pi0_sim.node", "--ros-args", *arguments],
        env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str], number: int = signal.SIGINT) -> tuple[int, str]:
    """Sends a signal; exit status and what was said."""
    process.send_signal(number)
    try:
        _, said = process.communicate(timeout=5.0)
    finally:
        process.kill()
    return process.returncode, said


class Listener:
    """Takes in everything that the node publishes."""

    def __init__(self, domain: int) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        self.node = rclpy.create_node("listener", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.images: dict[str, list[Image]] = defaultdict(list)
        self.infos: dict[str, list[CameraInfo]] = defaultdict(list)
        self.truths: list[GroundTruth] = []
        self.statuses: list[SimStatus] = []
        reliable = QoSProfile(depth=10)
        for camera in CAMERAS:
            self._listen(Image, f"/{camera}/color/image_raw", self.images[camera].append, reliable)
            self._listen(
                CameraInfo, f"/{camera}/color/camera_info", self.infos[camera].append, reliable
            )
        self._listen(GroundTruth, "/sim/ground_truth", self.truths.append, STATUS)
        self._listen(SimStatus, "/sim/status", self.statuses.append, STATUS)
        self._reset = self.node.create_client(ResetSim, "/sim/reset")

    def _listen(self, kind: type, topic: str, take: Callable[[Any], None], qos: QoSProfile) -> None:
        self.node.create_subscription(kind, topic, take, qos)

    def until(self, condition: Callable[[], object], what: str, timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
            self.executor.spin_once(timeout_sec=0.1)

    def until_all(self, count: int, timeout_s: float = STARTED_WITHIN_S) -> None:
        self.until(
            lambda: (
                all(len(self.images[c]) >= count and self.infos[c] for c in CAMERAS)
                and self.truths
                and self.statuses
            ),
            "pictures of all cameras, ground truth and status",
            timeout_s,
        )

    def reset(self, seed: int, variant: str = "") -> ResetSim.Response:
        self.until(self._reset.service_is_ready, "reset service", STARTED_WITHIN_S)
        future = self._reset.call_async(ResetSim.Request(seed=seed, variant=variant))
        self.until(future.done, "answer to the reset")
        answer = future.result()
        assert answer is not None
        return answer

    def close(self) -> None:
        if self.context.ok():
            self.executor.shutdown()
            self.node.destroy_node()
            rclpy.shutdown(context=self.context)


@pytest.fixture
def listener(domain: int) -> Iterator[Listener]:
    listener = Listener(domain)
    yield listener
    listener.close()


@pytest.fixture
def node(domain: int, arm_addresses: tuple[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = start(domain, arm_addresses, seed=4)
    yield process
    if process.poll() is None:
        end(process)
    if process.stderr is not None:
        process.stderr.close()


def test_cameras_look_like_realsense_cameras(
    node: subprocess.Popen[str], listener: Listener
) -> None:
    listener.until_all(10)
    now = listener.node.get_clock().now().nanoseconds
    for camera in CAMERAS:
        image, info = listener.images[camera][-1], listener.infos[camera][-1]
        assert (image.width, image.height, image.encoding, image.step) == (64, 48, "rgb8", 192)
        assert image.is_bigendian == 0
        assert image.header.frame_id == f"{camera}_color_optical_frame"
        assert info.header.frame_id == image.header.frame_id
        assert (info.width, info.height, info.distortion_model) == (64, 48, "plumb_bob")
        assert list(info.d) == [0.0] * 5
        assert info.k[0] == info.k[4] == info.p[0]
        assert (info.k[2], info.k[5]) == (31.5, 23.5)
        picture = image_to_rgb(image)
        assert picture.std() > 20
        assert abs(now - time_ns(image.header.stamp)) < 2e9
    assert listener.infos["cam_high"][-1].k[0] == pytest.approx(37.6725, abs=1e-3)
    sets = [{time_ns(m.header.stamp) for m in listener.images[c]} for c in CAMERAS]
    assert len(set.intersection(*sets)) >= 5, "pictures of one set have one stamp"


def test_pictures_come_at_their_rate_and_stamps_advance(
    node: subprocess.Popen[str], listener: Listener
) -> None:
    listener.until_all(60)
    stamps = np.array([time_ns(m.header.stamp) for m in listener.images["cam_low"]]) / 1e9
    steps = np.diff(stamps)
    assert (steps > 0).all()
    # Whole periods, since late pictures are skipped; the state is that of the last 1/300 s tick.
    assert np.median(steps) == pytest.approx(1 / 30, abs=0.005)


def test_status_counts_and_keeps_real_time(node: subprocess.Popen[str], listener: Listener) -> None:
    listener.until_all(90)
    first, last = listener.statuses[0], listener.statuses[-1]
    assert last.seed == 4
    assert last.variant == "red_cube"
    assert last.stage == SimStatus.STAGE_NONE
    assert not last.success
    assert not last.failed
    assert last.reason == ""
    assert last.images_published > first.images_published
    assert last.real_time_factor > 0.8
    assert last.sim_time_s > first.sim_time_s


def test_reset_moves_the_object_at_once(node: subprocess.Popen[str], listener: Listener) -> None:
    listener.until_all(1)
    answer = listener.reset(17, "blue_brick")
    assert answer.success
    assert answer.message == "blue_brick, seed 17"
    listener.until(lambda: listener.truths[-1].seed == 17, "ground truth of the new episode")
    truth, expected = listener.truths[-1], start_pose(17, find_variant("blue_brick"))
    at, turned = truth.object_pose.position, truth.object_pose.orientation
    np.testing.assert_allclose([at.x, at.y, at.z], expected[:3], atol=1e-3)
    np.testing.assert_allclose([turned.w, turned.z], expected[[3, 6]], atol=1e-2)
    half = truth.object_half_size
    assert (half.x, half.y, half.z) == (0.030, 0.016, 0.018)
    assert (truth.variant, truth.header.frame_id) == ("blue_brick", "world")
    assert listener.reset(18).message == "blue_brick, seed 18", "an empty variant keeps the present"


def test_pictures_show_the_object_of_the_new_episode(
    domain: int, arm_addresses: tuple[str, str], listener: Listener
) -> None:
    process = start(domain, arm_addresses, width=320, height=240)
    try:
        listener.until_all(1)

        def blue() -> int:
            picture = image_to_rgb(listener.images["cam_high"][-1]).astype(int)
            return int(((picture[..., 2] > 80) & (picture[..., 0] < 40)).sum())

        assert blue() == 0
        listener.reset(17, "blue_brick")
        listener.until(lambda: blue() > 20, "blue brick in the picture")
    finally:
        end(process)


def test_refused_reset_says_why_and_keeps_the_episode(
    node: subprocess.Popen[str], listener: Listener
) -> None:
    listener.until_all(1)
    answer = listener.reset(17, "green_ball")
    assert not answer.success
    assert "'green_ball' is not one of ['red_cube'" in answer.message
    count = len(listener.statuses)
    listener.until(lambda: len(listener.statuses) > count, "status")
    assert (listener.statuses[-1].variant, listener.statuses[-1].seed) == ("red_cube", 4)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_ends_it_and_frees_the_addresses(
    node: subprocess.Popen[str],
    listener: Listener,
    arm_addresses: tuple[str, str],
    number: signal.Signals,
) -> None:
    listener.until_all(1)
    status, said = end(node, number)
    assert status == 0, said
    for address in arm_addresses:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, TCP_PORT))


def physics_of(node: subprocess.Popen[str]) -> psutil.Process:
    (child,) = psutil.Process(node.pid).children()
    return child


def test_killed_node_takes_the_arms_with_it(
    node: subprocess.Popen[str], listener: Listener, wait_until: Callable[..., None]
) -> None:
    listener.until_all(1)
    physics = physics_of(node)
    listener.close()  # before the kill: see ``Stack.close`` of fault_harness
    node.kill()
    node.wait()
    wait_until(lambda: not physics.is_running(), "end of the physics")


def test_end_of_the_physics_ends_the_node_with_a_reason(
    node: subprocess.Popen[str], listener: Listener
) -> None:
    listener.until_all(1)
    physics_of(node).kill()
    _, said = node.communicate(timeout=10.0)
    assert node.returncode == 1
    assert "the physics process ended with status -9" in said


def test_arms_are_served_whatever_the_node_is_busy_with(
    node: subprocess.Popen[str], listener: Listener, arm_addresses: tuple[str, str]
) -> None:
    listener.until_all(1)
    driver = trossen_arm.TrossenArmDriver()
    driver.configure(
        trossen_arm.Model.wxai_v0,
        trossen_arm.StandardEndEffector.wxai_v0_follower,
        arm_addresses[0],
        False,
        timeout=3.0,
    )
    node.send_signal(signal.SIGSTOP)
    before = driver.get_robot_output().header.id
    deadline = time.monotonic() + 5.0
    while driver.get_robot_output().header.id == before:
        assert time.monotonic() < deadline, "the arm's feedback stands still"
    node.send_signal(signal.SIGCONT)
    driver.cleanup()


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"variant": "green_ball"}, "'green_ball' is not one of"),
        ({"width": 5}, r"width: 5 lies outside \[16, 1920\]"),
        ({"seed": -1}, "seed: -1 lies outside"),
        ({"arm_addresses": ["203.0.113.7", "127.0.0.9"]}, "203.0.113.7"),
        ({"arm_addresses": ["127.0.0.9", "127.0.0.9"]}, "need two different addresses"),
    ],
    ids=["variant", "width", "seed", "address", "same address"],
)
def test_bad_parameters_end_it_with_a_reason(
    domain: int, arm_addresses: tuple[str, str], parameters: dict[str, Any], message: str
) -> None:
    process = start(domain, arm_addresses, **parameters)
    _, said = process.communicate(timeout=STARTED_WITHIN_S)
    assert process.returncode == 2, said
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert re.search(message, last), said
