"""Frames of an episode are those that the live policy node would have had."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from mcap.writer import Writer
from PIL import Image

from fixtures.bags import BEGAN_NS, Episode
from trossen_pi0_core.contract import CAMERAS, NANOSECONDS
from trossen_pi0_core.errors import EpisodeError, ImageError
from trossen_pi0_core.images import rgb_from_compressed, rgb_from_raw
from trossen_pi0_core.joints import JointMap
from trossen_pi0_data.bag_reader import EpisodeReader
from trossen_pi0_data.compression import IMAGE, H264Encoder, read_picture, typestore
from trossen_pi0_data.definitions import COMPRESSED_VIDEO
from trossen_pi0_data.frames import EpisodeFrames, FrameSettings
from trossen_pi0_data.streams import Track, read_commands, read_pictures
from trossen_pi0_policy.observations import ObservationBuffer

MS = 1_000_000


def frames_of(tmp_path: Path, **changes) -> EpisodeFrames:
    folder = Episode("one", **{"seconds": 1.0, **changes}).write(tmp_path)
    return EpisodeFrames(EpisodeReader(folder))


def live_observation(frames: EpisodeFrames, tick_ns: int):
    """What a policy node that had subscribed from the beginning would see at a time."""
    settings = FrameSettings()
    buffer = ObservationBuffer(frames.joint_names, frames.cameras, settings.tolerances)
    reader = frames.reader
    cameras = {reader.info.cameras[camera].topic: camera for camera in frames.cameras}
    for message in reader.messages(["/joint_states", *cameras], None, tick_ns + 1):
        content = reader.decode(message)
        stamp = content.header.stamp.sec * NANOSECONDS + content.header.stamp.nanosec
        if message.topic == "/joint_states":
            buffer.add_joints(stamp, content.name, content.position, message.log_ns)
        else:
            image = content.data.reshape(content.height, content.width, 3)
            buffer.add_image(cameras[message.topic], stamp, image, message.log_ns)
    return buffer.assemble(tick_ns, frames.prompt)


@pytest.mark.parametrize("jitter", [0, 11])
def test_frames_are_the_live_nodes_observations(tmp_path, jitter):
    random = np.random.default_rng(jitter)
    delays = random.integers(-jitter - 20, -20 + 1, size=(len(CAMERAS), 40)) * MS
    shift = {camera: delays[i].__getitem__ for i, camera in enumerate(CAMERAS)}
    frames = frames_of(tmp_path, shift_ns=shift)
    made = list(frames)
    assert len(made) >= 27
    for frame in made:
        live = live_observation(frames, frame.time_ns)
        seen = frame.observation
        assert seen.stamp_ns == live.stamp_ns
        assert seen.image_stamps_ns == live.image_stamps_ns
        assert seen.prompt == live.prompt == "grab the red cube"
        np.testing.assert_array_equal(seen.state, live.state)
        for camera in CAMERAS:
            np.testing.assert_array_equal(seen.images[camera], live.images[camera])


def test_a_good_episode_has_a_frame_for_each_picture(tmp_path):
    frames = frames_of(tmp_path)
    made = list(frames)
    assert [frame.index for frame in made] == list(range(len(made)))
    assert frames.problems == []
    assert (frames.counts.grid, frames.counts.frames, frames.counts.held) == (30, 30, 0)
    stamps = [frame.observation.image_stamps_ns["cam_high"] for frame in made]
    assert stamps == [BEGAN_NS + round(i * NANOSECONDS / 30) for i in range(30)]
    assert frames.expected == 30


def test_the_action_is_the_command_in_force_at_the_observation(tmp_path):
    frames = frames_of(tmp_path)
    episode = Episode("one")
    for frame in frames:
        at = (frame.observation.stamp_ns - BEGAN_NS) / NANOSECONDS
        wanted = episode.positions(at, 0.1)
        np.testing.assert_allclose(frame.action, [wanted[n] for n in frames.joint_names], atol=1e-9)


def test_between_commands_lie_straight_lines():
    track = Track(
        ("a",), np.array([0, 100, 1000]), np.zeros(3, np.int64), np.array([[0.0], [1.0], [5.0]])
    )
    gap = 200
    assert track.at(-1, gap) is None
    assert track.at(25, gap) == pytest.approx([0.25])
    assert track.at(250, gap) == pytest.approx([1.0])
    assert track.at(301, gap) is None
    assert track.at(1200, gap) == pytest.approx([5.0])
    assert track.at(1201, gap) is None


def test_without_pictures_the_rest_is_the_same(tmp_path):
    frames = frames_of(tmp_path, joint_names=JointMap().urdf_names[::-1])
    whole, quick = list(frames), list(frames.frames(pictures=False))
    assert len(whole) == len(quick)
    for a, b in zip(whole, quick, strict=True):
        assert (a.index, a.time_ns, a.observation.stamp_ns) == (
            b.index,
            b.time_ns,
            b.observation.stamp_ns,
        )
        assert a.observation.image_stamps_ns == b.observation.image_stamps_ns
        np.testing.assert_array_equal(a.action, b.action)
    assert frames.joint_names == JointMap().urdf_names
    assert whole[0].observation.state[0] == pytest.approx(0.0)


def test_a_camera_that_stops_half_way_costs_the_frames_after_it(tmp_path):
    frames = frames_of(tmp_path, seconds=2.0, stop_s={"/cam_low/color/image_raw": 1.0})
    made = list(frames)
    assert made[-1].index == 35
    assert frames.counts.held == 6
    assert frames.counts.grid == 60
    assert frames.counts.frames == 36
    still, old = frames.counts.reasons()
    assert still == "2 frames are missing, the first is 36: cam_low: nothing new has come"
    assert old.startswith("22 frames are missing, the first is 38: cam_low: newest picture is 0.3")


def test_a_lost_picture_holds_the_observation_while_the_actions_go_on(tmp_path):
    lost = {"cam_low": lambda i: -400 * MS if 10 <= i < 13 else 0}  # too old to be taken
    frames = frames_of(tmp_path, shift_ns=lost)
    made = list(frames)
    assert [frame.index for frame in made] == list(range(30))
    assert (frames.counts.held, frames.counts.lost) == (3, {})
    stamps = [frame.observation.stamp_ns for frame in made]
    assert len(set(stamps[9:13])) == 1
    episode = Episode("one")
    for i in range(9, 13):
        late_s = (made[i].time_ns - made[9].time_ns) / NANOSECONDS
        at = (stamps[9] - BEGAN_NS) / NANOSECONDS + late_s
        wanted = episode.positions(at, 0.1)
        np.testing.assert_allclose(
            made[i].action, [wanted[n] for n in frames.joint_names], atol=1e-4
        )


def without_commands_before(frames: EpisodeFrames, begins_ns: int) -> EpisodeFrames:
    after = frames.commands.stamps_ns >= begins_ns
    frames.commands = Track(
        frames.commands.names,
        frames.commands.stamps_ns[after],
        frames.commands.log_ns[after],
        frames.commands.positions[after],
    )
    return frames


def test_frames_before_the_first_command_are_no_loss(tmp_path):
    frames = without_commands_before(frames_of(tmp_path), BEGAN_NS + 500 * MS)
    made = list(frames)
    assert made[0].index == frames.counts.first == 15
    assert len(frames.counts.missing) == 15
    assert frames.counts.lost == {}


def test_an_episode_begins_with_a_new_observation(tmp_path):
    late = {4: -400 * MS, 5: -60 * MS}  # one is held, up to behind the next one's stamp
    shift = {camera: lambda i: late.get(i, 0) for camera in CAMERAS}
    begins_ns = BEGAN_NS + 120 * MS  # between the two
    frames = without_commands_before(frames_of(tmp_path, shift_ns=shift), begins_ns)
    made = list(frames)
    assert (made[0].index, frames.counts.held, frames.counts.lost) == (6, 0, {})
    assert made[0].observation.stamp_ns > begins_ns


def test_stamps_out_of_order_are_counted_and_change_nothing(tmp_path):
    back = {"cam_high": lambda i: -70 * MS if i == 10 else 0}
    frames = frames_of(tmp_path, shift_ns=back)
    made = list(frames)
    assert frames.problems == ["1 times: cam_high: stamped no later than a picture before"]
    stamps = [frame.observation.image_stamps_ns["cam_high"] for frame in made]
    assert stamps == sorted(stamps)


def test_a_late_camera_is_told(tmp_path):
    frames = frames_of(tmp_path, shift_ns={"cam_high": lambda _: -400 * MS})
    with pytest.raises(EpisodeError, match="one has no complete observation: cam_high: no picture"):
        list(frames)
    assert any("stamped 0.40 s in the past" in text for text in frames.problems)


def test_a_recorder_with_another_clock_is_understood(tmp_path):
    episode = Episode("one")
    hour = 3600 * NANOSECONDS
    header = episode._joint_state  # stamps of an hour before
    episode._joint_state = lambda stamp_ns, names, values: header(stamp_ns - hour, names, values)
    episode.shift_ns = dict.fromkeys(CAMERAS, lambda _: -hour)
    frames = EpisodeFrames(EpisodeReader(episode.write(tmp_path)))
    made = list(frames)
    assert len(made) == 30
    assert frames.problems[0].startswith("the recorder's clock was 3600.000 s ahead of the stamps")
    assert made[0].observation.stamp_ns == BEGAN_NS - hour


@pytest.mark.parametrize("topic", ["/joint_states", "/arm_controller/command"])
def test_episodes_without_joints_or_commands_have_no_frames(tmp_path, topic):
    with pytest.raises(EpisodeError, match=r"one has no usable (joint states|commands)"):
        frames_of(tmp_path, stop_s={topic: 0.0})


def test_commands_that_stop_cost_the_frames_after_them(tmp_path):
    frames = frames_of(tmp_path, seconds=2.2, stop_s={"/arm_controller/command": 1.0})
    made = list(frames)
    assert made[-1].index == 44
    assert "commands: none within 0.5 s before" in frames.problems[0]


def test_joints_that_are_missing_are_named(tmp_path):
    with pytest.raises(EpisodeError, match=r"one has no usable joint states: .*joints missing"):
        frames_of(tmp_path, joint_names=JointMap().urdf_names[:7])


def test_the_tolerances_are_the_live_nodes_and_are_checked():
    assert FrameSettings().tolerances.sync_ns == 50 * MS
    with pytest.raises(EpisodeError, match="fps must be greater than 0, got 0"):
        FrameSettings(fps=0)


def test_pictures_and_commands_alone(tmp_path):
    reader = frames_of(tmp_path).reader
    pictures = list(read_pictures(reader, "cam_low"))
    assert len(pictures) == 30
    np.testing.assert_array_equal(pictures[4].rgb(), Episode("one").picture("cam_low", 4))
    assert len(read_commands(reader)) == 100
    with pytest.raises(EpisodeError, match="has no camera 'cam_top', it has"):
        next(read_pictures(reader, "cam_top"))


RGB = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "rgba8", "bgra8"])
@pytest.mark.parametrize("padding", [0, 5])
def test_raw_pictures_of_any_encoding_and_step(encoding, padding):
    pixels = RGB[..., ::-1] if encoding.startswith("bgr") else RGB
    if encoding.endswith("a8"):
        pixels = np.concatenate([pixels, np.full((2, 3, 1), 9, np.uint8)], axis=2)
    rows = np.pad(pixels.reshape(2, -1), ((0, 0), (0, padding)))
    result = rgb_from_raw(encoding, 3, 2, rows.shape[1], rows.tobytes())
    np.testing.assert_array_equal(result, RGB)


def test_compressed_pictures():
    for kind in ("png", "jpeg"):
        buffer = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), 77, np.uint8)).save(buffer, kind)
        assert np.abs(rgb_from_compressed(buffer.getvalue()).astype(int) - 77).max() <= 1
        with pytest.raises(ImageError, match="no JPEG or PNG picture, or a damaged one"):
            rgb_from_compressed(buffer.getvalue()[:30])


def test_pictures_of_a_video_stream_are_decoded_in_order(tmp_path):
    reader = video_episode(tmp_path, damaged=())
    pictures = list(read_pictures(reader, "cam_high"))
    assert [p.stamp_ns for p in pictures] == [BEGAN_NS + i * 33 * MS for i in range(20)]
    for number, picture in enumerate(pictures):
        off = picture.rgb().astype(int) - Episode("one").picture("cam_high", number)
        assert np.abs(off).mean() < 6
    assert pictures[0].compressed


def test_damaged_pictures_of_a_video_stream_are_told(tmp_path):
    reader = video_episode(tmp_path, damaged=(3,))
    pictures = list(read_pictures(reader, "cam_high"))
    with pytest.raises(ImageError, match=r"a picture of an H.264 stream cannot be decoded"):
        pictures[3].rgb()
    assert pictures[19].rgb().shape == (48, 64, 3)


def video_episode(tmp_path: Path, damaged: tuple[int, ...]) -> EpisodeReader:
    """A bag with one camera's pictures as the recorder's encoder makes them."""
    folder = tmp_path / "video"
    folder.mkdir()
    encoder, store = H264Encoder(18), typestore()
    image_type, topic = store.types[IMAGE], "/cam_high/color/image_raw/compressed_video"
    info_type = Episode("one")
    with (folder / "video_0.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start(profile="ros2")
        schema = writer.register_schema(
            COMPRESSED_VIDEO,
            "ros2msg",
            store.generate_msgdef(COMPRESSED_VIDEO, ros_version=2)[0].encode(),
        )
        channel = writer.register_channel(topic, "cdr", schema)
        for i in range(20):
            stamp = BEGAN_NS + i * 33 * MS
            message = info_type._image(stamp, "cam_high", info_type.picture("cam_high", i))
            assert isinstance(message, image_type)
            data = encoder.encode(read_picture(bytes(store.serialize_cdr(message, IMAGE))))
            if i in damaged:
                video = store.deserialize_cdr(data, COMPRESSED_VIDEO)
                video.data = np.zeros(9, np.uint8)
                data = bytes(store.serialize_cdr(video, COMPRESSED_VIDEO))
            writer.add_message(channel, stamp, data, stamp)
        writer.finish()
    reader = EpisodeReader(folder)
    assert reader.info.cameras["cam_high"].compression == "h264"
    return reader
