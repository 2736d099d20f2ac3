"""What a run leaves behind: video, plot, figures."""

import contextlib
import json
import math
import subprocess
import sys
import threading
import time

import av
import matplotlib.image
import numpy as np
import psutil
import pytest
from sensor_msgs.msg import JointState

from trossen_pi0_bringup.episodes import EpisodeResult
from trossen_pi0_bringup.recording import EpisodeRecording, Series
from trossen_pi0_bringup.report import episode_summary, plot_joints, write_json
from trossen_pi0_bringup.resources import ResourceMonitor
from trossen_pi0_bringup.video import MosaicVideo
from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.joints import JointMap
from trossen_pi0_msgs.msg import ActionChunk, ControllerStatus, SimStatus
from trossen_pi0_ros.convert import time_msg

NAMES = list(JointMap().urdf_names)
SECOND = 1_000_000_000


def joints(stamp_ns, positions):
    message = JointState(name=NAMES, position=[float(p) for p in positions])
    message.header.stamp = time_msg(stamp_ns)
    return message


def a_recording():
    """One second: commands rise by 0.1 rad, the arms lag behind by 0.01 rad."""
    recording = EpisodeRecording()
    for i in range(31):
        recording.add_command(joints(SECOND + i * SECOND // 30, [0.1 * i / 30] * 14))
    for i in range(101):
        recording.add_measured(joints(SECOND + i * SECOND // 100, [0.1 * i / 100 - 0.01] * 14))
    chunk = ActionChunk(chunk_id=1, horizon=50)
    chunk.header.stamp = time_msg(SECOND + SECOND // 2)
    recording.add_chunk(chunk)
    return recording


def decoded(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_video_shows_each_camera_in_its_tile(tmp_path):
    colours = {
        "cam_high": (250, 10, 10),
        "cam_low": (10, 250, 10),
        "cam_left_wrist": (10, 10, 250),
        "cam_right_wrist": (250, 250, 10),
    }
    video = MosaicVideo(tmp_path / "video.mp4", CAMERAS, rate_hz=30)
    for camera, colour in colours.items():
        video.update(camera, np.full((480, 640, 3), colour, dtype=np.uint8))
    while video.frames < 8:
        pass
    video.close()
    last = decoded(tmp_path / "video.mp4")[-1]
    assert last.shape == (480, 640, 3)
    centres = {"cam_high": (120, 160), "cam_low": (120, 480)}
    centres |= {"cam_left_wrist": (360, 160), "cam_right_wrist": (360, 480)}
    for camera, (row, column) in centres.items():
        np.testing.assert_allclose(last[row, column], colours[camera], atol=12)


@pytest.mark.parametrize("missing", [[], ["cam_low"]])
def test_the_video_begins_with_pictures(tmp_path, missing):
    """They come after the video was begun; that of a dead camera never does."""
    with contextlib.closing(MosaicVideo(tmp_path / "video.mp4", CAMERAS, rate_hz=30)) as video:
        pictures_come_s = time.monotonic() + 0.2
        while time.monotonic() < pictures_come_s:
            assert video.frames == 0
        for camera in CAMERAS:
            if camera not in missing:
                video.update(camera, np.full((48, 64, 3), 200, dtype=np.uint8))
        deadline = time.monotonic() + 10.0
        while video.frames < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    first = decoded(tmp_path / "video.mp4")[0]
    centres = [first[120 + 240 * (i // 2), 160 + 320 * (i % 2), 0] for i in range(len(CAMERAS))]
    assert [centre > 150 for centre in centres] == [camera not in missing for camera in CAMERAS]


def test_a_video_that_ends_at_once_has_a_frame(tmp_path):
    MosaicVideo(tmp_path / "video.mp4", CAMERAS).close()
    assert len(decoded(tmp_path / "video.mp4")) == 1


def test_tracking_error_compares_at_the_times_of_the_commands():
    error = a_recording().tracking_error()
    assert error.shape == (31, 14)
    np.testing.assert_allclose(error, -0.01, atol=1e-9)


def test_measurements_of_one_arm_alone_are_left_out():
    recording = a_recording()
    alone = JointState(name=NAMES[:7], position=[0.0] * 7)
    alone.header.stamp = time_msg(3 * SECOND)
    recording.add_measured(alone)
    stamps_ns, values = recording.measured.arrays()
    assert len(stamps_ns) == 101
    assert values.shape == (101, 14)


def test_a_copy_stays_whole_while_messages_come_in():
    recording, stop = a_recording(), threading.Event()

    def receive():
        i = 0
        while not stop.is_set():
            i += 1
            recording.add_measured(joints(3 * SECOND + i, [0.0] * 14))
            recording.add_command(joints(3 * SECOND + i, [0.0] * 14))

    thread = threading.Thread(target=receive)
    thread.start()
    try:
        copies = [recording.copy() for _ in range(300)]
    finally:
        stop.set()
        thread.join()
    for copy in copies:
        assert len(copy.measured.stamps_ns) == len(copy.measured.values)
        assert len(copy.commands.stamps_ns) == len(copy.commands.values)
    assert len(copies[0].commands.values) < len(recording.commands.values)
    assert copies[0].chunks == recording.chunks
    assert copies[0].chunks is not recording.chunks


def test_status_of_the_episode_before_is_not_taken():
    recording = EpisodeRecording(begun_ns=5 * SECOND)
    old = SimStatus(success=True)
    old.header.stamp = time_msg(5 * SECOND - 1)
    recording.add_sim(old)
    assert recording.sim is None
    new = SimStatus(success=False, real_time_factor=0.99)
    new.header.stamp = time_msg(5 * SECOND)
    recording.add_sim(new)
    assert recording.sim is new


def test_summary_is_plain_json_with_the_figures(tmp_path):
    recording = a_recording()
    recording.controller = ControllerStatus(
        ticks=100, missed_deadlines=2, tick_lateness_p99_s=math.nan, starvation_count=1
    )
    recording.overheads_s = {1: 0.010, 2: 0.020, 3: math.nan}
    result = EpisodeResult(7, "red_cube", success=True, stage="placed", recording=recording)
    write_json(tmp_path / "summary.json", episode_summary(result))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["success"] is True
    assert summary["tracking_error"]["joints_max_rad"] == 0.01
    assert summary["tracking_error"]["carriages_max_mm"] == 10.0
    assert summary["overhead_latency_ms"] == {"count": 2, "p50": 15.0, "p99": 19.9}
    assert summary["controller"]["missed_deadlines"] == 2
    assert summary["controller"]["tick_lateness_p99_ms"] is None


def test_plot_is_drawn_also_when_nothing_was_recorded(tmp_path):
    plot_joints(a_recording(), tmp_path / "full.png", "full")
    plot_joints(EpisodeRecording(), tmp_path / "empty.png", "empty")
    without_commands = a_recording()
    without_commands.commands = Series()
    plot_joints(without_commands, tmp_path / "test_mode.png", "nothing was sent")
    full = matplotlib.image.imread(tmp_path / "full.png")
    assert full.shape[0] > 1000
    assert full.min() < 0.2
    assert (tmp_path / "empty.png").stat().st_size > 1000


def test_resources_see_a_busy_process():
    script = "x = bytearray(200_000_000)\nprint('ready', flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        monitor = ResourceMonitor({"busy": process.pid}, interval_s=0.02)
        monitor.restart()
        busy = psutil.Process(process.pid)
        begun_s = busy.cpu_times().user
        while busy.cpu_times().user < begun_s + 0.3:  # many of the kernel's 10 ms ticks
            pass
        share = monitor.cpu_shares()["busy"]
        process.kill()
        process.wait()
        monitor.close()
    assert 0.1 < share < 1.2
    peaks = monitor.peak_memory_mb()
    assert peaks["busy"] == pytest.approx(peaks["total"])
    assert 200 < peaks["busy"] < 500
