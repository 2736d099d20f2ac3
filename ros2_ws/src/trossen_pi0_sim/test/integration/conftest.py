"""Addresses and ROS domains that nobody else uses."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Iterator

import domain_coordinator
import pytest
from trossen_arm_sim.protocol import TCP_PORT


@pytest.fixture
def arm_addresses() -> tuple[str, str]:
    """Two loopback addresses on which no arm is served; the ports are fixed."""
    first, second = (address for address, _ in zip(_free_addresses(), range(2), strict=False))
    return first, second


def _free_addresses() -> Iterator[str]:
    while True:
        address = f"127.{random.randint(64, 127)}.{random.randint(0, 255)}.{random.randint(1, 254)}"
        with socket.socket() as probe:
            try:
                probe.bind((address, TCP_PORT))
            except OSError:
                continue
        yield address


@pytest.fixture
def domain() -> Iterator[int]:
    """A ROS domain of the test's own."""
    with domain_coordinator.domain_id() as domain:
        yield int(domain)


@pytest.fixture
def wait_until() -> Callable[[Callable[[], object], str], None]:
    """Waits for a condition, at most 10 s."""

    def wait(condition: Callable[[], object], what: str, timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"{what}: not within {timeout_s} s"
            time.sleep(0.005)

    return wait
