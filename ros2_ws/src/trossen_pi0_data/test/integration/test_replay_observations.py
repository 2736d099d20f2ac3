"""The replay node plays observations over real DDS: bytes, order, clock, rate, pauses, refusals."""

from __future__ import annotations

import dataclasses
import itertools
import os
import subprocess
import sys
import time
from collections import defaultdict

import numpy as np
import pytest
import rclpy
from domain_coordinator import domain_id
from mcap.writer import Writer
from rclpy.context import Context
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image, JointState
from std_srvs.srv import Trigger

from fixtures.bags import BEGAN_NS, Episode
from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_data.bag_reader import EpisodeReader
from trossen_pi0_data.compression import make_encoder, read_picture, typestore
from trossen_pi0_data.replay_node import ReplayNode
from trossen_pi0_msgs.msg import ControllerStatus, ReplayStatus
from trossen_pi0_ros.callbacks import CallbackThread
from trossen_pi0_ros.convert import image_to_rgb, time_ns
from trossen_pi0_ros.qos import STATUS

DEADLINE_S = 20.0
EVERYTHING = QoSProfile(depth=2000, reliability=ReliabilityPolicy.RELIABLE)
TOPICS = {"/joint_states": JointState} | {f"/{c}/color/image_raw": Image for c in CAMERAS}


def wait_until(condition, what, deadline_s=DEADLINE_S):
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline_s} s for {what}"
        time.sleep(0.005)
    return value


class Listener:
    """Hears everything, as bytes, and calls the services of the replay node."""

    def __init__(self, context):
        self.node = rclpy.create_node("listener", context=context)
        self.heard = defaultdict(list)
        self.clocks = []
        self.statuses = []
        for topic, kind in TOPICS.items():
            self.node.create_subscription(
                kind, topic, lambda data, t=topic: self.heard[t].append(data), EVERYTHING, raw=True
            )
        self.node.create_subscription(Clock, "/clock", self._on_clock, EVERYTHING)
        self.node.create_subscription(ReplayStatus, "/replay/status", self.statuses.append, STATUS)

    def _on_clock(self, message):
        self.clocks.append((time.monotonic(), time_ns(message.clock)))

    @property
    def count(self):
        return sum(len(messages) for messages in self.heard.values())

    def connected(self):
        """Every topic has its publisher."""
        for topic in [*TOPICS, "/clock"]:
            wait_until(lambda t=topic: self.node.count_publishers(t), f"a publisher of {topic}")
        wait_until(lambda: self.clocks, "/clock")
        return self

    def call(self, name):
        client = self.node.create_client(Trigger, f"/replay/{name}")
        assert client.wait_for_service(DEADLINE_S)
        future = client.call_async(Trigger.Request())
        wait_until(future.done, f"an answer of /replay/{name}")
        answer = future.result()
        assert answer is not None
        return answer.success, answer.message

    def state(self, state, deadline_s=DEADLINE_S):
        def reached():
            return self.statuses and self.statuses[-1].state == state and self.statuses[-1]

        return wait_until(reached, f"state {state}", deadline_s)


class Ros:
    def __init__(self, domain):
        self.domain = domain
        self.context = Context()
        rclpy.init(
            context=self.context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO
        )
        self._spinning = []
        self.nodes = []
        self.listener = Listener(self.context)
        self.spin(self.listener.node)

    def replay(self, folder, **parameters):
        """A replay node that is active."""
        values = {"episode": str(folder), "waits": True, "status_rate": 50.0, **parameters}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        node = ReplayNode(context=self.context, parameter_overrides=overrides)
        assert node.autostart()
        self.spin(node)
        return node

    def node(self, name):
        made = rclpy.create_node(name, context=self.context)
        self.spin(made)
        return made

    def spin(self, node):
        self.nodes.append(node)
        callbacks = CallbackThread(node)
        callbacks.start()
        self._spinning.append(callbacks)

    def close(self):
        for callbacks in self._spinning:
            callbacks.stop(5.0)
            assert not callbacks.running
        for node in self.nodes:
            if hasattr(node, "close"):
                node.close()
            node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def ros():
    with domain_id() as domain:
        harness = Ros(domain)
        yield harness
        harness.close()


