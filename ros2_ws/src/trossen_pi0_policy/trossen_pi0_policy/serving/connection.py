"""Connections before they are clients: how many there may be, and who is let in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from typing_extensions import override
from websockets.asyncio.server import Server, ServerConnection
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol

from trossen_pi0_policy.serving.access import SCHEME, is_authorised

_LOG = logging.getLogger(__name__)

HEALTH_PATH = "/healthz"
MAX_NEWCOMERS = 64
"""Most connections that are no clients yet: health checks and handshakes."""


class Gate:
    """Counts connections and answers their HTTP requests. On the event loop only."""

    def __init__(self, api_key: str, max_clients: int, healthy: Callable[[], bool]) -> None:
        """Args:
        api_key: what clients must send; empty: nothing.
        max_clients: most clients at a time.
        healthy: whether observations are answered.
        """
        self._api_key = api_key
        self._max_clients = max_clients
        self._healthy = healthy
        # In the order in which they were opened.
        self._newcomers: dict[TrackedConnection, None] = {}
        self.admitted: set[TrackedConnection] = set()

    def make_connection(
        self, protocol: ServerProtocol, server: Server, **settings: object
    ) -> TrackedConnection:
        """A connection that this gate counts; for ``websockets.asyncio.server.serve``."""
        connection = TrackedConnection(protocol, server, **settings)  # pyright: ignore[reportArgumentType]
        connection.gate = self
        return connection

    def opened(self, connection: TrackedConnection) -> None:
        """Counts a new connection; where there are too many the oldest newcomer is cut off."""
        self._newcomers[connection] = None
        if len(self._newcomers) > MAX_NEWCOMERS:
            oldest = next(iter(self._newcomers))
            del self._newcomers[oldest]
            oldest.transport.abort()

    def closed(self, connection: TrackedConnection) -> None:
        """Forgets a connection."""
        self._newcomers.pop(connection, None)
        self.admitted.discard(connection)

    def abort_newcomers(self) -> None:
        """Cuts the connections that are no clients yet."""
        for connection in list(self._newcomers):
            connection.transport.abort()

    def abort_all(self) -> None:
        """Cuts every connection."""
        for connection in [*self._newcomers, *self.admitted]:
            connection.transport.abort()

    def __call__(self, connection: ServerConnection, request: Request) -> Response | None:
        """The answer to an HTTP request; None where a client is let in."""
        if urlsplit(request.path).path == HEALTH_PATH:
            if self._healthy():
                return connection.respond(HTTPStatus.OK, "OK\n")
            return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "inference has stopped\n")
        if not is_authorised(self._api_key, request.headers.get_all("Authorization")):
            _LOG.warning("client %s refused: no valid API key", peer_name(connection))
            response = connection.respond(
                HTTPStatus.UNAUTHORIZED,
                f"a valid API key is needed, in the header 'Authorization: {SCHEME} <key>'\n",
            )
            response.headers["WWW-Authenticate"] = SCHEME
            return response
        if len(self.admitted) >= self._max_clients:
            _LOG.warning("client %s refused: there are enough", peer_name(connection))
            return connection.respond(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"all {self._max_clients} connections are taken, try again later\n",
            )
        assert isinstance(connection, TrackedConnection)
        self._newcomers.pop(connection, None)
        self.admitted.add(connection)
        return None


class TrackedConnection(ServerConnection):
    """Tells its gate when it opens and closes."""

    gate: Gate

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.gate.opened(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self.gate.closed(self)
        super().connection_lost(exc)


def peer_name(connection: ServerConnection) -> str:
    """The client's address for the log."""
    address = connection.remote_address
    return f"{address[0]}:{address[1]}" if address else "unknown"
