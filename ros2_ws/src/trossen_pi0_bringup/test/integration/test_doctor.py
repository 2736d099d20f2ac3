"""The whole doctor: arms served by the real protocol, cameras and nodes over DDS."""

import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from domain_coordinator import domain_id
from rclpy.context import Context
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from trossen_pi0_bringup.doctor.arms import PORT
from trossen_pi0_bringup.doctor.listening import DISCOVERY_S, SAMPLE_S, listen
from trossen_pi0_bringup.doctor.plan import CameraPlan
from trossen_pi0_bringup.supervisor import find_executable
from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_ros.callbacks import CallbackThread
from trossen_pi0_sim.simulation import Simulation
from trossen_pi0_sim.world import World


class Cameras:
    """Publishes the four cameras' pictures at 30 Hz, as long as each is wanted."""

    def __init__(self, domain):
        self.context = Context()
        rclpy.init(
            context=self.context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO
        )
        self.node = rclpy.create_node("sim", context=self.context)
        self.wanted = set(CAMERAS)
        self._publishers = {
            camera: self.node.create_publisher(
                Image, f"/{camera}/color/image_raw", QoSProfile(depth=2)
            )
            for camera in CAMERAS
        }
        self._diagnostics = self.node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._nodes = [self.node]
        self.node.create_timer(1 / 30, self._publish)
        self.node.create_timer(0.5, self._tell)
        self._callbacks = [CallbackThread(self.node)]
        self._callbacks[0].start()

    def _publish(self):
        for camera in self.wanted:
            message = Image(height=24, width=32, step=96, encoding="rgb8")
            message.header.stamp = self.node.get_clock().now().to_msg()
            message.data = bytes(96 * 24)
            self._publishers[camera].publish(message)

    def _tell(self):
        """As realsense2_camera does for its device."""
        status = DiagnosticStatus(name="cam_low: Temperatures", hardware_id="130322272628")
        self._diagnostics.publish(DiagnosticArray(status=[status]))

    def add_node(self, name, **parameters):
        node = rclpy.create_node(name, context=self.context)
        for key, value in parameters.items():
            node.declare_parameter(key, value)
        self._nodes.append(node)
        self._callbacks.append(CallbackThread(node))
        self._callbacks[-1].start()

    def close(self):
        for callbacks in self._callbacks:
            callbacks.stop(5.0)
        for node in self._nodes:
            node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def domain(monkeypatch):
    with domain_id() as number:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
        yield number


@pytest.fixture
def cameras(domain):
    made = Cameras(domain)
    yield made
    made.close()


@pytest.fixture
def arms(domain):
    """Words that name the served arms."""
    addresses = (f"127.34.{domain}.2", f"127.34.{domain}.3")
    simulation = Simulation(World(visuals=False), addresses)
    simulation.start()
    yield [f"left_arm_address:={addresses[0]}", f"right_arm_address:={addresses[1]}"]
    simulation.stop()


def doctor(*words):
    """Exit status, findings by what, and how long it took [s]."""
    began_s = time.monotonic()
    answer = subprocess.run(
        [sys.executable, "-m", "trossen_pi0_bringup.doctor", "--json", *words],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60.0,
        env=dict(os.environ),
        check=False,
    )
    told = json.loads(answer.stdout)
    findings = {}
    for finding in told["findings"]:
        findings.setdefault(finding["what"], []).append(finding)
    assert told["ready"] == (answer.returncode == 0)
    return answer.returncode, findings, time.monotonic() - began_s


SMALL = ["camera_width:=32", "camera_height:=24"]


def test_a_sound_kit_is_ready(arms, cameras, tmp_path):
    status, findings, took_s = doctor(*arms, *SMALL, f"episodes_dir:={tmp_path}")
    assert status == 0, findings
    assert took_s < 30.0
    for arm in ("left", "right"):
        for what in (f"arm {arm}", f"arm {arm} versions", f"arm {arm} limits"):
            assert [finding["verdict"] for finding in findings[what]] == ["OK"]
    for camera in CAMERAS:
        assert findings[f"camera {camera}"][0]["found"].startswith("32x24 rgb8, ")
    assert "joint states" in findings


def test_what_is_not_there_is_in_the_way(arms, cameras, tmp_path):
    cameras.wanted.remove("cam_left_wrist")
    file = tmp_path / "mine.yaml"
    file.write_text("/**/recorder:\n  ros__parameters: {min_disk_mb: 900000000}\n")
    given = ["backend:=openpi", "policy_port:=1", "record:=true", f"params_file:={file}"]
    gone = "right_arm_address:=127.35.0.1"
    status, findings, _ = doctor(
        arms[0], gone, *SMALL, *given, f"episodes_dir:={tmp_path}/episodes"
    )
    assert status == 1
    failed = {what for what, told in findings.items() if told[0]["verdict"] == "FAIL"}
    assert failed == {"arm right", "camera cam_left_wrist", "policy server", "disk"}
    assert "a publisher, but no picture" in findings["camera cam_left_wrist"][0]["found"]


def test_bad_arguments_are_told(domain):
    answer = subprocess.run(
        [find_executable("trossen_pi0_bringup", "doctor"), "arms:=left"],
        capture_output=True,
        text=True,
        timeout=60.0,
        check=False,
    )
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: unknown argument 'arms', did you mean 'arm'?")


def test_the_graph_tells_who_holds_the_arms_and_which_camera_is_which(cameras):
    cameras.add_node("arm_controller", arm_addresses=["192.168.1.5", "192.168.1.4"])
    cameras.add_node("cam_high", serial_no="_218622270304")
    plans = [CameraPlan(c, f"/{c}/color/image_raw", "", 32, 24, 30.0) for c in CAMERAS]
    heard = listen(plans, ["192.168.1.4"])
    assert heard.holder == "/arm_controller"
    assert {"/sim", "/arm_controller", "/cam_high"} <= heard.nodes
    assert heard.pictures["cam_high"].serials == {"parameter serial_no": "218622270304"}
    assert heard.pictures["cam_low"].serials == {"diagnostics": "130322272628"}
    seen = heard.pictures["cam_right_wrist"]
    assert seen.publishers == 1
    assert 15.0 < seen.rate_hz < 40.0
    assert seen.shapes == {(32, 24, "rgb8")}
    assert listen(plans[:1], ["10.0.0.7"]).holder == ""  # an arm controller of other arms


def test_an_arm_controller_that_is_discovered_late_is_still_asked(cameras):
    topic = "/cam_high/color/image_raw"
    with ThreadPoolExecutor(1) as pool:
        heard = pool.submit(listen, [CameraPlan("cam_high", topic, "", 32, 24, 30.0)], ["10.0.0.4"])
        while not cameras.node.count_subscribers(topic):  # it is past its look at the nodes
            assert not heard.done()
            time.sleep(0.01)
        cameras.add_node("arm_controller", arm_addresses=["10.0.0.4", "10.0.0.5"])
        assert heard.result().holder == "/arm_controller"


def test_while_a_program_of_this_machine_has_an_arm_its_node_is_waited_for(cameras):
    address = "127.36.0.4"
    with (
        ThreadPoolExecutor(1) as pool,
        socket.create_server((address, PORT)),
        socket.create_connection((address, PORT)),
    ):
        heard = pool.submit(listen, [], [address])
        late_s = time.monotonic() + DISCOVERY_S + SAMPLE_S + 0.5
        while time.monotonic() < late_s:  # on a busy machine, discovery takes longer than that
            assert not heard.done()
            time.sleep(0.05)
        cameras.add_node("arm_controller", arm_addresses=[address])
        assert heard.result(20.0).holder == "/arm_controller"