@pytest.fixture
def folder(tmp_path):
    return Episode("one", seconds=1.0, size=(48, 64)).write(tmp_path)


def recorded(folder, topic):
    return [message.data for message in EpisodeReader(folder).messages([topic])]


def test_messages_arrive_as_they_were_recorded_in_order_with_a_clock(ros, folder):
    ros.replay(folder)
    listener = ros.listener.connected()
    assert listener.count == 0
    assert {clock for _, clock in listener.clocks} == {BEGAN_NS}
    assert listener.call("start") == (True, "")
    status = listener.state(ReplayStatus.FINISHED)
    wait_until(lambda: listener.count == 220, "220 messages")
    assert status.messages == 220
    assert status.position_s == pytest.approx(0.99)
    for topic in TOPICS:
        assert listener.heard[topic] == recorded(folder, topic), topic
    clocks = [clock for _, clock in listener.clocks]
    assert clocks == sorted(clocks)
    wait_until(lambda: listener.clocks[-1][1] == BEGAN_NS + 990_000_000, "the last clock")
    assert len({*clocks}) > 50


def test_it_plays_in_real_time_or_faster(ros, tmp_path):
    folder = Episode("long", seconds=2.0, cameras=("cam_high",), size=(32, 32)).write(tmp_path)
    node = ros.replay(folder, topics=["/joint_states"])
    listener = ros.listener
    wait_until(lambda: listener.node.count_publishers("/joint_states"), "the replay")
    wait_until(lambda: listener.clocks, "/clock")
    lasted = {}
    for rate in (1.0, 4.0):
        assert node.set_parameters([Parameter("rate", value=rate)])[0].successful
        listener.statuses.clear()
        begun = time.monotonic()
        assert listener.call("start") == (True, "")
        listener.state(ReplayStatus.PLAYING)
        listener.state(ReplayStatus.FINISHED)
        lasted[rate] = time.monotonic() - begun
    assert 1.9 < lasted[1.0] < 4.0
    assert 0.4 < lasted[4.0] < 0.5 * lasted[1.0]


def test_without_a_rate_nothing_is_lost_on_the_way(ros, tmp_path):
    folder = Episode("fast", seconds=6.0, cameras=("cam_high",), size=(48, 64)).write(tmp_path)
    ros.replay(folder, rate=0.0)
    listener = ros.listener
    wait_until(lambda: listener.node.count_publishers("/cam_high/color/image_raw"), "the replay")
    begun = time.monotonic()
    assert listener.call("start") == (True, "")
    listener.state(ReplayStatus.FINISHED)
    assert time.monotonic() - begun < 5.0
    wait_until(lambda: listener.count == 780, "780 messages")
    assert listener.heard["/joint_states"] == recorded(folder, "/joint_states")


def test_a_pause_stops_messages_and_clock_and_a_step_plays_a_little(ros, folder):
    ros.replay(folder, rate=0.5, step_s=0.1)
    listener = ros.listener.connected()
    assert listener.call("pause") == (False, "nothing is playing")
    assert listener.call("step") == (False, "only a paused replay steps; call /replay/pause first")
    listener.call("start")
    wait_until(lambda: listener.count > 20, "some messages")
    assert listener.call("pause") == (True, "")
    listener.state(ReplayStatus.PAUSED)
    clock = wait_until(lambda: still_clock(listener), "a clock that stands still")
    stood = listener.statuses[-1]
    wait_until(lambda: listener.count == stood.messages, "the messages on their way")
    assert listener.call("step") == (True, "")
    wait_until(lambda: listener.clocks[-1][1] >= clock + 90_000_000, "the clock of the step")
    more = wait_until(lambda: listener.count - stood.messages > 15 and listener.count, "a step")
    wait_until(lambda: still_clock(listener), "a clock that stands still again")
    assert more <= stood.messages + 10 + 4 * 4  # 0.1 s of joint states and pictures
    assert listener.call("resume") == (True, "")
    listener.state(ReplayStatus.FINISHED)
    wait_until(lambda: listener.count == 220, "220 messages")
    assert listener.heard["/joint_states"] == recorded(folder, "/joint_states")


