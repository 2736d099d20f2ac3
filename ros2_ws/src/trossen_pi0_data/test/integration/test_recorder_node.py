"""The recorder as a process: real messages over DDS, kills, a full disk, runs, and the keyboard."""

import os
import pty
import random
import resource
import select
import signal
import subprocess
import sys
import termios
import time
from dataclasses import replace
from typing import Any

import pytest
import rclpy
from domain_coordinator import domain_id
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rosbags.highlevel import AnyReader
from rosbags.interfaces import ConnectionExtRosbag2
from rosbags.rosbag2 import Reader

from trossen_pi0_data.bag_writer import mcap_name
from trossen_pi0_data.episode_client import EpisodeClient
from trossen_pi0_data.episode_info import EpisodeInfo, PolicyInfo
from trossen_pi0_data.mcap_repair import repair
from trossen_pi0_data.recorder_bench import run_bench
from trossen_pi0_data.traffic import Traffic, kit_traffic, number_of
from trossen_pi0_msgs.msg import PolicyStatus, RecorderStatus, SimStatus
from trossen_pi0_ros.qos import STATUS, image_qos

DEADLINE_S = 20.0
SECOND = 1_000_000_000


def wait_until(condition, what, deadline_s=DEADLINE_S):
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline_s} s for {what}"
        time.sleep(0.01)
    return value


class Kit:
    """A recorder process, a publisher of the kit's topics, and an operator."""

    def __init__(self, folder):
        self.episodes = folder / "episodes"
        self.log = folder / "recorder.log"
        self.node = Node("operator")
        self.client = EpisodeClient(self.node)
        self.streams = [
            # One camera is best effort, as a RealSense camera may be set.
            replace(s, qos=image_qos("best_effort", 5)) if s.topic.startswith("/cam_low") else s
            for s in kit_traffic(64, 48, 30.0)
        ]
        self.traffic_node = Node("traffic")
        self.traffic = Traffic(self.traffic_node, self.streams)
        self.recorder = None

    def start_recorder(self, *parameters, limit=None):
        words = [sys.executable, "-m", "trossen_pi0_data.recorder_node", "--ros-args"]
        for each in (f"episodes_dir:={self.episodes}", "min_disk_mb:=10", *parameters):
            words += ["-p", each]

        self.client.status = None
        with self.log.open("ab") as output:
            self.recorder = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
        wait_until(lambda: self.client.ready, f"the recorder: {self.log.read_text()}")
        if limit is not None:  # afterwards: the shared memory of DDS is a larger file
            resource.prlimit(self.recorder.pid, resource.RLIMIT_FSIZE, (limit, limit))

    def end_recorder(self, number=signal.SIGINT):
        assert self.recorder is not None
        self.recorder.send_signal(number)
        return self.recorder.wait(DEADLINE_S)

    def begin(self, name):
        answer = self.client.start(name, prompt="grab", seed=3)
        assert answer.success, answer.message
        topics = {s.topic for s in self.streams}

        def hears_all():
            status = self.client.status
            return (
                status is not None
                and status.state == RecorderStatus.RECORDING
                and status.episode == name
                and not topics & set(status.silent_topics)
            )

        wait_until(hears_all, "every topic")

    def close(self):
        self.traffic.stop()
        self.client.close()
        self.node.destroy_node()
        self.traffic_node.destroy_node()
        # Not before: see ``Stack.close`` of fault_harness.
        if self.recorder is not None and self.recorder.poll() is None:
            self.recorder.kill()
            self.recorder.wait()


@pytest.fixture
def kit(tmp_path, monkeypatch):
    with domain_id() as number:
        monkeypatch.setenv("ROS_DOMAIN_ID", str(number))
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        each = Kit(tmp_path)
        yield each
        each.close()
        rclpy.try_shutdown()


def recorded(folder):
    """Topic -> messages of an episode, in order, by the library ``rosbags``."""
    messages = {}
    with Reader(folder) as reader:
        for connection, _, data in reader.messages():
            messages.setdefault(connection.topic, []).append(bytes(data))
    return messages


def check_contents(kit, folder):
    """Every message from the first to the last, bit by bit; returns the last number by topic."""
    messages, last = recorded(folder), {}
    for stream in kit.streams:
        got = messages[stream.topic]
        first = number_of(got[0])
        assert got == [stream.message(first + i) for i in range(len(got))], stream.topic
        last[stream.topic] = first + len(got) - 1
    return last


