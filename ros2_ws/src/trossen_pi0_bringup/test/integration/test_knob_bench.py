"""The bench of the knobs without its stack: its policy, its rows, its figures and its refusals."""

import math

import numpy as np
import pytest
from sensor_msgs.msg import JointState

from trossen_pi0_bringup.arguments import NODE_PARAMETERS
from trossen_pi0_bringup.knob_bench import command
from trossen_pi0_bringup.knob_bench.figures import Snapshot, row_figures, table
from trossen_pi0_bringup.knob_bench.laps import (
    HORIZON,
    LAP_ROWS,
    Answering,
    LapPolicy,
    on_lap,
    phase,
)
from trossen_pi0_bringup.knob_bench.rows import BASE, ROWS, Row, node_of
from trossen_pi0_bringup.recording import EpisodeRecording
from trossen_pi0_core.errors import ObservationError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.parameters import ArmControllerParameters
from trossen_pi0_core.parameters.spec import replaced, specs
from trossen_pi0_msgs.msg import ControllerStatus, PolicyStatus
from trossen_pi0_ros.convert import time_msg

SECOND = 1_000_000_000
AT_ONCE = Answering(0.0)


def policy(seed=0) -> LapPolicy:
    made = LapPolicy(seed)
    made.answering = AT_ONCE
    return made


def answered(asked, state, **more):
    (answer,) = asked.infer([asked.prepare({"state": state, **more})])
    return answer


def test_the_policy_goes_round_at_its_speed_inside_the_limits():
    asked, state, phases = policy(), on_lap(np.array([0.3]))[0], []
    limits = ArmControllerParameters().limits
    for _ in range(8):
        rows = answered(asked, state)["actions"]
        assert rows.shape == (HORIZON, 14)
        assert (rows >= limits.lower).all()
        assert (rows <= limits.upper).all()
        phases.append(phase(rows[:25]))
        state = rows[23]  # two rows later the next chunk begins
    turned = np.unwrap(np.concatenate(phases))
    assert (turned[-1] - turned[0]) / (2 * math.pi) * LAP_ROWS == pytest.approx(199, abs=8)


def test_chunks_from_one_state_disagree_and_a_prefix_makes_them_agree():
    asked, state = policy(), on_lap(np.array([0.3]))[0]
    prefix = answered(asked, state)["actions"]
    rtc = {"prefix": prefix[:30].astype(float), "frozen": 20}
    free = [answered(asked, state)["actions"] for _ in range(20)]
    told = [answered(asked, state, rtc=rtc) for _ in range(20)]
    assert all(answer["committed_rows"] == 20 for answer in told)

    def apart_rad(chunks):
        return float(np.sqrt(np.mean([(rows[:20] - prefix[:20]) ** 2 for rows in chunks])))

    assert apart_rad(free) > 0.02
    assert apart_rad([answer["actions"] for answer in told]) < 0.6 * apart_rad(free)


def test_each_row_of_the_table_meets_the_same_draws():
    asked, state = policy(), on_lap(np.array([0.3]))[0]
    first = [answered(asked, state)["actions"] for _ in range(2)]
    asked.answering = AT_ONCE
    again = [answered(asked, state)["actions"] for _ in range(2)]
    assert not np.array_equal(first[0], first[1])
    np.testing.assert_array_equal(first, again)


def test_every_so_many_th_answer_is_slow():
    answering = Answering(0.1, slow_s=0.3, slow_every=3)
    assert [answering.latency_s(i) for i in range(6)] == [0.1, 0.1, 0.3, 0.1, 0.1, 0.3]


def test_a_state_of_another_robot_is_refused():
    with pytest.raises(ObservationError, match=r"need shape \(14,\), got \(7,\)"):
        policy().prepare({"state": np.zeros(7)})


def test_rows_change_live_parameters_of_their_nodes_to_allowed_values():
    live = {}
    for node in ("policy", "arm_controller"):
        live[node] = {s.name for s in specs(NODE_PARAMETERS[node]) if not s.read_only}
    for row in ROWS:
        assert set(row.changes) <= set(BASE), "a row's values would outlive it"
        for node, names in live.items():
            mine = {n: v for n, v in {**BASE, **row.changes}.items() if node_of(n) == node}
            assert set(mine) <= names
            replaced(NODE_PARAMETERS[node](), mine)


