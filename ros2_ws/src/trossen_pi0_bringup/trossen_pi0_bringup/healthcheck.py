"""Whether the running stack is healthy: joint states and statuses come, and are fresh.

Usage: ``python -m trossen_pi0_bringup.healthcheck [timeout_s:=10] [max_age_s:=1]``; ``--help``
lists the arguments. It joins the ROS graph, listens, and says one line for each thing that is
wrong.
Exit status: 0 healthy, 1 not healthy, 2 bad arguments.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.time import Time
from sensor_msgs.msg import JointState

from trossen_pi0_bringup.arguments import Arguments, own_argument, parse_command_line
from trossen_pi0_bringup.health import (
    CONTROLLER,
    JOINTS,
    POLICY,
    REQUIRED,
    Heard,
    problems,
    summary,
)
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_msgs.msg import ControllerStatus, PolicyStatus
from trossen_pi0_ros.callbacks import CallbackThread
from trossen_pi0_ros.qos import COMMANDS, STATUS
from trossen_pi0_ros.states import state_names

EXIT_HEALTHY, EXIT_UNHEALTHY, EXIT_USAGE = 0, 1, 2

HEALTH_ARGUMENTS = (
    own_argument("timeout_s", 10.0, "Longest time to listen [s].", low=0.1, high=600.0),
    own_argument("max_age_s", 1.0, "Oldest stamp of a fresh message [s].", low=0.01, high=60.0),
)

_CONTROLLER_STATES, _POLICY_STATES = state_names(ControllerStatus), state_names(PolicyStatus)
_BROKEN = ("FAULT", "ERROR")


class Listener:
    """Hears the topics; its methods are called by one thread, callbacks run on another.

    A status that was sent before this node came is latched and may be old, so only the newest
    message of each topic counts.
    """

    def __init__(self) -> None:
        """Joins the ROS graph and listens."""
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node("healthcheck", enable_rosout=False, start_parameter_services=False)
        self._heard: dict[str, Heard] = {}
        self._changed = threading.Condition()
        listen = self._node.create_subscription
        listen(JointState, JOINTS, self._on_joints, COMMANDS)
        listen(ControllerStatus, CONTROLLER, self._on_controller, STATUS)
        listen(PolicyStatus, POLICY, self._on_policy, STATUS)
        self._callbacks = CallbackThread(self._node)
        self._callbacks.start()

    def close(self) -> None:
        """Leaves the graph."""
        self._callbacks.stop()
        self._node.destroy_node()
        rclpy.try_shutdown()

    def check(self, timeout_s: float, max_age_s: float) -> tuple[list[str], str]:
        """Listens until all is well, but no longer than ``timeout_s``.

        Returns:
            What is wrong, and a line on what was heard.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                found = problems(self._heard, self._expected(), max_age_s, timeout_s)
                remaining = deadline - time.monotonic()
                if not found or remaining <= 0.0:
                    return found, summary(self._heard)
                self._changed.wait(min(remaining, 0.1))

    def _expected(self) -> tuple[str, ...]:
        has_policy = bool(self._node.get_publishers_info_by_topic(POLICY))
        return (*REQUIRED, POLICY) if has_policy else REQUIRED

    def _on_joints(self, message: JointState) -> None:
        self._hear(JOINTS, message)

    def _on_controller(self, message: ControllerStatus) -> None:
        self._hear_status(CONTROLLER, message, _CONTROLLER_STATES)

    def _on_policy(self, message: PolicyStatus) -> None:
        self._hear_status(POLICY, message, _POLICY_STATES)

    def _hear_status(self, topic: str, message: Any, names: Mapping[int, str]) -> None:
        state = names.get(message.state, str(message.state))
        self._hear(topic, message, state, message.reason)

    def _hear(self, topic: str, message: Any, state: str = "", reason: str = "") -> None:
        clock = self._node.get_clock()
        age = clock.now() - Time.from_msg(message.header.stamp, clock.clock_type)
        with self._changed:
            self._heard[topic] = Heard(age.nanoseconds / 1e9, state, reason, state in _BROKEN)
            self._changed.notify()


def main(words: list[str] | None = None) -> int:
    """Checks once and returns the exit status."""
    words = sys.argv[1:] if words is None else words
    if {"-h", "--help"} & set(words):
        sys.stdout.write(f"{(__doc__ or '').strip()}\n\n{_described()}\n")
        return EXIT_HEALTHY
    try:
        arguments = Arguments(HEALTH_ARGUMENTS, parse_command_line(words))
    except ParameterError as error:
        sys.stderr.write(f"error: {error}\n")
        return EXIT_USAGE
    listener = Listener()
    try:
        found, line = listener.check(arguments["timeout_s"], arguments["max_age_s"])
    finally:
        listener.close()
    sys.stdout.write("\n".join(found or [f"healthy: {line}"]) + "\n")
    return EXIT_UNHEALTHY if found else EXIT_HEALTHY


def _described() -> str:
    return "\n".join(
        f"  {a.name}:={a.default_text}\n      {a.spec.description}" for a in HEALTH_ARGUMENTS
    )


if __name__ == "__main__":
    sys.exit(main())
