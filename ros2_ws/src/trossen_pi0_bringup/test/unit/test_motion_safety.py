"""The fault campaign's proof of safe motion finds what is not safe."""

import numpy as np
import pytest

from fault_harness.recording import MOTION, SET_POINT, RecordReader, RecordWriter
from fault_harness.safety import (
    COMMAND,
    Evidence,
    Rules,
    UnsafeMotionError,
    assert_motion_is_safe,
    held_from,
)
from trossen_pi0_core.parameters import ArmControllerParameters

PARAMETERS = ArmControllerParameters()
RULES = Rules(
    PARAMETERS.limits.slowed(PARAMETERS.velocity_fraction), PARAMETERS.limits.velocity, 0.02
)
MIDDLE = (RULES.limits.lower + RULES.limits.upper) / 2
AMPLITUDE = np.tile([0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.005], 2)
SPEED = 2 * np.pi * 0.5


def path(times_s):
    return MIDDLE + AMPLITUDE * np.sin(SPEED * np.asarray(times_s))[..., None]


@pytest.fixture
def evidence():
    """Two seconds of a sine at 0.5 Hz, as it would be recorded."""
    jitter = np.random.default_rng(3)
    arrivals_s = np.sort(np.arange(0.0, 2.0, 1 / 420) + jitter.uniform(0, 0.004, 840))
    points = np.zeros(2 * len(arrivals_s), dtype=SET_POINT)
    for arm in (0, 1):
        part = points[arm :: len(points) // len(arrivals_s)]
        part["time_s"], part["arm"], part["driven"] = arrivals_s, arm, 1
        part["target"] = part["measured"] = path(arrivals_s)[:, 7 * arm : 7 * arm + 7]
    points["driven"][:2] = 0
    motion = np.zeros(600, dtype=MOTION)
    motion["time_s"] = np.arange(600) / 300
    motion["positions"] = path(motion["time_s"])
    commands = np.zeros(200, dtype=COMMAND)
    commands["time_s"] = times_s = np.arange(200) / 100
    commands["stamp_ns"] = 1_700_000_000_000_000_000 + np.arange(200) * 10_000_000
    commands["positions"] = path(times_s)
    commands["velocities"] = (path(times_s) - path(times_s - 0.01)) / 0.01
    return Evidence(points, motion, commands)


def test_smooth_motion_is_safe_and_its_use_of_the_limits_is_told(evidence):
    use = assert_motion_is_safe(evidence, RULES)
    assert use.speed == pytest.approx(0.628 / (0.7 * 3.375), rel=0.01)
    # the fastest joints' own peak: 0.2 rad * (pi/s)^2, of 15 rad/s^2
    assert use.acceleration == pytest.approx(1.974 / 15.0, rel=0.01)
    assert use.position == pytest.approx(0.375, abs=1e-3)  # the grippers: 15 of 40 mm are left
    assert 0.05 < use.step < 0.2


def test_nothing_recorded_is_no_proof_of_anything_bad():
    nothing = Evidence(np.zeros(0, SET_POINT), np.zeros(0, MOTION), np.zeros(0, COMMAND))
    assert assert_motion_is_safe(nothing, RULES).speed == 0.0


def refused(evidence, *words):
    with pytest.raises(UnsafeMotionError) as caught:
        assert_motion_is_safe(evidence, RULES)
    for word in words:
        assert word in str(caught.value)


def test_a_set_point_that_is_not_finite(evidence):
    evidence.set_points["target"][401, 2] = np.nan
    refused(evidence, "follower_right_joint_2: set-point is not finite nan", "1 of 839")


def test_a_set_point_outside_the_limits(evidence):
    evidence.set_points["target"][400, 1] = -0.001
    refused(evidence, "follower_left_joint_1: set-point is outside its limits -0.001")


def test_a_jump_of_the_set_points_and_back(evidence):
    evidence.set_points["target"][400, 0] += 0.12
    refused(evidence, "follower_left_joint_0: set-points jumped within 1 steps")


def test_set_points_that_are_steadily_too_fast(evidence):
    """Each step passes, as arrivals are uneven; all together do not."""
    left = evidence.set_points["arm"] == 0
    times_s = evidence.set_points["time_s"][left]
    fast = 1.6 * RULES.limits.velocity[5] * (times_s - 1.0).clip(0, 0.25)
    evidence.set_points["target"][left, 5] = MIDDLE[5] + fast
    refused(evidence, "follower_left_joint_5: set-points jumped within 64 steps")


def test_an_arm_that_is_driven_away_from_where_it_is(evidence):
    first = np.flatnonzero(evidence.set_points["driven"] == 1)[0]
    evidence.set_points["measured"][first, 0] += 0.021
    refused(evidence, "first set-point is away from where the arm is, by 0.021")


def test_set_points_while_the_brakes_are_on_do_not_move_anything(evidence):
    evidence.set_points["driven"][:] = 0
    evidence.set_points["target"][400:, 0] += 1.0
    assert_motion_is_safe(evidence, RULES)


def test_commands_that_are_too_fast(evidence):
    evidence.commands["velocities"][90, 3] = 0.7 * 7.0 + 0.01
    refused(evidence, "follower_left_joint_3: command is too fast, at 4.91")


def test_commands_that_jump_and_do_not_say_so(evidence):
    evidence.commands["positions"][90:, 9] += 0.05
    refused(evidence, "follower_right_joint_2: commands are too far apart, by 0.044")


def test_commands_that_accelerate_too_hard(evidence):
    evidence.commands["velocities"][90, 0] += 0.17
    refused(evidence, "follower_left_joint_0: commands [10.0,", "accelerate too hard")


def test_a_late_command_has_more_time_to_accelerate(evidence):
    """15 rad/s^2 for half of the 20 ms of a late tick and half of the 10 ms before."""
    evidence.commands["stamp_ns"][90:] += 10_000_000
    evidence.commands["velocities"][:] = 0.0
    evidence.commands["velocities"][90:, 0] = 15.0 * 0.015
    assert_motion_is_safe(evidence, RULES)
    evidence.commands["velocities"][90:, 0] = 15.0 * 0.0205
    refused(evidence, "accelerate too hard")


def test_late_commands_in_a_row_are_judged_from_middle_to_middle(evidence):
    """Ticks of 18.6, 16.7 and 15.4 ms: the last one's middle is 16.05 ms after the one before."""
    late_ns = np.cumsum([8_600_000, 6_700_000, 5_400_000])
    evidence.commands["stamp_ns"][90:] += late_ns[2]
    evidence.commands["stamp_ns"][88:90] += late_ns[:2]
    evidence.commands["velocities"][:] = 0.0
    evidence.commands["velocities"][90:, 0] = 15.0 * 0.01605
    assert_motion_is_safe(evidence, RULES)
    evidence.commands["velocities"][90:, 0] = 15.0 * 0.0165
    refused(evidence, "accelerate too hard")


def test_a_clock_that_was_set_is_no_excuse_for_a_jump(evidence):
    evidence.commands["stamp_ns"][90:] += 10_000_000_000
    assert_motion_is_safe(evidence, RULES)
    evidence.commands["positions"][90:, 0] += 0.06
    refused(evidence, "commands are too far apart")


def test_commands_begin_anew_at_rest_when_a_fault_was_cleared(evidence):
    commands = evidence.commands
    commands["stamp_ns"][90:] += 2_000_000_000
    commands["time_s"][90:] += 2.0
    commands["positions"][90:, 0] += 0.06
    commands["velocities"][90:] = 0.0
    assert_motion_is_safe(evidence, RULES)
    commands["velocities"][90:, 0] = 15.0 * 0.0205
    refused(evidence, "accelerate too hard")


def test_an_arm_that_jumps_or_flies(evidence):
    evidence.motion["velocities"][300, 8] = 3.4
    refused(evidence, "follower_right_joint_1: arm moves too fast, at 3.4")
    evidence.motion["velocities"][300, 8] = 0.0
    evidence.motion["positions"][300:, 8] += 0.1
    refused(evidence, "follower_right_joint_1: arm jumped by 0.09")


def test_when_the_set_points_came_to_rest(evidence):
    points = evidence.set_points
    assert held_from(points, 0.5) == pytest.approx(points["time_s"][-1])  # they never did
    still = (points["time_s"] > 1.0) & (points["arm"] == 0)
    points["target"][still] = points["target"][still][0]
    later = (points["time_s"] > 1.2) & (points["arm"] == 1)
    points["target"][later] = points["target"][later][0]
    assert held_from(points, 0.5) == pytest.approx(1.2, abs=0.006)
    assert held_from(points, 1.5) == 1.5
    braked = (points["time_s"] > 1.1) & (points["arm"] == 1)
    points["driven"][braked] = 0
    assert held_from(points, 0.5) == pytest.approx(1.1, abs=0.006)
    assert held_from(points[:0], 1.5) == 1.5


def test_records_survive_their_writer(tmp_path):
    writer = RecordWriter(tmp_path / "motion.bin", MOTION)
    for i in range(5):
        writer.add(float(i), np.full(14, i), np.zeros(14))
    writer.close()
    with (tmp_path / "motion.bin").open("ab") as file:
        file.write(b"half a record of a killed process")
    records = RecordReader(tmp_path / "motion.bin", MOTION).since(2.0)
    assert records["time_s"].tolist() == [2.0, 3.0, 4.0]
    assert records["positions"][1].tolist() == [3.0] * 14
    assert len(RecordReader(tmp_path / "none.bin", MOTION).since(0.0)) == 0
