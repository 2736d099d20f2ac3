"""The thread that infers."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from trossen_pi0_policy.serving.policy import ServedPolicy

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """What became of an observation.

    Attributes:
        answer: of the policy; None after a failure.
        error: why there is no answer.
        queue_ms: from handing it in to the start of the inference [ms].
        infer_ms: the inference [ms].
    """

    answer: dict[str, Any] | None
    error: Exception | None
    queue_ms: float
    infer_ms: float


@dataclass(frozen=True)
class _Job:
    prepared: Any
    future: Future[Outcome]
    handed_in_s: float


class InferenceWorker:
    """Infers on one thread of its own, in the order in which observations are handed in.

    Several observations that wait are inferred together, up to ``max_batch``. A job whose future
    was cancelled before its inference began is dropped.
    """

    def __init__(
        self,
        policy: ServedPolicy,
        max_batch: int,
        batch_wait_s: float,
        clients: Callable[[], int],
    ) -> None:
        """Args:
        policy: is asked by this thread only.
        max_batch: most observations in one inference.
        batch_wait_s: longest wait for further observations once there is one [s].
        clients: how many observations there can be at most, each client having one; beyond
            that nothing is waited for. Called on the thread.
        """
        self._policy = policy
        self._max_batch = max_batch
        self._batch_wait_s = batch_wait_s
        self._clients = clients
        self._jobs: queue.Queue[_Job | None] = queue.Queue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="policy-inference", daemon=True)

    @property
    def alive(self) -> bool:
        """Whether the thread runs. Any thread."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Starts the thread. Once."""
        self._thread.start()

    def submit(self, prepared: Any) -> Future[Outcome]:
        """Hands in an observation that the policy prepared. Any thread.

        The future never holds an exception; a failure is part of the outcome.
        """
        job = _Job(prepared, Future(), time.perf_counter())
        self._jobs.put(job)
        return job.future

    def stop(self, timeout_s: float) -> bool:
        """Ends the thread after the inference under way, and says whether it has ended.

        Jobs that wait are cancelled. An inference cannot be cut short: past the limit its thread
        is left behind, which does not keep the process alive.
        """
        self._stopping.set()
        self._jobs.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _work(self) -> None:
        while not self._stopping.is_set():
            job = self._jobs.get()
            if job is not None:
                self._infer([j for j in self._gather(job) if _begins(j)])
        while not self._jobs.empty():
            job = self._jobs.get_nowait()
            if job is not None:
                job.future.cancel()

    def _gather(self, first: _Job) -> list[_Job]:
        """The jobs of the next inference, at least the first."""
        jobs = [first]
        deadline_s = time.perf_counter() + self._batch_wait_s
        while len(jobs) < self._max_batch and not self._stopping.is_set():
            wait_s = deadline_s - time.perf_counter() if len(jobs) < self._clients() else 0.0
            try:
                job = self._jobs.get(timeout=wait_s) if wait_s > 0.0 else self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is not None:
                jobs.append(job)
        return jobs

    def _infer(self, jobs: Sequence[_Job]) -> None:
        """Infers together; if that fails, one by one, so that only the culprit gets no answer."""
        if not jobs:
            return
        begun_s = time.perf_counter()
        try:
            answers = self._policy.infer([job.prepared for job in jobs])
            if len(answers) != len(jobs):
                raise RuntimeError(f"{len(jobs)} observations, but {len(answers)} answers")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 - whatever it is, the server goes on
            if len(jobs) > 1:
                _LOG.warning(
                    "inference of %d observations failed (%s), trying them one by one",
                    len(jobs),
                    type(error).__name__,
                )
                for job in jobs:
                    self._infer([job])
                return
            jobs[0].future.set_result(_outcome(jobs[0], None, error, begun_s))
            return
        for job, answer in zip(jobs, answers, strict=True):
            job.future.set_result(_outcome(job, answer, None, begun_s))


def _begins(job: _Job) -> bool:
    return job.future.set_running_or_notify_cancel()


def _outcome(
    job: _Job, answer: dict[str, Any] | None, error: Exception | None, begun_s: float
) -> Outcome:
    queue_ms = (begun_s - job.handed_in_s) * 1e3
    return Outcome(answer, error, queue_ms, (time.perf_counter() - begun_s) * 1e3)
