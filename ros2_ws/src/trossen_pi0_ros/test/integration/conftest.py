"""A ROS domain for each test, nodes that spin in the background, and nodes as processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
import rclpy
from domain_coordinator import domain_id
from rclpy.client import Client
from rclpy.context import Context
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

T = TypeVar("T")
DEADLINE_S = 15.0
PROBE = Path(__file__).with_name("probe_node.py")


def wait_until(condition: Callable[[], T], what: str, deadline_s: float = DEADLINE_S) -> T:
    """Waits until the condition yields something true, and returns it."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline_s} s for {what}")
        time.sleep(0.005)


class Ros:
    """A context on a domain of its own, with nodes that one thread spins."""

    def __init__(self, domain: int) -> None:
        self.domain = domain
        self.context = Context()
        rclpy.init(
            context=self.context,
            domain_id=domain,
            signal_handler_options=SignalHandlerOptions.NO,
        )
        self._executor = SingleThreadedExecutor(context=self.context)
        self._nodes: list[Node] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        try:
            while not self._ended.is_set():
                self._executor.spin_once()
        except ExternalShutdownException:
            return

    def add(self, node: Node) -> None:
        """Spins a node."""
        self._nodes.append(node)
        self._executor.add_node(node)

    def node(self, name: str = "tester") -> Node:
        """A spinning node."""
        node = rclpy.create_node(name, context=self.context)
        self.add(node)
        return node

    def result(self, future: Future, what: str = "an answer") -> Any:
        """What a future yields."""
        wait_until(future.done, what)
        return future.result()

    def wait_for_message(self, kind: type[Any], topic: str, qos: Any) -> Any:
        """The first message of a topic that a new subscriber gets."""
        received: list[Any] = []
        self.node("listener").create_subscription(kind, topic, received.append, qos)
        wait_until(lambda: received, f"a message on {topic}")
        return received[0]

    def call(self, client: Client, request: Any) -> Any:
        """The answer of a service."""
        assert client.wait_for_service(DEADLINE_S), f"no service {client.srv_name}"
        return self.result(client.call_async(request), f"an answer of {client.srv_name}")

    def close(self) -> None:
        """Ends the thread and the nodes."""
        self._ended.set()
        self._executor.create_task(lambda: None)
        self._thread.join(timeout=5.0)
        assert not self._thread.is_alive()
        self._executor.shutdown(timeout_sec=5.0)
        for node in self._nodes:
            node.destroy_node()
        self.context.try_shutdown()


class Process:
    """A node as a process; its output is kept line by line."""

    def __init__(self, domain: int, *words: str, environment: dict[str, str] | None = None) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, str(PROBE), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "ROS_DOMAIN_ID": str(domain), **(environment or {})},
        )
        self.out: list[str] = []
        self.err: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=(self.popen.stdout, self.out), daemon=True),
            threading.Thread(target=self._read, args=(self.popen.stderr, self.err), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    @staticmethod
    def _read(stream: Any, lines: list[str]) -> None:
        with stream:
            for line in stream:
                lines.append(line.rstrip("\n"))

    @property
    def error_text(self) -> str:
        """What it wrote to stderr so far."""
        return "\n".join(self.err)

    def said(self, line: str) -> None:
        """Waits for a line on stdout."""
        wait_until(lambda: line in self.out or self.popen.poll() is not None, repr(line))
        assert line in self.out, self.error_text

    def end(self, deadline_s: float = DEADLINE_S) -> int:
        """Waits for the end and returns the exit status."""
        code = self.popen.wait(deadline_s)
        for reader in self._readers:
            reader.join(timeout=5.0)
        return code

    def signal(self, number: signal.Signals) -> tuple[int, float]:
        """Sends a signal; returns the exit status and the seconds that the end took."""
        begin = time.monotonic()
        self.popen.send_signal(number)
        code = self.popen.wait(DEADLINE_S)
        seconds = time.monotonic() - begin
        self.end()
        return code, seconds

    def kill(self) -> None:
        """Ends it in any case, in order if possible: a killed node leaves shared memory behind."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGINT)
        try:
            self.end(5.0)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.end()


@pytest.fixture
def domain() -> Iterator[int]:
    """A ROS domain that nobody else uses meanwhile."""
    with domain_id() as number:
        yield number


@pytest.fixture
def ros(domain: int) -> Iterator[Ros]:
    """A context on a domain of its own."""
    harness = Ros(domain)
    yield harness
    harness.close()


@pytest.fixture
def start(domain: int) -> Iterator[Callable[..., Process]]:
    """Starts the probe as a process on the test's domain: ``start("--ros-args", ...)``."""
    processes: list[Process] = []

    def begin(*words: str, environment: dict[str, str] | None = None) -> Process:
        processes.append(Process(domain, *words, environment=environment))
        return processes[-1]

    yield begin
    for process in processes:
        process.kill()
