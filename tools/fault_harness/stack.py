"""The running stack: both nodes as processes, simulated arms, cameras, and a policy server."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import numpy as np

from fault_harness.kit import POLICY_JOINT_STATES, Kit, unchanged
from fault_harness.motion_server import MotionServer, SmoothMotion
from fault_harness.processes import Arms, NodeProcess, wait_until
from fault_harness.safety import Evidence, Rules
from trossen_pi0_bringup.nodes import NodeSpec
from trossen_pi0_core.execution import State
from trossen_pi0_core.parameters import ArmControllerParameters
from trossen_pi0_policy.state import PolicyState
from trossen_pi0_sim.arm_adapter import POSITION_LIMITS

ADDRESSES = ("127.0.0.70", "127.0.0.71")
LINKS = ("127.0.0.74", "127.0.0.75")
NOBODY = "127.0.0.79"

DRIVER_STALE_S = 0.5
EFFORT_TIME_S = 0.3
MAX_CHUNK_AGE_S = 1.0
MAX_OBSERVATION_AGE_S = 0.3
INFERENCE_TIMEOUT_S = 1.0
ENDS_S = 0.2
"""A node looks for signals ten times a second, and lets its last callback return."""
STAGED = (0.0, np.pi / 3, np.pi / 6, np.pi / 5, 0.0, 0.0, 0.02)

# What the driver is allowed is what the simulated kit gets, since it shares the processor.
CONTROLLER: dict[str, Any] = {
    "command_rate": 500.0,  # each tick's command is published
    "status_rate": 50.0,
    "connect_timeout_s": 3.0,
    "driver_stale_s": DRIVER_STALE_S,
    "round_trip_limit_s": 0.1,
    "effort_time_s": EFFORT_TIME_S,
    "max_chunk_age_s": MAX_CHUNK_AGE_S,
    "staged_pose": [float(value) for value in STAGED],
}
POLICY: dict[str, Any] = {
    "backend": "openpi",
    "start_pose": "",
    "status_rate": 50.0,
    "image_size": 64,
    "rate_of_inference": 8,
    "max_observation_age_s": MAX_OBSERVATION_AGE_S,
    "inference_timeout_s": INFERENCE_TIMEOUT_S,
    "connect_timeout_s": 1.0,
    "stall_timeout_s": 60.0,
    "max_duration_s": 3600.0,
}
_HALTED = (State.FAULT, State.ESTOP)


class Stack:
    """Starts everything; ``close`` ends it. Only tests use it, from one thread."""

    def __init__(
        self, folder: Path, domain: int, *, network: bool = False, publishes_time: bool = False
    ) -> None:
        """Args:
        folder: for logs, parameters and recordings.
        domain: ROS domain.
        network: the arms are reached over a network that can be made bad.
        publishes_time: the nodes live in the time of /clock.
        """
        self.motion = SmoothMotion(np.tile(STAGED, 2))
        self.arms = Arms(folder, ADDRESSES, LINKS)
        self.server = MotionServer(self.motion)
        self.kit = Kit(domain, publishes_time=publishes_time)
        time_source = {"use_sim_time": publishes_time}
        addresses = list(LINKS if network else ADDRESSES)
        self.controller = NodeProcess(
            NodeSpec(
                "arm_controller",
                "trossen_pi0_control",
                "arm_controller",
                {**CONTROLLER, **time_source, "arm_addresses": addresses},
            ),
            folder,
            domain,
        )
        self.policy = NodeProcess(
            NodeSpec(
                "policy",
                "trossen_pi0_policy",
                "policy_node",
                {**POLICY, **time_source, "policy_port": self.server.port},
                arguments=("-r", f"/joint_states:={POLICY_JOINT_STATES}"),
            ),
            folder,
            domain,
        )
        self.parameters = ArmControllerParameters()
        self.checked_until_s = time.monotonic()

    def close(self) -> None:
        """Ends all processes and servers.

        The kit goes first. A process that is killed while it writes to a port of Fast DDS's shared
        memory leaves the port locked; the owner makes a new one after a second, and ends by a
        segmentation fault if it closes meanwhile (Fast DDS 2.14, ``SharedMemManager::Listener``).
        """
        self.kit.close()
        for node in (self.policy, self.controller):
            node.kill()
        self.server.stop()
        self.arms.kill()

    # Life ---------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Starts what has ended, undoes the switched faults, clears FAULT and ESTOP, ends runs."""
        self.undo()
        self.server.start()
        self.arms.heal()
        ended = [node for node in (self.controller, self.policy) if not node.resume()]
        for node in ended:
            node.start()
        self.wait_for_controller()
        if self.controller in ended:
            self.kit.reach("/arm_controller/clear_fault")
        if self.policy in ended:
            self.kit.reach("/policy/stop")
        self.end_run()
        if self.kit.status.state in _HALTED:
            self.clear_fault()

    def undo(self) -> None:
        """All inputs, and the server, are as they should be."""
        for camera in self.kit.cameras.values():
            camera.change = unchanged
        self.kit.change_joints = unchanged
        self.server.answer = self.server.good

    def wait_for_controller(self) -> None:
        """Until it is active, and says so from now on."""
        known = len(self.kit.statuses)

        def ready() -> bool:
            return len(self.kit.statuses) > known

        wait_until(ready, lambda: f"the arm controller:\n{self.controller.text[-3000:]}")

    def clear_fault(self) -> None:
        """By the service; the controller then holds."""
        cleared, message = self.kit.call("/arm_controller/clear_fault")
        assert cleared, message
        self.wait_for_state(State.HOLDING)

    def begin_run(self) -> str:
        """Starts a run and waits until the arms follow it; returns its id."""
        kit = self.kit

        def inputs_are_there() -> bool:
            return not kit.policy.missing and kit.policy.state in (
                PolicyState.IDLE,
                PolicyState.ERROR,
            )

        wait_until(inputs_are_there, lambda: f"the policy's inputs:\n{kit.policy}")
        started, message = kit.call("/policy/start")
        assert started, message
        self.wait_for_motion(0.25)
        return kit.status.run_id

    def wait_for_motion(self, seconds: float = 0.4) -> None:
        """Until the arms have executed chunks all the time for so long, and move."""
        kit = self.kit

        def steady() -> bool:
            assert kit.status.state not in _HALTED, kit.status
            now_s = time.monotonic()
            recent = kit.statuses_since(now_s - seconds)
            states = {status.state for status in recent}
            return len(recent) > 5 and states == {State.EXECUTING} and kit.moving

        wait_until(steady, lambda: f"steady motion:\n{kit.status}\n{kit.policy}")

    def end_run(self) -> None:
        """Stops the run, if there is one, and waits until the arms stand still."""
        kit = self.kit
        if self.policy.alive:
            kit.call("/policy/stop")
        if not self.controller.alive:
            return

        def rests() -> bool:
            return not kit.moving and kit.status.state not in (State.EXECUTING, State.RAMPING)

        wait_until(rests, lambda: f"the end of the run:\n{kit.status}")

    def wait_for_state(self, *states: State) -> None:
        """Until the arm controller says so."""
        wait_until(lambda: self.kit.status.state in states, lambda: f"{states}:\n{self.kit.status}")

    def arms_idle(self) -> bool:
        """Whether both arms are on their brakes."""
        return self.arms.ask("modes 0") == self.arms.ask("modes 1") == "IDLE"

    def suspend(self, node: NodeProcess, seconds: float) -> None:
        """SIGSTOP and SIGCONT."""
        node.send(signal.SIGSTOP)
        time.sleep(seconds)
        node.send(signal.SIGCONT)

    # Proof --------------------------------------------------------------------------------------

    @property
    def rules(self) -> Rules:
        """What the commands and the arms have to keep."""
        lower, upper = np.array(POSITION_LIMITS * 2).T
        full = self.parameters.limits.tightened(lower, upper, self.parameters.limits.velocity)
        used = full.slowed(self.parameters.velocity_fraction)
        return Rules(used, full.velocity, 2.0 / self.parameters.control_rate)

    def evidence(self, since_s: float) -> Evidence:
        """All that was recorded from a time on [s, monotonic]."""
        return Evidence(
            self.arms.set_points.since(since_s),
            self.arms.motion.since(since_s),
            self.kit.commands_since(since_s),
        )
