"""Episodes of the bench, its command, and what the modes do with delay."""

import dataclasses
import math

import numpy as np
import pytest

from trossen_pi0_bringup.execution_bench import command, report
from trossen_pi0_bringup.execution_bench.cells import Cell
from trossen_pi0_bringup.execution_bench.episode import Bench
from trossen_pi0_bringup.execution_bench.measuring import Results, all_cells, measure
from trossen_pi0_bringup.execution_bench.ways import Ways
from trossen_pi0_bringup.virtual.arms import VirtualArms
from trossen_pi0_bringup.virtual.figures import Figures
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_sim.arm_adapter import ControllerFaultError
from trossen_pi0_sim.expert import STAGED, HandoverExpert
from trossen_pi0_sim.world import World

BLOCKING, RTC = Cell("multimodal", "blocking", 100), Cell("multimodal", "rtc", 100)


@pytest.fixture(scope="module")
def results() -> Results:
    bench = Bench()
    return {cell: [bench.run(cell, 1)] for cell in (BLOCKING, RTC)}


def test_an_episode_of_two_modes(results):
    blocking, rtc = results[BLOCKING][0], results[RTC][0]
    assert blocking.success
    assert rtc.success
    assert blocking.pause_s > 2.4  # some 13 inferences of 155 ms and more
    assert rtc.pause_s < 0.2
    assert rtc.duration_s < blocking.duration_s - 1.0
    assert 10 < rtc.chunks < 20
    assert rtc.rejected == blocking.rejected == 0
    assert 0.0 < rtc.tracking_rms_rad < rtc.tracking_rad < 0.6


def test_a_seed_repeats_exactly(results):
    assert Bench().run(RTC, 1) == results[RTC][0]


def test_table_plot_and_figures_come_from_the_command(results, tmp_path, capsys):
    figures = tmp_path / "figures.json"
    command.save(results, figures)
    assert command.load(figures) == (results, [1])
    (tmp_path / "execution.md").write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    assert command.main(["--redraw", str(figures), "--out", str(tmp_path)]) == 0
    text = (tmp_path / "execution.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "| blocking | 100 | 1/1 (21 % to 100 %) |" in text
    assert "| rtc | 100 | 1/1 (21 % to 100 %) |" in capsys.readouterr().out
    assert (tmp_path / "images" / "execution.png").read_bytes()[:4] == b"\x89PNG"


def test_failures_are_told_and_their_time_does_not_count(results):
    good = results[RTC][0]
    bad = dataclasses.replace(good, seed=2, success=False, reason="dropped", duration_s=3.0)
    both: Results = {RTC: [good, bad]}
    assert report.failures(both) == "multimodal, rtc, 100 ms, seed 2: dropped"
    row = report.tables(both, [1, 2]).splitlines()[-1]
    assert row.startswith(f"| rtc | 100 | 1/2 (9 % to 91 %) | {good.duration_s:.1f} |")


def test_a_document_without_marks_is_left_alone(tmp_path):
    document = tmp_path / "execution.md"
    document.write_text("mine")
    with pytest.raises(ParameterError, match="bench-execution: begin"):
        report.write_table(document, "table")
    assert document.read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--modes", "async,fast"], "need some of blocking,"),
        (["--delays", "0,-5"], "need a whole number from 0 to 2000, got '-5'"),
        (["--policies", ""], "need some of expert,multimodal, got ''"),
        (["--episodes", "0"], "need a whole number from 1"),
    ],
)
def test_bad_arguments_are_refused(words, told, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(words)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_figures_of_something_else_are_refused(tmp_path, capsys):
    (tmp_path / "other.json").write_text('[{"policy": 1}]')
    assert command.main(["--redraw", str(tmp_path / "other.json")]) == 2
    assert "holds no figures of this bench" in capsys.readouterr().out


def test_the_ways_agree_at_the_grasps_and_differ_between_them():
    world = World(0, visuals=False)
    truth = world.ground_truth
    plan = HandoverExpert().plan(STAGED, truth.object_pose, truth.object_half_size)
    ways, time_of = Ways(plan), plan.trajectory.time_of
    at_object = [time_of(label) for label in ("hover", "at object", "lifted", "taken", "placed")]
    assert np.abs(ways.detour([0.0, *at_object])).max() < 1e-9
    assert np.abs(ways.freedom(at_object)).max() < 1e-9
    midway = (time_of("lifted") + time_of("offered")) / 2
    assert ways.detour(midway)[0, 7] == pytest.approx(0.25)
    assert ways.freedom(midway)[0] == pytest.approx(1.0)


def test_the_virtual_driver_goes_straight_and_a_jump_is_a_fault():
    world = World(0, visuals=False)
    world.place_arms(STAGED)
    arms = VirtualArms(world, 100.0)
    goal = STAGED.copy()
    goal[0] += 0.015
    arms.command(goal)
    sent = []
    for _ in range(6):
        arms.step()
        sent.append(float(arms._set_point()[0] - STAGED[0]))
    # 15 ms to the goal, seen every 1/300 s.
    assert sent == pytest.approx([0.0033333, 0.0066667, 0.01, 0.0133333, 0.015, 0.015], abs=1e-6)
    goal[0] += 0.5
    arms.command(goal)
    with pytest.raises(ControllerFaultError, match="joint_0: commanded speed"):
        step_all(arms, 6)


def step_all(arms: VirtualArms, ticks: int) -> None:
    for _ in range(ticks):
        arms.step()


def average(episodes: list[Figures], name: str) -> float:
    return float(np.mean([getattr(figures, name) for figures in episodes]))


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_what_the_modes_do_with_delay():
    modes = ("blocking", "async-no-blend", "async", "rtc")
    cells = all_cells(["multimodal"], modes, [0, 300])
    results = measure(cells, range(4))
    of = {(cell.mode, cell.delay_ms): episodes for cell, episodes in results.items()}
    assert average(of["blocking", 0], "pause_s") > 1.0
    more = average(of["blocking", 300], "pause_s") - average(of["blocking", 0], "pause_s")
    assert more > 3.0  # some 13 inferences of 300 ms
    assert average(of["blocking", 300], "duration_s") > average(of["rtc", 300], "duration_s") + 2.0
    for delay in (0, 300):
        for mode in modes[1:]:
            assert average(of[mode, delay], "pause_s") < 0.2
            assert average(of[mode, delay], "starvations") == 0
            assert average(of[mode, delay], "success") >= 0.75
    naive, rtc = of["async-no-blend", 300], of["rtc", 300]
    assert average(rtc, "jump_rad") < 0.7 * average(naive, "jump_rad")
    assert average(rtc, "mean_jump_rad") < 0.7 * average(naive, "mean_jump_rad")
    jerk = {m: np.mean([f.jerk["arms"] for f in of[m, 300]]) for m in modes}
    assert jerk["rtc"] < jerk["async-no-blend"]
    assert jerk["async"] < jerk["async-no-blend"]
    assert not any(math.isnan(value) for value in jerk.values())
