"""Serves one simulated arm by the arm controllers' wire protocol, for the real driver."""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import struct
import threading
import time
from collections.abc import Sequence
from typing import Protocol

from trossen_arm_sim import TrossenArmSimServer
from trossen_arm_sim.protocol import (
    JOINT_LIMIT_STRUCT,
    TCP_PORT,
    UDP_PORT,
    ConfigurationAddress,
    ErrorState,
    JointOutput,
    Mode,
    TCPCommand,
    UDPCommand,
    pack_handshake_response,
    parse_robot_input,
)
from typing_extensions import override

from trossen_pi0_core.errors import DriverError
from trossen_pi0_core.joints import ARM_JOINTS
from trossen_pi0_sim.arm_adapter import (
    EFFORT_LIMITS,
    POSITION_LIMITS,
    VELOCITY_LIMITS,
    ControllerFaultError,
)

_log = logging.getLogger(__name__)

_POLL_S = 0.1
_LARGEST_DATAGRAM = 4096
_SO_TIMESTAMPNS = 35  # of Linux, which Python does not name
_TIMESPEC = struct.Struct("@ll")
_STAMP_SPACE = socket.CMSG_SPACE(_TIMESPEC.size)


class ServedArm(Protocol):
    """What an arm server serves, such as an ``ArmAdapter``."""

    num_joints: int

    @property
    def name(self) -> str:
        """Name of the arm."""
        ...

    @property
    def joint_limits(self) -> list[tuple[float, float]]:
        """Smallest and largest position of each joint [rad; m for the carriage]."""
        ...

    def apply_joint_commands(
        self, modes: Sequence[Mode], positions: Sequence[float], now_s: float, /
    ) -> None:
        """Takes one set of commands; raises ControllerFaultError."""
        ...

    def stop(self) -> None:
        """Brakes: the arm stays where it is."""
        ...

    def read_joint_outputs(self) -> list[JointOutput]:
        """Feedback of the present."""
        ...


