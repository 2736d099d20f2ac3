"""Tests are run again if the computer stood still, and only then."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).parents[2]
INNER = """
import time
import psutil

def stand_still():
    (watch,) = psutil.Process().children()
    watch.suspend()
    time.sleep(0.3)
    watch.resume()
    time.sleep(0.1)

attempts = {"stalled": 0, "quiet": 0, "broken": 0}

def test_stalled():
    attempts["stalled"] += 1
    if attempts["stalled"] == 1:
        stand_still()
        assert False

def test_quiet():
    attempts["quiet"] += 1
    assert attempts["quiet"] == 2

def test_broken():
    attempts["broken"] += 1
    stand_still()
    assert attempts["broken"] > 3, f"attempt {attempts['broken']}"
"""


def test_only_what_failed_while_the_computer_stood_still_is_run_again(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["fixtures.stalls"]\n')
    (tmp_path / "test_inner.py").write_text(INNER)
    python_path = os.pathsep.join([str(TOOLS), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-rfER", "--disable-plugin-autoload"),
            *("-p", "pytest_rerunfailures", "-p", "no:cacheprovider"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": python_path},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout
    assert done.returncode == 1, said
    assert "RERUN test_inner.py::test_stalled" in said
    assert "FAILED test_inner.py::test_stalled" not in said
    assert "FAILED test_inner.py::test_quiet" in said
    assert "RERUN test_inner.py::test_quiet" not in said
    assert "FAILED test_inner.py::test_broken - AssertionError: attempt 3" in said
    assert "the computer stood still 4 times" in said
    assert "2 failed, 1 passed, 3 rerun" in said
