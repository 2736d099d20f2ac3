"""Programs that tests start can be interrupted, also where the tests themselves are not to be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

TOOLS = Path(__file__).parents[2]
INNER = """
import signal
import subprocess
import sys

CHILD = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"

def test_a_child():
    ended = subprocess.run([sys.executable, "-c", CHILD], stderr=subprocess.DEVNULL, timeout=10)
    assert ended.returncode == -signal.SIGINT
"""


def test_in_the_background_of_a_shell(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["fixtures.interrupts"]\n')
    (tmp_path / "test_inner.py").write_text(INNER)
    command = f"{sys.executable} -m pytest -p no:cacheprovider --disable-plugin-autoload & wait $!"
    python_path = os.pathsep.join([str(TOOLS), os.environ["PYTHONPATH"]])
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": python_path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
