"""Episodes: names, ends, marks, losses, and what a killed recorder leaves."""

import dataclasses
import errno
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import Reader

from trossen_pi0_core.errors import EpisodeError, ImageError, ParameterError
from trossen_pi0_core.parameters import RecorderParameters
from trossen_pi0_data import bag_writer
from trossen_pi0_data.bag_metadata import BagTopic
from trossen_pi0_data.bag_writer import BagWriter
from trossen_pi0_data.compression import CompressorThread, make_encoder, read_picture, typestore
from trossen_pi0_data.episode_info import EpisodeInfo, PolicyInfo, SoftwareInfo, TopicInfo
from trossen_pi0_data.episode_writer import EpisodeRequest, delete_episode
from trossen_pi0_data.recorded_topics import RecordedTopic, recorded_topics
from trossen_pi0_data.recorder import Recorder, RecorderState
from trossen_pi0_data.recovery import recover_all
from trossen_pi0_data.run_watch import RunChange, RunWatch
from trossen_pi0_data.sequences import SequenceWatch
from trossen_pi0_data.write_queue import BagQueue, Sample

SECOND = 1_000_000_000
SOFTWARE = SoftwareInfo("0.1.0", None, "jazzy", "3.12.3", "1.11.0")
CAMERA = "/cam_high/color/image_raw"
TOPICS = (
    RecordedTopic(CAMERA, "sensor_msgs/msg/Image", "cam_high", expected=True),
    RecordedTopic("/joint_states", "sensor_msgs/msg/JointState", expected=True),
)


def header(number):
    types = typestore().types
    stamp = types["builtin_interfaces/msg/Time"](number, 5)
    return types["std_msgs/msg/Header"](stamp, "cam")


def serialised(kind, *fields):
    store = typestore()
    return bytes(store.serialize_cdr(store.types[kind](*fields), kind))


def image(number, size=64, pixels=None):
    if pixels is None:
        pixels = np.full(size * size * 3, number % 251, np.uint8)
    kind = "sensor_msgs/msg/Image"
    return serialised(kind, header(number), size, size, "rgb8", 0, 3 * size, pixels)


def joints(number):
    values = np.array([0.1 * number])
    return serialised("sensor_msgs/msg/JointState", header(number), ["a"], values, values, values)


def make_recorder(folder, **changes):
    parameters = RecorderParameters(
        episodes_dir=str(folder), cameras=("cam_high",), min_disk_mb=0, **changes
    )
    return Recorder(
        TOPICS,
        SOFTWARE,
        parameters=lambda: parameters,
        now_ns=lambda: 5 * SECOND,
        on_begin=lambda _: None,
        on_end=lambda: None,
    )


def feed(writer, count, first=0):
    for i in range(first, first + count):
        at = 5 * SECOND + i * 10_000_000
        writer.add(CAMERA, Sample(CAMERA, image(i), at, at, i + 1))
        writer.add("/joint_states", Sample("/joint_states", joints(i), at, at, i + 1))


def test_an_episode_says_what_it_is(tmp_path):
    recorder = make_recorder(tmp_path)
    writer = recorder.begin(EpisodeRequest("one", "grab the cube", "first try", 7, "run-3"))
    begun = EpisodeInfo.read(tmp_path / "one")
    assert (begun.state, begun.outcome, begun.began_ns) == ("recording", "unknown", 5 * SECOND)
    feed(writer, 10)
    assert recorder.snapshot().state == RecorderState.RECORDING
    policy = PolicyInfo("run-3", "ended", "the policy is done")
    info = recorder.end("success", notes="went well", policy=policy)
    assert info == EpisodeInfo.read(tmp_path / "one")
    assert (info.state, info.outcome, info.fault) == ("finished", "success", "")
    assert (info.prompt, info.notes, info.seed) == ("grab the cube", "first try\nwent well", 7)
    assert info.policy == policy
    assert info.duration_s == pytest.approx(0.09)
    assert info.topics == {
        CAMERA: TopicInfo("sensor_msgs/msg/Image", 10, 0),
        "/joint_states": TopicInfo("sensor_msgs/msg/JointState", 10, 0),
    }
    camera = info.cameras["cam_high"]
    assert (camera.width, camera.height, camera.encoding) == (64, 64, "rgb8")
    assert camera.info_topic == "/cam_high/color/camera_info"
    assert info.dataset_joint_names[7] == "right_joint_0.pos"
    assert info.joint_names[7] == "follower_right_joint_0"
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == [
        "episode.json",
        "metadata.yaml",
        "one_0.mcap",
    ]
    seen = recorder.snapshot()
    assert (seen.state, seen.name, seen.episodes) == (RecorderState.IDLE, "one", 1)
    assert seen.figures.messages == 20


