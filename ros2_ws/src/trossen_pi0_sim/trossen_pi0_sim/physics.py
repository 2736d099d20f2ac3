"""The process that holds physics and arm servers.

It is apart from the node because rclpy keeps the interpreter to itself while it publishes, and a
publication can last: then the arms' feedback would stand still and the physics would fall behind.
The node starts it with one end of a socket: ``python -m trossen_pi0_sim.physics``.
"""

from __future__ import annotations

import argparse
import contextlib
import pickle
import signal
import socket
import sys
from collections.abc import Sequence

from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_sim.physics_messages import LARGEST_PACKET, Answer, Report, ResetRequest
from trossen_pi0_sim.simulation import Instant, Simulation
from trossen_pi0_sim.world import World

_LEAVE_S = 1.5  # when the whole stack ends at once, the arm controller first releases the arms


def report(simulation: Simulation, instant: Instant) -> Report:
    """What the node is told of an instant; on the physics thread."""
    truth, progress = simulation.world.ground_truth, simulation.world.progress
    return Report(
        time_s=instant.snapshot.time_s,
        wall_s=instant.wall_s,
        qpos=instant.snapshot.qpos,
        object_pose=instant.snapshot.object_pose,
        real_time_factor=simulation.real_time_factor,
        seed=truth.seed,
        variant=truth.variant,
        stage=progress.stage,
        failed=progress.failed,
        reason=progress.reason,
    )


class _Service:
    """Answers the node until it goes."""

    def __init__(self, link: socket.socket, seed: int, variant: str, arms: Sequence[str]) -> None:
        self._link = link
        self._simulation = Simulation(World(seed, variant, visuals=False), arms, watch=self._report)

    def run(self) -> None:
        try:
            self._simulation.start()
        except TrossenPi0Error as error:
            self._answer(Answer(str(error)))
            return
        try:
            self._answer(Answer())
            while packet := self._link.recv(LARGEST_PACKET):
                self._answer(self._reset(pickle.loads(packet)))
        except ConnectionError:  # the node was killed
            return
        finally:
            self._simulation.stop(grace_s=_LEAVE_S)
            if self._simulation.failure is not None:
                raise self._simulation.failure

    def _reset(self, request: ResetRequest) -> Answer:
        try:
            self._simulation.reset(request.seed, request.variant)
        except TrossenPi0Error as error:
            return Answer(str(error))
        return Answer()

    def _answer(self, answer: Answer) -> None:
        self._link.send(pickle.dumps(answer))

    def _report(self, instant: Instant) -> None:
        """On the physics thread, which never waits: a node that is busy misses a report."""
        packet = pickle.dumps(report(self._simulation, instant))
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self._link.send(packet, socket.MSG_DONTWAIT)


def main() -> int:
    """Runs until the other end of the socket is closed."""
    # Ctrl-C reaches the whole terminal; the node decides when the arms may go.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", type=int, required=True, help="descriptor of the node's socket")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--variant", required=True)
    parser.add_argument("--arms", nargs=2, required=True, help="addresses of left and right arm")
    options = parser.parse_args()
    with socket.socket(fileno=options.socket) as link:
        _Service(link, options.seed, options.variant, options.arms).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
