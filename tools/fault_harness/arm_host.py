"""Two simulated arms in a process of their own, which records all set-points and can be killed.

Usage: ``python arm_host.py FOLDER LEFT RIGHT LEFT_LINK RIGHT_LINK`` with four addresses: where the
arms are served, and where they are served over a network that can be made bad. Says "ready". Takes
lines such as ``fault 0 overheated`` or ``network {"loss": 0.3}`` and says "done" after each; after
``modes 0`` it says the modes of that arm's joints. Ends with stdin.
"""

import dataclasses
import json
import sys
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from trossen_arm_sim.protocol import JointOutput, Mode, UDPCommand, parse_robot_input
from typing_extensions import override

from fault_harness.network import Impairment, Link
from fault_harness.recording import MOTION, SET_POINT, RecordReader, RecordWriter
from trossen_pi0_core.joints import JOINTS_PER_ARM
from trossen_pi0_core.parameters import ArmControllerParameters
from trossen_pi0_sim.arm_adapter import ArmAdapter
from trossen_pi0_sim.arm_server import ArmServer
from trossen_pi0_sim.simulation import Instant, Simulation
from trossen_pi0_sim.world import World


class HostedArm(ArmAdapter):
    """An arm whose sensors can be made to lie.

    Attributes:
        lies: fields of the feedback of joint 3, and what they are said to be.
    """

    def __init__(self, world: World, arm: int) -> None:
        super().__init__(world, arm)
        self.lies: dict[str, float] = {}

    @override
    def read_joint_outputs(self) -> list[JointOutput]:
        outputs = super().read_joint_outputs()
        outputs[3] = dataclasses.replace(outputs[3], **self.lies)
        return outputs


class RecordingServer(ArmServer):
    """An arm whose every set-point is recorded, also those that it does not take."""

    def __init__(self, world: World, arm: int, host: str, records: RecordWriter) -> None:
        self.hosted = HostedArm(world, arm)
        super().__init__(self.hosted, host)
        self._arm = arm
        self._records = records

    @override
    def _answer(self, datagram: bytes) -> bytes:
        if datagram[:1] == bytes([UDPCommand.SET_ROBOT_INPUT]):
            self._record(datagram[1:])
        return super()._answer(datagram)

    def _record(self, payload: bytes) -> None:
        try:
            inputs = parse_robot_input(payload, JOINTS_PER_ARM)
        except (AssertionError, ValueError):
            # Nothing that limits could be checked on is recorded as an infinite set-point.
            targets, driven = [float("inf")] * JOINTS_PER_ARM, True
        else:
            targets = [joint.position for joint in inputs]
            driven = any(joint.mode != Mode.IDLE for joint in inputs)
        self._records.add(time.monotonic(), self._arm, driven, targets, self.hosted.positions())


class ArmHost:
    """The arms, their network, and what can be done to them."""

    def __init__(self, folder: Path, addresses: list[str], links: list[str]) -> None:
        world = World(visuals=False)
        world.place_arms(_last_pose(folder))
        set_points = RecordWriter(folder / "set_points.bin", SET_POINT)
        self._motion = RecordWriter(folder / "motion.bin", MOTION)
        self.simulation = Simulation(world, addresses, watch=self._watch)
        self._servers = [
            RecordingServer(world, arm, address, set_points)
            for arm, address in enumerate(addresses)
        ]
        self.simulation.servers[:] = self._servers
        self.simulation.start()
        self.links = [Link(*pair) for pair in zip(links, addresses, strict=True)]

    def _watch(self, instant: Instant) -> None:
        snapshot = instant.snapshot
        self._motion.add(time.monotonic(), snapshot.positions, snapshot.velocities)

    def obey(self, line: str) -> str:
        """Does one thing, and returns what to say of it."""
        action, text = [*line.strip().split(maxsplit=1), ""][:2]
        if action == "network":
            for link in self.links:
                link.impairment = Impairment(**json.loads(text or "{}"))
            return "done"
        arm, reason = [*text.split(maxsplit=1), ""][:2]
        server = self._servers[int(arm)]
        if action == "modes":
            return " ".join(sorted({mode.name for mode in server.modes}))
        if action == "fault":
            server.inject_fault(reason)
        elif action == "freeze":
            server.freeze()
        elif action == "silence":
            server.freeze(silent=True)
        elif action == "thaw":
            server.thaw()
        elif action == "lie":
            server.hosted.lies = json.loads(reason or "{}")
        elif action == "cut":
            self.links[int(arm)].cut()
        else:
            raise ValueError(f"unknown action in {line!r}")
        return "done"

    def close(self) -> None:
        """Ends all of it."""
        for link in self.links:
            link.close()
        self.simulation.stop()


def _last_pose(folder: Path) -> NDArray[np.float64]:
    """Where the arms were when they were last recorded; at first near the staged pose."""
    known = RecordReader(folder / "motion.bin", MOTION).since(0.0)
    if len(known):
        return known["positions"][-1]
    staged = np.array(ArmControllerParameters().staged_pose)
    staged[-1] = 0.02  # away from the gripper's stop
    return np.tile(staged, 2)


def main() -> None:
    """Serves until stdin ends."""
    host = ArmHost(Path(sys.argv[1]), sys.argv[2:4], sys.argv[4:6])
    say("ready")
    for line in sys.stdin:
        say(host.obey(line))
    host.close()


def say(text: str) -> None:
    """To the process that started this one."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
