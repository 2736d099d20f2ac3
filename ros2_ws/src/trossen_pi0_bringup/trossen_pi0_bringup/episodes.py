"""Runs episodes on a started stack and judges them, over the same topics that an operator has."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import rclpy
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from sensor_msgs.msg import Image, JointState

from trossen_pi0_bringup.recording import EpisodeRecording
from trossen_pi0_bringup.supervisor import StackError
from trossen_pi0_bringup.video import MosaicVideo
from trossen_pi0_core.errors import ImageError
from trossen_pi0_msgs.action import MoveTo, RunPolicy
from trossen_pi0_msgs.msg import ActionChunk, ControllerStatus, PolicyStatus, SimStatus
from trossen_pi0_msgs.srv import ResetSim
from trossen_pi0_policy.state import PREPARING
from trossen_pi0_ros.callbacks import CallbackThread
from trossen_pi0_ros.convert import image_to_rgb
from trossen_pi0_ros.qos import COMMANDS, STATUS, image_qos

STAGES = {
    getattr(SimStatus, name): name.removeprefix("STAGE_").lower()
    for name in dir(SimStatus)
    if name.startswith("STAGE_")
}
"""Names of the stages of the task by their numbers."""

_OUTCOMES = {
    RunPolicy.Result.DONE: "done",
    RunPolicy.Result.TIMEOUT: "timeout",
    RunPolicy.Result.STOPPED: "stopped",
    RunPolicy.Result.FAILED: "failed",
}

Watch = Callable[[], None]
"""Called while something is waited for; raises to end the waiting."""


@dataclass
class EpisodeResult:
    """How an episode went.

    Attributes:
        seed: of the episode.
        variant: of the task.
        success: judged by the simulation.
        stage: furthest stage of the task.
        reason: why it did not succeed; empty otherwise.
        outcome: how the policy's run ended.
        message: what the policy said of it.
        duration_s: of the run [s].
        chunks: published.
        recording: everything that was seen.
    """

    seed: int
    variant: str
    success: bool = False
    stage: str = "none"
    reason: str = ""
    outcome: str = ""
    message: str = ""
    duration_s: float = 0.0
    chunks: int = 0
    recording: EpisodeRecording = field(default_factory=EpisodeRecording)


class EpisodeRunner:
    """A ROS node on a thread of its own; its methods are called by one other thread."""

    def __init__(self, image_topics: dict[str, str]) -> None:
        """Joins the ROS graph.

        Args:
            image_topics: camera name -> topic, for the video.
        """
        rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
        self._node = Node("episode_runner")
        self._recording = EpisodeRecording()
        self._video: MosaicVideo | None = None
        self._subscribe()
        self._image_topics = image_topics
        self._image_subscriptions: list[Any] = []
        self._reset = self._node.create_client(ResetSim, "/sim/reset")
        self._run = ActionClient(self._node, RunPolicy, "/policy/run")
        self._move = ActionClient(self._node, MoveTo, "/arm_controller/move_to")
        self._goal: ClientGoalHandle | None = None
        self._callbacks = CallbackThread(self._node)
        self._callbacks.start()

    def close(self) -> None:
        """Stops a run that is under way and leaves the graph."""
        if self._goal is not None:
            self._goal.cancel_goal_async()
        self.end_video()
        self._callbacks.stop()
        self._node.destroy_node()
        rclpy.try_shutdown()

    @property
    def recording(self) -> EpisodeRecording:
        """The episode under way, or the last one."""
        return self._recording

    # Streams ------------------------------------------------------------------------------------

    def _subscribe(self) -> None:
        subscribe = self._node.create_subscription
        subscribe(JointState, "/arm_controller/command", self._on_command, COMMANDS)
        subscribe(JointState, "/joint_states", self._on_joints, COMMANDS)
        subscribe(ActionChunk, "/policy/action_chunk", self._on_chunk, COMMANDS)
        subscribe(ControllerStatus, "/arm_controller/status", self._on_controller, STATUS)
        subscribe(PolicyStatus, "/policy/status", self._on_policy, STATUS)
        subscribe(SimStatus, "/sim/status", self._on_sim, STATUS)

    def _on_command(self, message: JointState) -> None:
        self._recording.add_command(message)

    def _on_joints(self, message: JointState) -> None:
        self._recording.add_measured(message)

    def _on_chunk(self, message: ActionChunk) -> None:
        self._recording.add_chunk(message)

    def _on_controller(self, message: ControllerStatus) -> None:
        self._recording.add_controller(message)

    def _on_policy(self, message: PolicyStatus) -> None:
        self._recording.add_policy(message)

    def _on_sim(self, message: SimStatus) -> None:
        self._recording.add_sim(message)

    def begin_video(self, video: MosaicVideo) -> None:
        """Subscribes to the cameras and feeds the video until ``end_video``."""
        self._video = video

        def taker(camera: str) -> Callable[[Image], None]:
            def take(message: Image) -> None:
                try:
                    video.update(camera, image_to_rgb(message))
                except ImageError as error:
                    self._node.get_logger().warning(f"{camera}: {error}", throttle_duration_sec=5.0)

            return take

        self._image_subscriptions = [
            self._node.create_subscription(Image, topic, taker(camera), image_qos("best_effort", 1))
            for camera, topic in self._image_topics.items()
        ]

    def end_video(self) -> None:
        """Ends the video, if there is one."""
        for subscription in self._image_subscriptions:
            self._node.destroy_subscription(subscription)
        self._image_subscriptions = []
        if self._video is not None:
            self._video.close()
            self._video = None

    # Episodes -----------------------------------------------------------------------------------

    def wait_until_ready(self, timeout_s: float, watch: Watch) -> None:
        """Waits for every node of the stack, and until the policy's backend is ready or fails.

        Raises:
            StackError: which are missing after ``timeout_s``.
        """
        deadline = time.monotonic() + timeout_s
        while missing := self._missing():
            watch()
            if time.monotonic() > deadline:
                raise StackError(f"after {timeout_s:g} s there is still no {', no '.join(missing)}")
            self._wait(0.1)

    def _missing(self) -> list[str]:
        seen = self._recording
        parts = {
            "simulation (/sim/status)": seen.sim is not None,
            "reset service (/sim/reset)": self._reset.service_is_ready(),
            "arm controller (/arm_controller/status)": seen.controller is not None,
            "joint states (/joint_states)": bool(seen.measured.stamps_ns),
            "policy (/policy/status)": seen.policy is not None,
            "policy's run action (/policy/run)": self._run.server_is_ready(),
            "policy that is ready (its backend is still preparing)": (
                seen.policy is not None and seen.policy.reason != PREPARING
            ),
        }
        return [name for name, there in parts.items() if not there]

    def run_episode(
        self,
        seed: int,
        variant: str,
        max_duration_s: float,
        watch: Watch,
        settle_s: float = 4.0,
        prompt: str = "",
        begin: Callable[[], None] | None = None,
    ) -> EpisodeResult:
        """Resets the simulation, runs the policy once, and judges the episode.

        A run that goes on ``settle_s`` after the task is done is stopped; so is one whose task
        can no longer be done.

        Args:
            seed: start of the episode.
            variant: of the task.
            max_duration_s: time limit of the policy [s].
            watch: called every tenth of a second.
            settle_s: how long a run may go on after success [s].
            prompt: instruction of the run; empty: the policy node's own.
            begin: called when the simulation is reset, before the policy runs.

        Raises:
            StackError: the stack did not answer.
        """
        self._reset_sim(seed, variant, watch)
        if begin is not None:
            begin()
        recording = self._recording = EpisodeRecording(
            begun_ns=self._node.get_clock().now().nanoseconds,
            controller=self._recording.controller,
            policy=self._recording.policy,
        )
        handle = self._start_run(max_duration_s, prompt, watch)
        future = self._request(handle.get_result_async, watch)
        decided_s: float | None = None
        deadline = time.monotonic() + max_duration_s + 60.0
        while not future.done():
            watch()
            self._wait(0.1)
            now = time.monotonic()
            sim = recording.sim
            if sim is not None and (sim.success or sim.failed) and decided_s is None:
                decided_s = now
            if decided_s is not None and now > decided_s + settle_s:
                self._request(handle.cancel_goal_async, watch)
                decided_s = float("inf")
            if now > deadline:
                raise StackError("the policy's run did not end")
        self._goal = None
        return self._judge(recording.copy(), seed, variant, future)

    def move_arms(self, pose: str, watch: Watch, timeout_s: float = 30.0) -> None:
        """Moves the arms to a named pose and waits for them.

        Raises:
            StackError: they do not get there.
        """
        goal = MoveTo.Goal(pose=pose)
        answer = self._request(lambda: self._move.send_goal_async(goal), watch)
        handle = self._await(answer, 10.0, watch, "move of the arms")
        future = self._request(handle.get_result_async, watch)
        result = self._await(future, timeout_s, watch, "move of the arms").result
        if not result.success:
            raise StackError(f"the arms do not move to pose {pose!r}: {result.message}")

    def _reset_sim(self, seed: int, variant: str, watch: Watch) -> None:
        answer = self._await(
            self._reset.call_async(ResetSim.Request(seed=seed, variant=variant)),
            10.0,
            watch,
            "reset",
        )
        if not answer.success:
            raise StackError(f"the simulation refused the reset: {answer.message}")

    def _start_run(self, max_duration_s: float, prompt: str, watch: Watch) -> ClientGoalHandle:
        goal = RunPolicy.Goal(max_duration_s=max_duration_s, prompt=prompt)
        answer = self._request(lambda: self._run.send_goal_async(goal), watch)
        handle = self._await(answer, 10.0, watch, "run of the policy")
        if not handle.accepted:
            policy = self._recording.policy
            raise StackError(
                f"the policy refused to run: {policy.reason if policy else 'it gave no reason'}"
            )
        self._goal = handle
        return handle

    def _judge(
        self, recording: EpisodeRecording, seed: int, variant: str, future: Future
    ) -> EpisodeResult:
        answer = future.result()
        assert answer is not None
        run = answer.result
        result = EpisodeResult(seed, variant, recording=recording)
        result.outcome = _OUTCOMES.get(run.outcome, str(run.outcome))
        if answer.status == GoalStatus.STATUS_ABORTED:
            result.outcome = "failed"
        result.message, result.duration_s, result.chunks = run.message, run.duration_s, run.chunks
        sim = recording.sim
        if sim is None:
            result.reason = "the simulation sent no status"
            return result
        result.stage, result.success = STAGES.get(sim.stage, str(sim.stage)), sim.success
        if not sim.success:
            result.reason = sim.reason or (
                f"the furthest stage was {result.stage!r}; the run ended as {result.outcome}: "
                f"{run.message}"
            )
        return result

    def _request(self, send: Callable[[], Future], watch: Watch) -> Future:
        """Has the callback thread send a request of the action client; returns its future."""
        return self._await(self._callbacks.call(send), 10.0, watch, "call of the action client")

    def _await(self, future: Future, timeout_s: float, watch: Watch, what: str) -> Any:
        deadline = time.monotonic() + timeout_s
        while not future.done():
            watch()
            if time.monotonic() > deadline:
                raise StackError(f"no answer to the {what} within {timeout_s:g} s")
            self._wait(0.02)
        return future.result()

    def _wait(self, seconds: float) -> None:
        if self._callbacks.failure is not None:
            raise StackError(f"a callback failed: {self._callbacks.failure!r}")
        with self._recording.changed:
            self._recording.changed.wait(seconds)
