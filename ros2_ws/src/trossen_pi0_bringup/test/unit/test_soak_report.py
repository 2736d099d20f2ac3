"""The verdict over a long run, from rows as they stand in its table."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from trossen_pi0_bringup.soak_report import (
    SoakBounds,
    failed_table,
    judge,
    process_figures,
    process_table,
    stack_figures,
    stack_table,
    verdict,
)
from trossen_pi0_bringup.soak_run import (
    CONTROLLER_COUNTERS,
    GAUGES,
    POLICY_COUNTERS,
    REST,
    RUN,
    SIM_COUNTERS,
    SoakRun,
)
from trossen_pi0_bringup.soak_trends import MemoryBounds

BOUNDS = SoakBounds(MemoryBounds(20.0, 0.05, 2.0), warm_up_s=300.0, success=0.9)


def a_run(minutes=60, passed=None, change: Any = None, **more: Any):
    """Six samples a minute of one node, an episode a minute."""
    rows = []
    for i in range(minutes * 6):
        counters = dict.fromkeys([*CONTROLLER_COUNTERS, *POLICY_COUNTERS, *SIM_COUNTERS], 0)
        row: dict[str, Any] = {**dict.fromkeys(GAUGES, 1.0), **counters, "shm_mapped": 18}
        row.update(time_s=10.0 * i, episode=i // 6, seed=i // 6, phase=REST if i % 6 == 5 else RUN)
        row.update({"arms.rss_mb": 200.0, "arms.uss_mb": 150.0, "arms.cpu_s": 1.5 * i})
        row.update({"arms.threads": 21, "arms.files": 27, "arms.sockets": 13, "arms.processes": 1})
        if change:
            change(row)
        rows.append(row)
    episodes = [True] * minutes if passed is None else passed
    return SoakRun(processes=("arms",), rows=rows, passed=episodes, **more)


def failures(run, bounds=BOUNDS):
    checks = judge(run, bounds)
    failed = {check.name: check.figure for check in checks if check.passed is False}
    assert verdict(checks) is not bool(failed)
    return failed


def test_a_quiet_run_passes_and_everything_was_judged():
    assert failures(a_run()) == {}
    assert all(check.passed for check in judge(a_run(), BOUNDS))


@pytest.mark.parametrize("column", ["arms.rss_mb", "arms.uss_mb"])
def test_growing_memory_fails(column):
    def leak(row):
        row[column] += 30.0 * row["time_s"] / 3600.0

    (name,) = failed = failures(a_run(change=leak))
    assert name == column
    assert failed[name].startswith("+30.00 MB/h, +27")


@pytest.mark.parametrize(
    "column", ["arms.threads", "arms.files", "arms.sockets", "arms.processes", "shm_mapped"]
)
def test_a_count_that_stays_higher_fails(column):
    def leak(row):
        row[column] += row["episode"] >= 40

    assert list(failures(a_run(change=leak))) == [column]


def test_counts_within_episodes_do_not_matter():
    def busy(row):
        row["arms.threads"] += row["episode"] if row["phase"] == RUN else 0

    assert failures(a_run(change=busy)) == {}


@pytest.mark.parametrize("counter", ["fault_count", "estop_count"])
def test_one_fault_fails_whether_it_was_seen_or_counted(counter):
    def fault(row):
        row[counter] = int(row["time_s"] > 1000.0)

    assert failures(a_run(change=fault)) == {"faults and e-stops": "1"}
    seen = a_run(change=fault, faults=["FAULT after 1000 s: a deadline was missed"])
    figure = "1: FAULT after 1000 s: a deadline was missed"
    assert failures(seen) == {"faults and e-stops": figure}


def test_faults_from_before_the_run_do_not_count():
    def fault(row):
        row["fault_count"] = 3

    assert failures(a_run(change=fault)) == {}


def test_too_few_successes_fail():
    figure = "53 of 60 (88.3%)"
    assert failures(a_run(passed=[False] * 7 + [True] * 53)) == {"episodes that succeeded": figure}
    assert failures(a_run(passed=[False] * 6 + [True] * 54)) == {}


def test_segments_left_behind_and_a_failed_stack_fail():
    assert failures(a_run(leftovers=["fastrtps_0123456789abcdef"])) == {
        "shared memory left behind": "fastrtps_0123456789abcdef"
    }
    assert failures(a_run(failure="sim ended with status 1")) == {
        "stack stayed up": "sim ended with status 1"
    }


def test_what_is_too_short_is_not_judged_and_does_not_fail():
    run = SoakRun(processes=("arms",), rows=a_run().rows[:2], passed=[])
    checks = {check.name: check.passed for check in judge(run, BOUNDS)}
    assert checks["arms.uss_mb"] is None
    assert checks["arms.threads"] is None
    assert checks["episodes that succeeded"] is None
    assert failures(run) == {}


def test_counters_are_counted_from_the_first_row_and_over_a_new_activation():
    def count(row):
        row["missed_deadlines"] = 5 + (row["episode"] if row["episode"] < 40 else 2)

    figures = stack_figures(a_run(change=count), 300.0)
    assert figures["missed_deadlines"] == 39 + 7


def test_figures_are_plain_json_and_fit_a_narrow_terminal():
    def unknown(row):
        row["inference_p95_ms"] = float("nan")
        row["images_published"] = 10 + 700 * row["episode"]
        row["images_received"] = 4 + 690 * row["episode"]
        row["lateness_p99_ms"] = 9.0 if row["time_s"] < 300.0 else 2.0

    run = a_run(change=unknown, faults=["FAULT after 3 s: [brackets]"])
    stack = stack_figures(run, 300.0)
    processes = process_figures(run, 300.0)
    json.dumps([stack, processes], allow_nan=False)
    assert stack["lateness_p99_ms"] == {"median": 2.0, "worst": 2.0}
    assert stack["inference_p95_ms"] == {"median": None, "worst": None}
    assert stack["images_lost"] == 590.0
    assert processes["arms"]["cpu_cores"] == pytest.approx(0.15)
    assert processes["arms"]["threads"] == [21, 21]
    console = Console(width=80, record=True, file=io.StringIO())
    for table in (process_table(processes), stack_table(stack), failed_table(judge(run, BOUNDS))):
        console.print(table)
    text = console.export_text()
    assert "150 +0.0/h" in text
    assert "[brackets]" in text
