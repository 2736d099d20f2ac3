"""A bad network between a driver and its arm: forwards TCP, and UDP with loss, delay and so on."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import random
import select
import socket
import threading
import time
from dataclasses import dataclass

from trossen_arm_sim.protocol import TCP_PORT, UDP_PORT

_POLL_S = 0.05
_LARGEST_DATAGRAM = 4096


@dataclass(frozen=True)
class Impairment:
    """What happens to each datagram, in each direction.

    Attributes:
        loss: part of them that is lost, 0..1.
        delay_s: smallest and largest delay [s]; different delays change the order.
        duplicates: part of them that arrives twice, 0..1.
        late: part of them that arrives ``late_s`` later, after its successors, 0..1.
        late_s: how much later [s].
    """

    loss: float = 0.0
    delay_s: tuple[float, float] = (0.0, 0.0)
    duplicates: float = 0.0
    late: float = 0.0
    late_s: float = 0.01


class Link:
    """Stands between one driver and one arm. ``impairment`` may be replaced at any time."""

    def __init__(self, address: str, arm_address: str) -> None:
        """Args:
        address: where the driver connects to.
        arm_address: where the arm is served.
        """
        self.impairment = Impairment()
        self._arm_address = arm_address
        self._random = random.Random(0)
        self._running = True
        self._listener = socket.create_server((address, TCP_PORT))
        self._driver = _udp_socket((address, UDP_PORT))
        self._arm = _udp_socket((arm_address, 0))
        self._sockets: set[socket.socket] = set()
        for work in (self._accept, self._forward):
            threading.Thread(target=work, daemon=True).start()

    def close(self) -> None:
        """Ends all connections."""
        self._running = False
        for opened in (*self._sockets, self._listener):
            with contextlib.suppress(OSError):  # it has ended already
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    def cut(self) -> None:
        """Ends the TCP connection; the next one is accepted again."""
        for opened in list(self._sockets):
            with contextlib.suppress(OSError):  # it has ended already
                opened.shutdown(socket.SHUT_RDWR)

    # TCP ----------------------------------------------------------------------------------------

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection((self._arm_address, TCP_PORT), 2.0)
                except OSError:
                    near.close()
                    continue
                far.settimeout(None)
                for source, sink in ((near, far), (far, near)):
                    self._sockets.add(source)
                    threading.Thread(target=self._pump, args=(source, sink), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):  # one end has gone, and the other shall know
            while data := source.recv(65536):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._sockets.discard(source)
        source.close()

    # UDP ----------------------------------------------------------------------------------------

    def _forward(self) -> None:
        """Takes datagrams from both sides and sends each when its time has come."""
        queue: list[tuple[float, int, bytes, socket.socket, tuple[str, int]]] = []
        order = itertools.count()
        driver: tuple[str, int] | None = None
        while self._running:
            wait_s = max(0.0, queue[0][0] - time.monotonic()) if queue else _POLL_S
            ready = select.select([self._driver, self._arm], [], [], min(wait_s, _POLL_S))[0]
            for source in ready:
                with contextlib.suppress(ConnectionError):  # nobody listens there now
                    data, sender = source.recvfrom(_LARGEST_DATAGRAM)
                    if source is self._driver:
                        driver, sink, to = sender, self._arm, (self._arm_address, UDP_PORT)
                    elif driver is not None:
                        sink, to = self._driver, driver
                    else:
                        continue
                    for due_s in self._times():
                        heapq.heappush(queue, (due_s, next(order), data, sink, to))
            while queue and queue[0][0] <= time.monotonic():
                _, _, data, sink, to = heapq.heappop(queue)
                with contextlib.suppress(ConnectionError):
                    sink.sendto(data, to)
        self._driver.close()
        self._arm.close()

    def _times(self) -> list[float]:
        """When a datagram that comes now is to be sent, on the monotonic clock [s]."""
        bad, chance = self.impairment, self._random.random
        if chance() < bad.loss:
            return []
        due_s = time.monotonic() + self._random.uniform(*bad.delay_s)
        if chance() < bad.late:
            due_s += bad.late_s
        return [due_s] * (2 if chance() < bad.duplicates else 1)


def _udp_socket(address: tuple[str, int]) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(address)
    return opened