class ArmServer(TrossenArmSimServer):
    """The controller of one arm on one address.

    Beyond the packaged server it faults on commands that the real controller refuses, keeps a fault
    until the driver clears it, ends cleanly, and can be made to fail for tests.
    """

    # The driver's loop waits for each answer. 2 ms still gives 420 set-points a second and takes
    # 7 % of a core for two arms; the packaged 0.2 ms takes 40 %.
    CYCLE_PERIOD_S = 0.002

    sim: ServedArm  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, adapter: ServedArm, host: str) -> None:
        """Takes the arm and the address to serve it on; nothing is opened yet."""
        super().__init__(adapter, host=host)  # pyright: ignore[reportArgumentType]
        self._connection: socket.socket | None = None
        self._silent = threading.Event()
        self._arrived_s = 0.0  # of the datagram in hand, on the monotonic clock
        self._stalled: bytes | None = None
        self._limits = b"".join(
            JOINT_LIMIT_STRUCT.pack(low, high, 0.0, velocity, 0.0, effort, 0.0)
            for (low, high), velocity, effort in zip(
                POSITION_LIMITS, VELOCITY_LIMITS, EFFORT_LIMITS, strict=True
            )
        )

    @override
    def start(self) -> None:
        """Opens the ports and begins to serve on threads of its own.

        Raises:
            DriverError: the address cannot be served on.
        """
        try:
            super().start()
        except OSError as error:
            self.stop()
            raise DriverError(
                f"the {self.sim.name} arm cannot be served on {self.host!r} "
                f"(TCP {TCP_PORT}, UDP {UDP_PORT}): {error}; "
                "give a free address of this machine, such as 127.0.0.2"
            ) from error

    @override
    def stop(self) -> None:
        """Closes the ports and the connection and waits for the threads to end."""
        self._running = False
        for sock in (self._connection, self._tcp_socket):
            if sock is not None:
                with contextlib.suppress(OSError):  # not connected any more
                    sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=2.0)
        self._threads.clear()
        super().stop()

    @property
    def connected(self) -> bool:
        """Whether a driver is connected."""
        return self._connection is not None

    # -- for tests of what happens when an arm fails -------------------------------------------

    def inject_fault(self, text: str) -> None:
        """The controller fails as its hardware might: the driver raises with this text until its
        ``clear_error``.
        """
        self.fault(ErrorState.JOINT_FEEDBACK_FAILED, text)

    def freeze(self, *, silent: bool = False) -> None:
        """The arm stops taking commands, and its feedback stands still.

        Args:
            silent: it does not even answer, as with the cable unplugged; otherwise it repeats its
                last answer, whose id and time stamp no longer advance.
        """
        self._stalled = self._pack_output()
        if silent:
            self._silent.set()

    def thaw(self) -> None:
        """Ends ``freeze``."""
        self._stalled = None
        self._silent.clear()

    # -- protocol ------------------------------------------------------------------------------

    @override
    def fault(self, error_state: ErrorState, reason: str) -> None:
        """Goes into an error state: the arm brakes and every answer reports the error."""
        super().fault(error_state, reason)
        self.sim.stop()

    @override
    def _serve_tcp_client(self, conn: socket.socket) -> None:
        self._connection = conn
        try:
            super()._serve_tcp_client(conn)
        except OSError as error:
            _log.info("%s arm: connection lost: %s", self.sim.name, error)
        finally:
            self._connection = None

    @override
    def _handle_tcp_request(self, request: bytes) -> bytes:
        if request[0] == TCPCommand.HANDSHAKE:
            # The packaged server forgets its error here; the real one keeps it.
            return pack_handshake_response(self.error_state, self.model, self.driver_version)
        return super()._handle_tcp_request(request)

    @override
    def _apply_configuration(self, address: ConfigurationAddress, payload: bytes) -> None:
        super()._apply_configuration(address, payload)
        if address == ConfigurationAddress.MODES and set(self.modes) == {Mode.IDLE}:
            self.sim.stop()

    @override
    def _read_configuration(self, address: ConfigurationAddress) -> bytes:
        if address == ConfigurationAddress.JOINT_LIMITS:
            return self._limits
        return super()._read_configuration(address)

    @override
    def _udp_loop(self) -> None:
        sock = self._udp_socket
        assert sock is not None
        sock.setblocking(False)
        with contextlib.suppress(OSError):  # elsewhere the time of reading has to do
            sock.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        while self._running:
            if not select.select([sock], [], [], _POLL_S)[0]:
                continue
            newest = _newest_datagram(sock)
            if newest is None:
                continue
            datagram, sender, self._arrived_s = newest
            answer = self._answer(datagram)
            if not self._silent.is_set():
                with contextlib.suppress(ConnectionError):  # the driver is gone
                    sock.sendto(answer, sender)
            self._pace_cycle()

    def _answer(self, datagram: bytes) -> bytes:
        stalled = self._stalled
        if stalled is not None:
            return stalled
        if self.error_state == ErrorState.NONE and datagram[:1] == bytes(
            [UDPCommand.SET_ROBOT_INPUT]
        ):
            self._take_commands(datagram[1:])
        return self._pack_output()

    def _take_commands(self, payload: bytes) -> None:
        try:
            inputs = parse_robot_input(payload, len(ARM_JOINTS))
        except (AssertionError, ValueError) as error:
            self.fault(ErrorState.INVALID_ROBOT_COMMAND, f"malformed robot input: {error}")
            return
        try:
            self.sim.apply_joint_commands(
                [joint.mode for joint in inputs],
                [joint.position for joint in inputs],
                self._arrived_s,
            )
        except ControllerFaultError as fault:
            self.fault(fault.state, str(fault))


def _newest_datagram(sock: socket.socket) -> tuple[bytes, tuple[str, int], float] | None:
    """Empties the queue: older requests have timed out at the driver already.

    Returns:
        the datagram, its sender, and when it arrived on the monotonic clock [s]: by the kernel's
        stamp, since a set-point that lay in the queue while this process could not run was not
        given any later.
    """
    newest = None
    while True:
        try:
            data, ancillary, _, sender = sock.recvmsg(_LARGEST_DATAGRAM, _STAMP_SPACE)
        except (BlockingIOError, ConnectionError):
            return newest
        newest = data, sender, time.monotonic() - _waited_s(ancillary)


def _waited_s(ancillary: list[tuple[int, int, bytes]]) -> float:
    """How long a datagram has waited to be read [s]; 0 where the kernel does not say."""
    for level, kind, stamp in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, _SO_TIMESTAMPNS):
            seconds, nanoseconds = _TIMESPEC.unpack(stamp[: _TIMESPEC.size])
            return max(time.time() - seconds - nanoseconds * 1e-9, 0.0)
    return 0.0
