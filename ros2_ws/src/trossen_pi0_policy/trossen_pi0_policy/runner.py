"""The inference thread: asks the backend when a run wants it and hands out the chunks."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable

from trossen_pi0_core.contract import NANOSECONDS, ActionChunk, Observation
from trossen_pi0_core.errors import BackendError, ObservationError, TrossenPi0Error
from trossen_pi0_core.schedule import DelayEstimate
from trossen_pi0_core.watchdogs import ClockWatch
from trossen_pi0_policy.advice import Advisor
from trossen_pi0_policy.backends.base import InferenceRequest, PolicyBackend, PrefixSupport
from trossen_pi0_policy.figures import Figures
from trossen_pi0_policy.observations import ObservationBuffer
from trossen_pi0_policy.run import PolicyRun
from trossen_pi0_policy.state import (
    PREPARING,
    ControllerReport,
    Outcome,
    PolicyState,
    RunnerStatus,
    RunRequest,
    RunResult,
    RunSettings,
    in_force,
)

_LOG = logging.getLogger(__name__)
_POLL_S = 0.002
_BLOCKED_S = 0.02
_IDLE_S = 0.5
_RETRY_S = 0.2
_CLOCK_JUMP_NS = NANOSECONDS // 10
_GOODBYE_S = 0.3  # a backend that has nothing to do closes itself in order
_JOIN_S = 1.5


class PolicyRunner:
    """Owns a backend and the thread on which it works. Public methods: any thread.

    While disabled nothing is asked of the backend. Publication happens under the runner's lock,
    so that no chunk can follow the one that ends its run: ``publish`` must not call back.
    """

    def __init__(
        self,
        backend: PolicyBackend,
        observations: ObservationBuffer,
        settings: RunSettings,
        joint_names: tuple[str, ...],
        *,
        now_ns: Callable[[], int],
        publish: Callable[[ActionChunk, int], None],
        simulated: Callable[[], bool] = lambda: False,
    ) -> None:
        """Args:
        backend: used and closed by the thread alone.
        observations: filled by others.
        settings: how runs go.
        joint_names: columns of the chunks.
        now_ns: ROS time [ns].
        publish: takes each chunk and the time of its publication [ns].
        simulated: whether ROS time comes from /clock at present.
        """
        self._backend = backend
        self._observations = observations
        self._settings = settings
        self._joint_names = joint_names
        self._now_ns = now_ns
        self._publish = publish
        self._simulated = simulated
        self._clock = ClockWatch(_CLOCK_JUMP_NS)
        self._changed = threading.Condition()
        self._enabled = False
        self._stopping = False
        self._ready = False
        self._failure = ""
        self._logged = ""
        self._run: PolicyRun | None = None
        self._results: deque[RunResult] = deque(maxlen=16)
        self._begun = ""
        self._report: ControllerReport | None = None
        self._figures = Figures()
        self._delays = DelayEstimate(settings.delay_quantile)
        self._support: PrefixSupport | None = None
        self._advisor = Advisor()
        self._thread = threading.Thread(target=self._work, name="policy-inference", daemon=True)
        self._thread.start()

    # Control ------------------------------------------------------------------------------------

    def enable(self) -> None:
        """Begins to make the backend ready and to count anew; runs may begin."""
        with self._changed:
            self._enabled = True
            self._retire_run()
            self._figures.restart()
            self._changed.notify_all()

    def disable(self, reason: str) -> None:
        """Ends the run under way; a call of the backend under way ends unheard."""
        self.end(Outcome.STOPPED, reason)
        with self._changed:
            self._enabled = False

    def close(self) -> None:
        """Ends the run, the thread and the backend."""
        self.disable("the policy was shut down")
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join(_GOODBYE_S)
        self._backend.interrupt()
        self._thread.join(_JOIN_S)
        if self._thread.is_alive():
            _LOG.warning("the backend does not return; its thread is left to end by itself")

    def apply(self, settings: RunSettings) -> None:
        """Replaces the settings, also of the run under way."""
        with self._changed:
            self._settings = settings
            self._delays.quantile = settings.delay_quantile
            if self._run:
                self._run.settings = settings
            self._changed.notify_all()

    def begin(self, request: RunRequest) -> str:
        """Begins a run and returns its id; nothing is inferred before ``release``.

        Raises:
            BackendError: a run is under way, or the runner is disabled.
        """
        with self._changed:
            if not self._enabled:
                raise BackendError("the policy is not active")
            if self.busy:
                raise BackendError(f"run {self._run_id()} is under way; stop it first")
            self._retire_run()
            self._run = PolicyRun(
                uuid.uuid4().hex, request, self._settings, self._joint_names, self._delays
            )
            if self._failure:
                self._run.failed(self._failure)
            if self._report:
                self._send(self._run.controller(self._report, self._now_ns()))
            return self._run.run_id

    def release(self, run_id: str) -> None:
        """The arms are where the run shall begin."""
        with self._changed:
            if self._run and self._run.run_id == run_id:
                self._run.release(self._now_ns())
                self._changed.notify_all()

    def end(self, outcome: Outcome, message: str, run_id: str = "") -> bool:
        """Ends the run under way at once: the arms hold. Returns whether there was one.

        Args:
            outcome: how it ends.
            message: why.
            run_id: only this run; empty: any.
        """
        with self._changed:
            if self._run is None or not self.busy or run_id not in ("", self._run.run_id):
                return False
            self._send(self._run.end(outcome, message, self._now_ns()))
            return True

    def controller(self, report: ControllerReport) -> None:
        """Takes in what the arm controller says."""
        with self._changed:
            self._report = report
            if self._run:
                self._send(self._run.controller(report, self._now_ns()))
                self._changed.notify_all()

    def poll(self) -> None:
        """Looks at clock, inputs and time limits; called some 50 times a second by one thread."""
        now_ns = self._now_ns()
        jump_ns = self._clock.check(now_ns, time.monotonic_ns(), simulated=self._simulated())
        if jump_ns:
            _LOG.warning("ROS time was set by %+.2f s", jump_ns / NANOSECONDS)
            self._observations.forget()
        missing = self._observations.missing(now_ns)
        with self._changed:
            run = self._run
            if run is None:
                return
            if jump_ns:
                self._send(run.clock_jumped(jump_ns, now_ns))
            preparing = not self._ready and not self._failure
            self._send(run.check(now_ns, preparing=preparing, missing=missing))
            if jump_ns or missing:
                self._changed.notify_all()

    # State --------------------------------------------------------------------------------------

    @property
    def enabled(self) -> bool:
        """Whether runs may begin."""
        return self._enabled

    @property
    def horizon(self) -> int:
        """Rows of the policy's chunks; 0 before the first."""
        return self._figures.horizon

    @property
    def busy(self) -> bool:
        """Whether a run is under way."""
        run = self._run
        return run is not None and run.result is None

    def result(self, run_id: str) -> RunResult | None:
        """How a recent run ended; None while it is under way."""
        with self._changed:
            last = self._run.result if self._run else None
            for result in (*self._results, last):
                if result and result.run_id == run_id:
                    return result
            return None

    def status(self) -> RunnerStatus:
        """What the runner does and how it does."""
        now_ns = self._now_ns()
        missing = tuple(self._observations.missing(now_ns))
        with self._changed:
            run = self._run
            busy = self.busy
            figures, settings = self._figures, self._settings
            p50_s, p95_s = figures.quantiles()
            delay_rows = self._delays.rows(settings.period_ns)
            support = self._support
            return RunnerStatus(
                state=run.state if run else PolicyState.IDLE,
                reason=self._reason(),
                missing=missing or (run.missing if run and busy else ()),
                prompt=run.prompt if run and busy else settings.prompt,
                run_id=self._run_id() if busy else "",
                elapsed_ns=run.elapsed_ns(now_ns) if run and busy else 0,
                chunk_id=run.chunk.chunk_id if run and busy and run.chunk else 0,
                chunks_published=figures.chunks_published,
                inference_failures=figures.inference_failures,
                latency=figures.latency,
                latency_p50_s=p50_s,
                latency_p95_s=p95_s,
                execution=in_force(settings.execution, support) if support else settings.execution,
                pauses=figures.pauses,
                late_answers=figures.late_answers,
                expected_delay_s=self._delays.expected_s,
                advice=self._advisor.look(settings, support, figures.horizon, delay_rows),
                backend_problem="" if self._ready else self._failure or PREPARING,
            )

    def _reason(self) -> str:
        """What the run says, or the backend when there is none or it has nothing to say."""
        of_run = self._run.reason if self._run else ""
        if not self._enabled or self._ready:
            return of_run
        of_backend = self._failure or PREPARING
        return (of_run or of_backend) if self.busy else of_backend

    def _retire_run(self) -> None:
        """Keeps the result of a run that has ended, and forgets the rest."""
        if self._run and self._run.result:
            self._results.append(self._run.result)
            self._run = None

    def _run_id(self) -> str:
        return self._run.run_id if self._run else ""

    # Thread -------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while not self._stopping:
                self._step()
        finally:
            self._backend.close()

    def _step(self) -> None:
        """One round: makes the backend ready, or waits, or infers once."""
        with self._changed:
            if not self._enabled:
                self._changed.wait(_IDLE_S)
                return
            ready = self._ready
        if not ready:
            self._prepare()
            return
        with self._changed:
            asked = self._question()
            if asked is None:
                return
        self._ask(*asked)

    def _prepare(self) -> None:
        try:
            self._backend.prepare()
        except Exception as error:  # noqa: BLE001 - whatever a backend raises is shown
            self._take_failure(error)
        else:
            with self._changed:
                self._ready = True
                self._failure = ""
                self._support = self._backend.prefix_support

    def _question(self) -> tuple[PolicyRun, InferenceRequest] | None:
        """The run and the observation to infer from; waits a little when there is none."""
        run, now_ns = self._run, self._now_ns()
        if run is None or not run.wants_inference(now_ns):
            due_ns = run.due_ns() if run else None
            wait_s = _IDLE_S if due_ns is None else (due_ns - now_ns) / NANOSECONDS
            self._changed.wait(min(max(wait_s, 0.0), _IDLE_S))
            return None
        observation = self._observe(run, now_ns)
        if observation is None:
            self._changed.wait(_BLOCKED_S if run.missing else _POLL_S)
            return None
        request = run.question(observation, now_ns, self._support or PrefixSupport.NONE)
        run.began(now_ns)
        return run, request

    def _observe(self, run: PolicyRun, now_ns: int) -> Observation | None:
        missing = self._observations.missing(now_ns)
        if not missing:
            try:
                observation = self._observations.assemble(now_ns, run.prompt)
            except ObservationError as error:
                missing = [str(error)]
            else:
                return observation if run.takes(observation, now_ns) else None
        run.blocked(missing, now_ns)
        return None

    def _ask(self, run: PolicyRun, request: InferenceRequest) -> None:
        began_ns = self._now_ns()
        try:
            if self._begun != run.run_id:
                self._backend.begin_run(run.prompt, run.request.seed)
                self._begun = run.run_id
            inference = self._backend.infer(request)
            answered_ns = self._now_ns()
            policy_ns = max(0, answered_ns - began_ns - inference.preparation_ns)
            with self._changed:
                self._figures.answered(inference, policy_ns)
                late = run.late_answers
                chunk = run.answered(request.observation, inference, self._now_ns())
                self._figures.late_answers += run.late_answers - late
                if chunk is not None:
                    self._send(chunk)
                    self._figures.measured(request.observation, policy_ns, self._now_ns())
        except Exception as error:  # noqa: BLE001 - whatever a backend raises is shown
            self._take_failure(error, run)

    def _take_failure(self, error: Exception, run: PolicyRun | None = None) -> None:
        """Shows a failure and waits a little before the next attempt."""
        if isinstance(error, TrossenPi0Error):
            reason = str(error)
        else:
            reason = f"the backend failed: {type(error).__name__}: {error}"
            if reason != self._logged:
                self._logged = reason
                _LOG.error("%s", reason, exc_info=error)
        with self._changed:
            self._ready = False
            self._failure = reason
            self._figures.inference_failures += run is not None
            shown = run or self._run
            if shown and shown.result is None:
                shown.failed(reason)
            self._changed.wait_for(lambda: self._stopping, _RETRY_S)

    def _send(self, chunk: ActionChunk | None) -> None:
        """Publishes under the lock."""
        if chunk is not None:
            self._publish(chunk, self._now_ns())
            self._figures.published(chunk)