def test_every_message_is_recorded_bit_by_bit(kit):
    kit.start_recorder()
    kit.traffic.start()
    kit.begin("one")
    time.sleep(2.0)  # of recording
    kit.traffic.stop()
    answer = kit.client.stop("success", notes="n")
    assert answer.success, answer.message
    folder = kit.episodes / "one"
    info = EpisodeInfo.read(folder)
    assert (info.state, info.outcome, info.fault, info.dropped) == ("finished", "success", "", 0)
    assert (info.prompt, info.notes, info.seed) == ("grab", "n", 3)
    # What came before the stop is there, to the last message.
    assert check_contents(kit, folder) == {t: n - 1 for t, n in kit.traffic.sent.items()}
    assert {t: i.messages for t, i in info.topics.items() if i.messages} == {
        topic: len(messages) for topic, messages in recorded(folder).items()
    }
    assert info.cameras["cam_low"].width == 64
    with (folder / mcap_name(folder)).open("rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        for _, channel, message, decoded in reader.iter_decoded_messages():
            assert 0 <= message.log_time - message.publish_time < SECOND, channel.topic
            assert number_of(message.data) == (
                decoded.header.stamp.sec * 1_000_000 + decoded.header.stamp.nanosec
            )
    with AnyReader([folder]) as reader:
        offered = {
            c.topic: c.ext.offered_qos_profiles[0].reliability.name
            for c in reader.connections
            if isinstance(c.ext, ConnectionExtRosbag2)
        }
        assert offered["/cam_low/color/image_raw"] == "BEST_EFFORT"
        assert offered["/cam_high/color/image_raw"] == "RELIABLE"
        connection = next(c for c in reader.connections if c.topic == "/policy/action_chunk")
        (_, _, data), *_ = reader.messages([connection])
        chunk: Any = reader.deserialize(data, connection.msgtype)
        assert chunk.horizon == 50


def kill_once(kit, name, after_s):
    """Kills the recorder some time into an episode; what was lost is less than a second."""
    kit.start_recorder()
    kit.begin(name)
    time.sleep(after_s)
    sent = dict(kit.traffic.sent)
    kit.end_recorder(signal.SIGKILL)
    folder = kit.episodes / name
    assert EpisodeInfo.read(folder).state == "recording"
    return folder, sent


def check_interrupted(kit, folder, sent):
    info = EpisodeInfo.read(folder)
    assert (info.state, info.fault) == ("interrupted", "the recorder was killed")
    last = check_contents(kit, folder)
    for stream in kit.streams:
        lost = sent[stream.topic] - 1 - last[stream.topic]
        assert lost <= max(1.0, stream.rate_hz), f"{stream.topic}: {lost} messages"
        assert info.topics[stream.topic].messages == len(recorded(folder)[stream.topic])


@pytest.mark.parametrize("count", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_recorder_loses_less_than_a_second(kit, count):
    kit.traffic.start()
    rng, cut = random.Random(count), []
    for i in range(count):
        cut.append(kill_once(kit, f"cut_{i}", rng.uniform(0.0, 2.0)))
    kit.start_recorder()  # repairs the last one; each start before has repaired the one before
    for folder, sent in cut:
        check_interrupted(kit, folder, sent)
    kit.begin("after")
    assert kit.client.stop().success


def test_a_full_disk_ends_the_episode_and_keeps_it(kit):
    kit.streams = kit_traffic(320, 240, 30.0)
    kit.traffic = Traffic(kit.traffic_node, kit.streams)
    kit.start_recorder(limit=30_000_000)
    kit.traffic.start()
    assert kit.client.start("full").success
    wait_until(lambda: kit.client.status.state == RecorderStatus.ERROR, "the end of the episode")
    assert kit.client.status.reason == "the episode cannot be written: File too large"
    info = EpisodeInfo.read(kit.episodes / "full")
    assert (info.state, info.fault) == ("finished", kit.client.status.reason)
    assert info.dropped > 0
    assert info.messages == kit.client.status.messages > 300
    check_contents(kit, kit.episodes / "full")
    size = (kit.episodes / "full" / "full_0.mcap").stat().st_size
    assert 20_000_000 < size <= 30_000_000
    # Another may begin, and the recorder goes on.
    assert kit.client.start("next").success
    assert kit.client.stop(discard=True).success


def test_services_refuse_with_reasons_and_end_what_they_began(kit):
    kit.start_recorder()
    call = kit.client
    assert call.stop().message == "no episode is under way"
    assert "no episode has ended" in call.mark("success").message
    assert "cannot be an episode's name" in call.start("../x").message
    assert call.start("one").success
    assert call.start("two").message == "episode 'one' is under way: end or discard it first"
    assert "outcome must be empty or one of" in call.stop("great").message
    assert call.stop("failure", notes="a").success
    assert call.start("one").message.endswith(f"is already there: {kit.episodes / 'one'}")
    assert call.mark("success", notes="b").success
    info = EpisodeInfo.read(kit.episodes / "one")
    assert (info.outcome, info.notes, info.messages) == ("success", "a\nb", 0)
    assert call.start("two").success
    assert call.stop(discard=True).message == "episode 'two' was discarded"
    assert [p.name for p in kit.episodes.iterdir()] == ["one"]
    with Reader(kit.episodes / "one") as reader:
        assert reader.message_count == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_end_of_the_recorder_ends_the_episode(kit, number):
    kit.start_recorder()
    kit.traffic.start()
    kit.begin("one")
    assert kit.end_recorder(number) == 0
    info = EpisodeInfo.read(kit.episodes / "one")
    assert (info.state, info.fault, info.dropped) == ("finished", "the recorder was ended", 0)
    check_contents(kit, kit.episodes / "one")


def test_every_run_of_the_policy_becomes_an_episode(kit):
    kit.start_recorder("record_runs:=true")
    policy = kit.node.create_publisher(PolicyStatus, "/policy/status", STATUS)
    sim = kit.node.create_publisher(SimStatus, "/sim/status", STATUS)
    kit.traffic.start()

    def tell(run_id, state, reason="", *, success=False):
        sim.publish(SimStatus(seed=41, success=success))
        time.sleep(0.2)  # the simulation's status comes ten times a second
        policy.publish(PolicyStatus(run_id=run_id, state=state, reason=reason, prompt="hand over"))

    def state():
        return kit.client.status.state

    tell("", PolicyStatus.IDLE)
    tell("r1", PolicyStatus.STARTING)
    wait_until(lambda: state() == RecorderStatus.RECORDING, "the first episode")
    tell("r1", PolicyStatus.RUNNING)
    tell("", PolicyStatus.IDLE, "the policy is done", success=True)
    wait_until(lambda: kit.client.status.episodes == 1, "its end")
    tell("r2", PolicyStatus.RUNNING)
    wait_until(lambda: state() == RecorderStatus.RECORDING, "the second episode")
    kit.node.destroy_publisher(policy)  # the policy node has died
    wait_until(lambda: kit.client.status.episodes == 2, "its end")
    first, second = (
        EpisodeInfo.read(folder) for folder in sorted(kit.episodes.iterdir(), key=os.path.getctime)
    )
    assert (first.prompt, first.seed, first.outcome) == ("hand over", 41, "success")
    assert first.policy == PolicyInfo("r1", "ended", "the policy is done")
    assert second.policy == PolicyInfo("r2", "failed", "the policy node is gone")
    assert second.outcome == "failure"
    assert recorded(kit.episodes / first.name)["/policy/status"]


def test_an_episode_begun_by_hand_is_not_ended_by_a_run(kit):
    kit.start_recorder("record_runs:=true")
    policy = kit.node.create_publisher(PolicyStatus, "/policy/status", STATUS)
    assert kit.client.start("mine").success
    policy.publish(PolicyStatus(run_id="r1", state=PolicyStatus.RUNNING))
    wait_until(lambda: "run r1 gets no episode" in kit.log.read_text(), "the warning")
    policy.publish(PolicyStatus(run_id="", state=PolicyStatus.IDLE))
    wait_until(lambda: kit.client.status.messages >= 2, "both statuses")
    assert kit.client.stop("success").success
    assert [p.name for p in kit.episodes.iterdir()] == ["mine"]
    assert EpisodeInfo.read(kit.episodes / "mine").policy is None


def test_bad_parameters_end_the_recorder_with_two(kit):
    words = [sys.executable, "-m", "trossen_pi0_data.recorder_node", "--ros-args", "-p"]
    for word, message in (
        ("image_compression:=gif", "image_compression: 'gif' is not one of"),
        ("extra_topics:=[/tf]", "extra_topics: each is a topic and its type"),
    ):
        done = subprocess.run(
            [*words, word], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 2
        assert message in done.stderr


class Terminal:
    """The keyboard front end in a terminal of its own."""

    def __init__(self):
        self.main, self._other = pty.openpty()
        self.before = termios.tcgetattr(self._other)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "trossen_pi0_data.keyboard", "--prompt", "by hand"],
            stdin=self._other,
            stdout=self._other,
            stderr=self._other,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "120"},
        )
        self.text = ""

    def read(self):
        while select.select([self.main], [], [], 0)[0]:
            self.text += os.read(self.main, 65536).decode(errors="replace")
        return self.text

    def press(self, keys):
        os.write(self.main, keys.encode())

    def restored(self):
        return termios.tcgetattr(self._other) == self.before

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.main)
        os.close(self._other)


