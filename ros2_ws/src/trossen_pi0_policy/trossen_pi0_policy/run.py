"""One policy run: when to infer, what to make of the answers, and when it is over."""

from __future__ import annotations

from collections.abc import Sequence

from trossen_pi0_core.contract import NANOSECONDS, ActionChunk, Execution, Observation
from trossen_pi0_core.execution import State
from trossen_pi0_core.schedule import DelayEstimate
from trossen_pi0_policy.backends.base import Inference, InferenceRequest, PrefixSupport
from trossen_pi0_policy.chunks import ChunkStream
from trossen_pi0_policy.freshness import Freshness
from trossen_pi0_policy.hearing import Hearing, Since
from trossen_pi0_policy.pacing import Pacing
from trossen_pi0_policy.prefix import prefix_of
from trossen_pi0_policy.state import (
    ControllerReport,
    Outcome,
    PolicyState,
    RunRequest,
    RunResult,
    RunSettings,
    in_force,
)

_ENDED_BY = (State.FAULT, State.ESTOP)
_RESTING = (State.HOLDING, State.STARVED)
_GRACE_NS = NANOSECONDS // 10
_FRESH_SHARE = 0.1  # of the time between two inferences may be spent on waiting for new pictures


class PolicyRun:
    """A run from its request to its result.

    Pure: times are arguments, ROS time [ns]. Not thread-safe; its owner serialises the calls.
    An inference is ``wants_inference``, ``takes``, ``question``, ``began``, and ``answered`` or
    ``failed``. Methods that end or pause the run return the chunk that tells the arm controller to
    come to rest, if it has to be told.

    Attributes:
        run_id: id of its chunks.
        request: what was asked for.
        state: what it does.
        reason: why; empty when there is nothing to say.
        missing: inputs that stand in the way of an observation.
        pauses: how often the run was paused because an input failed or the clock was set.
        late_answers: answers of which every row was past.
        delays: from observations to their chunks; may be shared with later runs.
        result: how it ended; None while it is under way.
    """

    def __init__(
        self,
        run_id: str,
        request: RunRequest,
        settings: RunSettings,
        joint_names: tuple[str, ...],
        delays: DelayEstimate | None = None,
    ) -> None:
        """Args:
        run_id: id of its chunks.
        request: what is asked for.
        settings: how it goes.
        joint_names: columns of the chunks.
        delays: of the runs before; None: nothing is known of them.
        """
        self.run_id = run_id
        self.request = request
        self.delays = DelayEstimate() if delays is None else delays
        self.state = PolicyState.STARTING
        self.reason = ""
        self.missing: tuple[str, ...] = ()
        self.pauses = 0
        self.late_answers = 0
        self.result: RunResult | None = None
        self._chunks = ChunkStream(run_id, joint_names)
        self._pacing = Pacing(settings)
        self.settings = settings
        self._execution = settings.execution
        self._released = False
        self._freshness = Freshness()
        self._hearing = Hearing(self._chunks)
        self._since = Since()
        self._ramping = False
        self._inferring = False
        self._outdated = False  # the answer that is under way is not to be used
        self._followed = False  # the arms follow the last chunk: the next one can agree with it
        self._from_rest = True  # they did not when the last question was asked
        self._finishing = False

    @property
    def settings(self) -> RunSettings:
        """How the run goes; may be replaced at any time."""
        return self._pacing.settings

    @settings.setter
    def settings(self, settings: RunSettings) -> None:
        self._pacing.settings = settings
        self.delays.quantile = settings.delay_quantile

    @property
    def chunk(self) -> ActionChunk | None:
        """Last published chunk."""
        return self._chunks.last

    @property
    def chunks(self) -> int:
        """How many chunks were published."""
        return self._chunks.count

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
        return 0 if self._since.first_ns is None else max(0, now_ns - self._since.first_ns)

    def release(self, now_ns: int) -> None:
        """The arms are where the run shall begin: older observations no longer count."""
        self._released = True
        self._freshness.not_before_ns = now_ns

    # Inference ----------------------------------------------------------------------------------

    def wants_inference(self, now_ns: int) -> bool:
        """Whether an observation shall be taken now; not while ROS time has not begun, at 0."""
        if not now_ns or not self._asks or not self._pacing.is_due(now_ns):
            return False
        self._since.want(now_ns)
        return True

    def due_ns(self) -> int | None:
        """When the next inference is due [ns]; None when something else must happen first."""
        return self._pacing.due_ns() if self._asks else None

    def takes(self, observation: Observation, now_ns: int) -> bool:
        """Whether the observation is new enough: from after the last one and after the start.

        Unless it is urgent, the next pictures are waited for, a little.
        """
        self._since.blocked_ns = None
        patience_ns = 0 if self._pacing.urgent else round(_FRESH_SHARE * self._pacing.interval_ns)
        return self._freshness.allows(
            observation.stamp_ns,
            now_ns,
            not_before_ns=self._pacing.not_before_ns,
            patience_ns=patience_ns,
        )

    def question(
        self, observation: Observation, now_ns: int, support: PrefixSupport
    ) -> InferenceRequest:
        """What to ask the policy; to be called right before ``began``.

        Args:
            observation: what to infer from; row 0 of the answer is taken to be due at its stamp,
                or on arrival if the arms are at rest now.
            now_ns: present time [ns].
            support: what the policy makes of a prefix; without support ``rtc`` goes as ``async``.
        """
        self._execution = in_force(self.settings.execution, support)
        self._from_rest = not self._followed
        period_ns = self.settings.period_ns
        rows = self.delays.rows(period_ns)
        prefix = None
        if self._execution == Execution.RTC and self._followed and self.chunk and rows is not None:
            late_ns = self._hearing.chunk_delay_ns
            stamp_ns = observation.stamp_ns
            prefix = prefix_of(self.chunk, stamp_ns, period_ns, now_ns, rows, late_ns)
        return InferenceRequest(observation, period_ns, prefix)

    def began(self, now_ns: int) -> None:
        """An inference has begun."""
        self._inferring = True
        self._outdated = False
        self._freshness.began()
        self._since.blocked_ns = None
        self.missing = ()
        self._pacing.began(now_ns)
        self._since.begin(now_ns)
        if self.state == PolicyState.STARTING:
            self._enter(PolicyState.RUNNING)

    def failed(self, reason: str) -> None:
        """The backend gave no answer; the next inference is due at once."""
        self._inferring = False
        self._pacing.restart()
        self._stall(reason)

    def blocked(self, missing: Sequence[str], now_ns: int) -> None:
        """There is no observation to infer from; for a moment that is nothing to speak of."""
        self.missing = tuple(missing)
        self._since.block(now_ns)
        if self._since.wanted_for(now_ns) >= _GRACE_NS:
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
        if self._outdated:
            self._pacing.restart()
        if self.result is not None or self._ramping or self._outdated:
            self._inferring = False
            return None
        chunk = self._chunks.make(
            observation, inference, self._execution, self.settings, now_ns, at_rest=self._from_rest
        )
        self._inferring = False
        delay_ns = now_ns - observation.stamp_ns
        self.delays.add(delay_ns)
        if chunk.t_end_ns <= now_ns:
            self.late_answers += 1
            self._pacing.restart()
            late_s = delay_ns / NANOSECONDS
            self._stall(f"the answer took {late_s:.2f} s, all its {chunk.horizon} rows were past")
            return None
        self._finishing = inference.done
        self._freshness.used(observation.stamp_ns)
        self._followed = True
        self._pacing.published(chunk)
        self._chunks.published(chunk, now_ns)
        if self._since.refused_ns is None:
            self._since.wanted_ns = None
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
        elif self._hearing.is_of_the_chunks(report):
            self._judge(report, now_ns)
        self._hearing.heard(report)
        return None

    def _ramp(self, report: ControllerReport) -> None:
        """The arms go to the first row; nothing is asked for meanwhile."""
        self._ramping = True
        self._followed = self._finishing = False
        self._since.wanted_ns = self._since.refused_ns = None
        self._enter(PolicyState.RUNNING, report.reason)

    def _resume(self, report: ControllerReport) -> None:
        """The arms are at the first row and wait for a chunk of a fresh observation."""
        self._ramping = False
        self._freshness.not_before_ns = report.stamp_ns
        self._pacing.restart()
        self._enter(PolicyState.RUNNING)

    def _judge(self, report: ControllerReport, now_ns: int) -> None:
        """What the controller made of the chunks so far."""
        ours = report.run_id == self.run_id
        refused = self._hearing.refuses(report)
        if refused:
            self._since.wanted_ns = self._since.refused_ns = self._since.refused_ns or now_ns
            self._stall(f"the arm controller refused a chunk: {report.last_rejection}")
        elif ours and self._since.refused_ns is not None:
            self._since.wanted_ns = self._since.refused_ns = None
            self._enter(PolicyState.RUNNING)
        if ours and report.state == State.EXECUTING:
            self._pacing.moving(report.stamp_ns)
        waits = ours and report.state in _RESTING and not self._hearing.is_ahead(report)
        if not (waits or refused):
            return
        self._followed = False
        if not self._inferring and not self._finishing:
            if report.state == State.HOLDING or self._execution == Execution.BLOCKING:
                self._freshness.raise_to(report.stamp_ns)
            self._pacing.restart()

    # Pauses -------------------------------------------------------------------------------------

    def clock_jumped(self, jump_ns: int, now_ns: int) -> ActionChunk | None:
        """ROS time was set: nothing from before counts, the arms come to rest, the run goes on.

        Args:
            jump_ns: by how much; negative when it was set back [ns].
            now_ns: present time, after the jump [ns].
        """
        if self.result is not None:
            return None
        self._since.shift(jump_ns)
        self._hearing.shift(jump_ns)
        self._freshness.restart(now_ns)
        self._chunks.published_ns += jump_ns
        reason = f"ROS time was set by {jump_ns / NANOSECONDS:+.2f} s"
        if self._ramping:
            self._outdated = self._inferring
            return None
        if self._finishing:  # its rows are due in a time that is over
            return self.end(Outcome.FAILED, f"{reason} during the last rows", now_ns)
        return self._pause(reason, now_ns)

    def _pause_if_blind(self, missing: Sequence[str], now_ns: int) -> ActionChunk | None:
        """Pauses when the arms move and the inputs have failed."""
        since_ns = self._since.blocked_ns
        if since_ns is not None and now_ns - since_ns >= self.settings.max_observation_age_ns:
            missing = missing or self.missing
        if missing and self._inferring:
            self._outdated = True
        if not missing or not self._chunks.moves(now_ns) or self._ramping or self._finishing:
            return None
        self.missing = tuple(missing)
        return self._pause("; ".join(missing), now_ns)

    def _pause(self, reason: str, now_ns: int) -> ActionChunk | None:
        """The arms come to rest; goes on with the answer to an observation from after now."""
        self._outdated = self._inferring
        self._pacing.restart()
        if self.chunk is None or not self.chunk.horizon:
            return None
        self.pauses += 1
        self._stall(reason)
        return self._chunks.rest(reason, now_ns, ends=False)

    # End ----------------------------------------------------------------------------------------

    def check(
        self, now_ns: int, *, preparing: bool, missing: Sequence[str] = ()
    ) -> ActionChunk | None:
        """Pauses the run when its inputs fail; ends it when it is over, stalled too long, or done.

        Args:
            now_ns: present time [ns].
            preparing: the backend makes itself ready and has not failed; this is no stall.
            missing: inputs that stand in the way of an observation now.
        """
        if self.result is not None:
            return None
        if self._finishing and self._hearing.rows_are_over(now_ns):
            tell = self.chunk is None or not self.chunk.last
            return self.end(Outcome.DONE, "the policy is done", now_ns, tell=tell)
        pause = self._pause_if_blind(missing, now_ns)
        if pause is not None:
            return pause
        self.wants_inference(now_ns)
        limit_ns = self.request.max_duration_ns or self.settings.max_duration_ns
        if self._since.first_ns is not None and self.elapsed_ns(now_ns) >= limit_ns:
            over = f"the time limit of {limit_ns / NANOSECONDS:g} s is over"
            return self.end(Outcome.TIMEOUT, over, now_ns)
        if preparing:
            self._since.wanted_ns = None
        if self._since.wanted_for(now_ns) >= self.settings.stall_timeout_ns:
            reason = self.reason or "no answer and no new observation"
            limit_s = self.settings.stall_timeout_ns / NANOSECONDS
            return self.end(Outcome.FAILED, f"no chunk for {limit_s:g} s: {reason}", now_ns)
        return None

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
        stop = self._chunks.rest(message, now_ns, ends=True) if tell else None
        self.result = RunResult(self.run_id, outcome, message, self.elapsed_ns(now_ns), self.chunks)
        self._enter(PolicyState.ERROR if outcome == Outcome.FAILED else PolicyState.IDLE, message)
        return stop

    def _stall(self, reason: str) -> None:
        self._enter(PolicyState.STALLED if self._released else self.state, reason)

    def _enter(self, state: PolicyState, reason: str = "") -> None:
        self.state = state
        self.reason = reason
