"""Two simulated leader arms in the hands of an operator who follows a script."""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import JointState

from trossen_pi0_core.errors import DriverError, JointError
from trossen_pi0_core.joints import JOINTS_PER_ARM, JointMap, select_joints
from trossen_pi0_core.parameters import SimLeadersParameters
from trossen_pi0_core.parameters.sim import SWINGING
from trossen_pi0_msgs.msg import TeleopStatus
from trossen_pi0_ros.parameters import NodeParameters
from trossen_pi0_ros.process import run_node
from trossen_pi0_ros.qos import COMMANDS, STATUS
from trossen_pi0_sim.hand import Reach, Swing
from trossen_pi0_sim.leader_server import HeldArm, LeaderServer

_ARMS = ("left", "right")
_START = (0.0, np.pi / 3, np.pi / 6, np.pi / 5, 0.0, 0.0, 0.0)
_SPEED = 0.6  # of the hand on its way to the followers [rad/s]
_SHORTEST_S = 0.5
_NEAR = 0.01  # the hand stays where it is this near to the followers [rad]
# Of the other joints, of the first one's amplitude [1; m/rad] and frequency [1].
_AMPLITUDES = np.array([1.0, 0.5, 0.5, 0.6, 0.6, 1.0, 0.04])
_FREQUENCIES = np.array([1.0, 0.8, 1.1, 1.3, 0.9, 0.7, 1.0])


class SimLeaders(Node):
    """Serves the leaders; the hand brings them to the followers, and swings while these follow."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__("sim_leaders", **kwargs)
        self._params = NodeParameters(self, SimLeadersParameters)
        params = self._params.value
        self._names = JointMap(_ARMS, params.follower_prefixes).urdf_names
        self._state = TeleopStatus.FAULT
        self._followers: NDArray[np.float64] | None = None
        self._arms = [HeldArm(f"leader {name}", _START) for name in _ARMS]
        self._servers = [
            LeaderServer(arm, address)
            for arm, address in zip(self._arms, params.arm_addresses, strict=True)
        ]
        try:
            for server in self._servers:
                server.start()
        except DriverError:
            self.close()
            raise
        self.create_subscription(TeleopStatus, "teleop/status", self._on_teleop, STATUS)
        self.create_subscription(JointState, "joint_states", self._on_followers, COMMANDS)
        self._ready_s = 0.0  # until then the hand is on its way [s]

    def close(self) -> None:
        """Ends the servers."""
        for server in self._servers:
            server.stop()

    def _on_followers(self, message: JointState) -> None:
        try:
            self._followers = select_joints(list(message.name), message.position, self._names)
        except JointError as error:
            self.get_logger().warning(str(error), throttle_duration_sec=1.0)

    def _on_teleop(self, message: TeleopStatus) -> None:
        before, self._state = self._state, message.state
        if message.state == TeleopStatus.FOLLOWING and before != message.state:
            self._swing()
        elif message.state == TeleopStatus.FREE:
            self._reach()

    def _swing(self) -> None:
        params = self._params.value
        if params.motion != SWINGING:
            return
        amplitudes, frequencies = params.amplitude * _AMPLITUDES, params.frequency * _FREQUENCIES
        for arm in self._arms:
            arm.lead(lambda at, now_s: Swing(at, amplitudes, frequencies, now_s))

    def _reach(self) -> None:
        """Brings the leaders to the followers, unless they are there or on their way."""
        now_s = time.monotonic()
        if self._followers is None or now_s < self._ready_s:
            return
        goals = self._followers.reshape(-1, JOINTS_PER_ARM)
        far = max(
            float(np.abs(goal - arm.positions()).max())
            for goal, arm in zip(goals, self._arms, strict=True)
        )
        if far < _NEAR:
            return
        duration_s = max(far / _SPEED, _SHORTEST_S)
        self._ready_s = now_s + duration_s

        for arm, goal in zip(self._arms, goals.copy(), strict=True):
            arm.lead(lambda at, begun_s, to=goal: Reach(at, to, begun_s, duration_s))


def main() -> int:
    """Runs the node as a process; returns the exit status."""
    return run_node(SimLeaders)


if __name__ == "__main__":
    sys.exit(main())
