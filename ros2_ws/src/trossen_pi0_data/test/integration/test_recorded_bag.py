"""Bags as the recorder writes them: read back by other libraries, cut off, and on a full disk."""

import dataclasses
import resource
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory
from rosbags.rosbag2 import Reader
from rosbags.typesys import Stores, get_typestore

from trossen_pi0_core.errors import EpisodeError
from trossen_pi0_data.bag_metadata import BagTopic
from trossen_pi0_data.bag_writer import BagWriter, mcap_name
from trossen_pi0_data.definitions import full_definition, type_hash
from trossen_pi0_data.mcap_repair import repair

STORE = get_typestore(Stores.ROS2_JAZZY)
SECOND = 1_000_000_000
INFINITE = {"sec": 9223372036, "nsec": 854775807}
QOS = {
    "history": "unknown",
    "depth": 0,
    "reliability": "reliable",
    "durability": "volatile",
    "deadline": INFINITE,
    "lifespan": INFINITE,
    "liveliness": "automatic",
    "liveliness_lease_duration": INFINITE,
    "avoid_ros_namespace_conventions": False,
}
IMAGE_HASH = "RIHS01_d31d41a9a4c4bc8eae9be757b0beed306564f7526c88ea6a4588fb9582527d47"


def header(number):
    types = STORE.types
    stamp = types["builtin_interfaces/msg/Time"](number, 0)
    return types["std_msgs/msg/Header"](stamp, "cam")


def image(number, size=64):
    pixels = np.full(size * size * 3, number % 251, np.uint8)
    kind = "sensor_msgs/msg/Image"
    message = STORE.types[kind](header(number), size, size, "rgb8", 0, 3 * size, pixels)
    return bytes(STORE.serialize_cdr(message, kind))


def joints(number):
    kind = "sensor_msgs/msg/JointState"
    values = np.array([0.1 * number])
    message = STORE.types[kind](header(number), ["a"], values, values, values)
    return bytes(STORE.serialize_cdr(message, kind))


def make_writer(folder, **options):
    folder.mkdir()
    writer = BagWriter(folder, ros_distro="jazzy", **options)
    writer.add_topic(BagTopic("/image", "sensor_msgs/msg/Image", qos=(QOS,)))
    writer.add_topic(BagTopic("/joints", "sensor_msgs/msg/JointState"))
    return writer


def fill(writer, count, flush_each=5, size=64):
    sent = []
    for i in range(count):
        for topic, data in (("/image", image(i, size)), ("/joints", joints(i))):
            at = SECOND + i * 10_000_000
            writer.write(topic, data, at, at - 1000, i + 1)
            sent.append((topic, at, data))
        if i % flush_each == flush_each - 1:
            writer.flush()
    return sent


def read_back(folder):
    """By two libraries that are not ours, which must agree."""
    with Reader(folder) as reader:
        messages = [(c.topic, at, bytes(data)) for c, at, data in reader.messages()]
        assert reader.message_count == len(messages)
    with (folder / mcap_name(folder)).open("rb") as file:
        reader = make_reader(file, validate_crcs=True, decoder_factories=[DecoderFactory()])
        decoded = list(reader.iter_decoded_messages())
    assert [d.channel.topic for d in decoded] == [topic for topic, _, _ in messages]
    assert [d.message.data for d in decoded] == [data for _, _, data in messages]
    assert all(d.decoded_message.header.frame_id == "cam" for d in decoded)
    return messages


def summary_of(reader):
    summary = reader.get_summary()
    assert summary is not None
    return summary


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_every_message_comes_back_bit_by_bit(tmp_path, compression):
    writer = make_writer(tmp_path / "a", compression=compression)
    sent = fill(writer, 23)
    span = writer.close()
    assert (span.first_ns, span.last_ns, span.messages) == (SECOND, SECOND + 220_000_000, 46)
    assert read_back(tmp_path / "a") == sent
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == ["a_0.mcap", "metadata.yaml"]
    with (tmp_path / "a" / "a_0.mcap").open("rb") as file:
        summary = summary_of(make_reader(file))
    assert {c.compression for c in summary.chunk_indexes} == {
        "" if compression == "none" else "zstd"
    }
    first = next(iter(summary.channels.values()))
    assert yaml.safe_load(first.metadata["offered_qos_profiles"]) == [QOS]
    assert first.metadata["topic_type_hash"] == IMAGE_HASH


