"""How the recorder is, for /diagnostics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trossen_pi0_core.diagnostics import Aspect, Bounds, Level, RecentCounts
from trossen_pi0_core.parameters import RecorderParameters
from trossen_pi0_core.parameters.bounds import bounds_of
from trossen_pi0_data.recorder import RecorderState, Snapshot

_DROPPED = "dropped"
_SETTLE_S = 1.0


@dataclass(frozen=True)
class Load:
    """What the recorder has to cope with.

    Attributes:
        silent: topics that should have been heard by now.
        free_bytes: free on the disk [B].
        peak_mb: most that has waited to be written in the episode [MB]; NaN without one.
        slowest_s: its slowest write [s]; NaN without one.
    """

    silent: Sequence[str]
    free_bytes: int
    peak_mb: float
    slowest_s: float


class RecorderDiagnosis:
    """What is to be said about the recorder. Not thread-safe."""

    def __init__(self) -> None:
        self._recent = RecentCounts()

    def look(
        self, seen: Snapshot, load: Load, params: RecorderParameters, now_s: float
    ) -> list[Aspect]:
        """The entries of the present.

        Args:
            seen: what the recorder does.
            load: what it has to cope with.
            params: the node's parameters, with the bounds.
            now_s: present time on a clock that never jumps [s].
        """
        recording = seen.state == RecorderState.RECORDING
        state = Aspect("state")
        level = Level.ERROR if seen.state == RecorderState.ERROR else Level.OK
        state.say(level, f"{seen.state.name}: {seen.reason or seen.name}".rstrip(": "))
        state.figures({"episode": seen.name or "none", "episodes": seen.episodes})

        topics = Aspect("topics", fine="all are heard" if recording else "nothing is recorded")
        silent = ", ".join(load.silent) if recording else ""
        if silent and seen.duration_s > _SETTLE_S:
            topics.say(Level.WARN, f"nothing comes on {silent}")
        topics.figures({"messages": seen.figures.messages, "silent topics": silent or "none"})
        recent = self._recent.risen({_DROPPED: seen.figures.dropped}, now_s)
        topics.figures({_DROPPED: seen.figures.dropped})
        topics.high(f"{_DROPPED} [1/min]", recent[_DROPPED], bounds_of(params, "dropped"))

        disk = Aspect("disk", params.episodes_dir)
        free = Bounds(params.warn_disk_mb, params.min_disk_mb)
        disk.low("free [MB]", round(load.free_bytes / 1e6), free)
        disk.high("most waiting [MB]", load.peak_mb, bounds_of(params, "waiting_mb"))
        disk.figures({"slowest write [s]": load.slowest_s})
        return [state, topics, disk]
