"""Writing the lock files, `make lock`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path

from toolchain.layout import Layout
from toolchain.python_env import uv_environ
from toolchain.steps import StepFailedError

OLDEST_PYTHON = "3.10"
IMAGE_PYTHON = "3.12"


@dataclass(frozen=True)
class LockFile:
    """One lock file and the requirement files it is made from."""

    name: str
    sources: tuple[str, ...]
    options: tuple[str, ...] = ()
    python: str = OLDEST_PYTHON
    """The oldest Python that it is for."""


LOCKS = (
    LockFile("uv", ("uv",)),
    # Everything, for a machine without ROS 2.
    LockFile("wheels", ("ros", "runtime", "build", "dev")),
    # On top of a ROS 2 installation, whose numpy stays the one its messages were built with.
    LockFile(
        "system",
        ("runtime", "dev"),
        ("--constraint", "system-constraints.in", "--no-emit-package", "numpy"),
    ),
    LockFile("build", ("build",), ("--constraint", "wheels.lock")),
    LockFile("peers", ("peers",), ("--no-deps",)),
    # In the images with a GPU, with the versions that are tested without one.
    LockFile("server", ("server",), ("--constraint", "wheels.lock"), IMAGE_PYTHON),
    LockFile("train", ("server", "train"), ("--constraint", "server.lock"), IMAGE_PYTHON),
    # Environments of their own, each with torch.
    LockFile("lerobot-v3.0", ("lerobot-v3.0",)),
    LockFile("lerobot-v2.1", ("lerobot-v2.1",)),
)


def write_locks(layout: Layout, *, upgrade: bool) -> None:
    """Resolves for all supported Python versions; keeps the pins there are unless upgrading."""
    python = _environment_with_uv(layout)
    env = uv_environ(python, os.environ)
    for lock in LOCKS:
        command = [str(python), "-m", "uv", "pip", "compile", "--quiet", "--universal"]
        command += ["--python-version", lock.python, "--generate-hashes", "--no-header"]
        command += ["--no-emit-index-url", "--override", "overrides.in", *lock.options]
        command += ["--upgrade"] if upgrade else []
        command += [f"{source}.in" for source in lock.sources]
        command += ["--output-file", f"{lock.name}.lock"]
        sys.stdout.write(f"lock: requirements/{lock.name}.lock\n")
        sys.stdout.flush()
        result = subprocess.run(command, cwd=layout.requirements, env=env, check=False)
        if result.returncode != 0:
            raise StepFailedError(f"uv cannot resolve requirements/{lock.name}.lock, see above")


def _environment_with_uv(layout: Layout) -> Path:
    """The interpreter of a small environment with the locked uv, or the newest if none is."""
    folder = layout.state / "uv"
    shutil.rmtree(folder, ignore_errors=True)
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    pinned = layout.lock("uv")
    wanted = pinned if pinned.is_file() else layout.requirements / "uv.in"
    command = [str(python), "-m", "pip", "install", "--quiet", "-r", str(wanted)]
    if subprocess.run(command, check=False).returncode != 0:
        raise StepFailedError(f"pip cannot install {wanted}, see above")
    return python
