"""The kit as it runs in real time: world, pacing and arm servers, without ROS."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_sim.arm_adapter import ArmAdapter
from trossen_pi0_sim.arm_server import ArmServer
from trossen_pi0_sim.pacing import Pacer
from trossen_pi0_sim.world import TICK_S, Snapshot, World

_REQUEST_TIMEOUT_S = 5.0
_LEAVE_POLL_S = 0.02


class SimulationError(TrossenPi0Error):
    """The simulation has stopped or does not answer."""


@dataclass(frozen=True)
class Instant:
    """The world at one instant.

    Attributes:
        snapshot: its state.
        wall_s: the instant on the monotonic clock [s].
    """

    snapshot: Snapshot
    wall_s: float


@dataclass
class _Request:
    action: Callable[[], None]
    done: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None


class Simulation:
    """Steps a world in real time on a thread of its own and serves its arms.

    ``start`` and ``stop`` belong to the thread that made it; everything else may be called from any
    thread.
    """

    def __init__(
        self,
        world: World,
        addresses: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
        watch: Callable[[Instant], None] | None = None,
    ) -> None:
        """Takes the world over; only ``reset`` may change it from now on.

        Args:
            world: not used by anything else.
            addresses: where the left and the right arm are served.
            clock: monotonic wall time [s].
            watch: called on the physics thread with each new instant; must not wait.
        """
        self.world = world
        self.servers = [
            ArmServer(ArmAdapter(world, arm), address) for arm, address in enumerate(addresses)
        ]
        self._clock = clock
        self._watch = watch
        self._pacer = Pacer(TICK_S, clock)
        self._instant = Instant(world.snapshot, clock())
        self._requests: queue.SimpleQueue[_Request] = queue.SimpleQueue()
        self._running = False
        self._thread = threading.Thread(target=self._run, name="physics")
        self.failure: BaseException | None = None

    @property
    def instant(self) -> Instant:
        """The newest state and when it was due."""
        return self._instant

    @property
    def real_time_factor(self) -> float:
        """Simulated over wall time in the last second [1]."""
        return self._pacer.real_time_factor

    def start(self) -> None:
        """Serves the arms and begins to step.

        Raises:
            DriverError: an address cannot be served on.
        """
        try:
            for server in self.servers:
                server.start()
        except Exception:
            self._stop_servers()
            raise
        self._running = True
        self._pacer = Pacer(TICK_S, self._clock)
        self._thread.start()

    def stop(self, grace_s: float = 0.0) -> None:
        """Ends the servers and the physics thread.

        Args:
            grace_s: how long drivers may take to leave by themselves before they are cut off [s].
        """
        deadline = time.monotonic() + grace_s
        while any(s.connected for s in self.servers) and time.monotonic() < deadline:
            time.sleep(_LEAVE_POLL_S)
        self._stop_servers()
        self._running = False
        if self._thread.is_alive():
            self._thread.join()

    def reset(self, seed: int, variant: str | None = None) -> None:
        """Begins a new episode; the arms stay as they are. Blocks until it is done.

        Args:
            seed: of the episode.
            variant: scenario; None keeps the present one.

        Raises:
            ParameterError: unknown variant, or a seed out of range.
            SimulationError: the physics thread does not answer.
        """
        request = _Request(lambda: self.world.reset(seed, variant))
        self._requests.put(request)
        if not request.done.wait(_REQUEST_TIMEOUT_S):
            raise SimulationError(f"the physics did not answer within {_REQUEST_TIMEOUT_S} s")
        if request.error is not None:
            raise request.error

    def _stop_servers(self) -> None:
        for server in self.servers:
            server.stop()

    def _run(self) -> None:
        try:
            while self._running:
                self._answer_requests()
                ticks = self._pacer.ticks_due()
                if ticks:
                    snapshot = self.world.step(ticks)
                    self._show(Instant(snapshot, self._pacer.due_s - TICK_S))
                time.sleep(self._pacer.wait_s())
        except BaseException as error:  # noqa: BLE001 - reported by the owner, who sees `failure`
            self.failure = error
            self._stop_servers()

    def _answer_requests(self) -> None:
        while not self._requests.empty():
            request = self._requests.get()
            try:
                request.action()
            except Exception as error:  # noqa: BLE001 - raised again in the caller's thread
                request.error = error
            self._show(Instant(self.world.snapshot, self._instant.wall_s))
            request.done.set()

    def _show(self, instant: Instant) -> None:
        self._instant = instant
        if self._watch is not None:
            self._watch(instant)
