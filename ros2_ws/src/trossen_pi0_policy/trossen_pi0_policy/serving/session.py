"""One client: its observations in, one answer or one error message for each."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_core.openpi.wire import WireFormatError, packb, unpackb
from trossen_pi0_policy.serving.options import ServerOptions
from trossen_pi0_policy.serving.policy import ServedPolicy
from trossen_pi0_policy.serving.worker import InferenceWorker, Outcome

_LOG = logging.getLogger(__name__)
_MESSAGE_CHARACTERS = 2000
_REPEATED_AFTER_S = 10.0
_incidents = itertools.count(1)

T = TypeVar("T")


@dataclass(frozen=True)
class Service:
    """What all sessions share.

    Attributes:
        policy: its ``prepare`` is called on threads of ``preparation``.
        worker: infers.
        preparation: decodes and prepares observations.
        greeting: the metadata, packed.
        options: limits.
    """

    policy: ServedPolicy
    worker: InferenceWorker
    preparation: Executor
    greeting: bytes
    options: ServerOptions


class RefusedError(TrossenPi0Error):
    """An observation gets no answer; the message is for the client, in one line."""


class _GoneError(Exception):
    """The client has gone or takes no answers."""


class Session:
    """Talks to one client, on the event loop.

    The next observation is read when the last one is answered, so that each client has at most one
    in the queue and they take turns, however many observations one of them sends at once; what it
    sends meanwhile waits on its side of the connection.
    """

    def __init__(self, name: str, connection: ServerConnection, service: Service) -> None:
        """Args:
        name: of the client, for the log.
        connection: is open.
        service: shared by all sessions.
        """
        self.name = name
        self._connection = connection
        self._service = service
        self._lost = asyncio.ensure_future(connection.wait_closed())
        self._busy = False
        self._ending = ""
        self._previous_ms: float | None = None
        self._answered = 0
        self._refused = 0
        self._complaint = ("", float("-inf"))

    async def run(self) -> None:
        """Serves the client until it goes, fails to take an answer, or ``end`` is called."""
        _LOG.info("%s connected", self.name)
        reason = "it closed the connection"
        try:
            await self._send(self._service.greeting)
            while not self._ending:
                await self._exchange()
            reason = self._ending
        except asyncio.TimeoutError:
            reason = f"no observation for {self._service.options.idle_timeout_s:g} s"
            self._ending = reason
        except _GoneError as error:
            reason = str(error) or reason
        except ConnectionClosed as error:
            reason = _closing(error)
        finally:
            self._lost.cancel()
            if self._ending:
                await self._connection.close(CloseCode.GOING_AWAY, self._ending[:120])
            _LOG.info(
                "%s left (%s): %d observations answered, %d refused",
                self.name,
                reason,
                self._answered,
                self._refused,
            )

    async def end(self, reason: str) -> None:
        """Closes the connection once the answer under way is sent."""
        self._ending = reason
        if not self._busy:
            await self._connection.close(CloseCode.GOING_AWAY, reason[:120])

    async def _exchange(self) -> None:
        limit_s = self._service.options.idle_timeout_s
        message = await asyncio.wait_for(self._connection.recv(), limit_s)
        begun_s = time.perf_counter()
        self._busy = True
        try:
            try:
                answer = await self._answer(message)
                self._answered += 1
            except RefusedError as error:
                answer = _one_line(str(error))
                self._refused += 1
                self._complain(answer)
            await self._send(answer)
        finally:
            self._busy = False
        self._previous_ms = (time.perf_counter() - begun_s) * 1e3

    async def _answer(self, message: str | bytes) -> bytes:
        loop = asyncio.get_running_loop()
        service = self._service
        prepared, prepare_ms = await self._unless_lost(
            loop.run_in_executor(service.preparation, self._prepare, message)
        )
        outcome = await self._unless_lost(asyncio.wrap_future(service.worker.submit(prepared)))
        if outcome.answer is None:
            raise _refusal("the policy failed", outcome.error)
        try:
            return packb({**outcome.answer, "server_timing": self._timing(outcome, prepare_ms)})
        except (WireFormatError, TypeError) as error:
            raise _refusal("the policy's answer cannot be sent", error) from error

    def _prepare(self, message: str | bytes) -> tuple[Any, float]:
        """The policy's input and the time it took to make [ms]. On a thread for preparation."""
        begun_s = time.perf_counter()
        if isinstance(message, str):
            raise RefusedError("bad observation: it came as text, openpi's protocol is binary")
        try:
            request = unpackb(message)
        except WireFormatError as error:
            raise RefusedError(f"bad observation: {error}") from error
        if not isinstance(request, Mapping):
            raise RefusedError(
                f"bad observation: need a map with 'state', 'images' and 'prompt', got "
                f"{type(request).__name__}"
            )
        try:
            prepared = self._service.policy.prepare(request)
        except TrossenPi0Error as error:
            raise RefusedError(f"bad observation: {error}") from error
        except Exception as error:
            raise _refusal("the observation cannot be prepared", error) from error
        return prepared, (time.perf_counter() - begun_s) * 1e3

    def _timing(self, outcome: Outcome, prepare_ms: float) -> dict[str, float]:
        timing = {"infer_ms": prepare_ms + outcome.infer_ms, "queue_ms": outcome.queue_ms}
        if self._previous_ms is not None:
            timing["prev_total_ms"] = self._previous_ms
        return timing

    async def _unless_lost(self, awaitable: Awaitable[T]) -> T:
        """The result; without the client the work is called off, unless it has begun."""
        work = asyncio.ensure_future(awaitable)
        await asyncio.wait({work, self._lost}, return_when=asyncio.FIRST_COMPLETED)
        if work.done() and not work.cancelled():
            return work.result()
        work.cancel()
        raise _GoneError("it went before its answer" if self._lost.done() else "server stopped")

    async def _send(self, message: str | bytes) -> None:
        limit_s = self._service.options.send_timeout_s
        try:
            await asyncio.wait_for(self._connection.send(message), limit_s)
        except asyncio.TimeoutError:
            self._connection.transport.abort()
            raise _GoneError(f"it took no answer within {limit_s:g} s") from None

    def _complain(self, message: str) -> None:
        """Logs what was refused; the same again only after a while."""
        last, at_s = self._complaint
        if message != last or time.monotonic() - at_s > _REPEATED_AFTER_S:
            _LOG.warning("%s: %s", self.name, message)
            self._complaint = (message, time.monotonic())


def _refusal(what: str, error: Exception | None) -> RefusedError:
    """What a client is told: the suite's own messages, of other errors the kind alone."""
    if isinstance(error, TrossenPi0Error):
        return RefusedError(f"{what}: {error}")
    number = next(_incidents)
    _LOG.error("incident %d: %s", number, what, exc_info=error)
    kind = type(error).__name__
    return RefusedError(f"{what} ({kind}); the server's log has the details, see incident {number}")


def _closing(error: ConnectionClosed) -> str:
    ours = error.sent if error.sent is not None and not error.rcvd_then_sent else None
    if ours is not None and ours.code not in (CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY):
        return f"closed with {ours.code} {ours.reason}".strip()
    return "it closed the connection" if error.rcvd is not None else "the connection broke"


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MESSAGE_CHARACTERS else f"{line[:_MESSAGE_CHARACTERS]}..."
