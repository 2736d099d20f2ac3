"""Tests are run again if the computer stood still, and only then."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

CALM_S = 3.0
TOOLS = Path(__file__).parents[2]
CONFTEST = f"""
pytest_plugins = ["fixtures.stalls"]

def pytest_configure():
    from fixtures import stalls

    stalls.CALM_S = {CALM_S}
"""
INNER = """
import gc
import time
import psutil
import pytest

def stand_still():
    (watch,) = psutil.Process().children()
    told = watch.io_counters().write_count
    watch.suspend()
    time.sleep(0.3)
    watch.resume()
    while watch.io_counters().write_count == told:
        time.sleep(0.01)

attempts = {"stalled": 0, "quiet": 0, "broken": 0}

def test_stalled():
    attempts["stalled"] += 1
    if attempts["stalled"] == 1:
        stand_still()
        assert False

def test_quiet():
    assert gc.get_freeze_count() > 1000
    attempts["quiet"] += 1
    assert attempts["quiet"] == 2

class Held:
    pass

def test_what_a_test_leaves():
    held = Held()
    held.itself = held

def test_is_collected():
    assert any(isinstance(each, Held) for each in gc.get_objects())
    gc.collect()
    assert not any(isinstance(each, Held) for each in gc.get_objects())

@pytest.mark.timeout(5)
def test_broken():
    attempts["broken"] += 1
    stand_still()
    assert attempts["broken"] > 3, f"attempt {attempts['broken']}"
"""


def test_only_what_failed_while_the_computer_stood_still_is_run_again(tmp_path):
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_inner.py").write_text(INNER)
    python_path = os.pathsep.join([str(TOOLS), os.environ["PYTHONPATH"]])
    began_s = time.monotonic()
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-rfER", "--disable-plugin-autoload"),
            *("-p", "pytest_rerunfailures", "-p", "pytest_timeout", "-p", "no:cacheprovider"),
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": python_path},
        capture_output=True,
        text=True,
        check=False,
    )
    done_s = time.monotonic() - began_s
    said = done.stdout
    assert done.returncode == 1, said
    assert "RERUN test_inner.py::test_stalled" in said
    assert "FAILED test_inner.py::test_stalled" not in said
    assert "FAILED test_inner.py::test_quiet" in said
    assert "RERUN test_inner.py::test_quiet" not in said
    assert "FAILED test_inner.py::test_broken - AssertionError: attempt 3" in said
    assert " s in test_inner.py::test_stalled, until " in said
    assert said.count(" s in test_inner.py::test_broken, until ") >= 3
    assert done_s > 3 * CALM_S  # each further attempt waits until the computer is quiet,
    assert "Timeout" not in said  # and has the whole time again
    assert "2 failed, 3 passed, 3 rerun" in said
