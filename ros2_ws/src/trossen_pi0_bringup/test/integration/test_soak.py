"""A long run made short: real stack, real processes, files, verdict and exit status."""

import csv
import functools
import json
import signal
import subprocess
import sys

import matplotlib.image
import psutil
import pytest

from fixtures.stacks import started_commands
from trossen_pi0_bringup.resources import process_usage
from trossen_pi0_bringup.soak import main

KIT = [
    "camera_width:=160",
    "camera_height:=120",
    "camera_fps:=15",
    "left_arm_address:=127.0.0.94",
    "right_arm_address:=127.0.0.95",
    "sample_s:=1",
]


@pytest.fixture
def start(tmp_path):
    with started_commands(tmp_path, *KIT) as run:
        yield functools.partial(run, "soak")


def verdict_of(soak):
    return json.loads((soak.folder / "soak.json").read_text())


def rows_of(soak):
    with (soak.folder / "soak.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.timeout(180)
def test_a_short_run_passes_and_leaves_its_table_figures_and_plot(start):
    # In so short a time the first use of everything still shows as growth.
    soak = start("minutes:=0.45", "memory_floor_mb:=50", "seed:=7")
    status = soak.wait(150)
    assert status == 0, soak.text()
    assert "soak passed" in soak.text()
    found = verdict_of(soak)
    assert found["passed"] is True
    assert found["interrupted"] is False
    seeds = [e["seed"] for e in found["episodes"]]
    assert len(seeds) >= 2  # how many more depends on the machine
    assert seeds == list(range(7, 7 + len(seeds)))
    assert [e["variant"] for e in found["episodes"]][:2] == ["red_cube", "blue_brick"]
    assert all(check["passed"] for check in found["checks"])  # none is left unjudged either
    assert {c["name"] for c in found["checks"]} >= {
        "sim.uss_mb",
        "arm_controller.threads",
        "policy.files",
        "supervisor.sockets",
        "faults and e-stops",
        "shared memory left behind",
    }
    assert found["stack"]["ticks"] > 1500
    assert found["stack"]["images_published"] > 1000
    assert found["stack"]["chunks_published"] > 50
    rows = rows_of(soak)
    assert len(rows) >= 20
    assert [row["phase"] for row in rows].count("rest") == len(seeds)
    assert float(rows[-1]["sim.uss_mb"]) > 100.0
    assert int(rows[-1]["sim.processes"]) == 2  # cameras and physics
    assert int(rows[-1]["shm_mapped"]) > 3
    assert matplotlib.image.imread(soak.folder / "soak.png").min() < 0.2


@pytest.mark.timeout(120)
def test_ctrl_c_ends_early_with_a_verdict_and_failed_episodes_fail_it(start):
    soak = start("minutes:=60", "max_duration_s:=1", "variant:=wooden_block")
    soak.wait_for(r"min \| seed 0 \(wooden_block\): FAILURE", 90.0)
    soak.process.send_signal(signal.SIGINT)
    status = soak.wait(20)
    assert status == 1, soak.text()
    assert "interrupted" in soak.text()
    found = verdict_of(soak)
    assert found["passed"] is False
    assert found["interrupted"] is True
    failed = {c["name"]: c["figure"] for c in found["checks"] if c["passed"] is False}
    assert failed["episodes that succeeded"].startswith("0 of ")
    assert (soak.folder / "soak.png").stat().st_size > 10_000


HOLDER = """
import socket, sys, threading
held = []
for line in sys.stdin:
    for _ in range(3):
        held.append(socket.socket())
        held.append(open("/dev/null"))
        held.append(bytearray(30_000_000))
    for i in range(len(held)):
        if isinstance(held[i], bytearray):
            held[i][:] = b"x" * len(held[i])
    thread = threading.Thread(target=threading.Event().wait, daemon=True)
    thread.start()
    print("held", flush=True)
"""


def test_usage_sees_what_a_process_gathers():
    command, pipe = [sys.executable, "-c", HOLDER], subprocess.PIPE
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        watched, seen = psutil.Process(process.pid), []
        for _ in range(2):
            process.stdin.write("more\n")
            process.stdin.flush()
            assert process.stdout.readline() == "held\n"
            seen.append(process_usage(watched))
        process.kill()
        process.wait()
        gone = process_usage(watched)
    first, second = seen
    assert second.threads - first.threads == 1
    assert second.sockets - first.sockets == 3
    assert second.files - first.files == 6
    assert second.unique_bytes - first.unique_bytes == pytest.approx(90e6, rel=0.5)
    assert second.resident_bytes > second.unique_bytes
    assert (first.processes, gone.processes, gone.threads) == (1, 0, 0)
    assert (first + second).files == first.files + second.files


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["minutes:=0"], "minutes: 0.0 lies outside [0.05, 10080]"),
        (["minute:=5"], "unknown argument 'minute', did you mean 'minutes'?"),
        (["episodes:=5"], "unknown argument 'episodes'"),
        (["sim:=false"], "sim: this command runs the simulated kit"),
    ],
)
def test_bad_arguments_end_with_two_and_leave_no_folder(words, message, capsys, tmp_path):
    assert main([*words, f"run_dir:={tmp_path / 'soak'}"]) == 2
    assert message in capsys.readouterr().out
    assert not (tmp_path / "soak").exists()