@pytest.mark.parametrize(
    "name", ["../x", "a/b", "..", ".hidden", "-x", "x.", "a b", "a\n", "x" * 101]
)
def test_names_that_are_no_folder_names_are_refused(tmp_path, name):
    root = tmp_path / "episodes"
    with pytest.raises(EpisodeError, match="cannot be an episode's name"):
        make_recorder(root).begin(EpisodeRequest(name))
    assert list(root.iterdir()) == []
    assert list(tmp_path.iterdir()) == [root]


def test_a_name_that_is_taken_is_refused_and_nothing_is_changed(tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "mine").write_text("precious")
    with pytest.raises(EpisodeError, match="an episode 'one' is already there"):
        make_recorder(tmp_path).begin(EpisodeRequest("one"))
    assert (tmp_path / "one" / "mine").read_text() == "precious"


def test_episodes_without_a_name_get_different_ones(tmp_path):
    recorder = make_recorder(tmp_path)
    names = []
    for _ in range(3):
        names.append(recorder.begin(EpisodeRequest()).info.name)
        recorder.end("")
    assert len(set(names)) == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names)


def test_one_episode_at_a_time(tmp_path):
    recorder = make_recorder(tmp_path)
    recorder.begin(EpisodeRequest("one"))
    with pytest.raises(EpisodeError, match="episode 'one' is under way"):
        recorder.begin(EpisodeRequest("two"))
    with pytest.raises(EpisodeError, match=r"outcome must be empty or one of \['success'"):
        recorder.end("great")
    assert recorder.end("").outcome == "unknown"
    with pytest.raises(EpisodeError, match="no episode is under way"):
        recorder.end("")


def test_discard_deletes_the_episode_and_nothing_else(tmp_path):
    recorder = make_recorder(tmp_path)
    recorder.begin(EpisodeRequest("kept"))
    recorder.end("")
    feed(recorder.begin(EpisodeRequest("bad")), 5)
    assert recorder.discard() == tmp_path / "bad"
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
    with pytest.raises(EpisodeError, match="no episode has ended"):
        recorder.discard_last()
    recorder.begin(EpisodeRequest("worse"))
    recorder.end("")
    assert recorder.discard_last() == tmp_path / "worse"
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]


