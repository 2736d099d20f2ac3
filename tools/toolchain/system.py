"""What the machine itself must have: found by what it does, installed where that is allowed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from toolchain.steps import StepFailedError, run_logged

OLDEST_CMAKE = (3, 20)

EGL_PROBE = """
import ctypes
ctypes.CDLL("libGL.so.1")
egl = ctypes.CDLL("libEGL.so.1")
address = egl.eglGetProcAddress
address.restype, address.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
pointer, integer = ctypes.c_void_p, ctypes.c_int
query = ctypes.CFUNCTYPE(integer, integer, pointer, pointer)(address(b"eglQueryDevicesEXT"))
display = ctypes.CFUNCTYPE(pointer, integer, pointer, pointer)(
    address(b"eglGetPlatformDisplayEXT"))
egl.eglInitialize.argtypes = [pointer, pointer, pointer]
found = integer()
devices = (pointer * 16)()
query(16, devices, ctypes.byref(found))
PLATFORM_DEVICE = 0x313F
opened = [d for d in devices[:found.value]
          if (s := display(PLATFORM_DEVICE, d, None)) and egl.eglInitialize(s, None, None)]
if not opened:
    raise SystemExit(f"{found.value} EGL devices, none of which can be opened")
"""


@dataclass(frozen=True)
class Need:
    """Something the machine must provide, and the Debian packages that provide it."""

    what: str
    packages: tuple[str, ...]
    problem: Callable[[], str | None]
    """Says what is wrong, or None."""


def needs(environ: Mapping[str, str]) -> list[Need]:
    """All that is needed in an environment with these variables."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = f"python{version}" if _is_distribution_python() else None
    listed = [
        Need("a C and C++17 compiler", ("build-essential",), _compiler_problem),
        Need(f"cmake {_dotted(OLDEST_CMAKE)} or newer", ("cmake",), _cmake_problem),
        Need("make", ("make",), lambda: None if shutil.which("make") else "make is not on PATH"),
        Need("the headers of Python", (f"{python}-dev",) if python else (), _headers_problem),
        Need("Python's venv module", (f"{python}-venv",) if python else (), _venv_problem),
    ]
    if environ.get("MUJOCO_GL", "egl") == "egl":
        packages = ("libegl1", "libgl1", "libgl1-mesa-dri")
        listed.append(Need("EGL with a driver, to render cameras", packages, _egl_problem))
    return listed


def provide(wanted: list[Need], log: Path, environ: Mapping[str, str]) -> None:
    """Installs what is missing as root on a machine with apt; else raises with what to install."""
    missing = _missing(wanted, log)
    if not missing:
        return
    packages = [package for need, _ in missing for package in need.packages]
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        _apt_install(packages, log, environ)
        missing = _missing(wanted, log)
        if not missing:
            return
    raise StepFailedError(_explain(missing))


def _missing(wanted: list[Need], log: Path) -> list[tuple[Need, str]]:
    found = []
    with log.open("a", encoding="utf-8") as out:
        for need in wanted:
            problem = need.problem()
            out.write(f"{need.what}: {problem or 'found'}\n")
            if problem:
                found.append((need, problem))
    return found


def _apt_install(packages: list[str], log: Path, environ: Mapping[str, str]) -> None:
    env = {**environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "install", "-y", "--no-install-recommends", *packages]
    try:
        run_logged(install, log, env)
    except StepFailedError:
        # The package lists are missing or old on a fresh machine.
        run_logged(["apt-get", "update"], log, env)
        run_logged(install, log, env)


def _explain(missing: list[tuple[Need, str]]) -> str:
    lines = ["this machine lacks:"]
    lines += [f"  - {need.what}: {problem}" for need, problem in missing]
    packages = [package for need, _ in missing for package in need.packages]
    if packages:
        lines.append(f"on Debian or Ubuntu: sudo apt-get install {' '.join(packages)}")
    if any(not need.packages for need, _ in missing):
        lines.append(f"{sys.executable} is not the distribution's: reinstall it complete, or name")
        lines.append("another interpreter: make setup PYTHON=/usr/bin/python3")
    return "\n".join(lines)


def _compiler_problem() -> str | None:
    c = "int main(void) { return 0; }"
    cpp = "#include <optional>\nint main() { return std::optional<int>(0).value(); }"
    return _compile(_compiler("CC", "cc"), "x.c", c, []) or _compile(
        _compiler("CXX", "c++"), "x.cpp", cpp, ["-std=c++17"]
    )


def _headers_problem() -> str | None:
    include = sysconfig.get_path("include")
    if not Path(include, "Python.h").is_file():
        return f"there is no {include}/Python.h"
    return None


def _compiler(variable: str, default: str) -> list[str]:
    return shlex.split(os.environ.get(variable, "")) or [default]


def _compile(compiler: list[str], name: str, text: str, flags: list[str]) -> str | None:
    if shutil.which(compiler[0]) is None:
        return f"{compiler[0]} is not on PATH"
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, name)
        source.write_text(text, encoding="utf-8")
        return _failure([*compiler, *flags, str(source), "-o", str(source.with_suffix(""))])


def _cmake_problem() -> str | None:
    cmake = shutil.which("cmake")
    if cmake is None:
        return "cmake is not on PATH"
    answer = subprocess.run([cmake, "--version"], capture_output=True, text=True, check=False)
    version = re.search(r"(\d+)\.(\d+)", answer.stdout)
    if version is None:
        return f"{cmake} does not tell its version: {(answer.stderr or answer.stdout).strip()}"
    number = (int(version[1]), int(version[2]))
    return None if number >= OLDEST_CMAKE else f"{cmake} is {_dotted(number)}"


def _venv_problem() -> str | None:
    return _failure([sys.executable, "-c", "import ensurepip, venv"])


def _egl_problem() -> str | None:
    return _failure([sys.executable, "-c", EGL_PROBE])


def _failure(command: list[str]) -> str | None:
    """The last line a failing command wrote, or None when it succeeds."""
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if result.returncode == 0:
        return None
    lines = (result.stderr or result.stdout).strip().splitlines()
    return lines[-1] if lines else f"{command[0]} ended with status {result.returncode}"


def _is_distribution_python() -> bool:
    return Path(sys.base_prefix) == Path("/usr")


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(str(part) for part in version)
