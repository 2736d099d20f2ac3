"""The policy server: openpi's websocket protocol in front of a policy.

What a client sees, beyond openpi's own server:

* An observation that cannot be answered, because it is malformed or the policy failed, is answered
  by a text frame of one line, upon which openpi's client raises. The connection stays open: the
  next observation is answered as if nothing had been. Tracebacks go to the log only.
* ``server_timing`` of an answer: ``infer_ms`` is decoding, preparation and inference together,
  ``queue_ms`` the wait for other clients, ``prev_total_ms`` (from the second answer on) the time
  from the arrival of the observation before to the end of sending its answer.
* What breaks the WebSocket protocol, a message over the limit included, ends the connection with a
  close code and a reason. So do the limits on idle time and on taking an answer.
* Browsers are refused: a web page could otherwise reach a server on the loopback interface.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

from typing_extensions import Self
from websockets.asyncio.server import Server, ServerConnection, serve

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.openpi.wire import WireFormatError, packb
from trossen_pi0_policy.serving.access import checked_api_key
from trossen_pi0_policy.serving.connection import Gate, peer_name
from trossen_pi0_policy.serving.listening import ServeError, bind_failure
from trossen_pi0_policy.serving.options import ServerOptions
from trossen_pi0_policy.serving.policy import ServedPolicy
from trossen_pi0_policy.serving.session import Service, Session
from trossen_pi0_policy.serving.worker import InferenceWorker

_LOG = logging.getLogger(__name__)
_CLOSE_TIMEOUT_S = 1.0
_PREPARATION_THREADS = 2
_START_TIMEOUT_S = 30.0
# One observation beyond the one that is answered: a client cannot fill the server's memory.
_FRAMES_AHEAD = (1, 0)


class PolicyServer:
    """Serves one policy, once: with ``run`` in this thread, or as a context on one of its own.

    Clients are handled on an event loop, observations prepared on a few threads, and inferred on
    the thread ``policy-inference``, the only one that calls ``policy.infer``.
    """

    def __init__(self, policy: ServedPolicy, options: ServerOptions, *, api_key: str = "") -> None:
        """Args:
        policy: ready to infer; what it compiles on the way keeps its clients waiting.
        options: where to listen, and limits.
        api_key: what clients must send; empty: everybody may ask.

        Raises:
            ParameterError: a batch larger than the policy's, or an API key that is none.
            ServeError: the policy's metadata cannot be sent.
        """
        if options.max_batch > policy.max_batch:
            raise ParameterError(
                f"max_batch: {options.max_batch} is more than the {policy.max_batch} that the "
                "policy takes at a time"
            )
        try:
            self._greeting = packb(dict(policy.metadata))
        except WireFormatError as error:
            raise ServeError(f"the policy's metadata cannot be sent: {error}") from error
        self.options = options
        self._policy = policy
        self._api_key = checked_api_key(api_key, "api_key") if api_key else ""
        self._worker = InferenceWorker(
            policy, options.max_batch, options.batch_wait_ms / 1e3, self._client_count
        )
        self._gate = Gate(self._api_key, options.max_connections, lambda: self._worker.alive)
        self._sessions: set[Session] = set()
        self._addresses: list[tuple[str, int]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_requested: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The TCP port it listens on. Any thread, once it listens."""
        if not self._addresses:
            raise ServeError("the server does not listen yet")
        return self._addresses[0][1]

    def run(
        self, *, handle_signals: bool = False, on_ready: Callable[[], None] | None = None
    ) -> None:
        """Serves in this thread until ``stop``.

        Args:
            handle_signals: SIGINT and SIGTERM stop the server; a second one ends the process as
                usual. Only in the main thread.
            on_ready: called once the server listens.

        Raises:
            ServeError: it cannot listen there.
        """
        asyncio.run(self._serve(handle_signals=handle_signals, on_ready=on_ready))

    def stop(self) -> None:
        """Asks the server to end, which lets it finish the answers under way. Any thread."""
        loop, event = self._loop, self._stop_requested
        if loop is not None and event is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                loop.call_soon_threadsafe(event.set)

    def __enter__(self) -> Self:
        """Serves on a thread of its own; returns once it listens.

        Raises:
            ServeError: it cannot listen there.
        """
        ready = threading.Event()
        failures: list[BaseException] = []

        def work() -> None:
            try:
                self.run(on_ready=ready.set)
            except BaseException as error:  # noqa: BLE001 - raised again where it was entered
                failures.append(error)
                _LOG.debug("policy server ended", exc_info=True)
            finally:
                ready.set()

        self._thread = threading.Thread(target=work, name="policy-server", daemon=True)
        self._thread.start()
        if not ready.wait(_START_TIMEOUT_S):
            raise ServeError(f"the server did not start within {_START_TIMEOUT_S:g} s")
        if failures:
            raise failures[0]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stops the server and waits for its end."""
        self.stop()
        if self._thread is not None:
            self._thread.join()

    async def _serve(self, *, handle_signals: bool, on_ready: Callable[[], None] | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop_requested = asyncio.Event()
        preparation = ThreadPoolExecutor(_PREPARATION_THREADS, "policy-preparation")
        service = Service(self._policy, self._worker, preparation, self._greeting, self.options)
        server = await self._listen(service)
        self._worker.start()
        try:
            if handle_signals:
                self._handle_signals(self._loop)
            self._report()
            if on_ready is not None:
                on_ready()
            await self._stop_requested.wait()
        finally:
            await self._shut_down(server)
            # Nothing waits for these threads any more, and what they do is short.
            preparation.shutdown(wait=False, cancel_futures=True)

    async def _listen(self, service: Service) -> Server:
        options = self.options
        try:
            server = await serve(
                lambda connection: self._handle(connection, service),
                options.host,
                options.port,
                origins=[None],
                compression=None,
                process_request=self._gate,
                open_timeout=options.handshake_timeout_s,
                ping_interval=options.ping_timeout_s,
                ping_timeout=options.ping_timeout_s,
                close_timeout=_CLOSE_TIMEOUT_S,
                max_size=options.max_message_bytes,
                max_queue=_FRAMES_AHEAD,
                logger=logging.getLogger(f"{__name__}.websocket"),
                create_connection=self._gate.make_connection,  # pyright: ignore[reportArgumentType]
            )
        except (OSError, UnicodeError) as error:  # a name may be none that can be looked up
            raise ServeError(bind_failure(options, error)) from error
        self._addresses = [s.getsockname()[:2] for s in server.sockets]
        return server

    async def _handle(self, connection: ServerConnection, service: Service) -> None:
        # A small answer must not wait for the acknowledgement of an earlier one.
        raw = connection.transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = Session(f"client {peer_name(connection)}", connection, service)
        self._sessions.add(session)
        try:
            await session.run()
        finally:
            self._sessions.discard(session)

    async def _shut_down(self, server: Server) -> None:
        """No new clients; the answers under way are sent, within the limit; then all is cut."""
        _LOG.info("stopping")
        server.close(close_connections=False)
        self._gate.abort_newcomers()
        ends = [asyncio.ensure_future(s.end("the server is shutting down")) for s in self._sessions]
        done = asyncio.ensure_future(server.wait_closed())
        await asyncio.wait([done, *ends], timeout=self.options.shutdown_timeout_s)
        if not done.done():
            _LOG.warning("%d clients were cut off before their answer", len(self._sessions))
            self._gate.abort_all()
        await done
        await asyncio.gather(*ends, return_exceptions=True)
        loop = asyncio.get_running_loop()
        if not await loop.run_in_executor(None, self._worker.stop, _CLOSE_TIMEOUT_S):
            _LOG.warning("the inference under way does not end, its thread is left behind")
        _LOG.info("stopped")

    def _handle_signals(self, loop: asyncio.AbstractEventLoop) -> None:
        def end(number: signal.Signals) -> None:
            _LOG.info("%s: finishing the answers under way", number.name)
            for each in (signal.SIGINT, signal.SIGTERM):
                loop.remove_signal_handler(each)
            self.stop()

        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, end, number)

    def _report(self) -> None:
        for host, port in self._addresses:
            shown = f"[{host}]" if ":" in host else host
            _LOG.info("listening on ws://%s:%d", shown, port)
            if not self._api_key and not ipaddress.ip_address(host.partition("%")[0]).is_loopback:
                _LOG.warning(
                    "ws://%s:%d can be reached from other machines and no API key is set: "
                    "whoever reaches it may use the policy",
                    shown,
                    port,
                )

    def _client_count(self) -> int:
        return len(self._sessions)
