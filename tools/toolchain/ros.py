"""Which ROS 2 the environment uses: the one that is sourced, or wheels in the environment."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from toolchain.layout import Layout

DISTRO = "jazzy"

_PROBE = "import json, numpy, rclpy; print(json.dumps(numpy.__version__))"


@dataclass(frozen=True)
class RosInstallation:
    """A ROS 2 and the search paths it needs.

    `system_numpy` is the version of the numpy its messages are used with, or None when ROS 2 comes
    as wheels and the lock file decides.
    """

    distro: str
    prefixes: list[Path]
    python_path: list[Path]
    library_path: list[Path]
    executable_path: list[Path]
    system_numpy: str | None

    @property
    def is_system(self) -> bool:
        """Whether this is an installation outside of the environment."""
        return self.system_numpy is not None

    def to_json(self) -> str:
        """The same for the same installation."""
        return json.dumps(self.__dict__, default=str, indent=1, sort_keys=True)

    @staticmethod
    def from_json(text: str) -> RosInstallation:
        """Reads what `to_json` wrote."""
        fields = json.loads(text)
        for name in ("prefixes", "python_path", "library_path", "executable_path"):
            fields[name] = [Path(item) for item in fields[name]]
        return RosInstallation(**fields)


def from_wheels(layout: Layout) -> RosInstallation:
    """ROS 2 unpacked into the virtual environment, which is then the ament prefix itself."""
    return RosInstallation(DISTRO, [layout.venv], [], [layout.venv / "lib"], [], None)


def sourced(layout: Layout, environ: dict[str, str]) -> tuple[RosInstallation | None, str]:
    """The ROS 2 sourced in `environ`, or None; and a sentence for the user ("" when none)."""
    distro = environ.get("ROS_DISTRO", "")
    if not distro or "TROSSEN_PI0_ENV" in environ:
        return None, ""
    if distro != DISTRO:
        return None, f"ROS 2 {distro} is sourced, but {DISTRO} is needed: using wheels instead"
    probe = subprocess.run(
        [sys.executable, "-c", _PROBE], env=environ, capture_output=True, text=True, check=False
    )
    if probe.returncode != 0:
        reason = (probe.stderr.strip().splitlines() or ["no output"])[-1]
        return None, f"ROS 2 {distro} is sourced, but {sys.executable} cannot use it: {reason}"
    prefixes = _outside(layout, environ.get("AMENT_PREFIX_PATH", ""))
    bins = _outside(layout, environ.get("PATH", ""))
    installation = RosInstallation(
        distro=distro,
        prefixes=prefixes,
        python_path=_outside(layout, environ.get("PYTHONPATH", "")),
        library_path=_outside(layout, environ.get("LD_LIBRARY_PATH", "")),
        executable_path=[path for path in bins if any(path == p / "bin" for p in prefixes)],
        system_numpy=json.loads(probe.stdout),
    )
    return installation, f"using the sourced ROS 2 {distro}"


def repair_wheels(layout: Layout) -> int:
    """Makes the unpacked wheels usable here; returns the number of files changed or linked.

    The exported CMake files name the Python and numpy headers of the machine that built them, and
    the libraries bundled with the wheels lie where no search path leads.
    """
    # Not sysconfig's answer, which for a distribution's Python is about its own folders.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = layout.venv / "lib" / version / "site-packages"
    return _rewrite_cmake(layout.venv, site) + _link_bundled(layout.venv / "lib", site)


def _rewrite_cmake(prefix: Path, site: Path) -> int:
    numpy_include = next(
        path for core in ("_core", "core") if (path := site / "numpy" / core / "include").is_dir()
    )
    builder = r"/opt/python/[^/;\"]+"
    rules = [
        (rf"{builder}/lib/python[0-9.]+/site-packages/numpy/_?core/include", str(numpy_include)),
        (rf"{builder}/include/python[0-9.]+", sysconfig.get_path("include")),
    ]
    changed = 0
    for path in [*prefix.glob("share/**/*.cmake"), *prefix.glob("lib/**/cmake/**/*.cmake")]:
        text = repaired = path.read_text(encoding="utf-8")
        for pattern, replacement in rules:
            repaired = re.sub(pattern, lambda _, r=replacement: r, repaired)
        if repaired != text:
            # A new file: the old one may be a hard link into the package manager's cache.
            draft = path.with_suffix(".new")
            draft.write_text(repaired, encoding="utf-8")
            os.replace(draft, path)
            changed += 1
    return changed


def _link_bundled(lib: Path, site: Path) -> int:
    linked = 0
    for library in sorted(site.glob("ros_*.libs/*.so*")):
        link = lib / library.name
        if not link.exists():
            link.symlink_to(library)
            linked += 1
    return linked


def _outside(layout: Layout, value: str) -> list[Path]:
    """The entries of a path variable that are not this checkout's own."""
    own = str(layout.root) + os.sep
    return [Path(item) for item in value.split(":") if item and not item.startswith(own)]
