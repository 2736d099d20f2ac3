"""How the supervisor ends processes."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from trossen_pi0_bringup.nodes import NodeSpec
from trossen_pi0_bringup.supervisor import Supervisor

PACKAGE = "slow_nodes"


@pytest.fixture
def slow_nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose programs take so many seconds to end after Ctrl-C as their names say."""
    marker = tmp_path / "share" / "ament_index" / "resource_index" / "packages" / PACKAGE
    programs = tmp_path / "lib" / PACKAGE
    for folder in (marker.parent, programs):
        folder.mkdir(parents=True)
    marker.touch()
    for seconds in ("2.0", "2.4"):
        program = programs / seconds
        program.write_text(
            "#!/bin/bash\ntrap '' TERM\n"
            f"trap 'sleep {seconds}; exit 0' INT\n"
            "echo ready\nwhile :; do sleep 0.05; done\n"
        )
        program.chmod(0o755)
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path}:{os.environ['AMENT_PREFIX_PATH']}")
    return tmp_path


def test_a_node_that_nobody_needs_takes_no_time_from_the_others(slow_nodes):
    said: list[str] = []
    supervisor = Supervisor(slow_nodes / "run", said.append)
    supervisor.start(
        [
            NodeSpec("arms", PACKAGE, "2.0"),
            NodeSpec("viewer", PACKAGE, "2.4", required=False),
        ]
    )
    logs = [slow_nodes / "run" / "log" / f"{name}.log" for name in ("arms", "viewer")]
    end_s = time.monotonic() + 15.0
    while not all(log.exists() and log.read_text() == "ready\n" for log in logs):
        assert time.monotonic() < end_s, "the programs do not start"
        time.sleep(0.01)
    assert supervisor.stop() == []
