"""The replay node: plays an episode's observations, or has its actions executed again."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from rclpy.clock import Clock, ClockType
from std_srvs.srv import Trigger
from typing_extensions import override

from trossen_pi0_core.errors import EpisodeError, ParameterError
from trossen_pi0_core.parameters import ReplayParameters
from trossen_pi0_core.parameters.replay import ACTIONS
from trossen_pi0_data.action_player import ActionPlayer
from trossen_pi0_data.observation_player import ObservationPlayer
from trossen_pi0_data.replay_plan import ReplayPlan, plan_replay
from trossen_pi0_data.replay_safety import Bystanders
from trossen_pi0_data.replay_types import message_classes
from trossen_pi0_msgs.msg import ReplayStatus
from trossen_pi0_ros.convert import time_msg
from trossen_pi0_ros.managed_node import ManagedNode
from trossen_pi0_ros.parameters import NodeParameters
from trossen_pi0_ros.process import run_node
from trossen_pi0_ros.qos import STATUS

NODE = "replay"

_NOT_ACTIVE = "the replay node is not active"
_ONLY_OBSERVATIONS = "only a replay of observations can do that; /replay/stop ends this one"
_LOOK_S = 0.5
_LOOKS_BEFORE_START = 2  # in which other nodes are found


class ReplayNode(ManagedNode):
    """Wires services and status to a player.

    The episode is opened and checked when the node is made, so that a process whose episode cannot
    be replayed ends with the exit status of bad usage and has published nothing.
    """

    def __init__(self, **kwargs: Any) -> None:
        """Raises ParameterError or EpisodeError: what cannot be replayed, and why."""
        super().__init__(NODE, **kwargs)
        self._settings = NodeParameters(self, ReplayParameters, self._apply, self._check)
        self._plan: ReplayPlan = plan_replay(self._settings.value)
        self._classes = message_classes(self._plan)
        self._player: ObservationPlayer | ActionPlayer | None = None
        self._bystanders: Bystanders | None = None
        self._told: tuple[int, str] | None = None
        self._looks_left = 0
        self._parts: list[Any] = []
        self._status: Any = None

    @property
    @override
    def wants_autostart(self) -> bool:
        return self._settings.value.autostart

    @override
    def configure(self) -> None:
        parameters = self._settings.value
        for problem in self._plan.reader.problems:
            self.get_logger().warning(f"{self._plan.name}: {problem}")
        self._status = self.create_publisher(ReplayStatus, f"/{NODE}/status", STATUS)
        calls: dict[str, Callable[[], str]] = {
            "start": self._start,
            "stop": lambda: self._require().stop("stopped by the operator"),
            "pause": lambda: self._observations().pause(),
            "resume": lambda: self._observations().resume(),
            "step": lambda: self._observations().step(),
        }
        for name, call in calls.items():
            service = self.create_service(Trigger, f"/{NODE}/{name}", _answering(call))
            self._parts.append((self.destroy_service, service))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        for period_s, work in ((1.0 / parameters.status_rate, self._report), (_LOOK_S, self._look)):
            timer = self.create_timer(period_s, work, clock=steady)
            self._parts.append((self.destroy_timer, timer))

    @override
    def activate(self) -> None:
        parameters = self._settings.value
        if parameters.mode == ACTIONS:
            self._player = ActionPlayer(self, self._plan, parameters)
        else:
            player = self._player = ObservationPlayer(self, self._plan, parameters, self._classes)
            self._bystanders = Bystanders(self, player.topic_names)
            player.open()
        self.get_logger().info(
            f"{self._plan.name}: {self._plan.duration_s:.1f} s of {parameters.mode}"
        )
        self._looks_left = 0 if parameters.waits else _LOOKS_BEFORE_START

    @override
    def deactivate(self) -> None:
        if self._player:
            self._player.close()
            self._player = None
        if self._bystanders:
            self._bystanders.close()
            self._bystanders = None

    @override
    def cleanup(self) -> None:
        while self._parts:
            destroy, part = self._parts.pop()
            destroy(part)
        if self._status is not None:
            self.destroy_publisher(self._status)
            self._status = None

    # Services -----------------------------------------------------------------------------------

    def _start(self) -> str:
        player = self._require()
        if self._bystanders and isinstance(player, ObservationPlayer):
            problem = self._bystanders.problem()
            if problem:
                player.refuse(problem)
                return problem
        return player.start()

    def _require(self) -> ObservationPlayer | ActionPlayer:
        if self._player is None:
            raise EpisodeError(_NOT_ACTIVE)
        return self._player

    def _observations(self) -> ObservationPlayer:
        player = self._require()
        if not isinstance(player, ObservationPlayer):
            raise EpisodeError(_ONLY_OBSERVATIONS)
        return player

    # Timers -------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Begins by itself; ends a playback that would be mixed with the present."""
        if self._player is not None and self._looks_left:
            self._looks_left -= 1
            if not self._looks_left and self._player.state == ReplayStatus.WAITING:
                self._start()
        player = self._player
        if not self._bystanders or not isinstance(player, ObservationPlayer):
            return
        problem = self._bystanders.problem()
        if problem and player.playing:
            player.stop(problem, failed=True)

    def _report(self) -> None:
        player = self._player
        if player is None:
            return
        told = (player.state, player.reason)
        if told != self._told:
            self._told = told
            self._log(*told)
        parameters = self._settings.value
        message = ReplayStatus(
            state=player.state,
            reason=player.reason,
            mode=parameters.mode,
            episode=self._plan.name,
            rate=parameters.rate,
            position_s=player.position_s,
            duration_s=self._plan.duration_s,
            messages=player.messages,
        )
        # Not ROS time, which is the episode's where /clock is heard.
        now = Clock(clock_type=ClockType.SYSTEM_TIME).now().nanoseconds
        message.header.stamp = time_msg(now)
        if isinstance(player, ObservationPlayer):
            message.loops, message.lag_s = player.loops, player.lag_s
        else:
            message.run_id = player.run_id
            message.began = time_msg(player.began_ns)
            message.delay_s = player.delay_s
        self._status.publish(message)

    def _log(self, state: int, reason: str) -> None:
        text = f"{_NAMES[state]}: {reason}" if reason else _NAMES[state]
        if state == ReplayStatus.FAILED:
            self.get_logger().error(text)
        else:
            self.get_logger().info(text)

    # Parameters ---------------------------------------------------------------------------------

    def _check(self, present: ReplayParameters, proposed: ReplayParameters) -> None:
        """Actions in motion keep their rate."""
        changed = proposed.rate != present.rate
        if changed and proposed.mode == ACTIONS:
            raise ParameterError(f"rate: fixed for mode {ACTIONS!r}, where it is checked at start")

    def _apply(self, parameters: ReplayParameters) -> None:
        if isinstance(self._player, ObservationPlayer):
            self._player.apply(parameters)


_NAMES = {
    getattr(ReplayStatus, name): name
    for name in ("WAITING", "STARTING", "PLAYING", "PAUSED", "FINISHED", "STOPPED", "FAILED")
}


def _answering(call: Callable[[], str]) -> Callable[..., Trigger.Response]:
    """A service that does the call, which returns or raises why it cannot."""

    def answer(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        try:
            response.message = call()
        except EpisodeError as error:
            response.message = str(error)
        response.success = not response.message
        return response

    return answer


def main() -> int:
    """Runs the node as a process; returns the exit status."""
    return run_node(ReplayNode)


if __name__ == "__main__":
    sys.exit(main())
