"""One fault at a time: what was expected, what was seen, and the table of all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from fault_harness.processes import wait_until
from fault_harness.safety import Use, assert_motion_is_safe, held_from
from fault_harness.stack import Stack
from trossen_pi0_core.execution import State
from trossen_pi0_policy.state import PolicyState

BRAKING_S = 0.05
"""Enough to come to rest from the speeds of the motion server, driver included."""

REACTION_S = 0.1
"""Beyond a watchdog's own setting, no more than this may pass until the command is to hold."""

_SEEN_HOLDING_S = 0.25
_LEAST_RECORDS = 20


@dataclass
class Row:
    """One line of the table.

    Attributes:
        fault: what was done to the stack.
        expected: state that it should lead to.
        seen: state that it has led to.
        hold_ms: from the injection to the last moving set-point [ms]; None: the motion goes on.
        limit_ms: the longest allowed [ms].
        use: how much of the limits was used; None when that is not known.
        passed: whether all was as expected.
    """

    fault: str
    expected: str
    seen: str = "?"
    hold_ms: float | None = None
    limit_ms: float | None = None
    use: Use | None = None
    passed: bool = False


@dataclass
class Campaign:
    """All faults of a session."""

    rows: list[Row] = field(default_factory=list)

    @contextmanager
    def fault(
        self, stack: Stack, name: str, expected: str, *, running: bool = True
    ) -> Iterator[Fault]:
        """A fault that is injected into a healthy stack.

        Args:
            stack: made healthy first.
            name: of the fault, in the table.
            expected: state that it should lead to, in the table.
            running: begin a run first, which is ended afterwards.

        Raises:
            UnsafeMotionError: a limit was exceeded since the last fault.
        """
        row = Row(name, expected)
        self.rows.append(row)
        stack.heal()
        if running:
            stack.begin_run()
        try:
            yield Fault(stack, row)
            stack.undo()
            if running:
                stack.end_run()
        finally:  # what moved wrongly is told, whatever else went wrong
            since_s, stack.checked_until_s = stack.checked_until_s, time.monotonic()
            evidence = stack.evidence(since_s)
            row.use = assert_motion_is_safe(evidence, stack.rules)
        recorded = [len(part) for part in (evidence.set_points, evidence.motion, evidence.commands)]
        assert not running or min(recorded) > _LEAST_RECORDS, f"too little to prove it: {recorded}"
        row.passed = True

    def table(self, *, passed: bool = True) -> list[str]:
        """The lines of the table, of all faults or of those that did not pass."""
        rows = [row for row in self.rows if passed or not row.passed]
        width = max((len(row.fault) for row in rows), default=10)
        head = (
            f"{'fault':{width}}  {'expected':9}  {'seen':17}  {'hold':>7}  {'limit':>7}  "
            f"{'speed':>5}  {'accel':>5}  {'step':>5}  {'range':>5}  verdict"
        )
        units = (
            f"{'':{width}}  {'':9}  {'':17}  {'[ms]':>7}  {'[ms]':>7}" + "  used " * 3 + "  left "
        )
        return [head, units.rstrip(), *(_line(row, width) for row in rows)]


