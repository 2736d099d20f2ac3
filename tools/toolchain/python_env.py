"""The virtual environment and the packages in it, as the lock files say."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from toolchain.layout import Layout
from toolchain.ros import RosInstallation
from toolchain.steps import StepFailedError, run_logged

_COLCON_PROBE = (
    "import colcon_core, colcon_cmake, colcon_library_path, colcon_output,"
    " colcon_parallel_executor, colcon_python_setup_py, colcon_recursive_crawl, colcon_ros"
)
# Of another environment, or of one that this one replaces.
_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX", "__PYVENV_LAUNCHER__")


def lock_names(ros: RosInstallation) -> list[str]:
    """The lock files that make up the environment, in the order they are installed."""
    return ["uv", "system" if ros.is_system else "wheels", "peers"]


def create(layout: Layout, ros: RosInstallation, log: Path, environ: Mapping[str, str]) -> None:
    """Makes the virtual environment anew, with pip and uv in it."""
    if layout.venv.exists() or layout.venv.is_symlink():
        _discard(layout.venv, layout.state / "discarded")
    command = [sys.executable, "-m", "venv", str(layout.venv)]
    if ros.is_system:
        command.append("--system-site-packages")
    env = clean_environ(environ)
    run_logged(command, log, env)
    install = ["-m", "pip", "install", "--no-deps", "--require-hashes", "--only-binary", ":all:"]
    run_logged([layout.python, *install, "-r", layout.lock("uv")], log, env)


def install(layout: Layout, ros: RosInstallation, log: Path, environ: Mapping[str, str]) -> None:
    """Installs what the lock files name, and nothing else.

    Where an earlier call did not finish, packages may be there in part: the environment is then
    made anew.
    """
    begun = layout.venv / ".installing"
    if begun.exists():
        create(layout, ros, log, environ)
    begun.touch()
    names = [name for name in lock_names(ros) if name != "uv"]
    if ros.is_system and not _has_colcon(layout, ros, environ):
        names.append("build")
    env = uv_environ(layout.python, environ)
    for name in names:
        command = ["-m", "uv", "pip", "install", "--python", str(layout.python), "--no-deps"]
        lock = layout.lock(name)
        run_logged([layout.python, *command, "--require-hashes", "-r", lock], log, env)
    begun.unlink()


def uv_environ(python: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Variables for uv that make it use the package index and certificates pip is set up with."""
    env = clean_environ(environ)
    settings = _pip_settings(python, env)
    if "index-url" in settings:
        env.setdefault("UV_DEFAULT_INDEX", settings["index-url"])
    if "cert" in settings:
        env.setdefault("SSL_CERT_FILE", settings["cert"])
    env.setdefault("UV_HTTP_TIMEOUT", "120")
    env["UV_PYTHON_DOWNLOADS"] = "never"
    return env


def _pip_settings(python: Path, env: Mapping[str, str]) -> dict[str, str]:
    """Settings of pip by name without section; those from variables win."""
    command = [str(python), "-m", "pip", "config", "list"]
    answer = subprocess.run(command, env=dict(env), capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        raise StepFailedError(f"pip cannot read its settings: {answer.stderr.strip()}")
    lines = sorted(answer.stdout.splitlines(), key=lambda line: (line.startswith(":env:"), line))
    settings: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition("=")
        if value:
            settings[name.rpartition(".")[2]] = ast.literal_eval(value)
    return settings


def _has_colcon(layout: Layout, ros: RosInstallation, environ: Mapping[str, str]) -> bool:
    env = {**clean_environ(environ), "PYTHONPATH": ":".join(str(path) for path in ros.python_path)}
    command = [str(layout.python), "-c", _COLCON_PROBE]
    return subprocess.run(command, env=env, capture_output=True, check=False).returncode == 0


def clean_environ(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables without those of another environment."""
    return {name: value for name, value in environ.items() if name not in _FOREIGN}


def _discard(path: Path, aside: Path) -> None:
    """Removes a folder that running programs may still be writing to."""
    shutil.rmtree(aside, ignore_errors=True)
    path.replace(aside)
    if aside.is_symlink():
        aside.unlink()
    shutil.rmtree(aside, ignore_errors=True)
