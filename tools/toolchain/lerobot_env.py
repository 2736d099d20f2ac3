"""Environments that hold the `lerobot` library, `make lerobot-env`.

The library comes with torch, several GB, and pins versions that the suite does not have. So it has
an environment of its own for each format of data sets, made only when it is asked for.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from toolchain.layout import Layout
from toolchain.python_env import clean_environ, uv_environ
from toolchain.steps import Step, StepRunner, run_logged

FORMATS = ("v3.0", "v2.1")


def folder(layout: Layout, version: str) -> Path:
    """Where the environment for a format of data sets lies."""
    return layout.root / f".venv-lerobot-{version}"


def make(layout: Layout, version: str) -> None:
    """Makes the environment as its lock file says, unless it is there already."""
    home = folder(layout, version)
    lock = layout.lock(f"lerobot-{version}")

    def inputs() -> list[str]:
        interpreter = [str(Path(sys.executable).resolve()), platform.python_version()]
        return [*interpreter, str(home), lock.read_text(encoding="utf-8")]

    def work(log: Path) -> None:
        _install(layout, home, lock, log, os.environ)

    title = f"lerobot for data sets {version}, several GB"
    stamp = home / ".stamp"
    StepRunner([Step(title, home / "bin" / "python", stamp, inputs, work)], layout.logs).run()


def _install(layout: Layout, home: Path, lock: Path, log: Path, environ: Mapping[str, str]) -> None:
    shutil.rmtree(home, ignore_errors=True)
    env = clean_environ(environ)
    run_logged([sys.executable, "-m", "venv", str(home)], log, env)
    python = home / "bin" / "python"
    pip = ["-m", "pip", "install", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    run_logged([python, *pip, "-r", layout.lock("uv")], log, env)
    uv = ["-m", "uv", "pip", "install", "--python", str(python), "--no-deps", "--require-hashes"]
    run_logged([python, *uv, "-r", lock], log, uv_environ(python, environ))
