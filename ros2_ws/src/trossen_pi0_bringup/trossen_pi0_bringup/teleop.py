"""``make teleop``: simulated leaders in a scripted hand, and the simulated kit that follows them.

Usage: ``python -m trossen_pi0_bringup.teleop [duration_s:=60] [name:=value ...]``; ``--help`` lists
the arguments. The hand brings the leaders to the followers; then these are coupled, and the hand
moves. Ctrl-C ends it.
Exit status: 0 the followers followed until the end, 1 they ceased before, 2 bad arguments, 3 the
stack failed, 130 ended by Ctrl-C.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from trossen_pi0_bringup.arguments import Arguments, own_argument
from trossen_pi0_bringup.nodes import NodeSpec, node_specs
from trossen_pi0_bringup.sim import SIM_ARGUMENTS
from trossen_pi0_bringup.stack_command import EXIT_OK, EXIT_TASK, StackCommand
from trossen_pi0_bringup.supervisor import StackError
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_msgs.msg import ControllerStatus, TeleopStatus
from trossen_pi0_ros.callbacks import CallbackThread
from trossen_pi0_ros.qos import STATUS
from trossen_pi0_ros.states import state_names

TELEOP_ARGUMENTS = (
    *(
        a
        for a in SIM_ARGUMENTS
        if a.name not in ("episodes", "video", "scene", "max_duration_s", "teleop")
    ),
    own_argument("teleop", True, "Always true here."),
    own_argument(
        "duration_s", 60.0, "How long the followers follow [s]; 0: until Ctrl-C.", low=0.0, high=1e6
    ),
)
"""Arguments of ``make teleop``: those of ``make sim`` that tell of the kit, and its own."""

_TELL_S = 2.0
_POLL_S = 0.05
_ANSWER_S = 10.0
_STATES = state_names(TeleopStatus)


def teleop_specs(arguments: Arguments) -> list[NodeSpec]:
    """The processes of the simulated kit and its leaders.

    Raises:
        ParameterError: arguments that do not go together.
    """
    if not arguments["sim"] or not arguments["teleop"]:
        raise ParameterError(
            "sim and teleop: this command runs simulated arms and leaders; real ones are started "
            "with `ros2 launch trossen_pi0_bringup bimanual.launch.py sim:=false teleop:=true ...`"
        )
    if arguments["rviz"]:
        raise ParameterError("rviz: only with `ros2 launch`")
    return node_specs(arguments)


class TeleopOperator:
    """Starts and watches teleoperation; its methods belong to one thread."""

    def __init__(self) -> None:
        """Joins the ROS graph."""
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node("teleop_operator")
        self.status: TeleopStatus | None = None
        self.controller: ControllerStatus | None = None
        listen = self._node.create_subscription
        listen(TeleopStatus, "/teleop/status", self._on_status, STATUS)
        listen(ControllerStatus, "/arm_controller/status", self._on_controller, STATUS)
        self._services = {
            name: self._node.create_client(Trigger, f"/teleop/{name}") for name in ("start", "stop")
        }
        self._callbacks = CallbackThread(self._node)
        self._callbacks.start()

    def close(self) -> None:
        """Leaves the graph."""
        self._callbacks.stop()
        self._node.destroy_node()
        rclpy.try_shutdown()

    @property
    def missing(self) -> list[str]:
        """What has not been heard yet."""
        known = self.status is not None and math.isfinite(self.status.largest_difference)
        parts = {
            "arm controller": self.controller is not None,
            "leader arms that have heard of the followers": known,
            "service /teleop/start": self._services["start"].service_is_ready(),
        }
        return [name for name, there in parts.items() if not there]

    def call(self, name: str, watch: Callable[[], None]) -> Any:
        """The answer of ``/teleop/<name>``.

        Raises:
            StackError: there was none.
        """
        future = self._services[name].call_async(Trigger.Request())
        deadline_s = time.monotonic() + _ANSWER_S
        while not future.done():
            watch()
            if time.monotonic() > deadline_s:
                raise StackError(f"no answer from /teleop/{name} within {_ANSWER_S:g} s")
            time.sleep(_POLL_S)
        return future.result()

    def _on_status(self, message: TeleopStatus) -> None:
        self.status = message

    def _on_controller(self, message: ControllerStatus) -> None:
        self.controller = message


def main(words: list[str] | None = None) -> int:
    """Runs the stack and returns the exit status."""
    words = sys.argv[1:] if words is None else words
    command = StackCommand.from_words(
        words, __doc__ or "", TELEOP_ARGUMENTS, "teleop_%Y%m%d_%H%M%S", teleop_specs
    )
    if isinstance(command, int):
        return command
    return command.run(lambda: _operate(command))


def _operate(command: StackCommand) -> int:
    operator = TeleopOperator()
    try:
        _wait_until_ready(command, operator)
        _couple(command, operator)
        status = _follow(command, operator)
        if status == EXIT_OK:
            command.say(operator.call("stop", command.watch).message)
        return status
    finally:
        operator.close()


def _wait_until_ready(command: StackCommand, operator: TeleopOperator) -> None:
    command.say("waiting for the nodes")
    timeout_s = command.arguments["ready_timeout_s"]
    deadline_s = time.monotonic() + timeout_s
    while missing := operator.missing:
        command.watch()
        if time.monotonic() > deadline_s:
            raise StackError(f"after {timeout_s:g} s there is still no {', no '.join(missing)}")
        time.sleep(_POLL_S)


def _couple(command: StackCommand, operator: TeleopOperator) -> None:
    """Asks until the hand has brought the leaders to the followers."""
    deadline_s = time.monotonic() + _ANSWER_S
    refused = ""
    while not (answer := operator.call("start", command.watch)).success:
        if answer.message != refused:
            refused = answer.message
            command.say(f"not yet: {refused}", "yellow")
        if time.monotonic() > deadline_s:
            raise StackError(f"teleoperation does not start: {refused}")
        time.sleep(0.5)
    command.say(answer.message, "green")


def _follow(command: StackCommand, operator: TeleopOperator) -> int:
    duration_s = command.arguments["duration_s"] or math.inf
    begun_s = told_s = time.monotonic()
    while time.monotonic() < begun_s + duration_s:
        command.watch()
        time.sleep(_POLL_S)
        status, controller = operator.status, operator.controller
        assert status is not None
        assert controller is not None
        if time.monotonic() < told_s + _TELL_S:
            continue
        told_s = time.monotonic()
        command.say(
            f"{told_s - begun_s:6.1f} s | {_STATES[status.state]} | {status.chunks} chunks | "
            f"apart {1e3 * status.largest_difference:.0f} mrad | refused "
            f"{controller.chunks_rejected}, starved {controller.starvation_count}"
        )
        if status.state != TeleopStatus.FOLLOWING:
            command.say(f"the followers ceased to follow: {status.reason}", "red")
            return EXIT_TASK
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
