"""Steps are done once, say what failed, and take turns."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from toolchain.steps import Step, StepFailedError, StepRunner, exclusive, run_logged, tail

TOOLS = Path(__file__).resolve().parents[2]


class Bench:
    """One step that writes a file, and what it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.product = folder / "product"
        self.calls = 0
        self.inputs = ["a"]
        self.problem: Exception | None = None
        self.said = io.StringIO()

    def work(self, log: Path) -> None:
        self.calls += 1
        log.write_text("some output\n", encoding="utf-8")
        if self.problem:
            raise self.problem
        self.product.write_text("made", encoding="utf-8")

    def run(self) -> int:
        step = Step("make it", self.product, self.folder / "stamp", lambda: self.inputs, self.work)
        return StepRunner([step], self.folder / "logs", self.said).run()


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_done_step_is_not_done_again(bench: Bench) -> None:
    assert bench.run() == 1
    assert "[1/1] make it: done in" in bench.said.getvalue()
    assert bench.run() == 0
    assert bench.calls == 1


def test_other_inputs_do_it_again(bench: Bench) -> None:
    bench.run()
    bench.inputs = ["b"]
    assert bench.run() == 1


def test_inputs_are_not_merely_joined(bench: Bench) -> None:
    bench.inputs = ["ab", "c"]
    bench.run()
    bench.inputs = ["a", "bc"]
    assert bench.run() == 1


def test_a_removed_product_is_made_again(bench: Bench) -> None:
    bench.run()
    bench.product.unlink()
    assert bench.run() == 1


@pytest.mark.parametrize("problem", [StepFailedError("no paper"), OSError("no paper")])
def test_a_failed_step_is_named_and_not_stamped(bench: Bench, problem: Exception) -> None:
    bench.problem = problem
    with pytest.raises(StepFailedError, match=r"^\[1/1\] make it failed: no paper$"):
        bench.run()
    bench.problem = None
    assert bench.run() == 1


def test_a_failed_redo_does_not_count_as_the_first(bench: Bench) -> None:
    bench.run()
    bench.inputs, bench.problem = ["b"], StepFailedError("no paper")
    with pytest.raises(StepFailedError):
        bench.run()
    bench.inputs, bench.problem = ["a"], None
    assert bench.run() == 1


def test_a_failing_command_leaves_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = "print(*range(30), sep='\\n'); raise SystemExit('out of ink')"
    with pytest.raises(StepFailedError, match="ended with status 1") as caught:
        run_logged([sys.executable, "-c", program], log, os.environ)
    assert caught.value.log == log
    lines = tail(log).splitlines()
    assert lines[-1] == "    | out of ink"
    assert len(lines) == 20


def test_a_missing_command_is_a_failed_step(tmp_path: Path) -> None:
    with pytest.raises(StepFailedError, match="cannot run /no/such/program"):
        run_logged(["/no/such/program"], tmp_path / "log", os.environ)


def start(program: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": str(TOOLS)},
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, what: str, deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"still waiting for {what}"
        time.sleep(0.01)


SLEEPER = """
import os, sys
from pathlib import Path
from toolchain.steps import exclusive, run_logged
child = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
with exclusive(Path(sys.argv[1], "lock")):
    pid = Path(sys.argv[1], "draft")
    run_logged([sys.executable, "-c", child, pid], Path(sys.argv[1], "log"), os.environ)
"""


def running_child(folder: Path) -> int:
    pid = folder / "draft"
    wait_for(lambda: pid.is_file() and pid.read_text(), "the child")
    return int(pid.read_text())


def is_running(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.is_file() and "State:\tZ" not in status.read_text()


def test_an_interrupt_ends_the_command_too(tmp_path: Path) -> None:
    with start(SLEEPER, str(tmp_path)) as parent:
        child = running_child(tmp_path)
        parent.send_signal(signal.SIGINT)
        assert parent.wait(timeout=10) != 0
    wait_for(lambda: not is_running(child), "the child to end")


def test_a_killed_setup_holds_its_lock_until_its_command_ends(tmp_path: Path) -> None:
    with start(SLEEPER, str(tmp_path)) as parent:
        child = running_child(tmp_path)
        parent.kill()
    waiter = "import sys\nfrom pathlib import Path\nfrom toolchain.steps import exclusive\n"
    waiter += "with exclusive(Path(sys.argv[1], 'lock')): print('mine', flush=True)"
    with start(waiter, str(tmp_path)) as other:
        assert other.stdout is not None
        assert "waiting for another setup" in other.stdout.readline()
        assert other.poll() is None
        os.kill(child, signal.SIGKILL)
        assert other.stdout.readline() == "mine\n"
        assert other.wait(timeout=10) == 0


def test_a_free_lock_is_taken_silently(tmp_path: Path) -> None:
    said = io.StringIO()
    for _ in range(2):
        with exclusive(tmp_path / "new" / "lock", said):
            pass
    assert said.getvalue() == ""
