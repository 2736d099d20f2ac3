"""The environments that hold the `lerobot` library, and jobs done there.

The library needs torch, several GB, so it has environments of its own, ``.venv-lerobot-v3.0`` and
``.venv-lerobot-v2.1`` beside the sources, made by ``make lerobot-env``.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from trossen_pi0_core.errors import DatasetError
from trossen_pi0_training.layout import V21, V30

PYTHON_VARIABLE = {V30: "TROSSEN_PI0_LEROBOT_PYTHON", V21: "TROSSEN_PI0_LEROBOT_V21_PYTHON"}
"""Environment variables that name another interpreter with the library."""

_ROOT = Path(__file__).resolve().parents[2]
_TAIL_LINES = 15


def find_python(version: str) -> Path | None:
    """The interpreter whose `lerobot` knows a format; None when there is none."""
    named = os.environ.get(PYTHON_VARIABLE[version])
    path = Path(named) if named else _ROOT / f".venv-lerobot-{version}" / "bin" / "python"
    return path if path.is_file() else None


def need_python(version: str) -> Path:
    """As ``find_python``; raises DatasetError when there is none."""
    found = find_python(version)
    if found is None:
        raise DatasetError(
            f"the lerobot library for data sets {version} is not installed: run "
            f"`make lerobot-env ARGS={version}`, or name an interpreter that has it in "
            f"{PYTHON_VARIABLE[version]}"
        )
    return found


def run_job(version: str, job: dict[str, Any], timeout_s: float | None = None) -> dict[str, Any]:
    """Does a job of ``lerobot_tool`` in the library's environment.

    Args:
        version: the format, which chooses the environment.
        job: its ``job`` and what that needs.
        timeout_s: longest time [s]; None: no limit.

    Returns:
        Its answer.

    Raises:
        DatasetError: the library is not installed, or the job failed or took too long.
    """
    python = need_python(version)
    tool = Path(__file__).with_name("lerobot_tool.py")
    with tempfile.TemporaryDirectory(prefix="lerobot-") as folder:
        # The library keeps copies of all tables it opens, and asks its hub for what is missing.
        env = os.environ | {"HF_HOME": folder, "HF_HUB_OFFLINE": "1", "SVT_LOG": "1"}
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        command = [str(python), "-I", str(tool), str(path)]
        try:
            done = subprocess.run(
                command, env=env, capture_output=True, text=True, check=False, timeout=timeout_s
            )
        except subprocess.TimeoutExpired as error:
            raise DatasetError(f"lerobot did not {job['job']} in {timeout_s} s") from error
    if done.returncode != 0:
        tail = "\n".join(done.stderr.strip().splitlines()[-_TAIL_LINES:])
        raise DatasetError(f"lerobot failed to {job['job']} (status {done.returncode}):\n{tail}")
    return json.loads(done.stdout.strip().splitlines()[-1])
