"""How planned and executed motions compare with recorded ones, with literal numbers."""

import numpy as np
import pytest

from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.joints import JointMap
from trossen_pi0_data.commands import CommandTrack
from trossen_pi0_data.comparison import compare_chunks, compare_motion

MS = 1_000_000
S = 1000 * MS
T0 = 1_700_000_000 * S
NAMES = JointMap().urdf_names


def still():
    """Two seconds at zero."""
    stamps = T0 + np.linspace(0, 2 * S, 61).astype(np.int64)
    return CommandTrack(NAMES, stamps, np.zeros((61, 14)))


def chunk(t_first_ns, rows, names=NAMES):
    return ActionChunk("run", 1, t_first_ns, t_first_ns, 100 * MS, tuple(names), rows)


def test_rows_are_compared_at_the_times_at_which_they_are_due():
    rows = np.zeros((10, 14))
    rows[:5, 0] = 0.14  # one of twelve joints
    rows[5:, 6] = 0.002  # one of two carriages
    compared = compare_chunks([chunk(T0 + 500 * MS, rows)], still())
    assert compared.chunks == 1
    assert compared.overall.values == 10
    assert compared.overall.joints_mean_rad == pytest.approx(0.14 / 12 / 2)
    assert compared.overall.joints_max_rad == pytest.approx(0.14)
    assert compared.overall.carriages_mean_m == pytest.approx(0.0005)
    assert compared.overall.carriages_rms_m == pytest.approx(0.001)
    near, far = compared.ahead
    assert (near[0], near[1], near[2].joints_max_rad) == (0.0, 0.5, pytest.approx(0.14))
    assert (far[0], far[1], far[2].carriages_max_m) == (0.5, 1.0, pytest.approx(0.002))


def test_joints_in_another_order_are_the_same():
    rows = np.zeros((3, 14))
    rows[:, 13] = 0.1  # left_joint_0, when the names are the other way round
    compared = compare_chunks([chunk(T0, rows, NAMES[::-1])], still())
    assert compared.overall.joints_max_rad == pytest.approx(0.1)
    assert compared.overall.carriages_max_m == 0.0


def test_what_lies_outside_the_recording_does_not_count():
    rows = np.ones((10, 14))
    compared = compare_chunks([chunk(T0 + 3 * S, rows), chunk(T0 - 5 * S, rows)], still())
    assert compared.chunks == 0
    assert np.isnan(compared.overall.joints_mean_rad)
    late = compare_chunks([chunk(T0 + 1900 * MS, rows)], still())
    assert late.overall.values == 2


def rising():
    """Three seconds at one radian or metre a second."""
    at = np.arange(0, 3 * S, 100 * MS)
    return CommandTrack(NAMES, T0 + at, np.tile(at[:, None] / S, (1, 14)))


def test_executed_commands_are_compared_on_the_time_of_the_recording():
    now = 5 * T0 + np.arange(0, 8 * S, 50 * MS)  # half the rate, 0.7 s of rest before
    positions = np.tile(((now - now[0] - 700 * MS) * 0.5 / S)[:, None] + 0.01, (1, 14))
    began_ns = now[0] + 700 * MS
    deviation = compare_motion(
        rising(), NAMES, now, positions, began_ns=began_ns, delay_ns=0, rate=0.5
    )
    assert deviation.values == 117
    # The curve through the commands begins and ends at rest: it leaves the line there.
    assert deviation.joints_mean_rad == pytest.approx(0.01, abs=3e-4)
    assert deviation.joints_rms_rad == pytest.approx(0.01, abs=1e-3)


def test_a_motion_that_was_delayed_is_compared_with_the_path():
    now = T0 + np.arange(0, 4 * S, 50 * MS)
    at_s = (now - T0) / S
    delay_s = np.clip(at_s - 1.0, 0.0, 0.5)  # it stands still from 1 s to 1.5 s
    positions = np.tile((at_s - delay_s)[:, None], (1, 14))
    positions[now == T0 + 2 * S, 3] += 0.2
    deviation = compare_motion(
        rising(), NAMES, now, positions, began_ns=T0, delay_ns=500 * MS, rate=1.0
    )
    # From the end of the delay, since the first rows were on time, to the end of the motion.
    assert deviation.values == 59
    assert deviation.joints_rms_rad < 0.02
    # The nearest command is 2/110 s later: 0.182 rad off, and ten times less in the carriages.
    assert deviation.joints_max_rad == pytest.approx(0.182, abs=0.005)


def test_nothing_executed_is_told_as_such():
    deviation = compare_motion(
        rising(), NAMES, np.zeros(0, np.int64), np.zeros((0, 14)), began_ns=1, delay_ns=0, rate=1.0
    )
    assert deviation.values == 0
    assert np.isnan(deviation.joints_max_rad)
