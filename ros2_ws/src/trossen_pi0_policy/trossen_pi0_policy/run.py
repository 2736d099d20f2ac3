"""One policy run: when to infer, what to make of the answers, and when it is over."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trossen_pi0_core.contract import NANOSECONDS, ActionChunk, Observation
from trossen_pi0_core.execution import State
from trossen_pi0_core.schedule import InferenceSchedule
from trossen_pi0_policy.backends.base import Inference
from trossen_pi0_policy.state import (
    ControllerReport,
    Outcome,
    PolicyState,
    RunRequest,
    RunResult,
    RunSettings,
)

_ENDED_BY = (State.FAULT, State.ESTOP)
_GRACE_NS = NANOSECONDS // 10
_LAST_WORD_NS = NANOSECONDS
_FRESH_SHARE = 0.1  # of the time between two inferences may be spent on waiting for new pictures


class PolicyRun:
    """A run from its request to its result.

    Pure: times are arguments, ROS time [ns]. Not thread-safe; its owner serialises the calls.
    Methods that end the run return the chunk that tells the arm controller to hold, if it has to
    be told.

    Attributes:
        run_id: id of its chunks.
        request: what was asked for.
        settings: may be replaced at any time.
        state: what it does.
        reason: why; empty when there is nothing to say.
        missing: inputs that stand in the way of an observation.
        chunk: last published chunk.
        chunks: how many were published.
        result: how it ended; None while it is under way.
    """

    def __init__(
        self, run_id: str, request: RunRequest, settings: RunSettings, joint_names: tuple[str, ...]
    ) -> None:
        self.run_id = run_id
        self.request = request
        self.settings = settings
        self.state = PolicyState.STARTING
        self.reason = ""
        self.missing: tuple[str, ...] = ()
        self.chunk: ActionChunk | None = None
        self.chunks = 0
        self.result: RunResult | None = None
        self._joint_names = joint_names
        self._schedule = InferenceSchedule(settings.rate_of_inference, settings.period_ns)
        self._released = False
        self._not_before_ns = 0
        self._first_ns: int | None = None
        self._published_ns = 0
        self._wanted_since_ns: int | None = None
        self._refused_since_ns: int | None = None
        self._passed: tuple[int, int] | None = None
        self._rejections: int | None = None
        self._reported_ns = 0
        self._ramping = False
        self._inferring = False
        self._finishing = False

    @property
    def _asks(self) -> bool:
        """Whether observations are asked for at all in this part of the run."""
        idle = self._ramping or self._finishing or self.result is not None
        return self._released and not idle

    @property
    def prompt(self) -> str:
        """Instruction in force."""
        return self.request.prompt or self.settings.prompt

    def elapsed_ns(self, now_ns: int) -> int:
        """Time since the first observation [ns]; 0 before it."""
        return 0 if self._first_ns is None else max(0, now_ns - self._first_ns)

    def release(self, now_ns: int) -> None:
        """The arms are where the run shall begin: older observations no longer count."""
        self._released = True
        self._not_before_ns = now_ns

    # Inference ----------------------------------------------------------------------------------

    def wants_inference(self, now_ns: int) -> bool:
        """Whether an observation shall be taken now."""
        if not self._asks:
            return False
        self._schedule.control_period_ns = self.settings.period_ns
        self._schedule.rate_of_inference = self.settings.rate_of_inference
        if self.chunk is not None:  # rows that the chunk does not have cannot be waited for
            horizon = max(self.chunk.horizon, 1)
            self._schedule.rate_of_inference = min(self.settings.rate_of_inference, horizon)
        if not self._schedule.is_due(now_ns):
            return False
        if self._wanted_since_ns is None:
            self._wanted_since_ns = now_ns
        return True

    def due_ns(self) -> int | None:
        """When the next inference is due [ns]; None when something else must happen first."""
        return self._schedule.due_ns if self._asks else None

    def takes(self, observation: Observation, now_ns: int) -> bool:
        """Whether the observation is new enough: from after the last one and after the start.

        What was there when the inference became due is almost a camera period old on average;
        unless it is urgent, the next pictures are waited for, a little.
        """
        last_ns = self.chunk.observation_stamp_ns if self.chunk else -1
        if self._passed is None:
            self._passed = (observation.stamp_ns, now_ns)
        if observation.stamp_ns < self._not_before_ns or observation.stamp_ns <= last_ns:
            return False
        urgent = self._schedule.due_ns == 0
        passed_ns, since_ns = self._passed
        patience_ns = round(_FRESH_SHARE * self._schedule.interval_ns)
        return urgent or observation.stamp_ns > passed_ns or now_ns - since_ns >= patience_ns

    def began(self, now_ns: int) -> None:
        """An inference has begun."""
        self._inferring = True
        self._passed = None
        self.missing = ()
        self._schedule.began(now_ns)
        if self._first_ns is None:
            self._first_ns = now_ns
        if self.state == PolicyState.STARTING:
            self._enter(PolicyState.RUNNING)

    def failed(self, reason: str) -> None:
        """The backend gave no answer; the next inference is due at once."""
        self._inferring = False
        self._schedule.restart()
        self._stall(reason)

    def blocked(self, missing: Sequence[str], now_ns: int) -> None:
        """There is no observation to infer from; for a moment that is nothing to speak of."""
        self.missing = tuple(missing)
        if self._wanted_since_ns is not None and now_ns - self._wanted_since_ns >= _GRACE_NS:
            self._stall("; ".join(missing))

    def answered(
        self, observation: Observation, inference: Inference, now_ns: int
    ) -> ActionChunk | None:
        """Makes the chunk of an answer; None when the arms cannot use it now.

        Args:
            observation: what was inferred from.
            inference: the answer.
            now_ns: when the chunk will be published [ns].

        Raises:
            InvalidChunkError: the answer makes no chunk; the run is as before the call.
        """
        if self.result is not None or self._ramping:
            self._inferring = False
            return None
        # The first chunk may begin with a ramp and must then be followed by another.
        last = inference.done and self.chunk is not None
        chunk = ActionChunk(
            run_id=self.run_id,
            chunk_id=self.chunks + 1,
            observation_stamp_ns=observation.stamp_ns,
            t_first_ns=observation.stamp_ns + inference.first_due_ns,
            period_ns=self.settings.period_ns,
            joint_names=self._joint_names,
            positions=inference.positions,
            last=last,
        )
        self._inferring = False
        self._finishing = inference.done
        self._published(chunk, now_ns)
        if self._refused_since_ns is None:
            self._wanted_since_ns = None
            self._enter(PolicyState.RUNNING)
        return chunk

    # Arm controller -----------------------------------------------------------------------------

    def controller(self, report: ControllerReport, now_ns: int) -> ActionChunk | None:
        """Takes in what the arm controller says."""
        if self.result is not None:
            return None
        if report.state in _ENDED_BY:
            message = f"arm controller: {report.state.name}: {report.reason}".rstrip(": ")
            return self.end(Outcome.FAILED, message, now_ns)
        ours = report.run_id == self.run_id
        if ours and report.state == State.RAMPING:
            self._ramp(report)
        elif self._ramping:
            self._resume(report)
        elif report.stamp_ns > self._published_ns and self.chunk is not None:
            self._judge(report, now_ns)
        self._rejections = report.rejections
        self._reported_ns = report.stamp_ns
        return None

    def _ramp(self, report: ControllerReport) -> None:
        """The arms go to the first row; nothing is asked for meanwhile."""
        self._ramping = True
        self._finishing = False
        self._wanted_since_ns = self._refused_since_ns = None
        self._enter(PolicyState.RUNNING, report.reason)

    def _resume(self, report: ControllerReport) -> None:
        """The arms are at the first row and wait for a chunk of a fresh observation."""
        self._ramping = False
        self._not_before_ns = report.stamp_ns
        self._schedule.restart()
        self._enter(PolicyState.RUNNING)

    def _judge(self, report: ControllerReport, now_ns: int) -> None:
        """What the controller made of the chunks so far."""
        ours = report.run_id == self.run_id
        refused = self._rejections is not None and report.rejections > self._rejections
        if refused:
            self._wanted_since_ns = self._refused_since_ns = self._refused_since_ns or now_ns
            self._stall(f"the arm controller refused a chunk: {report.last_rejection}")
        elif ours and self._refused_since_ns is not None:
            self._wanted_since_ns = self._refused_since_ns = None
            self._enter(PolicyState.RUNNING)
        waits = (ours and report.state in (State.HOLDING, State.STARVED)) or refused
        if waits and not self._inferring and not self._finishing:
            if report.state == State.HOLDING:
                self._not_before_ns = max(self._not_before_ns, report.stamp_ns)
            self._schedule.restart()

    # End ----------------------------------------------------------------------------------------

    def check(self, now_ns: int, *, preparing: bool) -> ActionChunk | None:
        """Ends the run when its time is over, when it is stalled for too long, or done.

        Args:
            now_ns: present time [ns].
            preparing: the backend makes itself ready and has not failed; this is no stall.
        """
        if self.result is not None:
            return None
        if self._finishing and self.chunk is not None and self._has_finished(self.chunk, now_ns):
            return self.end(Outcome.DONE, "the policy is done", now_ns, tell=not self.chunk.last)
        self.wants_inference(now_ns)
        limit_ns = self.request.max_duration_ns or self.settings.max_duration_ns
        if self._first_ns is not None and self.elapsed_ns(now_ns) >= limit_ns:
            message = f"the time limit of {limit_ns / NANOSECONDS:g} s is over"
            return self.end(Outcome.TIMEOUT, message, now_ns)
        if preparing:
            self._wanted_since_ns = None
        since_ns = self._wanted_since_ns
        if since_ns is not None and now_ns - since_ns >= self.settings.stall_timeout_ns:
            seconds = self.settings.stall_timeout_ns / NANOSECONDS
            reason = self.reason or "no answer and no new observation"
            return self.end(Outcome.FAILED, f"no chunk for {seconds:g} s: {reason}", now_ns)
        return None

    def _has_finished(self, chunk: ActionChunk, now_ns: int) -> bool:
        """All rows are over, and the controller has not said that it first goes to their start."""
        heard = self._rejections is None or self._reported_ns > self._published_ns
        return now_ns >= chunk.t_end_ns + (0 if heard else _LAST_WORD_NS)

    def end(
        self, outcome: Outcome, message: str, now_ns: int, *, tell: bool = True
    ) -> ActionChunk | None:
        """Ends the run, once.

        Args:
            outcome: how.
            message: why.
            now_ns: present time [ns].
            tell: whether the controller does not yet know.
        """
        if self.result is not None:
            return None
        stop = self._stop_chunk(now_ns) if tell and self.chunk is not None else None
        self.result = RunResult(self.run_id, outcome, message, self.elapsed_ns(now_ns), self.chunks)
        failed = outcome == Outcome.FAILED
        self._enter(PolicyState.ERROR if failed else PolicyState.IDLE, message)
        return stop

    def _stop_chunk(self, now_ns: int) -> ActionChunk:
        """No rows: hold at once."""
        assert self.chunk is not None
        chunk = ActionChunk(
            run_id=self.run_id,
            chunk_id=self.chunks + 1,
            observation_stamp_ns=self.chunk.observation_stamp_ns,
            t_first_ns=now_ns,
            period_ns=self.chunk.period_ns,
            joint_names=self._joint_names,
            positions=np.zeros((0, len(self._joint_names))),
            last=True,
        )
        self._published(chunk, now_ns)
        return chunk

    def _published(self, chunk: ActionChunk, now_ns: int) -> None:
        self.chunk = chunk
        self.chunks += 1
        self._published_ns = now_ns

    def _stall(self, reason: str) -> None:
        if self._released:
            self._enter(PolicyState.STALLED, reason)
        else:
            self.reason = reason

    def _enter(self, state: PolicyState, reason: str = "") -> None:
        self.state = state
        self.reason = reason
