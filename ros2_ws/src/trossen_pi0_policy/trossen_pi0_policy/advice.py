"""Says when settings cannot do what they are for."""

from __future__ import annotations

from trossen_pi0_core.contract import Execution
from trossen_pi0_policy.backends.base import PrefixSupport
from trossen_pi0_policy.state import RunSettings


class Advisor:
    """Looks at settings, policy and delay. What it has said stands until the settings change.

    Not thread-safe.
    """

    def __init__(self) -> None:
        self._given: dict[str, str] = {}
        self._settings: tuple[Execution, int, int] | None = None

    def look(
        self,
        settings: RunSettings,
        support: PrefixSupport | None,
        horizon: int,
        delay_rows: int | None,
    ) -> tuple[str, ...]:
        """What cannot work, a sentence each.

        Args:
            settings: in force.
            support: what the policy makes of a prefix; None: not yet known.
            horizon: rows of the policy's chunks; 0: not yet known.
            delay_rows: rows that pass during the expected delay; None: not yet known.
        """
        execution, rate = settings.execution, settings.rate_of_inference
        if (execution, rate, settings.period_ns) != self._settings:
            self._settings = (execution, rate, settings.period_ns)
            for key in ("rate", "overlap"):
                self._given.pop(key, None)
        if execution != Execution.RTC:
            self._given.pop("support", None)
        elif support == PrefixSupport.NONE:
            self._give("support", _NO_SUPPORT)
        if horizon and rate > horizon:
            self._give(
                "rate",
                f"rate_of_inference {rate} is more than a chunk has rows: the policy's chunks "
                f"have {horizon} rows, {horizon} is used",
            )
        if horizon and delay_rows is not None and execution != Execution.BLOCKING:
            self._look_at_overlap(execution, min(rate, horizon), horizon, delay_rows)
        return tuple(self._given.values())

    def _look_at_overlap(
        self, execution: Execution, rate: int, horizon: int, delay_rows: int
    ) -> None:
        overlap = horizon - rate - delay_rows
        if overlap > 0:
            return
        what = f"rate_of_inference {rate} + delay {delay_rows} rows"
        if execution == Execution.RTC:
            text = f"rtc has nothing to agree with: {what} leaves no overlap in {horizon} rows"
        else:
            text = (
                f"chunks never overlap: {what} leaves {overlap} of {horizon} rows, so the arms "
                "wait between chunks and there is no cross-fade"
            )
        self._give("overlap", text)

    def _give(self, key: str, text: str) -> None:
        self._given.setdefault(key, text)


_NO_SUPPORT = (
    "execution rtc: the policy cannot agree with rows that are under way; async is in force"
)
