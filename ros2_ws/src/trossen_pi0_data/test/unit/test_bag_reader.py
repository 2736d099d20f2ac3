"""Episodes are read whole or cut off, ours or others', and what is wrong is told."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from mcap.writer import CompressionType, Writer

from fixtures.bags import BEGAN_NS, Episode
from trossen_pi0_core.errors import EpisodeError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_data.bag_reader import EpisodeReader, list_episodes

JOINTS = "/joint_states"
COMMANDS = "/arm_controller/command"
HIGH = "/cam_high/color/image_raw"


def write(tmp_path: Path, **changes) -> Path:
    return Episode("one", **{"seconds": 0.5, **changes}).write(tmp_path)


def container(folder: Path) -> Path:
    return folder / f"{folder.name}_0.mcap"


def test_a_good_episode_has_all_messages_and_no_problems(tmp_path):
    reader = EpisodeReader(write(tmp_path))
    assert reader.problems == []
    assert {t: i.messages for t, i in reader.topics.items()} == {
        COMMANDS: 50,
        JOINTS: 50,
        **{f"/cam_{c}/color/image_raw": 15 for c in ("high", "low", "left_wrist", "right_wrist")},
    }
    assert reader.duration_s == pytest.approx(0.49)
    assert reader.verify() == []
    assert "string[] name" in reader.raw_schema(JOINTS)


def test_messages_come_in_time_and_by_topic(tmp_path):
    reader = EpisodeReader(write(tmp_path))
    logs = [message.log_ns for message in reader.messages()]
    assert logs == sorted(logs)
    assert len(logs) == 160
    some = list(reader.messages([JOINTS], BEGAN_NS + 100_000_000, BEGAN_NS + 200_000_000))
    assert [m.log_ns - BEGAN_NS for m in some] == [i * 10_000_000 for i in range(10, 20)]
    state = reader.decode(some[0])
    assert list(state.name) == list(JointMap().urdf_names)
    assert state.position[0] == pytest.approx(np.sin(0.1))
    picture = reader.decode(next(reader.messages([HIGH])))
    assert (picture.width, picture.height, picture.encoding) == (64, 48, "rgb8")
    assert list(reader.messages(["/nowhere"])) == []


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_a_cut_off_file_is_read_up_to_its_last_whole_chunk(tmp_path, share):
    reader = EpisodeReader(write(tmp_path, truncate=share, seconds=2.0, state="recording"))
    said = " ".join(reader.problems)
    assert "one_0.mcap has no footer: its recorder was killed" in said
    assert "it was never ended" in said
    assert "damaged" not in said
    count = reader.topics[JOINTS].messages
    assert 0 < count <= 200
    assert len(list(reader.messages([JOINTS]))) == count
    if share > 0.1:
        assert count < 200


def test_a_file_without_index_is_read(tmp_path):
    folder = write(tmp_path)
    data = container(folder).read_bytes()
    end = data.rindex(b"\x0f" + (4).to_bytes(8, "little"))  # the record that ends the data
    container(folder).write_bytes(data[:end])
    reader = EpisodeReader(folder)
    assert reader.problems == ["one_0.mcap has no footer: its recorder was killed"]
    assert reader.topics[JOINTS].messages == 50


def test_zeros_after_a_power_cut_are_no_messages(tmp_path):
    folder = write(tmp_path, truncate=0.5, seconds=2.0)
    with container(folder).open("ab") as file:
        file.write(bytes(5000))
    reader = EpisodeReader(folder)
    assert any("has no footer" in text for text in reader.problems)
    assert 0 < reader.topics[JOINTS].messages < 200


@pytest.mark.parametrize("kind", [CompressionType.NONE, CompressionType.ZSTD, CompressionType.LZ4])
@pytest.mark.parametrize("ended", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_messages_that_were_written_out_of_order_come_in_order(tmp_path, kind, ended, chunked):
    folder = tmp_path / "mixed"
    folder.mkdir()
    with container(folder).open("wb") as file:
        writer = Writer(file, chunk_size=60, compression=kind, use_chunking=chunked)
        writer.start(profile="ros2")
        schema = writer.register_schema("std_msgs/msg/Int8", "ros2msg", b"int8 data")
        channel = writer.register_channel("/number", "cdr", schema)
        for log in (3, 1, 2, 5, 4, 9, 6, 8, 7):
            writer.add_message(channel, log * 10, bytes([0, 1, 0, 0, log]), log)
        if ended:
            writer.finish()
        else:
            writer.flush()
    reader = EpisodeReader(folder)
    assert any("has no footer" in text for text in reader.problems) is not ended
    numbers = [reader.decode(message).data for message in reader.messages()]
    assert numbers == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert [m.publish_ns for m in reader.messages(None, 30, 60)] == [3, 4, 5]
    assert reader.topics["/number"].messages == 9
    assert reader.span_ns == (10, 90)


def test_a_damaged_chunk_is_told_and_the_rest_is_read(tmp_path):
    folder = write(tmp_path, seconds=2.0)
    data = bytearray(container(folder).read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    container(folder).write_bytes(data)
    reader = EpisodeReader(folder)
    assert any("is damaged, its messages are lost" in text for text in reader.verify())
    assert 0 < len(list(reader.messages([JOINTS]))) < 200


def test_a_plain_bag_tells_what_it_can(tmp_path):
    folder = write(tmp_path, joint_names=JointMap().urdf_names[::-1])
    (folder / "episode.json").unlink()
    reader = EpisodeReader(folder)
    info = reader.info
    assert reader.problems == []
    assert (info.name, info.prompt, info.outcome, info.seed) == ("one", "", "unknown", None)
    assert info.joint_names == JointMap().urdf_names
    assert info.dataset_joint_names[0] == "left_joint_0.pos"
    assert info.cameras["cam_low"].topic == "/cam_low/color/image_raw"
    assert (info.cameras["cam_low"].width, info.cameras["cam_low"].encoding) == (64, "rgb8")
    assert info.began == "2023-11-14T22:13:20.000+00:00"
    assert info.duration_s == pytest.approx(0.49)


def test_missing_and_silent_topics_and_dropped_messages_are_told(tmp_path):
    folder = write(tmp_path, stop_s={HIGH: 0.0, COMMANDS: 0.0})
    path = folder / "episode.json"
    content = json.loads(path.read_text())
    content["topics"][JOINTS]["dropped"] = 3
    content["topics"][JOINTS]["messages"] = 53
    path.write_text(json.dumps(content))
    assert EpisodeReader(folder).problems == [
        f"{JOINTS}: 3 messages were dropped in recording",
        f"{JOINTS}: 50 messages are there, 53 were recorded",
        f"{COMMANDS}: no messages",
        f"{HIGH}: no messages",
    ]


def test_an_empty_episode_and_a_renamed_one(tmp_path):
    folder = write(tmp_path, seconds=0.0)
    assert EpisodeReader(folder).problems == ["it has no messages"]
    folder = folder.rename(tmp_path / "two")
    assert EpisodeReader(folder).problems[0] == (
        "episode.json calls the episode 'one': the folder was renamed"
    )


def test_what_is_no_episode_is_refused(tmp_path):
    with pytest.raises(EpisodeError, match="does not exist: an episode is a rosbag2 folder"):
        EpisodeReader(tmp_path / "none")
    folder = tmp_path / "db"
    folder.mkdir()
    (folder / "db_0.db3").write_bytes(b"SQLite")
    with pytest.raises(EpisodeError, match=r"no .mcap file, only \['db_0.db3'\].*ros2 bag convert"):
        EpisodeReader(folder)
    for content, says in ((b"", "is empty"), (b"SQLite format 3", "it is no MCAP file")):
        (folder / "db_0.mcap").write_bytes(content)
        with pytest.raises(EpisodeError, match=says):
            EpisodeReader(folder)


def test_bad_metadata_and_bytes_of_another_type_are_told(tmp_path):
    folder = write(tmp_path)
    (folder / "metadata.yaml").write_text("a: [")
    reader = EpisodeReader(folder)
    assert reader.problems[0].startswith("metadata.yaml cannot be read: ParserError")
    (folder / "metadata.yaml").unlink()
    assert EpisodeReader(folder).problems == ["metadata.yaml is missing: its recorder was killed"]
    message = next(reader.messages([JOINTS]))
    with pytest.raises(EpisodeError, match=r"one: a message of /joint_states .5 bytes. is no sens"):
        reader.decode(dataclasses.replace(message, data=message.data[:5]))
    with pytest.raises(EpisodeError, match="has no topic '/nowhere', it has"):
        reader.raw_schema("/nowhere")


def test_episodes_are_listed(tmp_path):
    with pytest.raises(EpisodeError, match="there is no episode in"):
        list_episodes(tmp_path)
    one = write(tmp_path)
    (tmp_path / "notes").mkdir()
    assert list_episodes(tmp_path) == [one]
    assert list_episodes(one) == [one]
    with pytest.raises(EpisodeError, match="no folder of episodes"):
        list_episodes(tmp_path / "none")
