"""The shell file that puts a command inside the environment."""

from __future__ import annotations

import shlex
from pathlib import Path

from toolchain.layout import Layout
from toolchain.ros import RosInstallation
from toolchain.workspace import Package

FASTDDS_PROFILE = "trossen_pi0_bringup/config/fastdds.xml"

_HEADER = """\
# Written by tools/bootstrap.py (make setup). `tools/run CMD...` sources it; so may you.
_tp_prepend() {  # NAME FOLDER: put FOLDER first in the path variable NAME, once
    eval "_tp_old=\\${$1:-}"
    case ":$_tp_old:" in
        *":$2:"*) ;;
        *) eval "export $1=\\"\\$2\\${_tp_old:+:\\$_tp_old}\\"" ;;
    esac
}
_tp_default() {  # NAME VALUE: set NAME unless it has a value
    eval "[ -n \\"\\${$1:-}\\" ] || export $1=\\"\\$2\\""
}
"""

_FOOTER = "unset -f _tp_prepend _tp_default\nunset _tp_old\n"


def render(layout: Layout, ros: RosInstallation, packages: list[Package], version: str) -> str:
    """The text of the file, for interpreter `version` such as `3.12`.

    Variables that choose code (Python path, ament prefixes) are set outright, so that another ROS
    sourced in the calling shell cannot leak in; tuning variables only where unset.
    """
    site = layout.install / "lib" / f"python{version}" / "site-packages"
    develop = [layout.build / package.name for package in packages if package.is_python]
    lines = [
        _assign("TROSSEN_PI0_ENV", str(layout.venv)),
        _assign("VIRTUAL_ENV", str(layout.venv)),
        _assign("ROS_DISTRO", ros.distro),
        _assign("ROS_VERSION", "2"),
        _assign("ROS_PYTHON_VERSION", "3"),
        _assign("AMENT_PREFIX_PATH", _join([layout.install, *ros.prefixes])),
        _assign("CMAKE_PREFIX_PATH", _join([layout.install, *ros.prefixes])),
        _assign("PYTHONPATH", _join([*develop, layout.training, site, *ros.python_path])),
        *[_call("_tp_prepend", "LD_LIBRARY_PATH", str(p)) for p in reversed(ros.library_path)],
        _call("_tp_prepend", "LD_LIBRARY_PATH", str(layout.install / "lib")),
        *[_call("_tp_prepend", "PATH", str(p)) for p in reversed(ros.executable_path)],
        _call("_tp_prepend", "PATH", str(layout.install / "bin")),
        _call("_tp_prepend", "PATH", str(layout.venv / "bin")),
        _call("_tp_default", "RMW_IMPLEMENTATION", "rmw_fastrtps_cpp"),
        _call("_tp_default", "ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST"),
        _call("_tp_default", "MUJOCO_GL", "egl"),
        # Mesa's software renderer starts a thread per core by default, beside the nodes' own.
        _call("_tp_default", "LP_NUM_THREADS", "0"),
        _assign("PYTHONUNBUFFERED", "1"),
        *_fastdds_profile(layout.sources / FASTDDS_PROFILE),
    ]
    return _HEADER + "\n".join(lines) + "\n" + _FOOTER


def _fastdds_profile(profile: Path) -> list[str]:
    """Fast DDS reads the first name, older releases the second: one set by the user wins."""
    path = shlex.quote(str(profile))
    unset = "${FASTDDS_DEFAULT_PROFILES_FILE:-}${FASTRTPS_DEFAULT_PROFILES_FILE:-}"
    return [
        f'if [ -f {path} ] && [ -z "{unset}" ]; then',
        f"    export FASTDDS_DEFAULT_PROFILES_FILE={path}",
        f"    export FASTRTPS_DEFAULT_PROFILES_FILE={path}",
        "fi",
    ]


def _join(paths: list[Path]) -> str:
    return ":".join(str(path) for path in paths)


def _assign(name: str, value: str) -> str:
    return f"export {name}={shlex.quote(value)}"


def _call(function: str, name: str, value: str) -> str:
    return f"{function} {name} {shlex.quote(value)}"
