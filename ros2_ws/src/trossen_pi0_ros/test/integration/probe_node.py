"""A node to be run by the tests: behaves and misbehaves as its parameters say.

Usage: probe_node.py [plain] [--ros-args ...]
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import ServerGoalHandle
from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import Trigger
from typing_extensions import override

from trossen_pi0_core.errors import DriverError
from trossen_pi0_core.parameters.spec import parameter, parameters
from trossen_pi0_msgs.action import MoveTo
from trossen_pi0_ros.managed_node import ManagedNode
from trossen_pi0_ros.parameters import NodeParameters
from trossen_pi0_ros.process import run_node

BEHAVIOURS = (
    "good",
    "refuse_configure",
    "break_configure",
    "refuse_activate",
    "wait_in_configure",
    "refuse_cleanup",
)


@parameters
class ProbeParameters:
    """What the probe can be told."""

    autostart: bool = parameter(True, "Configure and activate the node at start.")
    behaviour: str = parameter("good", "What it does wrong.", choices=BEHAVIOURS)
    gain: float = parameter(0.5, "A gain [1].", low=0.0, high=1.0, live=True)


def say(text: str) -> None:
    """One line to the test."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class ProbeNode(ManagedNode):
    """Says each step; its services raise or hang, and its action counts to ten."""

    def __init__(self) -> None:
        super().__init__("probe")
        self._settings = NodeParameters(self, ProbeParameters)
        self._behaviour = self._settings.value.behaviour
        self.create_service(Trigger, "/probe/raise", self._raise)
        self.create_service(Trigger, "/probe/hang", self._hang)
        self.create_service(Trigger, "/probe/ping", self._ping)
        self._action = ActionServer(
            self,
            MoveTo,
            "/probe/count",
            self._count,
            cancel_callback=lambda _: CancelResponse.ACCEPT,
        )
        say("made")

    @property
    @override
    def wants_autostart(self) -> bool:
        return self._settings.value.autostart

    @override
    def configure(self) -> None:
        say("configure")
        if self._behaviour == "refuse_configure":
            raise DriverError("no arm at 127.0.0.9")
        if self._behaviour == "break_configure":
            raise KeyError("a bug")
        if self._behaviour == "wait_in_configure" and self.stopping.wait(60.0):
            raise DriverError("interrupted")

    @override
    def activate(self) -> None:
        say("activate")
        if self._behaviour == "refuse_activate":
            raise DriverError("the arm is asleep")

    @override
    def deactivate(self) -> None:
        say("deactivate")

    @override
    def cleanup(self) -> None:
        say("cleanup")
        if self._behaviour == "refuse_cleanup":
            raise DriverError("the arm does not let go")

    def _raise(self, _request: Any, _response: Any) -> Any:
        raise RuntimeError("broken callback")

    def _hang(self, _request: Any, _response: Any) -> Any:
        say("hanging")
        time.sleep(60.0)

    def _ping(self, _request: Any, response: Trigger.Response) -> Trigger.Response:
        response.success = True
        response.message = threading.current_thread().name
        return response

    async def _count(self, goal: ServerGoalHandle) -> MoveTo.Result:
        done = Future()
        ticks = 0

        def tick() -> None:
            nonlocal ticks
            ticks += 1
            goal.publish_feedback(MoveTo.Feedback(fraction=ticks / 10))
            if (ticks >= 10 and goal.request.pose == "end") or goal.is_cancel_requested:
                done.set_result(None)

        timer = self.create_timer(0.02, tick)
        await done
        self.destroy_timer(timer)
        goal.canceled() if goal.is_cancel_requested else goal.succeed()
        return MoveTo.Result(success=True, message=f"{ticks} ticks")


class PlainNode(Node):
    """A node without a lifecycle and without anything to close."""

    def __init__(self) -> None:
        super().__init__("plain")
        say("made")


if __name__ == "__main__":
    sys.exit(run_node(PlainNode if "plain" in sys.argv else ProbeNode))
