"""Client of an openpi policy server (``serving/websocket_policy_server.py``).

On connection the server sends a map of metadata; then each binary observation is followed by one
binary answer. A text frame is a traceback of the server, which then closes the connection.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    WebSocketException,
)
from websockets.frames import Close, CloseCode
from websockets.sync.client import ClientConnection, connect

from trossen_pi0_core.errors import BackendError, BackendUnavailableError
from trossen_pi0_core.openpi.wire import WireFormatError, packb, unpackb

Request = Mapping[str, Any] | Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""An observation, or what makes one from the metadata of the server that gets it."""

_LOG = logging.getLogger(__name__)
_CLOSE_TIMEOUT_S = 0.2
_MESSAGE_CHARACTERS = 300
_POLL_S = 0.005
_UNREAD_S = 0.5
_UNAVAILABLE_STATUS = (429, 502, 503, 504)


@dataclass(frozen=True)
class ServerConfig:
    """Where a policy server is and how long it may take.

    Attributes:
        host: name or address, or a ``ws://`` or ``wss://`` URL, whose port wins over ``port``.
        port: TCP port.
        api_key: sent as ``Authorization: Api-Key ...``; empty: none is sent.
        connect_timeout_s: longest wait for the connection and the metadata together [s].
        answer_timeout_s: longest time from sending an observation to its answer [s].
        max_message_bytes: larger messages of the server are refused.
        backoff_s: pause after a failed connection [s]; doubles with each failure in a row.
        max_backoff_s: longest pause [s].
    """

    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str = ""
    connect_timeout_s: float = 5.0
    answer_timeout_s: float = 10.0
    max_message_bytes: int = 64 * 2**20
    backoff_s: float = 0.1
    max_backoff_s: float = 2.0

    @property
    def url(self) -> str:
        """WebSocket URL of the server, with its port.

        Raises:
            BackendError: the host makes no URL.
        """
        host = self.host if "://" in self.host else f"ws://{_bracketed(self.host)}"
        try:
            parts = urlsplit(host)
            port = parts.port or self.port
        except ValueError as error:
            raise BackendError(f"policy server {self.host!r}: {error}") from error
        if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.username:
            raise BackendError(
                f"policy server {self.host!r} is neither a host name, an address, nor a ws:// or "
                "wss:// URL"
            )
        path = f"{parts.path}?{parts.query}" if parts.query else parts.path
        return f"{parts.scheme}://{_bracketed(parts.hostname)}:{port}{path}"


class _NotSentError(BackendUnavailableError):
    """The connection ended before the whole observation was on its way."""


