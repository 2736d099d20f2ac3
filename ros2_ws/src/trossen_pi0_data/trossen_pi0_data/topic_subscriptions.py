"""Raw subscriptions to the recorded topics."""

from __future__ import annotations

import importlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from trossen_pi0_core.errors import EpisodeError
from trossen_pi0_data.bag_metadata import Qos
from trossen_pi0_data.recorded_topics import RecordedTopic
from trossen_pi0_data.sequences import SequenceWatch
from trossen_pi0_data.write_queue import Sample

_DEPTH = 500  # of small messages: five seconds of joint states
_MOST_AT_ONCE = 32  # of one topic, before others get their turn


@dataclass
class _Stream:
    topic: RecordedTopic
    type: Any
    subscription: Any = None
    offered: tuple[Qos, ...] = ()
    watch: SequenceWatch = field(default_factory=SequenceWatch)
    recent: deque[tuple[int, int]] = field(default_factory=lambda: deque(maxlen=_DEPTH))
    repeated: frozenset[tuple[int, int]] = frozenset()


class TopicSubscriptions:
    """Takes the serialised messages of the topics. One thread: that of the node's callbacks.

    Each subscription takes what the publishers of its topic offer: reliable and latched if all of
    them are, so that none goes unheard. What a latched publisher keeps comes again to the
    subscription that follows another; it is taken once.
    """

    def __init__(
        self,
        node: Node,
        topics: Sequence[RecordedTopic],
        picture_depth: int,
        *,
        now_ns: Callable[[], int | None],
        take: Callable[[str, Sample], None],
        lost: Callable[[str, int], None],
        offered: Callable[[str, tuple[Qos, ...]], None],
    ) -> None:
        """Subscribes.

        Args:
            node: owner of the subscriptions.
            topics: to be taken.
            picture_depth: pictures of a camera that may wait.
            now_ns: simulated time [ns]; None when the clock is not simulated.
            take: gets each message.
            lost: is told how many messages of a topic never arrived.
            offered: is told what a topic's publishers offer, when that changes.

        Raises:
            EpisodeError: a message type is not installed.
        """
        self._node = node
        self._picture_depth = picture_depth
        self._now_ns = now_ns
        self._take = take
        self._lost = lost
        self._offered = offered
        self._streams = {t.name: _Stream(t, message_class(t.type)) for t in topics}
        self.adapt()

    def adapt(self) -> None:
        """Follows the publishers, which come and go."""
        for stream in self._streams.values():
            infos = self._node.get_publishers_info_by_topic(stream.topic.name)
            wanted = self._qos(stream.topic, [info.qos_profile for info in infos])
            present = stream.subscription.qos_profile if stream.subscription else None
            if present is None or _differ(present, wanted):
                self._subscribe(stream, wanted)
            offered = tuple(_qos_words(info.qos_profile) for info in infos)
            if offered and offered != stream.offered:
                stream.offered = offered
                self._offered(stream.topic.name, offered)

    def drain(self) -> None:
        """Takes every message that has arrived by now."""
        for stream in self._streams.values():
            self._take_waiting(stream, self._depth(stream.topic))

    def close(self) -> None:
        """Unsubscribes."""
        for stream in self._streams.values():
            if stream.subscription is not None:
                self._node.destroy_subscription(stream.subscription)
                stream.subscription = None

    def _subscribe(self, stream: _Stream, qos: QoSProfile) -> None:
        if stream.subscription is not None:
            self._take_waiting(stream, self._depth(stream.topic))
            self._node.destroy_subscription(stream.subscription)

        def on_message(data: bytes, info: dict[str, Any]) -> None:
            self._on_message(stream, data, info)
            self._take_waiting(stream, _MOST_AT_ONCE)

        stream.watch = SequenceWatch()
        stream.repeated = frozenset(stream.recent)
        stream.subscription = self._node.create_subscription(
            stream.type,
            stream.topic.name,
            on_message,  # pyright: ignore[reportArgumentType] - rclpy takes either kind
            qos,
            raw=True,
        )

    def _take_waiting(self, stream: _Stream, most: int) -> None:
        """Takes what waits without going through the executor, which costs more than the rest."""
        subscription = stream.subscription
        with subscription.handle:
            for _ in range(most):
                taken = subscription.handle.take_message(subscription.msg_type, True)
                if taken is None:
                    return
                self._on_message(stream, *taken)

    def _on_message(self, stream: _Stream, data: bytes, info: dict[str, Any]) -> None:
        topic = stream.topic.name
        sequence = info["publication_sequence_number"] or 0
        if sequence:
            lost = stream.watch.take(sequence, stream.subscription.get_publisher_count)
            if lost:
                self._lost(topic, lost)
        published_ns = info["source_timestamp"] or 0
        if sequence and published_ns:
            if (sequence, published_ns) in stream.repeated:
                return
            stream.recent.append((sequence, published_ns))
        arrived_ns = self._now_ns()
        if arrived_ns is None:
            arrived_ns = info["received_timestamp"] or self._node.get_clock().now().nanoseconds
        self._take(topic, Sample(topic, data, arrived_ns, published_ns or arrived_ns, sequence))

    def _depth(self, topic: RecordedTopic) -> int:
        return self._picture_depth if topic.camera else _DEPTH

    def _qos(self, topic: RecordedTopic, offers: list[QoSProfile]) -> QoSProfile:
        best_effort = any(o.reliability == ReliabilityPolicy.BEST_EFFORT for o in offers)
        latched = bool(offers) and all(
            o.durability == DurabilityPolicy.TRANSIENT_LOCAL for o in offers
        )
        return QoSProfile(
            depth=self._depth(topic),
            reliability=(
                ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
            ),
            durability=(DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE),
        )


def message_class(name: str) -> Any:
    """The Python class of a message type such as ``sensor_msgs/msg/Image``.

    Raises:
        EpisodeError: it is not installed.
    """
    package, _, short = name.split("/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), short)
    except (ImportError, AttributeError) as error:
        raise EpisodeError(f"message type {name} is not installed: {error}") from error


def _differ(present: QoSProfile, wanted: QoSProfile) -> bool:
    return (present.reliability, present.durability) != (wanted.reliability, wanted.durability)


def _qos_words(qos: QoSProfile) -> Qos:
    """A quality of service in the words of rosbag2."""
    return {
        "history": qos.history.name.lower(),
        "depth": qos.depth,
        "reliability": qos.reliability.name.lower(),
        "durability": qos.durability.name.lower(),
        "deadline": _duration(qos.deadline.nanoseconds),
        "lifespan": _duration(qos.lifespan.nanoseconds),
        "liveliness": qos.liveliness.name.lower(),
        "liveliness_lease_duration": _duration(qos.liveliness_lease_duration.nanoseconds),
        "avoid_ros_namespace_conventions": qos.avoid_ros_namespace_conventions,
    }


def _duration(nanoseconds: int) -> dict[str, int]:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return {"sec": seconds, "nsec": rest}