def still_clock(listener):
    """The time on /clock once it has been the same for a while, told at least three times."""
    last = listener.clocks[-3:]
    return len(last) == 3 and len({clock for _, clock in last}) == 1 and last[0][1]


def test_it_begins_again_by_itself_and_by_request(ros, folder):
    node = ros.replay(folder, rate=4.0, loop=True)
    listener = ros.listener.connected()
    listener.call("start")
    wait_until(lambda: listener.statuses and listener.statuses[-1].loops >= 2, "two rounds")
    assert listener.call("start")[1] == "it plays already; /replay/stop ends it"
    node.set_parameters([Parameter("loop", value=False)])
    listener.state(ReplayStatus.FINISHED)
    clocks = [clock for _, clock in listener.clocks]
    backs = sum(b < a for a, b in itertools.pairwise(clocks))
    assert backs == listener.statuses[-1].loops
    rounds = listener.statuses[-1].loops
    known = len(listener.statuses)
    assert rounds >= 2
    listener.call("start")
    finished = (ReplayStatus.FINISHED, 0)
    wait_until(
        lambda: finished in [(s.state, s.loops) for s in listener.statuses[known:]], "one round"
    )


def compressed(folder, compression):
    """Compresses the pictures of an episode, as the recorder does."""
    reader = EpisodeReader(folder)
    store, path = typestore(), folder / f"{folder.name}_0.mcap"
    encoders = {
        each.topic: make_encoder(compression, 90, 15) for each in reader.info.cameras.values()
    }
    messages = list(reader.messages())
    with (folder / "new").open("wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2", library="test")
        channels = {}
        for message in messages:
            topic, kind, data = message.topic, message.type, message.data
            if encoder := encoders.get(topic):
                data = encoder.encode(read_picture(data))
                topic, kind = f"{topic}{encoder.suffix}", encoder.type
            if topic not in channels:
                text = store.generate_msgdef(kind, ros_version=2)[0].encode()
                schema = writer.register_schema(kind, "ros2msg", text)
                channels[topic] = writer.register_channel(topic, "cdr", schema)
            writer.add_message(channels[topic], message.log_ns, data, message.publish_ns)
        writer.finish()
    (folder / "new").replace(path)
    cameras = {
        name: dataclasses.replace(
            each, topic=f"{each.topic}{encoders[each.topic].suffix}", compression=compression
        )
        for name, each in reader.info.cameras.items()
    }
    dataclasses.replace(reader.info, cameras=cameras, topics={}).write(folder)
    return folder


@pytest.mark.parametrize("compression", ["jpeg", "h264"])
def test_compressed_pictures_come_out_plain_also_from_the_middle(ros, tmp_path, compression):
    episode = Episode("small", seconds=0.8, cameras=("cam_high",), size=(48, 64))
    folder = compressed(episode.write(tmp_path), compression)
    ros.replay(folder, start_s=0.7)  # which is no key picture
    listener = ros.listener
    wait_until(lambda: listener.node.count_publishers("/cam_high/color/image_raw"), "the replay")
    listener.call("start")
    listener.state(ReplayStatus.FINISHED)
    pictures = listener.heard["/cam_high/color/image_raw"]
    wait_until(lambda: len(pictures) == 3, "the pictures 21 to 23")
    message = deserialize_message(pictures[1], Image)
    assert message.encoding == "rgb8"
    assert message.header.frame_id == "cam_high_color_optical_frame"
    assert time_ns(message.header.stamp) == BEGAN_NS + round(22e9 / 30)
    difference = image_to_rgb(message).astype(int) - episode.picture("cam_high", 22)
    assert np.abs(difference).mean() < 4


