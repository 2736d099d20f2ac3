"""Runs episodes on a started stack and judges them, over the same topics that an operator has."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.task import Future
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from typing_extensions import override

from trossen_pi0_bringup.operator_node import OUTCOMES, OperatorNode, Watch
from trossen_pi0_bringup.recording import EpisodeRecording
from trossen_pi0_bringup.supervisor import StackError
from trossen_pi0_bringup.video import MosaicVideo
from trossen_pi0_core.errors import ImageError
from trossen_pi0_msgs.action import MoveTo, RunPolicy
from trossen_pi0_msgs.msg import (
    ActionChunk,
    ControllerStatus,
    GroundTruth,
    PolicyStatus,
    SimStatus,
)
from trossen_pi0_policy.state import PREPARING
from trossen_pi0_ros.convert import image_to_rgb
from trossen_pi0_ros.qos import COMMANDS, STATUS, image_qos

STAGES = {
    getattr(SimStatus, name): name.removeprefix("STAGE_").lower()
    for name in dir(SimStatus)
    if name.startswith("STAGE_")
}
"""Names of the stages of the task by their numbers."""


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
        decided_s: from the request to the success or the failure of the task, else to the run's
            end, by the wall clock [s].
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
    decided_s: float = 0.0
    chunks: int = 0
    recording: EpisodeRecording = field(default_factory=EpisodeRecording)


class EpisodeRunner(OperatorNode):
    """Runs one episode after the other.

    Attributes:
        description: URDF of the robot; empty: none has come.
    """

    def __init__(self, image_topics: dict[str, str]) -> None:
        """Joins the ROS graph.

        Args:
            image_topics: camera name -> topic, for the video.
        """
        super().__init__("episode_runner")
        self.description = ""
        self._recording = EpisodeRecording(changed=self.changed)
        self._video: MosaicVideo | None = None
        self._subscribe()
        self._image_topics = image_topics
        self._image_subscriptions: list[Any] = []
        self._move = ActionClient(self.node, MoveTo, "/arm_controller/move_to")
        self._goal: ClientGoalHandle | None = None
        self.listen()

    @override
    def close(self) -> None:
        """Stops a run that is under way and leaves the graph."""
        if self._goal is not None:
            self._goal.cancel_goal_async()
        self.end_video()
        super().close()

    @property
    def recording(self) -> EpisodeRecording:
        """The episode under way, or the last one."""
        return self._recording

    # Streams ------------------------------------------------------------------------------------

    def _subscribe(self) -> None:
        subscribe = self.node.create_subscription
        subscribe(JointState, "/arm_controller/command", self._on_command, COMMANDS)
        subscribe(JointState, "/joint_states", self._on_joints, COMMANDS)
        subscribe(ActionChunk, "/policy/action_chunk", self._on_chunk, COMMANDS)
        subscribe(ControllerStatus, "/arm_controller/status", self._on_controller, STATUS)
        subscribe(PolicyStatus, "/policy/status", self._on_policy, STATUS)
        subscribe(SimStatus, "/sim/status", self._on_sim, STATUS)
        subscribe(GroundTruth, "/sim/ground_truth", self._on_truth, STATUS)
        subscribe(String, "/robot_description", self._on_description, STATUS)

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

    def _on_truth(self, message: GroundTruth) -> None:
        self._recording.add_truth(message)

    def _on_description(self, message: String) -> None:
        self.description = message.data

    def begin_video(self, video: MosaicVideo) -> None:
        """Subscribes to the cameras and feeds the video until ``end_video``."""
        self._video = video

        def taker(camera: str) -> Callable[[Image], None]:
            def take(message: Image) -> None:
                try:
                    video.update(camera, image_to_rgb(message))
                except ImageError as error:
                    self.node.get_logger().warning(f"{camera}: {error}", throttle_duration_sec=5.0)

            return take

        self._image_subscriptions = [
            self.node.create_subscription(Image, topic, taker(camera), image_qos("best_effort", 1))
            for camera, topic in self._image_topics.items()
        ]

    def end_video(self) -> None:
        """Ends the video, if there is one."""
        for subscription in self._image_subscriptions:
            self.node.destroy_subscription(subscription)
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
        self.wait_for(
            lambda: not self._missing(),
            timeout_s,
            watch,
            lambda: f"there is still no {', no '.join(self._missing())}",
        )

    def _missing(self) -> list[str]:
        seen = self._recording
        parts = {
            "simulation (/sim/status)": seen.sim is not None,
            "reset service (/sim/reset)": self._reset.service_is_ready(),
            "arm controller (/arm_controller/status)": seen.controller is not None,
            "arm controller's move action (/arm_controller/move_to)": self._move.server_is_ready(),
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
        self.reset_sim(seed, variant, watch)
        if begin is not None:
            begin()
        recording = self._recording = EpisodeRecording(
            changed=self.changed,
            begun_ns=self.now_ns(),
            controller=self._recording.controller,
            policy=self._recording.policy,
        )
        goal = RunPolicy.Goal(max_duration_s=max_duration_s, prompt=prompt)
        handle, future = self.start_run(goal, watch, self._policy_reason)
        self._goal = handle
        decided_s: float | None = None
        begun_s = time.monotonic()
        stop_s = math.inf
        deadline = begun_s + max_duration_s + 60.0
        while not future.done():
            watch()
            self.pause(0.1)
            now = time.monotonic()
            sim = recording.sim
            if sim is not None and (sim.success or sim.failed) and decided_s is None:
                decided_s, stop_s = now - begun_s, now + settle_s
            if now > stop_s:
                self.request(handle.cancel_goal_async, watch)
                stop_s = math.inf
            if now > deadline:
                raise StackError("the policy's run did not end")
        self._goal = None
        result = self._judge(recording.copy(), seed, variant, future)
        result.decided_s = time.monotonic() - begun_s if decided_s is None else decided_s
        return result

    def move_arms(self, pose: str, watch: Watch, timeout_s: float = 30.0) -> None:
        """Moves the arms to a named pose and waits for them.

        Raises:
            StackError: they do not get there.
        """
        goal = MoveTo.Goal(pose=pose)
        sent = self.request(lambda: self._move.send_goal_async(goal), watch)
        handle = self.answer(sent, watch, "move of the arms")
        future = self.request(handle.get_result_async, watch)
        result = self.answer(future, watch, "move of the arms", timeout_s).result
        if not result.success:
            raise StackError(f"the arms do not move to pose {pose!r}: {result.message}")

    def _policy_reason(self) -> str:
        return self._recording.policy.reason if self._recording.policy else ""

    def _judge(
        self, recording: EpisodeRecording, seed: int, variant: str, future: Future
    ) -> EpisodeResult:
        answer = future.result()
        assert answer is not None
        run = answer.result
        result = EpisodeResult(seed, variant, recording=recording)
        result.outcome = OUTCOMES.get(run.outcome, str(run.outcome))
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
