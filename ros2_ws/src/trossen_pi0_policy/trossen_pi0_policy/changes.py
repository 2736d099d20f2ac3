"""Which changes of the policy's state are worth a line in the log."""

from __future__ import annotations

from collections.abc import Sequence

from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_policy.observations import stream_of
from trossen_pi0_policy.state import PolicyState

_SETTLE_NS = NANOSECONDS


class ChangeLog:
    """Makes one line of each change, not of each tick. Not thread-safe; times in ns."""

    def __init__(self) -> None:
        self._state = PolicyState.IDLE
        self._reason = ""
        self._streams: frozenset[str] = frozenset()
        self._pending: frozenset[str] = frozenset()
        self._pending_since_ns = 0

    def lines(
        self, state: PolicyState, reason: str, missing: Sequence[str], now_ns: int
    ) -> list[tuple[bool, str]]:
        """What has changed: whether it is bad news, and the line.

        Args:
            state: what the policy does.
            reason: why.
            missing: inputs that stand in the way of an observation.
            now_ns: present time [ns].
        """
        lines: list[tuple[bool, str]] = []
        # The inputs speak for themselves, and their ages change all the time.
        shown = "" if state == PolicyState.STALLED and missing else reason
        if (state, shown) != (self._state, self._reason):
            bad = state in (PolicyState.STALLED, PolicyState.ERROR)
            lines.append((bad, f"{state.name}: {reason}" if reason else state.name))
            self._state, self._reason = state, shown
        quiet = state in (PolicyState.IDLE, PolicyState.ERROR)
        lines += [(bad and not quiet, line) for bad, line in self._inputs(missing, now_ns)]
        return lines

    def _inputs(self, missing: Sequence[str], now_ns: int) -> list[tuple[bool, str]]:
        """Inputs that have been missing, or back, for a while."""
        streams = frozenset(map(stream_of, missing))
        if streams != self._pending:
            self._pending, self._pending_since_ns = streams, now_ns
        settled = now_ns - self._pending_since_ns >= _SETTLE_NS
        if streams == self._streams or not settled:
            return []
        self._streams = streams
        if not streams:
            return [(False, "all inputs are there")]
        return [(True, f"inputs are missing: {'; '.join(missing)}")]