def test_it_begins_by_itself_a_second_after_its_activation(ros, folder):
    begun = time.monotonic()
    ros.replay(folder, waits=False, rate=4.0)
    ros.listener.state(ReplayStatus.FINISHED)
    assert 1.0 < time.monotonic() - begun < 5.0


def test_a_stop_ends_it_in_the_middle(ros, folder):
    ros.replay(folder, rate=0.2)
    listener = ros.listener.connected()
    listener.call("start")
    wait_until(lambda: listener.count > 10, "some messages")
    assert listener.call("stop") == (True, "")
    assert listener.state(ReplayStatus.STOPPED).reason == "stopped by the operator"
    wait_until(lambda: still_clock(listener), "a clock that stands still")
    assert listener.count < 200


def test_it_waits_for_those_who_shall_listen(ros, tmp_path):
    folder = Episode("one", seconds=0.5, cameras=("cam_high",), size=(48, 64)).write(tmp_path)
    topics = ["/joint_states", "/arm_controller/command"]
    ros.replay(folder, topics=topics, awaits=["/arm_controller/command"])
    listener = ros.listener
    assert listener.call("start") == (True, "")
    waiting = listener.state(ReplayStatus.STARTING)
    assert waiting.reason == "nobody subscribes to ['/arm_controller/command'] yet"
    wait_until(lambda: still_clock(listener), "a clock that stands still")
    assert listener.count == 0
    heard = []
    late = ros.node("late")
    late.create_subscription(JointState, "/arm_controller/command", heard.append, EVERYTHING)
    listener.state(ReplayStatus.FINISHED)
    wait_until(lambda: len(heard) == 50, "every command")


def test_recorded_pictures_are_not_mixed_with_the_present(ros, folder):
    camera = ros.node("camera")
    camera.create_publisher(Image, "/cam_low/color/image_raw", 2)
    node = ros.replay(folder)
    listener = ros.listener.connected()
    wait_until(lambda: node.count_publishers("/cam_low/color/image_raw") == 2, "the camera")
    success, message = listener.call("start")
    assert not success
    assert "another node publishes ['/cam_low/color/image_raw'] as well" in message
    assert listener.state(ReplayStatus.FAILED).reason == message
    assert listener.count == 0


def test_an_arm_controller_that_drives_ends_it(ros, folder):
    ros.replay(folder, rate=0.1)
    listener = ros.listener.connected()
    listener.call("start")
    listener.state(ReplayStatus.PLAYING)
    arms = ros.node("arm_controller").create_publisher(
        ControllerStatus, "/arm_controller/status", STATUS
    )
    arms.publish(ControllerStatus(mode="test"))
    assert listener.statuses[-1].state == ReplayStatus.PLAYING
    arms.publish(ControllerStatus(mode="autonomous"))
    assert "an arm controller is there that drives" in listener.state(ReplayStatus.FAILED).reason


@pytest.mark.parametrize(
    ("episode", "words", "message"),
    [
        (Episode("e", truncate=0.999), [], "has no messages"),
        (Episode("e"), ["-p", "start_s:=9.0"], "start_s: 9 s lies behind the end"),
    ],
)
def test_what_cannot_be_replayed_ends_the_process_with_status_2(tmp_path, episode, words, message):
    folder = episode.write(tmp_path)
    with domain_id() as domain:
        ended = subprocess.run(
            [
                sys.executable,
                "-m",
                "trossen_pi0_data.replay_node",
                "--ros-args",
                "-p",
                f"episode:={folder}",
                *words,
            ],
            env={**os.environ, "ROS_DOMAIN_ID": str(domain)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ended.returncode == 2, ended.stderr
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr


def test_without_an_arm_controller_no_actions_are_replayed(ros, folder):
    ros.replay(folder, mode="actions", controller_timeout_s=0.5)
    listener = ros.listener
    assert listener.call("pause") == (
        False,
        "only a replay of observations can do that; /replay/stop ends this one",
    )
    assert listener.call("start") == (True, "")
    failed = listener.state(ReplayStatus.FAILED)
    assert "there is no active arm controller after 0.5 s" in failed.reason
    assert (failed.run_id, failed.messages) == ("", 0)