def test_metadata_is_what_rosbag2_of_jazzy_writes(tmp_path):
    writer = make_writer(tmp_path / "a")
    fill(writer, 2)
    writer.close()
    text = (tmp_path / "a" / "metadata.yaml").read_text()
    assert "&" not in text  # no names for repeated parts
    content = yaml.safe_load(text)["rosbag2_bagfile_information"]
    assert list(content) == [
        "version",
        "storage_identifier",
        "duration",
        "starting_time",
        "message_count",
        "topics_with_message_count",
        "compression_format",
        "compression_mode",
        "relative_file_paths",
        "files",
        "custom_data",
        "ros_distro",
    ]
    assert content["version"] == 9
    assert content["starting_time"] == {"nanoseconds_since_epoch": SECOND}
    assert content["duration"] == {"nanoseconds": 10_000_000}
    assert content["files"] == [
        {
            "path": "a_0.mcap",
            "starting_time": {"nanoseconds_since_epoch": SECOND},
            "duration": {"nanoseconds": 10_000_000},
            "message_count": 4,
        }
    ]
    assert content["topics_with_message_count"][0] == {
        "topic_metadata": {
            "name": "/image",
            "type": "sensor_msgs/msg/Image",
            "serialization_format": "cdr",
            "offered_qos_profiles": [QOS],
            "type_description_hash": IMAGE_HASH,
        },
        "message_count": 2,
    }


@pytest.mark.parametrize("compression", ["none", "zstd"])
def test_a_file_cut_anywhere_keeps_all_whole_chunks(tmp_path, compression):
    writer = make_writer(tmp_path / "a", compression=compression)
    sent = fill(writer, 20)
    path = tmp_path / "a" / "a_0.mcap"
    ends = [path.stat().st_size]
    writer.close()
    whole = path.read_bytes()
    with path.open("rb") as file:
        chunks = summary_of(make_reader(file)).chunk_indexes
    ends = [c.chunk_start_offset + c.chunk_length for c in chunks]
    assert len(ends) == 4
    rng = np.random.default_rng(0)
    for cut in [
        *(int(c) for c in rng.integers(60, len(whole), 25)),
        *ends,
        ends[-1] - 1,
        len(whole),
    ]:
        path.write_bytes(whole[:cut])
        kept = 10 * sum(end <= cut for end in ends)
        content = repair(path)
        assert sum(content.counts_by_topic.values()) == kept, cut
        with path.open("rb") as file:
            reader = make_reader(file, validate_crcs=True)
            got = [(c.topic, m.log_time, m.data) for _, c, m in reader.iter_messages()]
            summary = summary_of(reader)
        assert got == sent[:kept], cut
        assert summary.statistics is not None
        assert summary.statistics.message_count == kept
        assert [
            sum(map(bool, c.message_index_offsets.values())) for c in summary.chunk_indexes
        ] == [2] * (kept // 10)


def test_a_repaired_file_may_be_repaired_again(tmp_path):
    writer = make_writer(tmp_path / "a")
    fill(writer, 10)
    path = writer.path
    writer.abandon()
    repair(path)
    once = path.read_bytes()
    repair(path)
    assert path.read_bytes() == once


def test_garbage_behind_the_last_chunk_and_in_it_is_cut_off(tmp_path):
    writer = make_writer(tmp_path / "a")
    fill(writer, 10)
    path = writer.path
    writer.abandon()
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(5000))
    assert sum(repair(path).counts_by_topic.values()) == 20
    damaged = bytearray(whole)
    damaged[-5000] ^= 0xFF  # as after a power cut, in the last chunk
    path.write_bytes(damaged)
    assert sum(repair(path).counts_by_topic.values()) == 10


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no MCAP file"),
        (b"PK\x03\x04 something else", "is no MCAP file"),
        (b"\x89MCAP0\r\n\x01" + struct.pack("<Q", 99) + b"ros2", "ends within its header"),
    ],
)
def test_what_is_no_mcap_file_is_refused(tmp_path, content, message):
    path = tmp_path / "a_0.mcap"
    path.write_bytes(content)
    with pytest.raises(EpisodeError, match=message):
        repair(path)
    assert path.read_bytes() == content


