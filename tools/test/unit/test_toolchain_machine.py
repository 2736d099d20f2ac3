"""What the machine must have, and what is said or done when it does not."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from toolchain import python_env, system
from toolchain.lock import LOCKS
from toolchain.steps import StepFailedError
from toolchain.system import Need

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def on_path(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, script: str) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def absent(product: Path) -> Need:
    return Need("paper", ("paper-bin",), lambda: None if product.exists() else "the tray is empty")


def test_this_machine_has_all_that_is_needed() -> None:
    found = {need.what: need.problem() for need in system.needs({})}
    assert len(found) == 6
    assert set(found.values()) == {None}


def test_without_rights_the_packages_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StepFailedError) as caught:
        system.provide([absent(tmp_path / "paper")], log, os.environ)
    assert str(caught.value).splitlines() == [
        "this machine lacks:",
        "  - paper: the tray is empty",
        "on Debian or Ubuntu: sudo apt-get install paper-bin",
    ]


def test_root_installs_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    # Knows the package only after its lists were updated, as on a fresh machine.
    script = f"""cd {tmp_path}
    case "$1" in
        update) touch lists ;;
        install) [ -f lists ] && touch "$4" ;;
    esac"""
    on_path(monkeypatch, tmp_path, "apt-get", script)
    system.provide([absent(tmp_path / "paper-bin")], log, os.environ)
    assert "apt-get install -y --no-install-recommends paper-bin" in log.read_text()


def test_an_installation_that_does_not_help_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    on_path(monkeypatch, tmp_path, "apt-get", "true")
    with pytest.raises(StepFailedError, match="the tray is empty"):
        system.provide([absent(tmp_path / "paper")], log, os.environ)


def test_an_interpreter_of_ones_own_cannot_be_installed(
    monkeypatch: pytest.MonkeyPatch, log: Path
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(StepFailedError, match="make setup PYTHON=/usr/bin/python3"):
        system.provide([Need("the headers of Python", (), lambda: "none")], log, os.environ)


@pytest.mark.parametrize(
    ("says", "problem"), [("cmake version 3.16.3", "is 3.16"), ("cmake version 4.1.0", None)]
)
def test_cmake_must_be_new_enough(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str, problem: str | None
) -> None:
    on_path(monkeypatch, tmp_path, "cmake", f"echo {says}")
    need = next(need for need in system.needs({}) if "cmake" in need.what)
    found = need.problem()
    assert found is None if problem is None else found is not None and problem in found


def test_a_compiler_that_cannot_compile_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on_path(monkeypatch, tmp_path, "c++", "echo no headers >&2; exit 1")
    need = next(need for need in system.needs({}) if "compiler" in need.what)
    assert need.problem() == "no headers"


def test_no_egl_is_needed_to_render_otherwise() -> None:
    assert not any("EGL" in need.what for need in system.needs({"MUJOCO_GL": "osmesa"}))


def test_uv_uses_the_index_and_certificates_of_pip(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = tmp_path / "pip.conf"
    settings.write_text("[global]\nindex-url = https://of.file\ncert = /of/file\n")
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_", "SSL_"))]:
        monkeypatch.delenv(name)
    environ = {**os.environ, "PIP_CONFIG_FILE": str(settings), "PYTHONPATH": "/elsewhere"}
    env = python_env.uv_environ(Path(sys.executable), environ)
    assert env["UV_DEFAULT_INDEX"] == "https://of.file"
    assert env["SSL_CERT_FILE"] == "/of/file"
    assert "PYTHONPATH" not in env
    env = python_env.uv_environ(Path(sys.executable), {**environ, "PIP_CERT": "/of/variable"})
    assert env["SSL_CERT_FILE"] == "/of/variable"


@pytest.mark.parametrize(("version", "status"), [((3, 9), 2), ((3, 10), 0), ((3, 14), 2)])
def test_only_pythons_that_jazzy_has_are_accepted(version: tuple[int, int], status: int) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(ROOT / 'tools')!r}); import bootstrap;"
        f"sys.version_info = {version}; bootstrap.check_interpreter()"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == status, result.stderr
    if status:
        assert f"is Python 3.{version[1]}." in result.stderr
        assert "Python 3.10 to 3.13 is needed" in result.stderr


@pytest.mark.parametrize("name", [lock.name for lock in LOCKS])
def test_lock_files_pin_all_and_name_no_host(name: str) -> None:
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    pins = re.findall(r"^[a-z0-9][^ ]*", text, flags=re.MULTILINE)
    assert pins
    assert all(re.fullmatch(r"[a-z0-9.-]+==[^=]+", pin) for pin in pins)
    assert "://" not in text
    assert "--index" not in text


def test_every_requirement_is_locked() -> None:
    for lock in LOCKS:
        pinned = (ROOT / "requirements" / f"{lock.name}.lock").read_text()
        for source in lock.sources:
            for line in (ROOT / "requirements" / f"{source}.in").read_text().splitlines():
                name = re.match(r"[A-Za-z0-9_-]+", line)
                if name and not (lock.name == "system" and name[0] == "numpy"):
                    assert f"{name[0].replace('_', '-')}==" in pinned, f"make lock: {line}"