class OpenpiClient:
    """A connection to a policy server, made anew when it is lost.

    One thread uses it; ``interrupt`` may be called by any other. No wait is without a deadline.
    """

    def __init__(self, config: ServerConfig) -> None:
        """Raises:
        BackendError: the host makes no URL.
        """
        self.config = config
        self.url = config.url
        self._connection: ClientConnection | None = None
        self._owner = contextlib.ExitStack()
        self._metadata: Mapping[str, Any] = {}
        self._failures = 0
        self._retry_at_s = 0.0
        self._guard = threading.Lock()
        self._socket: socket.socket | None = None
        self._interrupted = threading.Event()

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        return self._connection is not None

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the server said on connection; empty before the first."""
        return self._metadata

    def connect(self) -> Mapping[str, Any]:
        """Connects, unless connected, and returns the server's metadata.

        After failures it first waits for what is left of the pause.

        Raises:
            BackendUnavailableError: nobody answers, in time; or ``interrupt`` was called.
            BackendError: what answers is not an openpi policy server, or refuses.
        """
        if self._connection is not None:
            return self._metadata
        if self._interrupted.wait(max(0.0, self._retry_at_s - time.monotonic())):
            raise self._interruption()
        try:
            self._metadata = self._open()
        except BackendError:
            self._drop()
            pause = min(self.config.backoff_s * 2**self._failures, self.config.max_backoff_s)
            self._failures = min(self._failures + 1, 32)
            self._retry_at_s = time.monotonic() + pause
            raise
        self._failures = 0
        return self._metadata

    def infer(self, request: Request, *, timeout_s: float | None = None) -> dict[str, Any]:
        """Sends one observation and returns the answer, connecting first if need be.

        Args:
            request: see ``AlohaLayout.request``.
            timeout_s: longest wait for the answer; None: that of the configuration [s].

        Raises:
            BackendUnavailableError: no connection, no answer in time, or the connection was lost.
            BackendError: the server failed, or answers what is not in the protocol.
            WireFormatError: the request cannot be sent in the format.
        """
        message = None if callable(request) else packb(dict(request))
        timeout_s = timeout_s or self.config.answer_timeout_s
        if self._connection is not None and self._has_ended(self._connection):
            self._drop()
        again = self._connection is not None  # an older connection's end may be noticed late
        while True:
            metadata = self.connect()
            asked = packb(dict(request(metadata))) if callable(request) else message
            assert asked is not None
            try:
                return self._exchange(asked, timeout_s)
            except BackendError as error:
                self._drop()
                if not (again and isinstance(error, _NotSentError)):
                    raise
                again = False

    def interrupt(self) -> None:
        """Makes a call under way, and all later ones, fail soon. Any thread. Final."""
        self._interrupted.set()
        self._cut()

    def close(self) -> None:
        """Ends the connection. Only the using thread, or after it is done."""
        self._interrupted.set()
        self._owner.close()
        self._drop()

    def _open(self) -> Mapping[str, Any]:
        deadline_s = time.monotonic() + self.config.connect_timeout_s
        with self._translated("connection", self.config.connect_timeout_s):
            parts = urlsplit(self.url)
            raw = socket.create_connection(
                (parts.hostname or "", parts.port or 0), self.config.connect_timeout_s
            )
            self._watch(raw)
            key = self.config.api_key
            self._connection = self._owner.enter_context(
                connect(
                    self.url,
                    sock=raw,
                    compression=None,
                    additional_headers={"Authorization": f"Api-Key {key}"} if key else None,
                    open_timeout=max(0.01, deadline_s - time.monotonic()),
                    # A server that infers in its event loop answers no ping meanwhile.
                    ping_interval=None,
                    close_timeout=_CLOSE_TIMEOUT_S,
                    max_size=self.config.max_message_bytes,
                )
            )
            self._watch(self._connection.socket)
            metadata = self._connection.recv(timeout=max(0.01, deadline_s - time.monotonic()))
        return self._map(metadata, "metadata")

    def _exchange(self, message: bytes, timeout_s: float) -> dict[str, Any]:
        connection = self._connection
        assert connection is not None
        deadline_s = time.monotonic() + timeout_s
        # Sending blocks without a limit while the server reads nothing: the timer cuts it off.
        timer = threading.Timer(timeout_s, self._cut)
        timer.name = "openpi-deadline"
        timer.daemon = True
        timer.start()
        try:
            with self._translated("answer", timeout_s):
                try:
                    connection.send(message)
                except ConnectionClosed as error:
                    failure = self._failure(error)
                    if self._interrupted.is_set() or type(failure) is BackendError:
                        raise
                    raise _NotSentError(str(failure)) from error
                answer = connection.recv(timeout=max(0.0, deadline_s - time.monotonic()))
        except BackendError as error:
            if time.monotonic() >= deadline_s and not self._interrupted.is_set():
                raise self._late("answer", timeout_s) from error
            raise
        finally:
            timer.cancel()
        return self._map(answer, "answer")

    def _has_ended(self, connection: ClientConnection) -> bool:
        """Whether the server ended the connection while nothing was asked of it.

        A message that nobody asked for would be taken for the answer to the next observation;
        the connection is no longer of use then either.
        """
        deadline_s = time.monotonic() + _UNREAD_S
        try:
            while True:
                # What has arrived, such as the server's end, may not have been read yet.
                unread = _is_readable(connection.socket) and time.monotonic() < deadline_s
                with contextlib.suppress(TimeoutError):
                    connection.recv(timeout=_POLL_S if unread else 0)
                    break
                if not unread:
                    return False
        except (ConnectionClosed, OSError):
            return True
        _LOG.warning("policy server %s sent a message without being asked", self.url)
        return True

    def _map(self, message: str | bytes, what: str) -> dict[str, Any]:
        if isinstance(message, str):
            lines = [line.strip() for line in message.splitlines() if line.strip()]
            last = lines[-1][:_MESSAGE_CHARACTERS] if lines else "no reason given"
            raise BackendError(f"policy server {self.url} failed: {last}")
        try:
            value = unpackb(message)
        except WireFormatError as error:
            raise BackendError(f"policy server {self.url}: bad {what}: {error}") from error
        if not isinstance(value, dict):
            raise BackendError(
                f"policy server {self.url}: the {what} must be a map, got {type(value).__name__}"
            )
        return value

    @contextlib.contextmanager
    def _translated(self, what: str, timeout_s: float) -> Iterator[None]:
        """Turns what sockets and websockets raise into the suite's errors."""
        try:
            yield
        except TimeoutError as error:
            if self._interrupted.is_set():
                raise self._interruption() from error
            raise self._late(what, timeout_s) from error
        except (ConnectionClosed, InvalidHandshake, WebSocketException, OSError, EOFError) as error:
            if self._interrupted.is_set():
                raise self._interruption() from error
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> BackendError:
        server = f"policy server {self.url}"
        if isinstance(error, ConnectionClosed):
            if _refused_as_too_big(error.rcvd) and error.rcvd_then_sent is not False:
                reason = f": {error.rcvd.reason}" if error.rcvd and error.rcvd.reason else ""
                return BackendError(f"{server} takes no observation of this size{reason}")
            if _refused_as_too_big(error.sent):
                limit = self.config.max_message_bytes
                return BackendError(f"{server} sent a message of more than {limit} bytes")
            return BackendUnavailableError(f"{server} closed the connection: {error}")
        if isinstance(error, InvalidStatus):
            status = error.response.status_code
            kind = BackendUnavailableError if status in _UNAVAILABLE_STATUS else BackendError
            hint = "; is the API key right?" if status in (401, 403) else ""
            return kind(f"{server} refused the connection with HTTP status {status}{hint}")
        if isinstance(error, WebSocketException):
            if isinstance(error.__cause__, (OSError, EOFError)):
                return BackendUnavailableError(f"{server} closed the connection: {error}")
            return BackendError(f"{server} does not speak the WebSocket protocol: {error}")
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return BackendUnavailableError(f"{server} cannot be reached: {reason}")

    def _late(self, what: str, timeout_s: float) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"policy server {self.url}: no {what} within {timeout_s:g} s"
        )

    def _interruption(self) -> BackendUnavailableError:
        return BackendUnavailableError(f"policy server {self.url}: the client was closed")

    def _watch(self, opened: socket.socket) -> None:
        """The socket that ``interrupt`` cuts; cut at once if it came too late."""
        with self._guard:
            self._socket = opened
        if self._interrupted.is_set():
            self._cut()

    def _cut(self) -> None:
        """Ends all reading and writing of the socket; whoever waits on it wakes."""
        with self._guard:
            if self._socket is not None:
                with contextlib.suppress(OSError):  # it has ended already
                    self._socket.shutdown(socket.SHUT_RDWR)

    def _drop(self) -> None:
        """Gives the connection up without waiting for the server's agreement."""
        self._cut()
        with self._guard:
            opened, self._socket = self._socket, None
        self._connection = None
        self._owner.close()
        if opened is not None:
            opened.close()


def _refused_as_too_big(close: Close | None) -> bool:
    return close is not None and close.code == CloseCode.MESSAGE_TOO_BIG


def _is_readable(opened: socket.socket) -> bool:
    """Whether bytes, or the end, have arrived that nobody has read."""
    if (number := opened.fileno()) < 0:
        return False  # closed
    poll = select.poll()
    poll.register(number, select.POLLIN)
    return bool(poll.poll(0))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
