"""Publishes the recorded messages of an episode, with /clock."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any

from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.errors import EpisodeError, ImageError
from trossen_pi0_core.parameters import ReplayParameters
from trossen_pi0_core.parameters.replay import CLOCK_TOPIC
from trossen_pi0_data.bag_reader import BagMessage
from trossen_pi0_data.playback import Playback
from trossen_pi0_data.replay_plan import ReplayPlan
from trossen_pi0_data.replay_types import image_of
from trossen_pi0_data.streams import PictureReader
from trossen_pi0_msgs.msg import ReplayStatus
from trossen_pi0_ros.convert import time_msg

THREAD_NAME = "replay"

_STREAMING = (ReplayStatus.PLAYING, ReplayStatus.PAUSED)

_DEPTH = 10
_RECORDED = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
_CLOCK = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
_STANDING_CLOCK_NS = NANOSECONDS // 10  # between two repeats of a time that stands still
_TAKEN = Duration(seconds=1.0)  # longest wait for reliable subscribers when there is no rate
_JOIN_S = 3.0


class ObservationPlayer:
    """Plays recorded messages on a thread of its own; its methods may be called by any thread.

    /clock is the log time of the episode: it never goes ahead of the next message, stands still
    with the playback, and goes back when the playback begins again. The messages are published as
    the bytes that were recorded; only compressed pictures are turned into plain ones.
    """

    def __init__(
        self,
        node: Node,
        plan: ReplayPlan,
        parameters: ReplayParameters,
        classes: Mapping[str, Any],
    ) -> None:
        """Makes the publishers.

        Args:
            node: owner of the publishers.
            plan: what is played.
            parameters: of the node.
            classes: message class of each topic that is played, as ``message_classes`` finds them.
        """
        self.state = ReplayStatus.WAITING
        self.reason = ""
        self.messages = 0
        self.loops = 0
        self.loop = parameters.loop
        self.step_ns = round(parameters.step_s * NANOSECONDS)
        self._node = node
        self._plan = plan
        self._awaits = parameters.awaits
        self._cameras = dict(plan.decoded)
        self._pictures: dict[str, PictureReader] = {}
        self._clock_period_ns = round(NANOSECONDS / parameters.clock_rate)
        self._playback = Playback(plan.start_ns, parameters.rate)
        self._clock_ns = plan.start_ns
        self._clock_sent_ns = -NANOSECONDS
        self._changed = threading.Condition()
        self._closing = False
        self._source: Iterator[BagMessage] = iter(())
        self._restart = True
        self._unreadable = 0
        self._publishers: dict[str, Publisher] = {}
        for topic, cls in classes.items():
            self._publishers[topic] = node.create_publisher(cls, plan.published[topic], _RECORDED)
        self._clock = node.create_publisher(Clock, CLOCK_TOPIC, _CLOCK)
        self._thread = threading.Thread(target=self._work, name=THREAD_NAME, daemon=True)

    @property
    def topic_names(self) -> list[str]:
        """What it publishes on, with /clock."""
        return [CLOCK_TOPIC, *self._plan.published.values()]

    @property
    def playing(self) -> bool:
        """Whether it is under way, also in a pause, or waits for subscribers."""
        return self.state == ReplayStatus.STARTING or self.state in _STREAMING

    @property
    def position_s(self) -> float:
        """Episode time since the beginning of what is played [s]."""
        return (self._clock_ns - self._plan.start_ns) / NANOSECONDS

    @property
    def lag_s(self) -> float:
        """By how much it fell behind its rate [s]."""
        return self._playback.lag_ns / NANOSECONDS

    # Control ------------------------------------------------------------------------------------

    def open(self) -> None:
        """Begins to publish /clock, which stands at the start."""
        self._thread.start()

    def start(self) -> str:
        """Plays from the beginning; returns why not, or nothing."""
        with self._changed:
            if self.playing:
                return "it plays already; /replay/stop ends it"
            if not self._thread.is_alive():
                return self.reason  # it has failed and cannot go on
            self._rewind()
            self.loops = self.messages = self._unreadable = self._playback.lag_ns = 0
            self._enter(ReplayStatus.STARTING)
            self._begin_if_heard()
        return ""

    def stop(self, reason: str, *, failed: bool = False) -> str:
        """Ends the playback; returns why not, or nothing."""
        with self._changed:
            if not self.playing:
                return "nothing is played"
            self._playback.pause(time.monotonic_ns())
            self._enter(ReplayStatus.FAILED if failed else ReplayStatus.STOPPED, reason)
        return ""

    def refuse(self, reason: str) -> None:
        """Remembers why it does not begin."""
        with self._changed:
            self._enter(ReplayStatus.FAILED, reason)

    def pause(self) -> str:
        """Lets playback and clock stand still; returns why not, or nothing."""
        with self._changed:
            if self.state != ReplayStatus.PLAYING:
                return "nothing is playing"
            self._playback.pause(time.monotonic_ns())
            self._enter(ReplayStatus.PAUSED)
        return ""

    def resume(self) -> str:
        """Goes on after a pause; returns why not, or nothing."""
        with self._changed:
            if self.state != ReplayStatus.PAUSED:
                return "it is not paused"
            self._playback.resume(time.monotonic_ns())
            self._enter(ReplayStatus.PLAYING)
        return ""

    def step(self) -> str:
        """Plays one step while it is paused; returns why not, or nothing."""
        with self._changed:
            if self.state != ReplayStatus.PAUSED:
                return "only a paused replay steps; call /replay/pause first"
            self._playback.step(self.step_ns)
            self._changed.notify_all()
        return ""

    def apply(self, parameters: ReplayParameters) -> None:
        """Takes the parameters that may change while it plays."""
        with self._changed:
            self.loop = parameters.loop
            self.step_ns = round(parameters.step_s * NANOSECONDS)
            if parameters.rate != self._playback.rate:
                self._playback.set_rate(parameters.rate, time.monotonic_ns())
            self._changed.notify_all()

    def close(self) -> None:
        """Ends thread and publishers."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(_JOIN_S)
        for publisher in (*self._publishers.values(), self._clock):
            self._node.destroy_publisher(publisher)
        self._publishers.clear()

    def _enter(self, state: int, reason: str = "") -> None:
        self.state, self.reason = state, reason
        self._changed.notify_all()

    # Thread -------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            message: BagMessage | None = None
            while not self._closing:
                if self._restart:
                    self._restart = False
                    self._begin_decoding()
                    self._source = self._plan.messages()
                    message = next(self._source, None)
                message = self._turn(message)
        except Exception as error:  # noqa: BLE001 - the status says why it has ended
            self._node.get_logger().error(f"the replay has failed: {error!r}")
            with self._changed:
                self._enter(ReplayStatus.FAILED, f"the replay has failed: {error}")

    def _turn(self, message: BagMessage | None) -> BagMessage | None:
        """Publishes the message, or ends without one; waits when it is not time for that yet.

        Returns the next one to publish.
        """
        with self._changed:
            if self._restart:
                return None
            if self.state == ReplayStatus.STARTING:
                self._begin_if_heard()
            now_ns = time.monotonic_ns()
            due_ns = message.log_ns if message else self._plan.end_ns - 1
            streams = self.state in _STREAMING
            wait_ns = self._playback.wait_ns(due_ns, now_ns) if streams else None
            if wait_ns != 0:
                self._tell_time(min(self._playback.position_ns(now_ns), due_ns), now_ns)
                stands = wait_ns is None
                longest_ns = _STANDING_CLOCK_NS if stands else min(wait_ns, self._clock_period_ns)
                self._changed.wait(longest_ns / NANOSECONDS)
                return message
            if message is None:
                self._end(due_ns, now_ns)
                return None
        self._tell_time(due_ns, now_ns)
        self._publish(message)
        with self._changed:
            if not self._restart:
                self._playback.published(due_ns, time.monotonic_ns())
            return next(self._source, None)

    def _begin_if_heard(self) -> None:
        """Under the lock: lets time pass once everybody who is waited for subscribes."""
        unheard = [
            name
            for topic, name in self._plan.published.items()
            if name in self._awaits and not self._publishers[topic].get_subscription_count()
        ]
        if unheard:
            self._enter(ReplayStatus.STARTING, f"nobody subscribes to {unheard} yet")
            return
        self._playback.resume(time.monotonic_ns())
        self._enter(ReplayStatus.PLAYING)

    def _end(self, end_ns: int, now_ns: int) -> None:
        """Under the lock: nothing is left to play."""
        self._tell_time(end_ns, now_ns, always=True)
        if self.loop:
            self.loops += 1
            self._rewind()
            return
        self._playback.pause(now_ns)
        self._playback.seek(end_ns, now_ns)
        self._enter(ReplayStatus.FINISHED)

    def _rewind(self) -> None:
        self._playback.seek(self._plan.start_ns, time.monotonic_ns())
        self._restart = True

    def _tell_time(self, clock_ns: int, now_ns: int, *, always: bool = False) -> None:
        """Publishes /clock when it is time to; a time that stands still now and then."""
        since_ns = now_ns - self._clock_sent_ns
        stands = clock_ns == self._clock_ns
        due_ns = _STANDING_CLOCK_NS if stands else self._clock_period_ns
        if since_ns < due_ns and not always:
            return
        self._clock_ns, self._clock_sent_ns = clock_ns, now_ns
        self._clock.publish(Clock(clock=time_msg(clock_ns)))

    def _publish(self, message: BagMessage) -> None:
        publisher = self._publishers[message.topic]
        if message.topic in self._cameras:
            picture = self._decompressed(message)
            if picture is None:
                return
            publisher.publish(picture)
        else:
            publisher.publish(message.data)
        self.messages += 1
        if not self._playback.rate and self.messages % (_DEPTH // 2) == 0:
            # Without a rate reliable subscribers set the pace: none of them loses a message.
            for each in self._publishers.values():
                each.wait_for_all_acked(_TAKEN)

    def _decompressed(self, message: BagMessage) -> Image | None:
        try:
            picture = self._pictures[message.topic].picture(message)
            return image_of(picture.stamp_ns, self._frame_of(message), picture.rgb())
        except (EpisodeError, ImageError) as error:
            self._unreadable += 1
            self._node.get_logger().warning(
                f"{message.topic}: {self._unreadable} pictures cannot be read: {error}",
                throttle_duration_sec=1.0,
            )
            return None

    def _frame_of(self, message: BagMessage) -> str:
        content = self._plan.reader.decode(message)
        return content.header.frame_id if hasattr(content, "header") else content.frame_id

    def _begin_decoding(self) -> None:
        """Pictures of a video need those before them, also those before the beginning."""
        reader, start_ns = self._plan.reader, self._plan.start_ns
        self._pictures = {
            topic: PictureReader(reader, camera) for topic, camera in self._cameras.items()
        }
        if self._pictures:
            for message in reader.messages([*self._pictures], start_ns - NANOSECONDS, start_ns):
                self._pictures[message.topic].picture(message)
