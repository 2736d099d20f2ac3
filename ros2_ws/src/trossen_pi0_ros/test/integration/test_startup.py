"""The beginning and the end of a node's process."""

import signal
import subprocess
import sys

import pytest

START = (
    "import signal; signal.signal(signal.SIGINT, signal.{}); "
    "from trossen_pi0_ros.startup import run_module; run_module('slow_node')"
)


@pytest.fixture
def start(tmp_path):
    """Starts a process whose module waits in its import for a line, and is there."""
    (tmp_path / "slow_node.py").write_text(
        "import sys\n"
        "print('importing', flush=True)\n"
        "sys.stdin.readline()\n"
        "def main():\n"
        "    print('running', flush=True)\n"
        "    return 7\n"
    )
    processes = []

    def make(action):
        process = subprocess.Popen(
            [sys.executable, "-c", START.format(action)],
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout
        assert process.stdout.readline() == "importing\n"
        return process

    yield make
    for process in processes:
        process.kill()
        process.communicate()


def test_ctrl_c_during_the_imports_ends_the_process_without_a_word(start):
    process = start("default_int_handler")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=10)
    assert (process.returncode, out, err) == (-signal.SIGINT, "", "")


def test_a_signal_that_the_caller_ignores_stays_ignored(start):
    process = start("SIG_IGN")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate("\n", timeout=10)
    assert (process.returncode, out) == (7, "running\n")


@pytest.mark.parametrize(
    ("work", "status", "words"),
    [("time.sleep(60)", 3, "closed\n"), ("None", 4, "closed\nend\ntorn down\n")],
)
def test_a_thread_in_foreign_code_is_not_torn_down(work, status, words):
    code = (
        "import atexit, sys, threading, time\n"
        "from trossen_pi0_ros.process import leave_foreign_code\n"
        "atexit.register(print, 'torn down')\n"
        f"thread = threading.Thread(target=lambda: {work}, daemon=True)\n"
        "thread.start()\n"
        "thread.join(0.1)\n"
        "print('closed')\n"
        "leave_foreign_code(3)\n"
        "print('end')\n"
        "sys.exit(4)\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, check=False, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (status, words), done.stderr
