"""The node's side of the physics process."""

from __future__ import annotations

import pickle
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence

from trossen_pi0_core.errors import ParameterError
from trossen_pi0_sim.physics_messages import LARGEST_PACKET, Answer, Report, ResetRequest
from trossen_pi0_sim.simulation import SimulationError

_START_TIMEOUT_S = 60.0
_ANSWER_TIMEOUT_S = 10.0
_END_TIMEOUT_S = 3.0


class PhysicsProcess:
    """Physics and arm servers in a process of their own, in real time.

    All but ``report`` and ``failure`` belongs to one thread.
    """

    def __init__(self, seed: int, variant: str, arm_addresses: Sequence[str]) -> None:
        """Prepares; nothing runs yet.

        Args:
            seed: of the first episode.
            variant: its scenario.
            arm_addresses: where the left and the right arm are served.
        """
        self._options = [f"--seed={seed}", f"--variant={variant}", "--arms", *arm_addresses]
        self._link, self._far_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process: subprocess.Popen[bytes] | None = None
        self._receiver = threading.Thread(target=self._receive, name="physics-reports", daemon=True)
        self._answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()
        self._first = threading.Event()
        self._report: Report | None = None
        self._stopping = False
        self.failure: SimulationError | None = None

    @property
    def report(self) -> Report:
        """The newest report; there is one after ``wait_until_ready``."""
        assert self._report is not None
        return self._report

    def start(self) -> None:
        """Starts the process; ``wait_until_ready`` before anything else."""
        with self._far_end as far_end:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "trossen_pi0_sim.physics",
                    f"--socket={far_end.fileno()}",
                    *self._options,
                ],
                pass_fds=[far_end.fileno()],
                start_new_session=True,
            )
        self._receiver.start()

    def wait_until_ready(self) -> None:
        """Waits for the first report.

        Raises:
            SimulationError: it did not start; an address cannot be served on, for example.
        """
        error = self._await_answer(_START_TIMEOUT_S)
        if error:
            raise SimulationError(error)
        if not self._first.wait(_ANSWER_TIMEOUT_S):
            raise SimulationError("the physics process started and reports nothing")

    def reset(self, seed: int, variant: str | None = None) -> None:
        """Begins a new episode; the arms stay as they are. Reports are of it when this returns.

        Args:
            seed: of the episode.
            variant: scenario; None keeps the present one.

        Raises:
            ParameterError: unknown variant, or a seed out of range.
            SimulationError: the process does not answer.
        """
        self._send(ResetRequest(seed, variant))
        error = self._await_answer(_ANSWER_TIMEOUT_S)
        if error:
            raise ParameterError(error)

    def stop(self) -> None:
        """Ends the process."""
        self._stopping = True
        process = self._process
        if process is None:
            self._link.close()
            self._far_end.close()
            return
        self._link.shutdown(socket.SHUT_RDWR)
        try:
            process.wait(_END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._receiver.join()
        self._link.close()

    def _send(self, request: ResetRequest) -> None:
        try:
            self._link.send(pickle.dumps(request))
        except OSError as error:
            raise self.failure or SimulationError(
                f"the physics process is gone: {error}"
            ) from error

    def _await_answer(self, timeout_s: float) -> str:
        try:
            answer = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            raise SimulationError(
                f"the physics process did not answer within {timeout_s:g} s"
            ) from None
        if answer is None:
            raise self.failure or SimulationError("the physics process ended")
        return answer.error

    def _receive(self) -> None:
        while True:
            try:
                packet = self._link.recv(LARGEST_PACKET)
            except OSError:
                packet = b""
            if not packet:
                break
            message = pickle.loads(packet)
            if isinstance(message, Report):
                self._report = message
                self._first.set()
            else:
                self._answers.put(message)
        if not self._stopping and self._process is not None:
            status = self._process.wait()
            self.failure = SimulationError(
                f"the physics process ended with status {status}; its output says why"
            )
        self._answers.put(None)
