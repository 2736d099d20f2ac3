"""Has the arm controller execute the recorded commands: topics and services around a replay."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from rcl_interfaces.msg import ParameterType, ParameterValue
from rcl_interfaces.srv import GetParameters
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.task import Future

from trossen_pi0_core.contract import NANOSECONDS, ActionChunk
from trossen_pi0_core.errors import ChunkRejectedError, EpisodeError, TrossenPi0Error
from trossen_pi0_core.execution import State
from trossen_pi0_core.limits import JointLimits
from trossen_pi0_core.parameters import ArmControllerParameters, ReplayParameters, from_values
from trossen_pi0_data.action_replay import ActionReplay, ActionSettings, ControllerWord, Phase
from trossen_pi0_data.replay_plan import ReplayPlan
from trossen_pi0_msgs.msg import ActionChunk as ActionChunkMsg
from trossen_pi0_msgs.msg import ControllerStatus, PolicyStatus, ReplayStatus
from trossen_pi0_ros.convert import chunk_to_msg, time_ns
from trossen_pi0_ros.qos import COMMANDS, STATUS

_POLL_S = 0.02
_FLUSH = Duration(seconds=0.2)

_LIMITS = (
    "arms",
    "urdf_prefixes",
    "position_lower",
    "position_upper",
    "velocity_limit",
    "acceleration_limit",
)
"""Parameters of the arm controller that say what fits it."""

_STATES = {
    Phase.READY: ReplayStatus.WAITING,
    Phase.STARTING: ReplayStatus.STARTING,
    Phase.PLAYING: ReplayStatus.PLAYING,
    Phase.ENDING: ReplayStatus.PLAYING,
    Phase.DONE: ReplayStatus.FINISHED,
    Phase.STOPPED: ReplayStatus.STOPPED,
    Phase.FAILED: ReplayStatus.FAILED,
}


class ActionPlayer:
    """One replay of actions at a time. The node's callback thread alone.

    A start first hears the arm controller and asks it for its joints and limits; nothing is
    published unless the whole motion fits them.
    """

    def __init__(self, node: Node, plan: ReplayPlan, parameters: ReplayParameters) -> None:
        """Args:
        node: owner of publisher, subscriptions, client and timer.
        plan: what is executed.
        parameters: of the node.
        """
        assert plan.track is not None
        self._node = node
        self._track = plan.track
        self._parameters = parameters
        self._replay: ActionReplay | None = None
        self._state = ReplayStatus.WAITING
        self._reason = ""
        self._word: ControllerWord | None = None
        self._policy_run = ""
        self._asked_s = 0.0
        self._answer: Future | None = None
        self._publisher = node.create_publisher(ActionChunkMsg, "/policy/action_chunk", COMMANDS)
        self._subscriptions = [
            node.create_subscription(
                ControllerStatus, "/arm_controller/status", self._on_status, STATUS
            ),
            node.create_subscription(PolicyStatus, "/policy/status", self._on_policy, STATUS),
        ]
        self._limits = node.create_client(GetParameters, "/arm_controller/get_parameters")
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(_POLL_S, self._poll, clock=steady)

    @property
    def state(self) -> int:
        """As in ReplayStatus."""
        return self._state if self._replay is None else _STATES[self._replay.phase]

    @property
    def reason(self) -> str:
        """Why it is in this state."""
        return self._reason if self._replay is None else self._replay.reason

    @property
    def run_id(self) -> str:
        """Policy run of its chunks."""
        return self._replay.run_id if self._replay else ""

    @property
    def began_ns(self) -> int:
        """When the first command is due, ROS time [ns]; 0 before that is known."""
        return self._replay.began_ns if self._replay else 0

    @property
    def delay_s(self) -> float:
        """By how much limits have delayed the motion [s]."""
        return self._replay.delay_ns / NANOSECONDS if self._replay else 0.0

    @property
    def position_s(self) -> float:
        """Episode time since the first command [s]."""
        return self._replay.position_ns(self._now_ns()) / NANOSECONDS if self._replay else 0.0

    @property
    def messages(self) -> int:
        """Chunks published."""
        return self._replay.chunks if self._replay else 0

    # Control ------------------------------------------------------------------------------------

    def start(self) -> str:
        """Begins with the first pose; returns why not, or nothing."""
        if self.state in (ReplayStatus.STARTING, ReplayStatus.PLAYING):
            return "it plays already; /replay/stop ends it"
        self._replay = None
        self._answer = None
        self._asked_s = time.monotonic()
        self._enter(ReplayStatus.STARTING, "waiting for the arm controller")
        return ""

    def stop(self, reason: str) -> str:
        """Brings the arms to rest; returns why not, or nothing."""
        if self.state not in (ReplayStatus.STARTING, ReplayStatus.PLAYING):
            return "nothing is played"
        if self._replay is None:
            self._enter(ReplayStatus.STOPPED, reason)
        else:
            self._send(self._replay.stop(reason, self._now_ns()))
        return ""

    def close(self) -> None:
        """Brings the arms to rest and ends everything."""
        if not self.stop("the replay node was stopped"):
            self._publisher.wait_for_all_acked(_FLUSH)
        self._node.destroy_timer(self._timer)
        self._node.destroy_client(self._limits)
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())
        self._node.destroy_publisher(self._publisher)

    # Callbacks ----------------------------------------------------------------------------------

    def _on_status(self, message: ControllerStatus) -> None:
        self._word = ControllerWord(
            stamp_ns=time_ns(message.header.stamp),
            state=State(message.state),
            reason=message.reason,
            run_id=message.run_id,
            chunk_id=message.chunk_id,
            chunk_delay_ns=round(message.chunk_delay_s * NANOSECONDS),
            rejections=message.chunks_rejected,
            last_rejection=message.last_rejection,
        )
        if self._replay is not None:
            self._send(self._replay.heard(self._word, self._now_ns()))

    def _on_policy(self, message: PolicyStatus) -> None:
        self._policy_run = message.run_id

    def _poll(self) -> None:
        if self._replay is not None:
            self._send(self._replay.poll(self._now_ns()))
        elif self._state == ReplayStatus.STARTING:
            try:
                self._prepare()
            except TrossenPi0Error as error:
                self._replay = None
                self._enter(ReplayStatus.FAILED, str(error))

    # Start --------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """One look at whether the controller is there, fits and is free; then the run begins.

        Raises:
            ChunkRejectedError: it is not free, or does not answer.
            EpisodeError: the commands do not fit it.
        """
        if self._policy_run:
            raise ChunkRejectedError(
                f"policy run {self._policy_run} is under way; stop it first (/policy/stop)"
            )
        waited_s = time.monotonic() - self._asked_s
        late = waited_s > self._parameters.controller_timeout_s
        if not self._limits.service_is_ready() or not self._hears():
            if late:
                raise ChunkRejectedError(
                    f"there is no active arm controller after {waited_s:.1f} s: no fresh "
                    "/arm_controller/status"
                )
            return
        if self._answer is None:
            self._answer = self._limits.call_async(GetParameters.Request(names=list(_LIMITS)))
        if not self._answer.done():
            if late:
                raise ChunkRejectedError("the arm controller does not answer for its limits")
            return
        if self._publisher.get_subscription_count() < 1:
            return  # it is there and will be found in a moment
        self._begin(_limits_of(self._answer.result()))

    def _begin(self, limits: JointLimits) -> None:
        assert self._word is not None
        parameters = self._parameters
        replay = ActionReplay(uuid.uuid4().hex, self._track, limits, _settings(parameters))
        chunk = replay.begin(self._word, self._now_ns())
        self._replay = replay
        self._node.get_logger().info(f"run {replay.run_id}: moving to the first pose")
        self._send(chunk)

    def _hears(self) -> bool:
        """Whether the controller has spoken a moment ago."""
        if self._word is None:
            return False
        return self._now_ns() - self._word.stamp_ns <= self._parameters.silence_s * NANOSECONDS

    def _send(self, chunk: ActionChunk | None) -> None:
        if chunk is not None:
            self._publisher.publish(chunk_to_msg(chunk, self._now_ns()))

    def _enter(self, state: int, reason: str) -> None:
        self._state, self._reason = state, reason

    def _now_ns(self) -> int:
        return self._node.get_clock().now().nanoseconds


def _settings(parameters: ReplayParameters) -> ActionSettings:
    def nanoseconds(seconds: float) -> int:
        return round(seconds * NANOSECONDS)

    return ActionSettings(
        rate=parameters.rate,
        row_ns=nanoseconds(1.0 / parameters.row_rate),
        chunk_ns=nanoseconds(parameters.chunk_s),
        rest_ns=nanoseconds(parameters.rest_s),
        ramp_timeout_ns=nanoseconds(parameters.ramp_timeout_s),
        silence_ns=nanoseconds(parameters.silence_s),
    )


_VALUES: Mapping[int, Callable[[ParameterValue], Any]] = {
    ParameterType.PARAMETER_DOUBLE_ARRAY: lambda value: tuple(value.double_array_value),
    ParameterType.PARAMETER_STRING_ARRAY: lambda value: tuple(value.string_array_value),
    ParameterType.PARAMETER_INTEGER_ARRAY: lambda value: tuple(value.integer_array_value),
}


def _limits_of(answer: GetParameters.Response | None) -> JointLimits:
    """Joints, positions and full speeds that the arm controller allows.

    Raises:
        EpisodeError: the answer does not say.
    """
    values = answer.values if answer is not None else []
    if len(values) != len(_LIMITS) or any(value.type not in _VALUES for value in values):
        raise EpisodeError("the arm controller does not tell its limits; is it another program?")
    told = {name: _VALUES[value.type](value) for name, value in zip(_LIMITS, values, strict=True)}
    arms = np.size(told["arms"])
    # Its addresses do not matter here, but there have to be as many as arms.
    addresses = tuple(f"127.0.0.{i + 1}" for i in range(arms))
    return from_values(ArmControllerParameters, {**told, "arm_addresses": addresses}).limits
