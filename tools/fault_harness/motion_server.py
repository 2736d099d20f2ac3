"""An openpi policy server whose policy moves the arms a little around a pose, and can misbehave."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openpi_client import msgpack_numpy
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import Server, ServerConnection, serve

ROWS = 50
ROWS_PER_S = 30.0

Answer = dict[str, Any] | bytes | str | None


class SmoothMotion:
    """Sines of different phases around a pose, a function of the time alone: chunks agree."""

    def __init__(self, pose: NDArray[np.float64]) -> None:
        """Takes the pose in the middle, shape (14,) [rad; m for carriages]."""
        self.pose = pose
        self._amplitude = np.tile([0.12, 0.08, 0.08, 0.1, 0.1, 0.12, 0.004], 2)
        self._phase = np.arange(14) * 2.4  # the golden angle: some joint always moves
        self._frequency = 2.0 * np.pi * 0.3

    def rows(self, from_s: float, rows: int = ROWS) -> NDArray[np.float64]:
        """Rows from a time of the monotonic clock on [s], shape (rows, 14)."""
        times_s = from_s + np.arange(rows)[:, None] / ROWS_PER_S
        return self.pose + self._amplitude * np.sin(self._frequency * times_s + self._phase)


def packed(value: object) -> bytes:
    """As openpi's servers pack."""
    message = msgpack_numpy.packb(value)
    assert message is not None
    return message


class MotionServer:
    """Speaks openpi's protocol. ``answer`` may be replaced at any time.

    It takes the rows of a good answer and returns a dictionary, raw bytes, a text for a text frame,
    after which the server closes as openpi's does, or None for a connection that is cut.
    """

    def __init__(self, motion: SmoothMotion) -> None:
        self.motion = motion
        self.answer: Callable[[NDArray[np.float32]], Answer] = self.good
        self.answers = 0
        self._open: set[ServerConnection] = set()
        self._server: Server | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.start()

    @staticmethod
    def good(rows: NDArray[np.float32]) -> Answer:
        """What it answers when nothing is wrong."""
        return {"actions": rows}

    def start(self) -> None:
        """Listens, if it does not yet."""
        if self._server is not None:
            return
        self._server = serve(
            self._handle, "127.0.0.1", self.port, compression=None, max_size=None, close_timeout=0.2
        )
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        """Gone, as after a kill: the port is closed and connections are cut."""
        if self._server is None:
            return
        self._server.shutdown()
        for connection in list(self._open):
            _cut(connection)
        self._thread.join()
        self._server = None

    def _handle(self, connection: ServerConnection) -> None:
        self._open.add(connection)
        try:
            connection.send(packed({"robot": "motion server"}))
            for _ in connection:
                if not self._reply(connection):
                    return
        except (ConnectionClosed, OSError):
            return
        finally:
            self._open.discard(connection)

    def _reply(self, connection: ServerConnection) -> bool:
        """Answers one observation; returns whether the connection goes on."""
        answer = self.answer(self.motion.rows(time.monotonic()).astype(np.float32))
        self.answers += 1
        if answer is None:
            _cut(connection)
            return False
        connection.send(packed(answer) if isinstance(answer, dict) else answer)
        if isinstance(answer, str):
            connection.close(1011, "Internal server error. Traceback included in previous frame.")
            return False
        return True


def _cut(connection: ServerConnection) -> None:
    with contextlib.suppress(OSError):  # it has ended already
        connection.socket.shutdown(socket.SHUT_RDWR)
