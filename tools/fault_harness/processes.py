"""Nodes and the arms as processes, started as the suite's supervisor starts them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from fault_harness.recording import MOTION, SET_POINT, RecordReader
from trossen_pi0_bringup.nodes import NodeSpec
from trossen_pi0_bringup.supervisor import find_executable, write_parameters
from trossen_pi0_bringup.transport import transport_environment
from trossen_pi0_ros.process import PARENT_VARIABLE

T = TypeVar("T")

DEADLINE_S = 20.0


def wait_until(
    condition: Callable[[], T], what: str | Callable[[], str], deadline_s: float = DEADLINE_S
) -> T:
    """Waits until the condition yields something true, and returns it."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        if time.monotonic() >= end:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"waited {deadline_s:g} s for {text}")
        time.sleep(0.005)
    return value


class NodeProcess:
    """One node of the stack; it may be started again after its end."""

    def __init__(self, spec: NodeSpec, folder: Path, domain: int) -> None:
        """Args:
        spec: which node, as in the suite's table of nodes.
        folder: gets its log and its parameters.
        domain: ROS domain.
        """
        self.spec = spec
        self.log = folder / f"{spec.name}.log"
        self._folder = folder
        self._environment = {
            **os.environ,
            **transport_environment(),
            PARENT_VARIABLE: str(os.getpid()),
            "RCUTILS_COLORIZED_OUTPUT": "0",
            "ROS_DOMAIN_ID": str(domain),
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, **parameters: Any) -> None:
        """Starts it; ``parameters`` win over those of the spec this time."""
        path = self._folder / f"{self.spec.name}.yaml"
        write_parameters(path, {**self.spec.parameters, **parameters})
        executable = str(find_executable(self.spec.package, self.spec.executable))
        words = [executable, "--ros-args", "-r", f"__node:={self.spec.name}"]
        words += [*self.spec.arguments, "--params-file", str(path)]
        with self.log.open("ab") as file:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self._environment,
                start_new_session=True,
            )

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def resume(self) -> bool:
        """Lets it go on if it was stopped; returns whether it runs."""
        if self.alive:
            self.send(signal.SIGCONT)
        return self.alive

    @property
    def text(self) -> str:
        """All that it has said."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def send(self, number: signal.Signals) -> None:
        """Sends a signal to its process group."""
        assert self._process is not None
        os.killpg(self._process.pid, number)

    def wait(self, timeout_s: float = DEADLINE_S) -> int:
        """Its exit status, once it has ended."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """SIGKILL."""
        if self.alive:
            self.send(signal.SIGKILL)
            self.wait()


class Arms:
    """The process that simulates both arms, and its recordings."""

    def __init__(self, folder: Path, addresses: tuple[str, str], links: tuple[str, str]) -> None:
        """Args:
        folder: gets the recordings.
        addresses: where the arms are served.
        links: where they are served over a network that can be made bad.
        """
        self.set_points = RecordReader(folder / "set_points.bin", SET_POINT)
        self.motion = RecordReader(folder / "motion.bin", MOTION)
        self.addresses = addresses
        self.links = links
        self._folder = folder
        self.start()

    def start(self) -> None:
        """Serves the arms, where they were when they were last served."""
        host = Path(__file__).with_name("arm_host.py")
        path = os.pathsep.join([str(host.parents[1]), os.environ.get("PYTHONPATH", "")])
        self._process = subprocess.Popen(
            [sys.executable, str(host), str(self._folder), *self.addresses, *self.links],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )
        self._hear("ready")

    def tell(self, line: str) -> None:
        """Such as ``fault 0 overheated``; see ``arm_host``."""
        answer = self.ask(line)
        assert answer == "done", answer

    def ask(self, line: str) -> str:
        """The answer to a line."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def heal(self) -> None:
        """Starts them if they have ended, and undoes all that they were told."""
        if self._process.poll() is not None:
            self.start()
        self._process.send_signal(signal.SIGCONT)
        for line in ("thaw 0", "thaw 1", "lie 0", "lie 1", "network"):
            self.tell(line)

    def quiet(self, from_s: float, until_s: float) -> bool:
        """Whether no set-point arrived in a span of the monotonic clock [s]."""
        times_s = self.set_points.since(from_s)["time_s"]
        return not (times_s < until_s).any()

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL: the ports are closed and all connections end."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10.0)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _hear(self, text: str) -> None:
        assert self._process.stdout is not None
        heard = self._process.stdout.readline().strip()
        assert heard == text, f"the arms said {heard!r}, not {text!r}"
