"""The colcon workspace: its packages, when it must be built, and building it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

from toolchain.layout import Layout
from toolchain.steps import StepFailedError, run_logged

_IGNORED_FOLDERS = {"__pycache__", "test", ".pytest_cache", ".ruff_cache"}
_MESSAGE_SUFFIXES = {".msg", ".srv", ".action"}
_BUILD_FILES = {"package.xml", "setup.py", "setup.cfg", "CMakeLists.txt"}


@dataclass(frozen=True)
class Package:
    """One package of the workspace."""

    name: str
    folder: Path

    @property
    def is_python(self) -> bool:
        """Whether it is an ament_python package, else it is built with CMake."""
        return (self.folder / "setup.py").is_file()


def find_packages(layout: Layout, *, substitutes: bool = False) -> list[Package]:
    """The packages below `ros2_ws/src`, by folder; raises StepFailedError on a bad manifest.

    With `substitutes`, also those that the wheels of ROS 2 lack.
    """
    folders = [layout.sources, *([layout.substitutes] if substitutes else [])]
    found = []
    for manifest in [path for f in folders for path in sorted(f.glob("*/package.xml"))]:
        try:
            name = ET.parse(manifest).getroot().findtext("name", default="").strip()
        except ET.ParseError as error:
            raise StepFailedError(f"{manifest} is not XML: {error}") from error
        if not name:
            raise StepFailedError(f"{manifest} has no <name>")
        found.append(Package(name, manifest.parent))
    return found


def digest(packages: list[Package]) -> str:
    """Changes when a build is needed.

    Python modules are reached through a link to their folder and data files are linked one by one,
    so their contents do not count; the names of data files do, since a new one needs a new link,
    and so do build files and messages.
    """
    result = hashlib.sha256()
    for package in packages:
        for path in sorted(package.folder.rglob("*")):
            relative = path.relative_to(package.folder)
            if path.is_dir() or _is_live(package, relative):
                continue
            result.update(f"{package.name}/{relative}\0".encode())
            if path.name in _BUILD_FILES or path.suffix in _MESSAGE_SUFFIXES:
                result.update(path.read_bytes())
    return result.hexdigest()


def _is_live(package: Package, relative: Path) -> bool:
    """Whether a change of this file takes effect without a build, or is of no effect."""
    in_module = package.is_python and relative.parts[0] == package.name
    return in_module or bool(_IGNORED_FOLDERS & set(relative.parts))


def build(layout: Layout, packages: list[Package], base: str, log: Path) -> None:
    """Runs colcon; `base` stands for the interpreter and packages that the build was made with.

    A build made with another base, an interrupted one and one that holds a package that is no
    longer there is made anew.
    """
    marker = layout.build / ".base"
    installed = {path.name for path in layout.install.glob("share/colcon-core/packages/*")}
    stale = installed - {package.name for package in packages}
    if stale or not marker.is_file() or marker.read_text(encoding="utf-8") != base:
        for folder in (layout.build, layout.install):
            shutil.rmtree(folder, ignore_errors=True)
    layout.build.mkdir(parents=True, exist_ok=True)
    marker.unlink(missing_ok=True)
    try:
        command = [layout.root / "tools" / "run", *_colcon(layout, packages)]
        run_logged(command, log, os.environ)
    except StepFailedError as error:
        marker.write_text(base, encoding="utf-8")
        failed = _explain_failure(layout, log)
        raise StepFailedError(f"colcon cannot build {failed or 'it'}", log) from error
    marker.write_text(base, encoding="utf-8")
    _link_python(layout)
    _link_commands(layout)


def _explain_failure(layout: Layout, log: Path) -> str:
    """The names of the packages that failed; what they said goes to the end of the log."""
    names = re.findall(r"^Failed +<<< (\S+)", log.read_text(encoding="utf-8"), re.MULTILINE)
    with log.open("a", encoding="utf-8") as out:
        for name in names:
            said = layout.colcon_log / "latest_build" / name / "stderr.log"
            if said.is_file():
                out.write(f"--- errors of {name}\n{said.read_text(encoding='utf-8').rstrip()}\n")
    return ", ".join(names)


def _colcon(layout: Layout, packages: list[Package]) -> list[str | Path]:
    """The build, with the environment's own interpreter so that installed scripts use it too."""
    program = "import sys; from colcon_core.command import main; sys.exit(main())"
    return [
        layout.python,
        *("-c", program, "--log-base", layout.colcon_log, "build"),
        *("--base-paths", *sorted({package.folder.parent for package in packages})),
        *("--build-base", layout.build, "--install-base", layout.install),
        *("--merge-install", "--symlink-install", "--event-handlers", "console_cohesion+"),
        *("--cmake-args", f"-DPython3_EXECUTABLE={layout.python}", "-DBUILD_TESTING=OFF"),
    ]


def _link_commands(layout: Layout) -> None:
    """Commands for people go where PATH leads; nodes stay where ``ros2 run`` looks."""
    folder = layout.install / "bin"
    folder.mkdir(exist_ok=True)
    for script in layout.install.glob("lib/*/trossen-pi0"):
        link = folder / script.name
        if not link.is_symlink():
            link.symlink_to(Path("..") / script.relative_to(layout.install))


def _link_python(layout: Layout) -> None:
    """A name without a version for the generated message modules, for the type checker."""
    found = sorted(layout.install.glob("lib/python3.*/site-packages"))
    link = layout.install / "python"
    if found and not link.is_symlink():
        link.symlink_to(found[-1].relative_to(layout.install))