@pytest.fixture
def terminal():
    made = []

    def make():
        made.append(Terminal())
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_keys_begin_mark_and_end_episodes(kit, terminal):
    kit.start_recorder()
    screen = terminal()
    wait_until(lambda: "idle" in screen.read(), "the view")
    assert not screen.restored()
    screen.press("s")
    wait_until(lambda: "RECORDING" in screen.read(), "the episode")
    wait_until(lambda: "nothing came from:" in screen.read(), "silent topics")
    screen.press("x")
    wait_until(lambda: "is no key" in screen.read(), "the refusal")
    screen.press("n")
    wait_until(lambda: "note: " in screen.read(), "the question")
    screen.press("slipped once\n")
    wait_until(lambda: "noted: slipped once" in screen.read(), "the note")
    screen.press("e")
    wait_until(lambda: kit.client.status.episodes == 1, "the end")
    (folder,) = kit.episodes.iterdir()
    info = EpisodeInfo.read(folder)
    assert (info.outcome, info.prompt, info.notes) == ("success", "by hand", "slipped once")
    screen.press("f")  # on second thoughts
    wait_until(lambda: EpisodeInfo.read(folder).outcome == "failure", "the mark")
    screen.press("d")
    wait_until(lambda: not folder.exists(), "the deletion")
    screen.press("q")
    wait_until(lambda: screen.read() is not None and screen.process.poll() is not None, "its end")
    assert screen.process.returncode == 0, screen.text
    assert screen.restored()


