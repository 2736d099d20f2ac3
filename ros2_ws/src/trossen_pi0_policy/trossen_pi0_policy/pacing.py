"""When the next inference of a run is due."""

from __future__ import annotations

from trossen_pi0_core.contract import NANOSECONDS, ActionChunk, Execution
from trossen_pi0_core.schedule import InferenceSchedule
from trossen_pi0_policy.state import RunSettings

_SETTLE_NS = 3 * NANOSECONDS // 10
_LONGEST_SETTLE_NS = 2 * NANOSECONDS


class Pacing:
    """When the next inference is due: while the arms move, or when they have come to rest.

    Pure; times are ROS time [ns].

    Attributes:
        settings: may be replaced at any time.
    """

    def __init__(self, settings: RunSettings) -> None:
        self.settings = settings
        self._schedule = InferenceSchedule(settings.rate_of_inference, settings.period_ns)
        self._chunk: ActionChunk | None = None
        self._moving_ns = 0

    @property
    def _blocking(self) -> ActionChunk | None:
        """The chunk whose end is waited for, when inference waits for the arms."""
        return self._chunk if self.settings.execution == Execution.BLOCKING else None

    @property
    def rate_of_inference(self) -> int:
        """Rows between two inferences: rows that a chunk does not have cannot be waited for."""
        rate = self.settings.rate_of_inference
        return min(rate, self._chunk.horizon) if self._chunk else rate

    @property
    def interval_ns(self) -> int:
        """Time between two inferences that do not wait for the arms [ns]."""
        return self.rate_of_inference * self.settings.period_ns

    @property
    def urgent(self) -> bool:
        """Whether the arms wait for the next inference."""
        return self._blocking is not None or self._schedule.due_ns == 0

    @property
    def not_before_ns(self) -> int:
        """Older observations show the arms in motion where they shall be at rest [ns]."""
        return self._blocking.t_hold_ns if self._blocking else 0

    def due_ns(self) -> int:
        """When the next inference is due [ns]; 0 when at once."""
        if self._blocking is None:
            self._take_over()
            return self._schedule.due_ns
        hold_ns = self._blocking.t_hold_ns
        if self._moving_ns >= hold_ns:  # the controller is late, as when limits slow it down
            return min(self._moving_ns, hold_ns + _LONGEST_SETTLE_NS) + _SETTLE_NS
        return hold_ns + _SETTLE_NS

    def is_due(self, now_ns: int) -> bool:
        """Whether an inference shall begin now."""
        due_ns = self.due_ns()
        return now_ns >= due_ns if self._blocking else self._schedule.is_due(now_ns)

    def began(self, now_ns: int) -> None:
        """An inference has begun."""
        self._take_over()
        self._schedule.began(now_ns)

    def published(self, chunk: ActionChunk) -> None:
        """A chunk with rows was published: the next inference is one after it."""
        self._chunk = chunk
        self._moving_ns = 0

    def moving(self, stamp_ns: int) -> None:
        """The controller says that the arms still execute the chunk."""
        self._moving_ns = stamp_ns

    def restart(self) -> None:
        """The arms wait: the next inference is due at once."""
        self._chunk = None
        self._schedule.restart()

    def _take_over(self) -> None:
        self._schedule.rate_of_inference = self.rate_of_inference
        self._schedule.control_period_ns = self.settings.period_ns