def test_the_rows_begin_from_the_shipped_values():
    for name, value in BASE.items():
        shipped = getattr(NODE_PARAMETERS[node_of(name)](), name)
        assert repr(value) == repr(shipped)  # NaN differs from itself


def recording(turns_per_s, jitter_ns=0, measured_until=1001):
    """Ten seconds on the lap, commands each 10 ms, measured 50 ms later."""
    made = EpisodeRecording()
    rng = np.random.default_rng(1)
    for i in range(1001):
        stamp_ns = i * SECOND // 100 + int(rng.integers(-jitter_ns, jitter_ns + 1))
        for add, lag_s in ((made.add_command, 0.0), (made.add_measured, 0.05)):
            if add == made.add_measured and i >= measured_until:
                continue
            at_s = stamp_ns / SECOND - lag_s
            message = JointState(name=list(JointMap().urdf_names))
            message.header.stamp = time_msg(max(0, stamp_ns))
            message.position = on_lap(np.array([2 * math.pi * turns_per_s * at_s]))[0].tolist()
            add(message)
    return made


def snapshot(at_s, chunks=0, starved=0, timeouts=0, pauses=0):
    return Snapshot(
        round(at_s * SECOND),
        PolicyStatus(chunks_published=chunks, pauses=pauses, expected_delay_s=0.12),
        ControllerStatus(starvation_count=starved, chunk_timeouts=timeouts),
    )


def test_figures_of_a_known_motion():
    before = snapshot(1.0, chunks=10, starved=1)
    after = snapshot(9.0, chunks=26, starved=2, timeouts=1, pauses=4)
    figures = row_figures(before, after, recording(0.2), [0.1, 0.3, math.nan], "")
    assert figures.chunks_per_s == pytest.approx(2.0)
    assert figures.laps_per_min == pytest.approx(12.0, rel=0.01)
    assert figures.starvations == pytest.approx(15.0)
    assert figures.pauses == pytest.approx(30.0)
    assert figures.still == 0.0
    assert figures.chunk_age_s == pytest.approx(0.2)
    # Two of six joints of each arm are sines of 0.25 rad: RMS 0.25 / sqrt(2) / sqrt(3) times w^3.
    speed = 2 * math.pi * 0.2
    assert figures.jerk == pytest.approx(0.25 * speed**3 / math.sqrt(6), rel=0.05)
    assert figures.tracking_rad == pytest.approx(0.25 * speed * 0.05 / math.sqrt(6), rel=0.05)


def test_late_ticks_are_no_jerk():
    steady = row_figures(snapshot(1.0), snapshot(9.0), recording(0.5), [], "")
    late = row_figures(snapshot(1.0), snapshot(9.0), recording(0.5, 3_000_000), [], "")
    assert late.jerk == pytest.approx(steady.jerk, rel=0.01)


def test_what_has_not_come_yet_is_left_out():
    whole = row_figures(snapshot(1.0), snapshot(9.0), recording(0.2), [], "")
    part = row_figures(snapshot(1.0), snapshot(9.0), recording(0.2, measured_until=880), [], "")
    assert part.tracking_rad == pytest.approx(whole.tracking_rad, rel=0.02)
    assert part.laps_per_min == pytest.approx(whole.laps_per_min, rel=0.01)


def test_the_table_says_how_a_run_ended():
    row = Row({"execution": "rtc", "delay_quantile": 0.5}, Answering(0.1, 0.3, 5))
    figures = row_figures(snapshot(0.0), snapshot(2.0), EpisodeRecording(), [], "failed: no chunk")
    line = table([(row, figures)]).splitlines()[-1]
    assert line.startswith("| `execution rtc`, `delay_quantile 0.5` | 100, every 5th 300 | 0.0 |")
    assert line.endswith("| failed: no chunk |")


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("rows:=99", "rows: 99 lies outside"),
        ("teleop:=true", "teleop: not for this command"),
        ("row:=3", "unknown argument 'row'"),
    ],
)
def test_bad_arguments_end_with_two(word, told, capsys, tmp_path):
    assert command.main([word, f"run_dir:={tmp_path / 'knobs'}"]) == 2
    assert told in capsys.readouterr().out