def test_a_file_that_is_being_written_is_not_repaired(tmp_path):
    writer = make_writer(tmp_path / "a")
    fill(writer, 5)
    with pytest.raises(EpisodeError, match="is being written by a recorder"):
        repair(writer.path)
    writer.close()
    assert len(read_back(tmp_path / "a")) == 10


FULL = """
import resource, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from test_recorded_bag import fill, make_writer
writer = make_writer(Path({folder!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
try:
    fill(writer, 400, flush_each=2, size=256)
except OSError as error:
    print("failed:", error.strerror)
if {lifted}:
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
print(writer.close().messages)
"""


@pytest.mark.parametrize(
    ("room", "lifted", "kept"), [(100, False, 19), (100, True, 20), (100_000, False, 20)]
)
def test_a_full_disk_leaves_a_whole_bag_of_what_fitted(tmp_path, room, lifted, kept):
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[1] == resource.RLIM_INFINITY
    writer = make_writer(tmp_path / "whole")
    fill(writer, 60, flush_each=2, size=256)
    writer.close()
    with writer.path.open("rb") as file:
        chunk = summary_of(make_reader(file)).chunk_indexes[19]  # the twentieth
    end = chunk.chunk_start_offset + chunk.chunk_length + chunk.message_index_length
    folder = tmp_path / "a"
    here = str(Path(__file__).parent)
    code = FULL.format(here=here, folder=str(folder), limit=end + room, lifted=lifted)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    failed, messages = done.stdout.splitlines()
    assert failed == "failed: File too large"
    # The end of the file needs more than 100 bytes: there, a chunk is given up for it.
    assert int(messages) == 4 * kept
    got = read_back(folder)
    assert len(got) == 4 * kept
    assert got[-2][2] == image(2 * kept - 1, 256)


def test_definitions_hold_every_type_in_them():
    text = full_definition("trossen_pi0_msgs/msg/ActionChunk")
    parts = text.split("=" * 80 + "\n")
    assert [part.split("\n")[0] for part in parts[1:]] == [
        "MSG: std_msgs/Header",
        "MSG: builtin_interfaces/Time",
        "MSG: builtin_interfaces/Duration",
    ]
    assert "float64[] positions" in parts[0]
    assert type_hash("sensor_msgs/msg/Image") == IMAGE_HASH


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sensor_msgs/Image", "a message type is such as 'sensor_msgs/msg/Image'"),
        ("sensor_msgs/msg/../Image", "a message type is such as"),
        ("sensor_msgs/msg/Imago", "the definition of sensor_msgs/msg/Imago is not installed"),
    ],
)
def test_types_that_are_not_there_are_named(name, message):
    with pytest.raises(EpisodeError, match=message):
        full_definition(name)


def test_unknown_parts_of_a_definition_are_named(tmp_path):
    folder = tmp_path / "share" / "my_msgs" / "msg"
    folder.mkdir(parents=True)
    (folder / "Outer.msg").write_text("Inner[3] parts\n")
    with pytest.raises(EpisodeError, match="my_msgs/msg/Inner is not installed"):
        full_definition("my_msgs/msg/Outer", (tmp_path,))
    (folder / "Inner.msg").write_text("float32 x\n")
    (folder / "Other.msg").write_text("Inner[<=2] parts\n")
    assert full_definition("my_msgs/msg/Other", (tmp_path,)).endswith(
        "MSG: my_msgs/Inner\nfloat32 x\n"
    )


def test_offers_known_later_reach_the_metadata(tmp_path):
    writer = make_writer(tmp_path / "a")
    fill(writer, 1)
    late = dataclasses.replace(writer.topics["/joints"], qos=(QOS,))
    writer.add_topic(late)
    writer.close()
    content = yaml.safe_load((tmp_path / "a" / "metadata.yaml").read_text())
    topics = content["rosbag2_bagfile_information"]["topics_with_message_count"]
    assert topics[1]["topic_metadata"]["offered_qos_profiles"] == [QOS]
    assert topics[1]["message_count"] == 1
