"""What a run has heard of the arm controller, and since when it waits for something."""

from __future__ import annotations

from dataclasses import dataclass

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_policy.chunks import ChunkStream
from trossen_pi0_policy.state import ControllerReport

_TRANSIT_NS = NANOSECONDS // 10  # a chunk that the controller has not seen is still on its way
_LAST_WORD_NS = NANOSECONDS


class Hearing:
    """Compares what the arm controller says with what was published. Times are ROS time [ns]."""

    def __init__(self, chunks: ChunkStream) -> None:
        """Args:
        chunks: of the run.
        """
        self._chunks = chunks
        self._rejections: int | None = None
        self._reported_ns = 0
        self._delayed = (0, 0)  # chunk and its delay [ns]

    @property
    def chunk_delay_ns(self) -> int:
        """By how much the rows of the last chunk are late, as far as was heard [ns]."""
        chunk_id, delay_ns = self._delayed
        return delay_ns if self._chunks.last and chunk_id == self._chunks.last.chunk_id else 0

    def heard(self, report: ControllerReport) -> None:
        """Remembers a report, after it was compared."""
        self._rejections = report.rejections
        self._reported_ns = report.stamp_ns
        self._delayed = (report.chunk_id, report.chunk_delay_ns)

    def is_of_the_chunks(self, report: ControllerReport) -> bool:
        """Whether it was said after the last chunk was published."""
        return self._chunks.last is not None and report.stamp_ns > self._chunks.published_ns

    def refuses(self, report: ControllerReport) -> bool:
        """Whether a chunk was refused since the last report."""
        return self._rejections is not None and report.rejections > self._rejections

    def is_ahead(self, report: ControllerReport) -> bool:
        """Whether the controller spoke while the last chunk was on its way."""
        unseen = self._chunks.count > 1 and report.chunk_id < self._chunks.count
        return unseen and report.stamp_ns - self._chunks.published_ns < _TRANSIT_NS

    def rows_are_over(self, now_ns: int) -> bool:
        """The last chunk is over, and the controller has not said that it goes to its start."""
        chunk = self._chunks.last
        heard = self._rejections is None or self._reported_ns > self._chunks.published_ns
        wait_ns = self.chunk_delay_ns + (0 if heard else _LAST_WORD_NS)
        return chunk is not None and now_ns >= chunk.t_end_ns + wait_ns

    def shift(self, jump_ns: int) -> None:
        """ROS time was set."""
        self._reported_ns += jump_ns


@dataclass
class Since:
    """Since when a run waits, ROS time [ns]; None when it does not.

    Attributes:
        first_ns: its first observation.
        wanted_ns: an inference was due and no chunk has followed.
        blocked_ns: there is no observation to infer from.
        refused_ns: the controller refuses its chunks.
    """

    first_ns: int | None = None
    wanted_ns: int | None = None
    blocked_ns: int | None = None
    refused_ns: int | None = None

    def begin(self, now_ns: int) -> None:
        """There is an observation."""
        self.first_ns = now_ns if self.first_ns is None else self.first_ns

    def want(self, now_ns: int) -> None:
        """An inference is due."""
        self.wanted_ns = now_ns if self.wanted_ns is None else self.wanted_ns

    def block(self, now_ns: int) -> None:
        """There is no observation."""
        self.blocked_ns = now_ns if self.blocked_ns is None else self.blocked_ns

    def wanted_for(self, now_ns: int) -> int:
        """How long a chunk has been waited for [ns]; -1 when it is not."""
        return -1 if self.wanted_ns is None else now_ns - self.wanted_ns

    def shift(self, jump_ns: int) -> None:
        """ROS time was set: what has lasted so far goes on."""
        self.blocked_ns = None
        for name in ("first_ns", "wanted_ns", "refused_ns"):
            since_ns = getattr(self, name)
            setattr(self, name, None if since_ns is None else since_ns + jump_ns)