def test_only_episodes_are_deleted(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    for name in ("photos", "link", "nothing"):
        with pytest.raises(EpisodeError, match="is not deleted: it is no episode's folder"):
            delete_episode(tmp_path / name)
    assert (tmp_path / "photos").is_dir()


def test_an_episode_is_marked_after_its_end(tmp_path):
    recorder = make_recorder(tmp_path)
    with pytest.raises(EpisodeError, match="no episode has ended that could be marked"):
        recorder.mark("success", "")
    recorder.begin(EpisodeRequest("one", notes="a"))
    recorder.end("failure")
    assert recorder.mark("", "b").outcome == "failure"
    assert recorder.mark("success", "").notes == "a\nb"
    assert EpisodeInfo.read(tmp_path / "one").outcome == "success"
    with pytest.raises(EpisodeError, match="outcome must be"):
        recorder.mark("meh", "")


def test_a_disk_without_enough_space_is_refused_before_the_start(tmp_path):
    recorder = make_recorder(tmp_path)
    parameters = RecorderParameters(episodes_dir=str(tmp_path), min_disk_mb=10**9)
    recorder = Recorder(
        TOPICS,
        SOFTWARE,
        parameters=lambda: parameters,
        now_ns=lambda: 0,
        on_begin=lambda _: None,
        on_end=lambda: None,
    )
    with pytest.raises(EpisodeError, match=r"is full: \d+ MB are free, min_disk_mb is 1000000000"):
        recorder.begin(EpisodeRequest("one"))
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_recorder_leaves_is_repaired_once(tmp_path):
    recorder = make_recorder(tmp_path)
    feed(recorder.begin(EpisodeRequest("fine")), 3)
    recorder.end("success")
    writer = recorder.begin(EpisodeRequest("cut", prompt="p"))
    feed(writer, 4)
    writer._close_threads()
    writer._bag.flush()
    writer._bag._file.close()
    (tmp_path / "photos").mkdir()
    (info,) = recover_all(tmp_path)
    assert info == EpisodeInfo.read(tmp_path / "cut")
    assert (info.state, info.fault, info.prompt) == ("interrupted", "the recorder was killed", "p")
    assert info.topics["/joint_states"].messages == 4
    assert info.cameras["cam_high"].width == 64
    assert sorted(p.name for p in (tmp_path / "cut").iterdir()) == [
        "cut_0.mcap",
        "episode.json",
        "metadata.yaml",
    ]
    with Reader(tmp_path / "cut") as reader:
        assert [bytes(d) for c, _, d in reader.messages() if c.topic == CAMERA] == [
            image(i) for i in range(4)
        ]
    assert recover_all(tmp_path) == []
    assert recover_all(tmp_path / "nowhere") == []


def test_episodes_under_way_are_not_repaired(tmp_path, caplog):
    recorder = make_recorder(tmp_path)
    writer = recorder.begin(EpisodeRequest("one"))
    assert recover_all(tmp_path) == []
    assert "is being written by a recorder" in caplog.text
    feed(writer, 2)
    assert recorder.end("").messages == 4


class SlowBag(BagWriter):
    """A disk that takes nothing until it is let go."""

    def __init__(self, folder):
        folder.mkdir()
        super().__init__(folder)
        self.free = threading.Event()

    def write(self, *sample, **named):
        self.free.wait(10.0)
        super().write(*sample, **named)


def test_a_full_queue_drops_pictures_before_joints_and_counts_them(tmp_path):
    bag = SlowBag(tmp_path / "a")
    topics = {
        CAMERA: BagTopic(CAMERA, "sensor_msgs/msg/Image"),
        "/joint_states": BagTopic("/joint_states", "sensor_msgs/msg/JointState"),
    }
    queue = BagQueue(bag, topics, queue_mb=16, min_disk_mb=0)
    picture = image(0, 576)  # 995 kB, of which 14 fit into nine tenths of the queue
    taken = sum(queue.put(Sample(CAMERA, picture, 1, 1, i)) for i in range(30))
    assert all(queue.put(Sample("/joint_states", joints(0), 1, 1, i)) for i in range(1000))
    assert taken in (14, 15)  # the thread may hold one
    assert queue.dropped == {CAMERA: 30 - taken}
    bag.free.set()
    queue.close()
    assert queue.written == {CAMERA: taken, "/joint_states": 1000}
    assert bag.close().messages == taken + 1000


def test_a_disk_that_fills_up_ends_the_writing_with_its_reason(tmp_path):
    recorder = make_recorder(tmp_path)
    writer = recorder.begin(EpisodeRequest("one"))
    feed(writer, 3)
    writer._queue._min_free = 10**18
    waited = threading.Event()
    for _ in range(500):
        if writer.fault:
            break
        waited.wait(0.01)
    feed(writer, 2, first=3)
    info = recorder.end("")
    assert info.fault.startswith("the disk is full:")
    assert info.topics["/joint_states"] == TopicInfo("sensor_msgs/msg/JointState", 3, 2)
    assert recorder.snapshot().state == RecorderState.ERROR
    assert recorder.snapshot().reason == info.fault
    with Reader(tmp_path / "one") as reader:
        assert reader.message_count == 6


def test_what_was_in_the_chunk_that_found_no_room_counts_as_dropped(tmp_path, monkeypatch):
    recorder = make_recorder(tmp_path)
    writer = recorder.begin(EpisodeRequest("one"))
    feed(writer, 3)
    sink = writer._bag._sink
    waited = threading.Event()
    for _ in range(500):
        if sink.position > 3 * 64 * 64 * 3:  # the first chunk is written
            break
        waited.wait(0.01)

    def full(handle, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bag_writer, "write_to", full)
    feed(writer, 2, first=3)
    for _ in range(500):
        if writer.fault:
            break
        waited.wait(0.01)
    monkeypatch.undo()
    info = recorder.end("")
    assert info.fault == "the episode cannot be written: No space left on device"
    assert info.topics["/joint_states"] == TopicInfo("sensor_msgs/msg/JointState", 3, 2)
    assert info.topics[CAMERA] == TopicInfo("sensor_msgs/msg/Image", 3, 2)
    with Reader(tmp_path / "one") as reader:
        assert reader.message_count == 6


def pictures(count=12, size=96):
    y, x = np.mgrid[0:size, 0:size]
    for i in range(count):
        pixels = np.stack([x + i, y, 255 - x], axis=-1).astype(np.uint8)
        yield pixels, image(i, size, pixels.reshape(-1))


@pytest.mark.parametrize("compression", ["jpeg", "h264"])
def test_compressed_pictures_keep_stamp_and_look(tmp_path, compression):
    import av
    import cv2

    recorder = make_recorder(tmp_path, image_compression=compression)
    writer = recorder.begin(EpisodeRequest("one"))
    originals = []
    for i, (pixels, data) in enumerate(pictures()):
        originals.append(pixels)
        writer.add(CAMERA, Sample(CAMERA, data, i, i, i + 1))
    info = recorder.end("")
    camera = info.cameras["cam_high"]
    assert (camera.compression, camera.encoding, camera.width) == (compression, "rgb8", 96)
    assert camera.topic == CAMERA + (
        "/compressed" if compression == "jpeg" else "/compressed_video"
    )
    assert info.topics[camera.topic].messages == 12
    codec = av.CodecContext.create("h264", "r") if compression == "h264" else None
    decoded = []
    with Reader(tmp_path / "one") as reader:
        for connection, _, data in reader.messages():
            message = typestore().deserialize_cdr(data, connection.msgtype)
            if codec is None:
                assert message.format == "rgb8; jpeg compressed bgr8"
                picture = cv2.imdecode(message.data, cv2.IMREAD_COLOR)
                assert picture is not None
                decoded.append(picture[..., ::-1])
                assert message.header.stamp.sec == len(decoded) - 1
            else:
                assert (message.format, message.frame_id) == ("h264", "cam")
                packet = av.Packet(message.data.tobytes())
                decoded += [f.to_ndarray(format="rgb24") for f in codec.decode(packet)]
        if codec is not None:
            decoded += [f.to_ndarray(format="rgb24") for f in codec.decode(None)]
    assert len(decoded) == 12
    for original, seen in zip(originals, decoded, strict=True):
        assert np.abs(original.astype(int) - seen).mean() < 4.0


def test_pictures_that_cannot_be_compressed_are_counted_and_named(tmp_path):
    recorder = make_recorder(tmp_path, image_compression="jpeg")
    writer = recorder.begin(EpisodeRequest("one"))
    (_, data) = next(pictures(1))
    bad = data.replace(b"rgb8\0", b"yuyv\0")
    for i, each in enumerate((bad, data, b"\0\1\0\0nonsense")):
        writer.add(CAMERA, Sample(CAMERA, each, i, i, i + 1))
    info = recorder.end("")
    topic = info.topics[CAMERA + "/compressed"]
    assert (topic.messages, topic.dropped) == (1, 2)
    assert CAMERA in info.fault


def test_a_compressor_that_is_behind_drops_and_counts():
    class Blocked:
        type, suffix = "x", ""

        def __init__(self):
            self.free = threading.Event()

        def encode(self, picture):
            self.free.wait(10.0)
            return b"done"

    class Sink:
        def __init__(self):
            self.got = []

        def put(self, sample):
            self.got.append(sample)
            return True

    encoder, sink = Blocked(), Sink()
    thread = CompressorThread(encoder, "/c", sink)
    _, data = next(pictures(1))
    taken = sum(thread.put(Sample(CAMERA, data, i, i, i)) for i in range(70))
    assert taken in (60, 61)
    encoder.free.set()
    thread.close()
    assert [s.sequence for s in sink.got] == list(range(taken))
    assert thread.dropped == 70 - taken


def test_encoders_refuse_what_they_cannot_do():
    _, data = next(pictures(1, size=33))
    with pytest.raises(ImageError, match="even width and height, got 33x33"):
        make_encoder("h264", 90, 20).encode(read_picture(data))


@pytest.mark.parametrize(
    ("numbers", "publishers", "lost"),
    [
        ([5, 6, 7], 1, [0, 0, 0]),
        ([5, 9, 10], 1, [0, 3, 0]),
        ([5, 6, 1, 2], 1, [0, 0, 0, 0]),  # its publisher began anew
        ([5, 6, 1, 4], 1, [0, 0, 0, 2]),
        ([50, 3, 51, 4, 53, 5], 2, [0, 0, 0, 0, 1, 0]),
        ([50, 3, 4, 7, 51], 2, [0, 0, 0, 2, 0]),
    ],
)
def test_lost_messages_are_found_by_their_numbers(numbers, publishers, lost):
    watch = SequenceWatch()
    assert [watch.take(number, lambda: publishers) for number in numbers] == lost


def test_lost_messages_count_as_dropped(tmp_path):
    recorder = make_recorder(tmp_path)
    writer = recorder.begin(EpisodeRequest("one"))
    feed(writer, 2)
    writer.lost(CAMERA, 3)
    assert recorder.snapshot().figures.dropped == 3
    assert recorder.end("").topics[CAMERA].dropped == 3


def test_runs_are_followed_by_the_status():
    watch = RunWatch()
    assert watch.take("", "preparing", failed=False) == RunChange()
    assert watch.take("a", "", failed=False) == RunChange(began="a")
    assert watch.take("a", "", failed=False) == RunChange()
    assert watch.take("", "the policy is done", failed=False) == RunChange(
        ended=PolicyInfo("a", "ended", "the policy is done")
    )
    watch.take("b", "", failed=False)
    assert watch.take("c", "", failed=False) == RunChange(PolicyInfo("b", "ended", ""), "c")
    assert watch.take("", "no chunk", failed=True) == RunChange(
        ended=PolicyInfo("c", "failed", "no chunk")
    )
    assert watch.gone() is None
    watch.take("d", "", failed=False)
    assert watch.gone() == PolicyInfo("d", "failed", "the policy node is gone")


def test_topics_follow_the_parameters():
    parameters = RecorderParameters(
        cameras=("cam_low",),
        camera_topics=("/low/color/image_rect_raw",),
        extra_topics=("/tf tf2_msgs/msg/TFMessage", "/joint_states sensor_msgs/msg/JointState"),
    )
    topics = {t.name: t for t in recorded_topics(parameters)}
    assert list(topics)[:3] == [
        "/low/color/image_rect_raw",
        "/low/color/camera_info",
        "/joint_states",
    ]
    assert topics["/tf"].type == "tf2_msgs/msg/TFMessage"
    assert topics["/low/color/image_rect_raw"].camera == "cam_low"
    with pytest.raises(ParameterError, match="each is a topic and its type"):
        RecorderParameters(extra_topics=("/tf",))
    with pytest.raises(ParameterError, match="camera_topics: need one for each"):
        RecorderParameters(camera_topics=("/a",))


def test_the_documented_command_names_every_topic():
    text = (Path(__file__).parents[5] / "docs" / "recording.md").read_text()
    command = text.partition("--topics")[2].partition("```")[0]
    assert set(command.replace("\\", "").split()) == {
        topic.name for topic in recorded_topics(RecorderParameters())
    }


def test_episode_files_that_do_not_fit_are_named(tmp_path):
    recorder = make_recorder(tmp_path)
    recorder.begin(EpisodeRequest("one"))
    info = recorder.end("")
    path = tmp_path / "one" / "episode.json"
    good = json.loads(path.read_text())
    for change, message in (
        ({"seed": "7"}, "episode.json.seed must be int, got str '7'"),
        ({"state": "lost"}, r"state must be one of \['recording'"),
        ({"format": 2}, "format 2 of episode.json is not known"),
        ({"joint_names": ["a"]}, "1 joint_names but 14 dataset_joint_names"),
        ({"cameras": {"cam_high": {"topic": "/a"}}}, "cameras.cam_high lacks 'info_topic'"),
    ):
        path.write_text(json.dumps({**good, **change}))
        with pytest.raises(EpisodeError, match=message):
            EpisodeInfo.read(tmp_path / "one")
    path.write_text(json.dumps({**good, "added_later": 1}))
    assert EpisodeInfo.read(tmp_path / "one") == info
    path.write_text("{")
    with pytest.raises(EpisodeError, match=r"cannot read .*episode.json"):
        EpisodeInfo.read(tmp_path / "one")
    with pytest.raises(EpisodeError, match=r"is no episode: it has no episode\.json"):
        EpisodeInfo.read(tmp_path)
    dataclasses.replace(info, outcome="success").write(tmp_path / "one")
    assert EpisodeInfo.read(tmp_path / "one").outcome == "success"
