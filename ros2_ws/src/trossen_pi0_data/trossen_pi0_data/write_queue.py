"""Writes a bag on a thread of its own, fed by a queue that does not grow without end. ROS-free."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass
from typing import Protocol

from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_data.bag_metadata import BagTopic
from trossen_pi0_data.bag_writer import BagWriter, disk_free

_LOG = logging.getLogger(__name__)

FLUSH_S = 0.4
"""Longest time that a message stays in this process before the operating system gets it [s]."""

_SMALL_BYTES = 65536
_SMALL_SHARE = 0.1  # of the queue, which pictures may not take
_MEGABYTE = 1_000_000


@dataclass(frozen=True)
class Sample:
    """A message on its way to the bag.

    Attributes:
        topic: of the bag.
        data: CDR.
        log_ns: time of arrival, ROS time [ns].
        publish_ns: time of publication [ns].
        sequence: the publisher's number of it; 0: not known.
    """

    topic: str
    data: bytes
    log_ns: int
    publish_ns: int
    sequence: int


class SampleSink(Protocol):
    """Where samples go."""

    def put(self, sample: Sample) -> bool:
        """Takes a sample from any thread; returns False, and counts it, when it is dropped."""
        ...


class BagQueue:
    """A bag, its queue, and the thread that writes. ``put`` may be called by any thread.

    Pictures never take the whole queue, so that they are dropped before the small messages are.
    """

    def __init__(
        self, bag: BagWriter, topics: dict[str, BagTopic], queue_mb: int, min_disk_mb: int
    ) -> None:
        """Starts the thread.

        Args:
            bag: to be written; the thread's until ``close``.
            topics: that may come; what their publishers offer is read when the first one comes.
            queue_mb: most that may wait [MB].
            min_disk_mb: the writing ends with less free on the disk [MB].
        """
        self._bag = bag
        self._topics = topics
        self._limit = queue_mb * _MEGABYTE
        self._min_free = min_disk_mb * _MEGABYTE
        self._changed = threading.Condition()
        self._waiting: deque[Sample] = deque()
        self._waiting_bytes = 0
        self._peak_bytes = 0
        self._closing = False
        self._fault = ""
        self._written: Counter[str] = Counter()
        self._written_bytes = 0
        self._dropped: Counter[str] = Counter()
        self._slowest_s = 0.0
        self._thread = threading.Thread(target=self._run, name="bag-writer", daemon=True)
        self._thread.start()

    @property
    def fault(self) -> str:
        """Why nothing is written any more; empty while all is well."""
        return self._fault

    @property
    def written(self) -> Counter[str]:
        """Messages by topic, by now; some may still be lost with a chunk that finds no room."""
        with self._changed:
            return Counter(self._written)

    @property
    def dropped(self) -> Counter[str]:
        """Messages that were not taken, by topic."""
        with self._changed:
            return Counter(self._dropped)

    @property
    def written_bytes(self) -> int:
        """Content of the messages written by now [B]."""
        return self._written_bytes

    @property
    def peak_mb(self) -> float:
        """Most that has waited [MB]."""
        return self._peak_bytes / _MEGABYTE

    @property
    def slowest_s(self) -> float:
        """Longest time that a message or a flush has taken to be written [s]."""
        return self._slowest_s

    def put(self, sample: Sample) -> bool:
        """Takes a sample; returns False, and counts it, when it is dropped."""
        size = len(sample.data)
        share = 1.0 if size <= _SMALL_BYTES else 1.0 - _SMALL_SHARE
        with self._changed:
            room = self._waiting_bytes + size <= share * self._limit
            if self._fault or self._closing or not room:
                self._dropped[sample.topic] += 1
                return False
            self._waiting.append(sample)
            self._waiting_bytes += size
            self._peak_bytes = max(self._peak_bytes, self._waiting_bytes)
            self._changed.notify()
        return True

    def give_up(self, reason: str) -> None:
        """Drops what waits and takes nothing more."""
        self._fail(reason)

    def close(self) -> None:
        """Writes what waits and ends the thread; the bag is the caller's again."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        try:
            self._write_all()
        except OSError as error:
            self._fail(f"the episode cannot be written: {error.strerror or error}")
        except TrossenPi0Error as error:
            self._fail(str(error))
        except Exception as error:  # noqa: BLE001 - any end of this thread is told its owner
            _LOG.error("the writer failed", exc_info=error)
            self._fail(f"the writer failed: {error!r}")

    def _write_all(self) -> None:
        flushed_s = time.monotonic()
        while True:
            sample = self._next(flushed_s + FLUSH_S - time.monotonic())
            began_s = time.monotonic()
            if sample is not None:
                self._write(sample)
            if sample is None or began_s - flushed_s >= FLUSH_S:
                self._bag.flush()
                self._check_disk()
                flushed_s = time.monotonic()
                if sample is None and self._closing and not self._waiting:
                    return
            self._slowest_s = max(self._slowest_s, time.monotonic() - began_s)

    def _next(self, timeout_s: float) -> Sample | None:
        """The next sample; None when none has come in time, or none will come."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing, max(0.0, timeout_s))
            if not self._waiting:
                return None
            sample = self._waiting.popleft()
            self._waiting_bytes -= len(sample.data)
            return sample

    def _write(self, sample: Sample) -> None:
        if sample.topic not in self._bag.topics:
            self._bag.add_topic(self._topics[sample.topic])
        self._bag.write(
            sample.topic, sample.data, sample.log_ns, sample.publish_ns, sample.sequence
        )
        with self._changed:
            self._written[sample.topic] += 1
            self._written_bytes += len(sample.data)

    def _check_disk(self) -> None:
        free = disk_free(self._bag.path.parent)
        if free < self._min_free:
            raise TrossenPi0Error(
                f"the disk is full: {free // _MEGABYTE} MB are free, "
                f"min_disk_mb is {self._min_free // _MEGABYTE}"
            )

    def _fail(self, fault: str) -> None:
        """Takes nothing more; what waits is dropped."""
        with self._changed:
            self._fault = fault
            self._dropped.update(sample.topic for sample in self._waiting)
            self._waiting.clear()
            self._waiting_bytes = 0
