"""The description node, seen over DDS."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import rclpy
import yourdfpy
from domain_coordinator import domain_id
from numpy.typing import ArrayLike
from rclpy.context import Context
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

from trossen_pi0_core.joints import JointMap
from trossen_pi0_description.kit import describe_kit
from trossen_pi0_description.node import DescriptionNode
from trossen_pi0_description.writing import to_urdf
from trossen_pi0_ros.callbacks import CallbackThread
from trossen_pi0_ros.convert import joint_state_msg, time_ns
from trossen_pi0_ros.qos import COMMANDS, STATUS

DEADLINE_S = 15.0
NAMES = JointMap().urdf_names


def wait_until(condition: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, f"waited {DEADLINE_S} s for {what}"
        time.sleep(0.005)


class Robot:
    """The node, and beside it one that sends joint states and hears what comes of them."""

    def __init__(self, domain: int, **parameters: Any) -> None:
        self.context = Context()
        rclpy.init(context=self.context, domain_id=domain)
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        self.node = DescriptionNode(context=self.context, parameter_overrides=overrides)
        self.said: list[str] = []
        self.node.get_logger().warning = self.said.append  # type: ignore[method-assign]
        self.tester = rclpy.create_node("tester", context=self.context)
        self.moving: list[TFMessage] = []
        self.tester.create_subscription(TFMessage, "/tf", self.moving.append, QoSProfile(depth=100))
        self._joints = self.tester.create_publisher(JointState, "/joint_states", COMMANDS)
        self._threads = [CallbackThread(node) for node in (self.node, self.tester)]
        for thread in self._threads:
            thread.start()
        wait_until(lambda: self._joints.get_subscription_count() == 1, "the node's subscription")
        wait_until(lambda: self.node.count_subscribers("/tf") == 1, "the tester's subscription")

    def latched(self, kind: type[Any], topic: str) -> Any:
        """What a late subscriber gets."""
        received: list[Any] = []
        self.tester.create_subscription(kind, topic, received.append, STATUS)
        wait_until(lambda: received, f"a message on {topic}")
        return received[0]

    def send(self, stamp_ns: int, values: ArrayLike, names: Sequence[str] = NAMES) -> None:
        self._joints.publish(joint_state_msg(stamp_ns, names, np.asarray(values)))

    @property
    def stamps(self) -> list[int]:
        """Of /tf so far [ns]."""
        return [time_ns(next(iter(message.transforms)).header.stamp) for message in self.moving]

    def close(self) -> None:
        for thread in self._threads:
            thread.stop()
            assert thread.failure is None
        for node in (self.node, self.tester):
            node.destroy_node()
        self.context.try_shutdown()


@pytest.fixture
def robot() -> Iterator[Robot]:
    with domain_id() as domain:
        robot = Robot(domain)
        yield robot
        robot.close()


def matrices(*messages: TFMessage) -> dict[str, tuple[str, np.ndarray]]:
    """Frame -> its parent and its pose in it, as matrix."""
    frames: dict[str, tuple[str, np.ndarray]] = {}
    for stamped in (stamped for message in messages for stamped in message.transforms):
        move, turn = stamped.transform.translation, stamped.transform.rotation
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_quat([turn.x, turn.y, turn.z, turn.w]).as_matrix()
        pose[:3, 3] = [move.x, move.y, move.z]
        assert stamped.child_frame_id not in frames
        frames[stamped.child_frame_id] = (stamped.header.frame_id, pose)
    return frames


def in_world(frames: dict[str, tuple[str, np.ndarray]], frame: str) -> np.ndarray:
    if frame == "world":
        return np.eye(4)
    parent, pose = frames[frame]
    return in_world(frames, parent) @ pose


def test_a_late_subscriber_gets_the_description(robot):
    assert robot.latched(String, "/robot_description").data == to_urdf(describe_kit())


def test_every_frame_lies_where_the_description_says(robot):
    text = robot.latched(String, "/robot_description").data
    fixed = robot.latched(TFMessage, "/tf_static")
    values = np.random.default_rng(1).uniform(0.0, 0.04, len(NAMES)) + 0.3 * np.tile(
        [1, 1, 1, 1, 1, 1, 0], 2
    )
    # In another order, and with a joint that nobody knows.
    order = np.random.default_rng(2).permutation(len(NAMES))
    robot.send(5_000_000_000, [*values[order], 9.0], [*(NAMES[i] for i in order), "lift"])
    wait_until(lambda: robot.moving, "a message on /tf")
    assert robot.stamps == [5_000_000_000]
    frames = matrices(fixed, robot.moving[0])
    kit = yourdfpy.URDF.load(io.StringIO(text), load_meshes=False)
    kit.update_cfg(dict(zip(NAMES, values.tolist(), strict=True)))
    assert {*frames, "world"} == set(kit.link_map)
    for frame in frames:
        np.testing.assert_allclose(
            in_world(frames, frame), kit.get_transform(frame), atol=1e-6, err_msg=frame
        )
    # The right finger follows the left one.
    moved = {t.child_frame_id: t.transform.translation.y for t in robot.moving[0].transforms}
    opened = values[NAMES.index("follower_left_left_carriage_joint")]
    assert moved["follower_left_carriage_right"] == pytest.approx(-0.023 - opened)


def test_frames_are_sent_at_their_own_rate_and_of_the_newest_joint_states(robot):
    begun_s = time.monotonic()
    for i in range(1, 101):
        robot.send(i, np.full(14, 0.001 * i))
        time.sleep(0.004)
    wait_until(lambda: robot.moving and robot.stamps[-1] == 100, "the last joint state's frames")
    seconds = time.monotonic() - begun_s
    assert 3 < len(robot.stamps) <= 30.0 * seconds + 1
    assert robot.stamps == sorted(set(robot.stamps))


def test_joint_states_without_use_are_told_once_and_move_nothing():
    with domain_id() as domain:
        robot = Robot(domain, tf_rate=500.0)
        try:
            for stamp in range(1, 21):
                robot.send(stamp, np.zeros(13), NAMES[:-1])
                time.sleep(0.005)
            wait_until(lambda: robot.said, "a warning")
            robot.send(100, np.zeros(14))
            wait_until(lambda: robot.moving, "a message on /tf")
            assert robot.stamps == [100]
            assert len(robot.said) == 1
            assert f"joints missing: ['{NAMES[-1]}']" in robot.said[0]
            robot.send(101, [*np.zeros(13), float("nan")])
            wait_until(lambda: len(robot.said) == 2, "another warning")
            assert f"not finite: ['{NAMES[-1]}']" in robot.said[1]
            assert robot.stamps == [100]
        finally:
            robot.close()


def test_a_real_kit_has_no_frames_below_its_cameras():
    with domain_id() as domain:
        robot = Robot(domain, optical_frames=False)
        try:
            frames = matrices(robot.latched(TFMessage, "/tf_static"))
        finally:
            robot.close()
    assert frames["cam_high_link"][0] == "frame_link"
    assert not [frame for frame in frames if "color" in frame]


def test_a_file_that_is_no_description_is_refused_with_the_reason(tmp_path):
    file = tmp_path / "mine.urdf"
    file.write_text("<robot/>")
    with domain_id() as domain:
        result = subprocess.run(
            [
                *(sys.executable, "-m", "trossen_pi0_description.node"),
                *("--ros-args", "-p", f"urdf_file:={file}"),
            ],
            env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert result.returncode == 2
    assert "error: the links need one root, got no links" in result.stderr
