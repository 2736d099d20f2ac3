"""Recorded commands as a motion: what is read, sampled and refused."""

import dataclasses

import numpy as np
import pytest

from fixtures.bags import BEGAN_NS, Episode
from trossen_pi0_core.errors import EpisodeError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.parameters import ArmControllerParameters
from trossen_pi0_data.bag_reader import EpisodeReader
from trossen_pi0_data.commands import CommandTrack, read_command_track

MS = 1_000_000
LIMITS = ArmControllerParameters().limits
NAMES = JointMap().urdf_names
REST = np.tile([0.0, 1.0, 0.5, 0.5, 0.0, 0.0, 0.02], 2)


def swing(times_s):
    """A motion inside the limits, from rest."""
    at = np.asarray(times_s)[:, None]
    shape = np.linspace(0.5, 1.5, 14) * np.tile([1, 1, 1, 1, 1, 1, 0.01], 2)
    return np.asarray(REST + 0.4 * shape * np.sin(0.5 * np.pi * at) ** 2, np.float64)


def track(times_s=None, **changes):
    times_s = np.arange(61) / 30 if times_s is None else np.asarray(times_s)
    made = CommandTrack(NAMES, np.round(times_s * 1e9).astype(np.int64), swing(times_s))
    return dataclasses.replace(made, **changes)


def test_between_the_commands_lies_the_motion_that_they_were_taken_from():
    times_ns = np.arange(0, 2000, 7) * MS
    assert np.abs(track().sample(times_ns) - swing(times_ns / 1e9)).max() < 1e-5


def test_before_and_after_the_commands_the_arms_stay():
    commands = track()
    np.testing.assert_allclose(commands.sample([-1e9])[0], commands.positions[0], atol=1e-12)
    np.testing.assert_allclose(commands.sample([9e9])[0], commands.positions[-1], atol=1e-12)


@pytest.mark.parametrize(
    ("times_s", "message"),
    [
        ([0.0], "need two commands or more in what is replayed, got 1"),
        ([0.0, 0.1, 0.05], r"after 0\.100 s one goes back by 0\.050 s"),
        ([0.0, 0.1, 0.1], r"after 0\.100 s one goes back by -?0\.000 s"),
        ([0.0, 0.1, 0.9], r"no command for 0\.80 s after 0\.10 s, allowed are 0\.5 s"),
    ],
)
def test_commands_that_are_no_motion_are_refused(times_s, message):
    with pytest.raises(EpisodeError, match=message):
        track(times_s)


def test_values_that_are_not_finite_are_refused():
    positions = swing(np.arange(61) / 30)
    positions[30, 3] = np.nan
    with pytest.raises(EpisodeError, match=r"got nan for follower_left_joint_3 at 1\.00"):
        track(positions=positions)


def test_accelerations_are_continuous_and_both_ends_at_rest():
    step_s = 1e-3
    curve = track().sample(np.arange(-0.5, 2.5, step_s) * 1e9)
    speeds = np.diff(curve, axis=0) / step_s
    accelerations = np.diff(speeds, axis=0) / step_s
    inside = accelerations[510:2490]
    assert np.abs(np.diff(inside, axis=0)).max() < 0.05  # rad/s^2 in a millisecond
    assert np.abs(speeds[[0, 499, 500, 2499, -1]]).max() < 0.01


def test_a_motion_inside_the_limits_fits():
    track().check(LIMITS, 1.0)
    track().check(LIMITS, 2.0)


def test_positions_outside_the_limits_are_refused():
    positions = track().positions.copy()
    positions[15, 8] = -0.2
    with pytest.raises(EpisodeError, match=r"right_joint_1: the command -0\.2000 at 0\.50 s"):
        track(positions=positions).check(LIMITS, 1.0)


def test_speeds_grow_with_the_rate():
    positions = np.tile(REST, (31, 1))
    positions[:, 0] = np.linspace(0.0, 2.5, 31)  # 2.5 rad/s
    made = track(np.arange(31) / 30, positions=positions)
    made.check(LIMITS, 1.0)
    with pytest.raises(EpisodeError, match=r"left_joint_0: the commands move at 5\.0.* 3\.375 /s"):
        made.check(LIMITS, 2.0)


def test_another_robot_is_refused():
    with pytest.raises(EpisodeError, match="the arm controller has"):
        dataclasses.replace(track(), names=NAMES[::-1]).check(LIMITS, 1.0)


def test_joints_are_read_by_their_names_in_any_order(tmp_path):
    episode = Episode("mixed", joint_names=NAMES[::-1])
    commands = read_command_track(EpisodeReader(episode.write(tmp_path)), JointMap())
    assert commands.names == NAMES
    assert len(commands.stamps_ns) == 100
    assert commands.stamps_ns[0] == BEGAN_NS
    expected = [episode.positions(0.5, 0.1)[name] for name in NAMES]
    np.testing.assert_allclose(commands.positions[50], expected)


def test_commands_without_a_joint_are_refused(tmp_path):
    reader = EpisodeReader(Episode("few", joint_names=NAMES[1:]).write(tmp_path))
    with pytest.raises(
        EpisodeError, match=r"few, /arm_controller/command: joints missing: \['foll"
    ):
        read_command_track(reader, JointMap())


def test_an_episode_without_commands_is_refused(tmp_path):
    silent = Episode("silent", stop_s={"/arm_controller/command": 0.0}).write(tmp_path)
    with pytest.raises(EpisodeError, match="has no topic '/arm_controller/command'"):
        read_command_track(EpisodeReader(silent), JointMap())