class Fault:
    """The hands of a test that injects one fault."""

    def __init__(self, stack: Stack, row: Row) -> None:
        self.stack = stack
        self.row = row
        self.injected_s = time.monotonic()
        self._run_id = stack.kit.status.run_id

    def inject(self, act: Callable[[], object]) -> None:
        """Does it; time counts from before the act."""
        self.injected_s = time.monotonic()
        act()

    def holds(self, watchdog_s: float, *states: State, reason: str = "") -> None:
        """The command comes to rest in time, and the controller says so and why.

        Args:
            watchdog_s: setting of the watchdog that is responsible [s].
            states: one of these is to be seen; none: the controller cannot say anything.
            reason: a part of the controller's reason.
        """
        limit_s = watchdog_s + BRAKING_S + REACTION_S
        self.row.limit_ms = 1e3 * limit_s
        if states:
            self.says(*states, reason=reason, deadline_s=limit_s + 3.0)
        elif self.row.seen == "?":
            self.row.seen = "at rest"
        held_s = self._rest(limit_s + 3.0)
        self.row.hold_ms = 1e3 * (held_s - self.injected_s)
        assert held_s - self.injected_s <= limit_s, (
            f"held after {self.row.hold_ms:.0f} ms, allowed are {self.row.limit_ms:.0f} ms"
        )

    def stays_at_rest(self) -> None:
        """Since it came to rest no set-point has moved."""
        held_s = held_from(self.stack.arms.set_points.since(self.injected_s), self.injected_s)
        assert 1e3 * (held_s - self.injected_s) <= (self.row.limit_ms or 0.0)

    def says(self, *states: State, reason: str = "", deadline_s: float = 3.0) -> None:
        """The controller is, from now on or still, in one of these states for this reason."""
        kit = self.stack.kit

        def told() -> bool:
            status = kit.status
            return status.state in states and reason in status.reason

        try:
            wait_until(told, lambda: f"{states} because of {reason!r}:\n{kit.status}", deadline_s)
        finally:
            state = kit.status.state
            self.row.seen = State(state).name if state in list(State) else "-"

    def policy_says(self, state: PolicyState, reason: str, deadline_s: float = 3.0) -> None:
        """The policy is, from now on or still, in this state, and its reason has these words."""
        kit = self.stack.kit

        def told() -> bool:
            return kit.policy.state == state and reason in kit.policy.reason

        wait_until(told, lambda: f"{state!r} because of {reason!r}:\n{kit.policy}", deadline_s)

    def _rest(self, deadline_s: float) -> float:
        """When the set-points came to rest, once they have been at rest for a while [s]."""

        def rested() -> float | None:
            held_s = held_from(self.stack.arms.set_points.since(self.injected_s), self.injected_s)
            return held_s if time.monotonic() - held_s > _SEEN_HOLDING_S else None

        held_s = wait_until(rested, "the set-points to come to rest", deadline_s)
        assert held_s is not None
        return held_s

    def goes_on(self, seconds: float = 0.8, *also: State) -> None:
        """The run is executed all the time, or at times in another state, and the arms move."""
        kit = self.stack.kit
        known = len(kit.statuses)
        moved = False
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            moved = moved or kit.moving
            time.sleep(0.01)
        states = {State(status.state) for status in kit.statuses[known:]}
        self.row.seen = "/".join(sorted(state.name for state in states)) or "-"
        assert states - {*also} == {State.EXECUTING}, f"{states}: {kit.status}"
        assert kit.status.run_id == self._run_id, "another run is in force"
        assert moved, "the arms do not move"

    def same_run_goes_on(self) -> None:
        """With the fault undone, the run under way is executed again."""
        self.stack.undo()
        self.stack.wait_for_motion()
        assert self.stack.kit.status.run_id == self._run_id, "another run is in force"
        if self.row.seen == "?":
            self.row.seen = State.EXECUTING.name

    def new_run_works(self) -> None:
        """With the fault undone and cleared, another run is executed."""
        self.stack.heal()
        self.stack.end_run()
        self.stack.begin_run()
        assert self.stack.kit.status.run_id != self._run_id, "it is the old run"


def _line(row: Row, width: int) -> str:
    def milliseconds(value: float | None) -> str:
        return f"{value:7.0f}" if value is not None else f"{'-':>7}"

    use = row.use
    parts = (use.speed, use.acceleration, use.step, max(0.0, use.position)) if use else ()
    percent = "  ".join(f"{100 * part:4.0f}%" for part in parts) or "  ".join(["    -"] * 4)
    verdict = "ok" if row.passed else "FAILED"
    return (
        f"{row.fault:{width}}  {row.expected:9}  {row.seen:17}  {milliseconds(row.hold_ms)}  "
        f"{milliseconds(row.limit_ms)}  {percent}  {verdict}"
    )
