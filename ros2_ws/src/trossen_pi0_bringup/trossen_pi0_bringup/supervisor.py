"""Starts, watches and ends the nodes' processes, where there is no ``ros2 launch``."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix

from trossen_pi0_bringup.nodes import NodeSpec
from trossen_pi0_bringup.transport import transport_environment
from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_ros.process import PARENT_VARIABLE

# Seconds until the next, harder signal; together they stay below five. A node that may take longer
# gets its time before the second one.
_ENDING = ((signal.SIGINT, 2.5), (signal.SIGTERM, 1.0), (signal.SIGKILL, 1.0))


class StackError(TrossenPi0Error):
    """A node cannot be started or has ended."""


@dataclass
class _Child:
    spec: NodeSpec
    process: subprocess.Popen[bytes]
    log: Path
    reader: threading.Thread


class Supervisor:
    """The processes of one stack. Its methods are called by one thread.

    Each process writes to its own log file; lines that are warnings or worse are also handed to
    ``on_line``, from a thread of the process. If this process dies, the nodes end too.
    """

    def __init__(self, folder: Path, on_line: Callable[[str], None]) -> None:
        """Args:
        folder: gets ``log/<node>.log`` and ``parameters/<node>.yaml``.
        on_line: takes a line worth showing.
        """
        self._folder = folder
        self._on_line = on_line
        self._children: list[_Child] = []
        self._environment = {
            **transport_environment(),
            PARENT_VARIABLE: str(os.getpid()),
            "RCUTILS_COLORIZED_OUTPUT": "0",
        }
        for name in ("log", "parameters"):
            (folder / name).mkdir(parents=True, exist_ok=True)

    @property
    def pids(self) -> dict[str, int]:
        """Process ids by node name."""
        return {child.spec.name: child.process.pid for child in self._children}

    def start(self, specs: Sequence[NodeSpec]) -> None:
        """Starts the processes; ends all of them again if one cannot be started.

        Raises:
            StackError: which one, and why.
        """
        commands = [(spec, self._command(spec)) for spec in specs]
        try:
            for spec, command in commands:
                self._children.append(self._spawn(spec, command))
        except OSError as error:
            self.stop()
            raise StackError(f"{error.filename or 'a node'} cannot be started: {error}") from error

    def check(self) -> None:
        """Raises StackError, with the end of its log, when a required process has ended."""
        for child in self._children:
            status = child.process.poll()
            if status is not None and child.spec.required:
                child.reader.join(timeout=1.0)
                raise StackError(
                    f"{child.spec.name} ended with {_describe(status)}; the end of {child.log}:\n"
                    f"{_tail(child.log)}"
                )

    def stop(self) -> list[str]:
        """Ends all processes; returns the names of those it had to kill.

        Within five seconds, and the time that nodes may take longer to end.
        """
        killed: list[str] = []
        for number, grace_s in _ENDING:
            deadline = time.monotonic() + grace_s
            # The policy before the arms, the arms before the simulation that serves them. Beside
            # them those that nothing depends on.
            optional = [child for child in self._children if not child.spec.required]
            for child in optional:
                _signal(child, number, killed)
            for child in reversed(self._children):
                if child in optional or child.process.poll() is not None:
                    continue
                if number == signal.SIGINT:
                    deadline += child.spec.ending_s
                _signal(child, number, killed)
                _wait(child, deadline)
            for child in optional:
                _wait(child, deadline)
        for child in self._children:
            child.reader.join(timeout=1.0)
        return killed

    def _command(self, spec: NodeSpec) -> list[str]:
        executable = find_executable(spec.package, spec.executable)
        words = [str(executable), *spec.arguments, "--ros-args", "-r", f"__node:={spec.name}"]
        for name, other in spec.remappings:
            words += ["-r", f"{name}:={other}"]
        for path in spec.parameter_files:
            words += ["--params-file", str(path)]
        if spec.parameters:
            path = self._folder / "parameters" / f"{spec.name}.yaml"
            write_parameters(path, spec.parameters)
            words += ["--params-file", str(path)]
        return words

    def _spawn(self, spec: NodeSpec, command: list[str]) -> _Child:
        log = self._folder / "log" / f"{spec.name}.log"
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **self._environment},
            start_new_session=True,  # Ctrl-C reaches this process alone, which ends the others
        )
        assert process.stdout is not None
        reader = threading.Thread(
            target=self._read, args=(spec.name, process.stdout, log), name=f"{spec.name}-log"
        )
        reader.start()
        return _Child(spec, process, log, reader)

    def _read(self, name: str, stream: IO[bytes], log: Path) -> None:
        with stream, log.open("wb") as file:
            for raw in stream:
                file.write(raw)
                file.flush()
                line = raw.decode(errors="replace").rstrip()
                if any(mark in line for mark in ("[WARN]", "[ERROR]", "[FATAL]", "error:")):
                    self._on_line(f"[{name}] {line}")


def _signal(child: _Child, number: signal.Signals, killed: list[str]) -> None:
    """Signals a process that has not ended; notes its name if that kills it."""
    if child.process.poll() is not None:
        return
    if number == signal.SIGKILL:
        killed.append(child.spec.name)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.process.pid, number)


def _wait(child: _Child, deadline_s: float) -> None:
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.process.wait(max(0.0, deadline_s - time.monotonic()))


def find_executable(package: str, executable: str) -> Path:
    """Path of a package's executable, as ``ros2 run`` finds it.

    Raises:
        StackError: no such package or executable.
    """
    try:
        path = Path(get_package_prefix(package)) / "lib" / package / executable
    except PackageNotFoundError as error:
        raise StackError(f"ROS package {package!r} is not installed") from error
    if not path.is_file():
        raise StackError(f"package {package!r} has no executable {executable!r} at {path}")
    return path


def write_parameters(path: Path, parameters: Mapping[str, Any]) -> None:
    """Writes a ROS parameter file that applies to any node it is given to."""
    plain = {k: list(v) if isinstance(v, tuple) else v for k, v in parameters.items()}
    path.write_text(yaml.safe_dump({"/**": {"ros__parameters": plain}}, sort_keys=False))


def _describe(status: int) -> str:
    return f"status {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"


def _tail(path: Path, lines: int = 12) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
