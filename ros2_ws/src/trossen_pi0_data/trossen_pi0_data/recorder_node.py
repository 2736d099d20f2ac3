"""The episode recorder: writes what happens on the topics to episodes, by hand or with runs."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

from rclpy.clock import ROSClock
from typing_extensions import override

from trossen_pi0_core.errors import EpisodeError, ParameterError, TrossenPi0Error
from trossen_pi0_core.parameters import RecorderParameters
from trossen_pi0_data import episode_info
from trossen_pi0_data.bag_writer import disk_free
from trossen_pi0_data.compression import typestore
from trossen_pi0_data.definitions import full_definition
from trossen_pi0_data.diagnosis import Load, RecorderDiagnosis
from trossen_pi0_data.episode_info import EpisodeInfo, PolicyInfo
from trossen_pi0_data.episode_writer import EpisodeRequest, EpisodeWriter
from trossen_pi0_data.recorded_topics import recorded_topics
from trossen_pi0_data.recorder import Recorder, RecorderState, Snapshot
from trossen_pi0_data.recovery import recover_all
from trossen_pi0_data.run_watch import RunWatch
from trossen_pi0_data.software import software_info
from trossen_pi0_data.topic_subscriptions import TopicSubscriptions, message_class
from trossen_pi0_msgs.msg import PolicyStatus, RecorderStatus, SimStatus
from trossen_pi0_msgs.srv import FinishEpisode, StartEpisode
from trossen_pi0_ros.convert import time_msg
from trossen_pi0_ros.diagnostics import Diagnostics
from trossen_pi0_ros.logs import forward_logs
from trossen_pi0_ros.managed_node import ManagedNode
from trossen_pi0_ros.parameters import NodeParameters
from trossen_pi0_ros.process import run_node
from trossen_pi0_ros.qos import STATUS

NODE = "recorder"

_WATCH_S = 0.2
_DIAGNOSTICS_S = 1.0
_ENDED = "the recorder was ended"
_NOT_ACTIVE = "the recorder is not active"


class RecorderNode(ManagedNode):
    """Wires topics and services to the recorder. Callbacks come from one thread."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(NODE, **kwargs)
        forward_logs(self, "trossen_pi0_data")
        self._settings = NodeParameters(self, RecorderParameters)
        self._diagnostics = Diagnostics(self)
        self._diagnosis = RecorderDiagnosis()
        self._topics = recorded_topics(self._settings.value)
        self._recorder: Recorder | None = None
        self._listening: TopicSubscriptions | None = None
        self._runs = RunWatch()
        self._policy: PolicyStatus | None = None
        self._sim: SimStatus | None = None
        self._inputs: list[Any] = []
        self._periodic: list[Any] = []
        self._announced: tuple[RecorderState, str] | None = None
        self._statuses = self.create_publisher(RecorderStatus, "/episodes/status", STATUS)
        self.create_service(StartEpisode, "/episodes/start", self._on_start)
        self.create_service(FinishEpisode, "/episodes/stop", self._on_stop)
        self.create_service(FinishEpisode, "/episodes/mark", self._on_mark)

    # Lifecycle ----------------------------------------------------------------------------------

    @property
    @override
    def wants_autostart(self) -> bool:
        return self._settings.value.autostart

    @override
    def configure(self) -> None:
        for topic in self._topics:
            try:
                message_class(topic.type)
                full_definition(topic.type)
            except EpisodeError as error:
                raise ParameterError(f"topic {topic.name} cannot be recorded: {error}") from error
        typestore()  # takes a tenth of a second, which the first picture shall not wait for
        for info in recover_all(self._root):
            self.get_logger().warning(
                f"episode {info.name!r} was left unfinished: repaired and marked interrupted, "
                f"{info.duration_s:.1f} s, {info.messages} messages"
            )

    @override
    def activate(self) -> None:
        self._recorder = Recorder(
            self._topics,
            software_info(),
            parameters=lambda: self._settings.value,
            now_ns=self._now_ns,
            on_begin=self._subscribe,
            on_end=self._unsubscribe,
        )
        self._runs = RunWatch()
        self._policy = self._sim = None
        self._inputs = [
            self.create_subscription(PolicyStatus, "/policy/status", self._on_policy, STATUS),
            self.create_subscription(SimStatus, "/sim/status", self._on_sim, STATUS),
        ]
        self._periodic = [
            self.create_timer(1.0 / self._settings.value.status_rate, self._publish_status),
            self.create_timer(_WATCH_S, self._watch),
            self.create_timer(_DIAGNOSTICS_S, self._publish_diagnostics),
        ]
        self._publish_status()

    @override
    def deactivate(self) -> None:
        recorder = self._recorder
        if recorder is not None and recorder.writer is not None:
            self._try_end("", fault=_ENDED)
        while self._inputs:
            self.destroy_subscription(self._inputs.pop())
        while self._periodic:
            self.destroy_timer(self._periodic.pop())
        self._recorder = None

    # Episodes -----------------------------------------------------------------------------------

    @property
    def _root(self) -> Path:
        return Path(self._settings.value.episodes_dir).expanduser()

    def _subscribe(self, writer: EpisodeWriter) -> None:
        clock = self.get_clock()
        assert isinstance(clock, ROSClock)
        self._listening = TopicSubscriptions(
            self,
            self._topics,
            self._settings.value.picture_depth,
            now_ns=lambda: self._now_ns() if clock.ros_time_is_active else None,
            take=writer.add,
            lost=writer.lost,
            offered=writer.offered,
        )

    def _unsubscribe(self) -> None:
        subscriptions, self._listening = self._listening, None
        if subscriptions is not None:
            subscriptions.drain()
            subscriptions.close()

    def _begin(self, request: EpisodeRequest) -> EpisodeWriter:
        assert self._recorder is not None
        writer = self._recorder.begin(request)
        self.get_logger().info(f"episode {writer.info.name!r} begins in {writer.folder}")
        self._publish_status()
        return writer

    def _end(
        self, outcome: str, notes: str = "", fault: str = "", policy: PolicyInfo | None = None
    ) -> str:
        """Ends the episode under way; returns what was done."""
        assert self._recorder is not None
        try:
            info = self._recorder.end(outcome, notes=notes, fault=fault, policy=policy)
        finally:
            self._publish_status()
        text = _described(info)
        log = self.get_logger()
        if info.fault or info.dropped:
            log.warning(text)
        else:
            log.info(text)
        return text

    def _watch(self) -> None:
        """Follows publishers, and ends an episode that cannot go on."""
        recorder = self._recorder
        if recorder is None:
            return
        if self._runs.run_id and not self.count_publishers("/policy/status"):
            ended = self._runs.gone()
            if ended is not None:
                self._on_run_ended(ended)
        writer = recorder.writer
        if writer is None:
            return
        if self._listening is not None:
            self._listening.adapt()
        if writer.fault:
            self._try_end("")

    def _try_end(self, outcome: str, fault: str = "", policy: PolicyInfo | None = None) -> None:
        """Ends the episode where nobody waits for an answer."""
        try:
            self._end(outcome, fault=fault, policy=policy)
        except EpisodeError as error:
            self.get_logger().error(str(error))

    # Runs of the policy -------------------------------------------------------------------------

    def _on_sim(self, message: SimStatus) -> None:
        self._sim = message

    def _on_policy(self, message: PolicyStatus) -> None:
        self._policy = message
        failed = message.state == PolicyStatus.ERROR
        change = self._runs.take(message.run_id, message.reason, failed=failed)
        if change.ended is not None:
            self._on_run_ended(change.ended)
        if change.began and self._settings.value.record_runs:
            self._on_run_began(change.began, message.prompt)

    def _on_run_began(self, run_id: str, prompt: str) -> None:
        assert self._recorder is not None
        if self._recorder.writer is not None:
            self.get_logger().warning(
                f"run {run_id} gets no episode of its own: one begun by hand is under way"
            )
            return
        request = EpisodeRequest(prompt=prompt, seed=self._seed, run_id=run_id)
        try:
            self._begin(request)
        except EpisodeError as error:
            self.get_logger().error(f"run {run_id} is not recorded: {error}")

    def _on_run_ended(self, run: PolicyInfo) -> None:
        """Ends the run's episode. Only the simulation knows whether the task was done."""
        assert self._recorder is not None
        writer = self._recorder.writer
        if writer is None or writer.info.policy is None or writer.info.policy.run_id != run.run_id:
            return
        outcome = episode_info.UNKNOWN
        if self._sim is not None and self.count_publishers("/sim/status"):
            outcome = episode_info.SUCCESS if self._sim.success else episode_info.FAILURE
        self._try_end(outcome, policy=run)

    @property
    def _seed(self) -> int | None:
        there = self._sim is not None and self.count_publishers("/sim/status")
        return int(self._sim.seed) if self._sim is not None and there else None

    # Services -----------------------------------------------------------------------------------

    def _on_start(
        self, request: StartEpisode.Request, response: StartEpisode.Response
    ) -> StartEpisode.Response:
        if self._recorder is None:
            response.message = _NOT_ACTIVE
            return response
        prompt = request.prompt or (self._policy.prompt if self._policy else "")
        seed = int(request.seed) if request.seed >= 0 else self._seed
        try:
            writer = self._begin(EpisodeRequest(request.name, prompt, request.notes, seed))
        except EpisodeError as error:
            response.message = str(error)
            return response
        response.success = True
        response.episode, response.path = writer.info.name, str(writer.folder.absolute())
        response.message = f"episode {writer.info.name!r} is recorded"
        return response

    def _on_stop(
        self, request: FinishEpisode.Request, response: FinishEpisode.Response
    ) -> FinishEpisode.Response:
        recorder = self._recorder
        if recorder is None:
            response.message = _NOT_ACTIVE
            return response
        try:
            if request.discard:
                response.message = self._say_discarded(recorder.discard())
            else:
                response.message = self._end(request.outcome, request.notes)
                response.path = str(recorder.snapshot().folder)
        except TrossenPi0Error as error:
            response.message = str(error)
            return response
        response.success = True
        return response

    def _on_mark(
        self, request: FinishEpisode.Request, response: FinishEpisode.Response
    ) -> FinishEpisode.Response:
        recorder = self._recorder
        if recorder is None:
            response.message = _NOT_ACTIVE
            return response
        try:
            if request.discard:
                response.message = self._say_discarded(recorder.discard_last())
            else:
                info = recorder.mark(request.outcome, request.notes)
                response.message = f"episode {info.name!r} is marked {info.outcome}"
                response.path = str(recorder.snapshot().folder)
        except TrossenPi0Error as error:
            response.message = str(error)
            return response
        response.success = True
        return response

    def _say_discarded(self, folder: Path) -> str:
        self._publish_status()
        text = f"episode {folder.name!r} was discarded"
        self.get_logger().info(text)
        return text

    # Reports ------------------------------------------------------------------------------------

    def _publish_status(self) -> None:
        if self._recorder is not None:
            self._statuses.publish(self._message(self._recorder.snapshot()))

    def _message(self, seen: Snapshot) -> RecorderStatus:
        message = RecorderStatus(
            state=int(seen.state),
            reason=seen.reason,
            episode=seen.name,
            path=str(seen.folder.absolute()) if seen.folder else "",
            prompt=seen.prompt,
            duration_s=seen.duration_s,
            messages=seen.figures.messages,
            dropped=seen.figures.dropped,
            bytes=seen.figures.bytes,
            disk_free=self._free(),
            silent_topics=self._silent(seen),
            episodes=seen.episodes,
        )
        message.header.stamp = time_msg(self._now_ns())
        return message

    def _silent(self, seen: Snapshot) -> list[str]:
        """Topics that should have been heard by now: needed ones, and those with a publisher."""
        expected = {topic.name for topic in self._topics if topic.expected}
        return [
            name for name in seen.figures.silent if name in expected or self.count_publishers(name)
        ]

    def _free(self) -> int:
        folder = self._root.absolute()
        while not folder.is_dir():  # it is made with the first episode
            folder = folder.parent
        return disk_free(folder)

    def _publish_diagnostics(self) -> None:
        recorder = self._recorder
        if recorder is None:
            return
        seen, writer = recorder.snapshot(), recorder.writer
        load = Load(
            silent=self._silent(seen),
            free_bytes=self._free(),
            peak_mb=writer.peak_mb if writer else math.nan,
            slowest_s=writer.slowest_s if writer else math.nan,
        )
        params = self._settings.value
        self._diagnostics.publish(*self._diagnosis.look(seen, load, params, time.monotonic()))

    def _now_ns(self) -> int:
        return self.get_clock().now().nanoseconds


def _described(info: EpisodeInfo) -> str:
    text = (
        f"episode {info.name!r} ended ({info.outcome}): {info.duration_s:.1f} s, "
        f"{info.messages} messages, {info.dropped} dropped"
    )
    return f"{text}; {info.fault}" if info.fault else text


def main() -> int:
    """Runs the node as a process; returns the exit status."""
    return run_node(RecorderNode)


if __name__ == "__main__":
    sys.exit(main())
