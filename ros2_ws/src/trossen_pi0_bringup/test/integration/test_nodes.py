"""The node table, as launch file and supervisor start it."""

import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest
import rclpy
import yaml
from domain_coordinator import domain_id
from rclpy.context import Context
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from trossen_pi0_bringup.arguments import LAUNCH_ARGUMENTS, Arguments, parse_command_line
from trossen_pi0_bringup.nodes import node_specs, shipped
from trossen_pi0_bringup.single import SINGLE_LAUNCH_ARGUMENTS
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters import (
    ArmControllerParameters,
    LeaderArmsParameters,
    PolicyParameters,
    RecorderParameters,
)

SERIALS = [
    "cam_high_serial:=218622270304",
    "cam_low_serial:=130322272628",
    "cam_left_wrist_serial:=218622274938",
    "cam_right_wrist_serial:=128422271347",
]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes ROS find a package of this name, with nothing in it."""
    packages = tmp_path / "share" / "ament_index" / "resource_index" / "packages"
    packages.mkdir(parents=True)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path}:{os.environ['AMENT_PREFIX_PATH']}")

    def make(package: str) -> None:
        (packages / package).touch()
        (tmp_path / "share" / package).mkdir()

    return make


def specs(*words):
    return {s.name: s for s in node_specs(arguments(*words))}


def arguments(*words):
    return Arguments(LAUNCH_ARGUMENTS, parse_command_line(list(words)))


def single(*words):
    given = Arguments(SINGLE_LAUNCH_ARGUMENTS, parse_command_line(list(words)))
    return {s.name: s for s in node_specs(given)}


def test_simulation_is_the_default():
    nodes = specs()
    assert list(nodes) == ["sim", "arm_controller", "policy", "robot_description", "monitor"]
    assert nodes["sim"].parameters["arm_addresses"] == ("127.0.0.2", "127.0.0.3")
    assert nodes["arm_controller"].parameters["arm_addresses"] == ("127.0.0.2", "127.0.0.3")
    assert nodes["policy"].parameters["backend"] == "expert"
    files = [path.name for path in nodes["policy"].parameter_files]
    assert files == ["policy.yaml", "policy_expert.yaml"]


def test_real_kit_starts_a_camera_node_for_each_serial():
    nodes = specs("sim:=false", *SERIALS)
    assert list(nodes) == [
        "cam_high",
        "cam_low",
        "cam_left_wrist",
        "cam_right_wrist",
        "arm_controller",
        "policy",
        "robot_description",
        "monitor",
    ]
    camera = nodes["cam_left_wrist"]
    assert (camera.package, camera.executable) == ("realsense2_camera", "realsense2_camera_node")
    assert camera.parameters["serial_no"] == "_218622274938"
    assert camera.parameters["depth_module.color_profile"] == "640x480x30"
    assert camera.parameters["enable_depth"] is False
    assert camera.parameters["diagnostics_period"] == 1.0
    topics = ("/cam_left_wrist/color/image_rect_raw", "/cam_left_wrist/color/image_raw")
    assert camera.remappings == (topics,)
    assert nodes["arm_controller"].parameters["arm_addresses"] == ("192.168.1.5", "192.168.1.4")
    assert [p.name for p in nodes["arm_controller"].parameter_files] == ["arm_controller.yaml"]
    assert nodes["policy"].parameters["backend"] == "openpi"
    assert [path.name for path in nodes["policy"].parameter_files] == ["policy.yaml"]


@pytest.mark.parametrize("name", ["image_rect_raw", "image_raw"])
def test_colour_comes_on_one_topic_whatever_the_cameras_node_calls_it(name):
    (remapping,) = specs("sim:=false", *SERIALS)["cam_high"].remappings
    context = Context()
    with domain_id() as domain:
        rclpy.init(
            context=context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO
        )
        words = ["--ros-args", "-r", ":=".join(remapping)]
        node = rclpy.create_node("cam_high", context=context, cli_args=words)
        publisher = node.create_publisher(Image, f"~/color/{name}", 1)
        assert publisher.topic_name == "/cam_high/color/image_raw"
        node.destroy_node()
        context.try_shutdown()


def test_d435_has_its_colour_in_another_module():
    camera = specs("sim:=false", "camera_model:=d435", *SERIALS)["cam_high"]
    assert camera.parameters["rgb_camera.color_profile"] == "640x480x30"
    assert "depth_module.color_profile" not in camera.parameters


def test_a_topic_can_be_named():
    nodes = specs("cam_high_topic:=/cam_high/color/image_rect_raw")
    assert nodes["policy"].parameters["camera_topics"] == (
        "/cam_high/color/image_rect_raw",
        "/cam_low/color/image_raw",
        "/cam_left_wrist/color/image_raw",
        "/cam_right_wrist/color/image_raw",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sim:=false"], "cam_high_serial: real cameras are told apart by their serial numbers"),
        (["sim:=false", "seed:=3", *SERIALS], r"\['seed'\]: only for the simulated kit"),
        (["sim:=false", "backend:=expert", *SERIALS], "backend 'expert' needs the true pose"),
        (["sim:=false", "camera_profile:=640x480", *SERIALS], "camera_profile: need a profile"),
        (["cameras:=cam_low,cam_low"], "cameras: need different names out of"),
        (["params_file:=/nowhere/x.yaml"], "params_file: there is no file /nowhere/x.yaml"),
    ],
)
def test_arguments_that_do_not_go_together(words, message):
    with pytest.raises(ParameterError, match=message):
        specs(*words)


def test_users_parameters_come_after_the_shipped_ones(tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("/**:\n  ros__parameters:\n    blend_s: 0.2\n")
    files = specs(f"params_file:={file}")["arm_controller"].parameter_files
    assert [path.name for path in files] == [
        "arm_controller.yaml",
        "arm_controller_sim.yaml",
        "mine.yaml",
    ]


def test_arms_that_are_parked_get_the_time_for_it(tmp_path):
    assert {node.ending_s for node in specs().values()} == {0.0}
    nodes = specs("shutdown_pose:=staged")
    assert {name: node.ending_s for name, node in nodes.items()} == {
        "sim": 0.0,
        "arm_controller": 4.0,
        "policy": 0.0,
        "robot_description": 0.0,
        "monitor": 0.0,
    }
    file = tmp_path / "mine.yaml"
    file.write_text(
        "/**/arm_controller:\n  ros__parameters: {shutdown_pose: home, shutdown_timeout_s: 7}\n"
        "/policy:\n  ros__parameters: {shutdown_timeout_s: 90}\n"
    )
    assert specs(f"params_file:={file}")["arm_controller"].ending_s == 7.0
    file.write_text("/**:\n  ros__parameters: {shutdown_pose: bed}\n")
    with pytest.raises(ParameterError, match="shutdown_pose: 'bed' is not one of"):
        specs(f"params_file:={file}")
    file.write_text("/**: {")
    with pytest.raises(ParameterError, match="params_file: cannot read"):
        specs(f"params_file:={file}")


def test_a_single_arm_has_seven_joints_and_its_own_wrist():
    nodes = single("sim:=false", "arm:=left", "description:=false", *SERIALS[:3])
    names = ["cam_high", "cam_low", "cam_left_wrist", "arm_controller", "policy"]
    assert list(nodes)[: len(names)] == names
    assert "cam_right_wrist" not in nodes
    arms = nodes["arm_controller"].parameters
    assert arms["arm_addresses"] == ("192.168.1.5",)
    assert ArmControllerParameters(**arms).joint_map.size == 7
    policy = PolicyParameters(**nodes["policy"].parameters)
    assert policy.joint_map.urdf_names[0] == "follower_left_joint_0"
    assert policy.cameras == ("cam_high", "cam_low", "cam_left_wrist")
    assert list(policy.image_topics) == list(policy.cameras)


def test_a_single_arm_in_simulation_leaves_the_other_alone():
    nodes = single("cameras:=cam_high", "record:=true", "right_arm_address:=127.0.0.9")
    assert nodes["sim"].parameters["arm_addresses"] == ("127.0.0.2", "127.0.0.9")
    assert nodes["arm_controller"].parameters["arm_addresses"] == ("127.0.0.9",)
    assert nodes["policy"].parameters["backend"] == "openpi"
    recorder = RecorderParameters(**nodes["recorder"].parameters)
    assert (recorder.cameras, recorder.arms) == (("cam_high",), ("right",))
    with pytest.raises(ParameterError, match="backend 'expert' hands over"):
        single("backend:=expert")
    with pytest.raises(ParameterError, match="simulated leaders come in pairs"):
        single("teleop:=true")
    leaders = single("sim:=false", "teleop:=true", "cameras:=cam_high", SERIALS[0])["leader_arms"]
    assert LeaderArmsParameters(**leaders.parameters).follower_prefixes == ("follower_right_",)


def test_diagnostics_are_grouped_where_the_aggregator_is_installed(install):
    install("diagnostic_aggregator")
    nodes = specs()
    node = nodes["diagnostic_aggregator"]
    assert (node.package, node.executable) == ("diagnostic_aggregator", "aggregator_node")
    assert not node.required
    ignored = {name for name, kind in node.parameters.items() if kind.endswith("IgnoreAnalyzer")}
    assert ignored == {"leaders.type", "recording.type"}
    assert "diagnostic_aggregator" not in specs("diagnostics:=false")
    led = specs("sim:=false", "teleop:=true", *SERIALS)["diagnostic_aggregator"]
    assert set(led.parameters) == {"policy.type", "recording.type", "simulation.type"}


def test_diagnostics_are_not_grouped_without_it():
    assert "diagnostic_aggregator" not in specs()
    with pytest.raises(ParameterError, match="apt install ros-jazzy-diagnostic-aggregator"):
        specs("diagnostics:=true")


def test_each_entry_of_the_nodes_belongs_to_one_group():
    content = yaml.safe_load(shipped("config", "diagnostics.yaml").read_text())
    groups = {k: v for k, v in content["/**"]["ros__parameters"].items() if isinstance(v, dict)}
    allowed = {"type", "path", "startswith", "regex", "expected", "timeout"}
    assert all(set(group) <= allowed for group in groups.values())
    names = {
        "arm_controller: timing": "Arms",
        "leader_arms: leader left": "Leader arms",
        "policy: cam_left_wrist": "Cameras",
        "cam_low: Temperatures": "Cameras",
        "policy: joint states": "Policy",
        "recorder: disk": "Recording",
        "sim: world": "Simulation",
    }
    for name, path in names.items():
        found = [
            group["path"]
            for group in groups.values()
            if name.startswith(tuple(group.get("startswith", ())))
            or any(re.fullmatch(pattern, name) for pattern in group.get("regex", ()))
        ]
        assert found == [path], name


def test_the_robot_is_described_from_the_simulation_s_model():
    node = specs()["robot_description"]
    assert (node.package, node.executable) == ("trossen_pi0_description", "description_node")
    assert [path.name for path in node.parameter_files] == ["robot_description.yaml"]
    assert node.parameters == {"source": "model", "optical_frames": True}
    assert not node.required
    assert "robot_description" not in specs("description:=false")
    with pytest.raises(ParameterError, match="urdf_file: only for the robot's description"):
        specs("description:=false", "urdf_file:=x.urdf")


def test_real_cameras_publish_their_own_frames():
    node = specs("sim:=false", "urdf_file:=/kit.urdf", *SERIALS)["robot_description"]
    assert node.parameters == {
        "source": "model",
        "optical_frames": False,
        "urdf_file": "/kit.urdf",
    }


def test_the_vendor_s_description_is_taken_for_the_real_kit(install):
    install("trossen_arm_description")
    real = specs("sim:=false", *SERIALS)["robot_description"]
    assert real.parameters["source"] == "trossen_arm_description"
    assert specs()["robot_description"].parameters["source"] == "model"


def test_robot_state_publisher_is_taken_where_it_is_installed(install):
    install("robot_state_publisher")
    nodes = specs("sim:=false", *SERIALS)
    assert "robot_description" not in nodes
    node = nodes["robot_state_publisher"]
    assert node.package == node.executable == "robot_state_publisher"
    assert not node.required
    assert set(node.parameters) == {"robot_description", "publish_frequency"}
    links = {link.get("name") for link in ET.fromstring(node.parameters["robot_description"])}
    assert {"follower_right_link_6", "cam_low_link"} <= links
    assert "cam_low_color_optical_frame" not in links
    with pytest.raises(ParameterError, match=r"cannot read /nowhere.*description:=false"):
        specs("urdf_file:=/nowhere")


def test_rviz_may_be_closed_without_ending_the_suite():
    rviz = specs("rviz:=true")["rviz"]
    assert not rviz.required
    assert rviz.arguments[0] == "-d"
    assert rviz.arguments[1].endswith("bimanual.rviz")
    assert len(rviz.arguments) == 2
    renamed = specs("rviz:=true", "cam_low_topic:=/low")["rviz"]
    assert renamed.arguments[2:] == ("--ros-args", "-r", "/cam_low/color/image_raw:=/low")


def test_runs_are_recorded_only_when_asked_for():
    assert "recorder" not in specs()
    nodes = specs(
        "record:=true", "episodes_dir:=/data/kit", "image_compression:=jpeg", "cam_low_topic:=/low"
    )
    assert "recorder" in nodes
    recorder = nodes["recorder"]
    assert (recorder.package, recorder.executable) == ("trossen_pi0_data", "recorder_node")
    assert [path.name for path in recorder.parameter_files] == ["recorder.yaml"]
    assert recorder.parameters == {
        "record_runs": True,
        "episodes_dir": "/data/kit",
        "image_compression": "jpeg",
        "camera_topics": (
            "/cam_high/color/image_raw",
            "/low",
            "/cam_left_wrist/color/image_raw",
            "/cam_right_wrist/color/image_raw",
        ),
    }
    assert recorder.ending_s == 10.0


def test_the_monitor_may_end_or_be_left_out():
    monitor = specs()["monitor"]
    assert (monitor.package, monitor.executable) == ("trossen_pi0_monitor", "monitor_node")
    assert not monitor.required
    assert [path.name for path in monitor.parameter_files] == ["monitor.yaml"]
    assert "monitor" not in specs("monitor:=false")