def test_the_terminal_is_restored_by_a_signal_and_the_episode_goes_on(kit, terminal):
    kit.start_recorder()
    screen = terminal()
    wait_until(lambda: "idle" in screen.read(), "the view")
    screen.press("s")
    wait_until(lambda: "RECORDING" in screen.read(), "the episode")
    screen.process.send_signal(signal.SIGTERM)
    wait_until(lambda: screen.read() is not None and screen.process.poll() is not None, "its end")
    assert screen.process.returncode == 0, screen.text
    assert screen.restored()
    assert "goes on in" in screen.text
    assert kit.client.stop().success


def test_without_a_terminal_the_keyboard_says_what_to_do():
    done = subprocess.run(
        [sys.executable, "-m", "trossen_pi0_data.keyboard"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: keys need a terminal")


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["none", "jpeg", "h264"])
def test_a_whole_kit_at_full_rate_loses_nothing(kit, tmp_path, compression):
    folder = tmp_path / "bench"
    folder.mkdir()
    result = run_bench(folder, 20.0, compression)
    assert result.info.dropped == 0
    assert not any(result.gaps.values())
    assert result.info.topics.keys()
    assert result.info.duration_s > 19.0


def test_a_repair_by_hand_is_the_same(kit):
    kit.traffic.start()
    folder, _ = kill_once(kit, "cut", 0.5)
    path = folder / mcap_name(folder)
    with path.open("rb") as file:  # no footer: only up to the last whole chunk
        file.seek(-8, os.SEEK_END)
        assert file.read() != b"\x89MCAP0\r\n"
    counts = repair(path).counts_by_topic
    kit.start_recorder()
    info = EpisodeInfo.read(folder)
    assert {t: i.messages for t, i in info.topics.items() if i.messages} == counts
