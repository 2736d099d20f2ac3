"""What a runner counts and measures."""

from __future__ import annotations

from trossen_pi0_core.contract import NANOSECONDS, ActionChunk, Observation
from trossen_pi0_core.schedule import LatencyWindow
from trossen_pi0_policy.backends.base import Inference
from trossen_pi0_policy.state import Latency


class Figures:
    """Counts since activation, latencies and the policy's horizon. Not thread-safe.

    Attributes:
        chunks_published: chunks handed out.
        pauses: chunks among them that paused a run.
        inference_failures: calls of the backend without an answer.
        late_answers: answers of which every row was past.
        horizon: rows of the policy's chunks; 0 before the first.
        latency: of the last chunk.
    """

    def __init__(self) -> None:
        self.horizon = 0
        self.latency = Latency()
        self._latencies = LatencyWindow()
        self.restart()

    def restart(self) -> None:
        """Counts anew; latencies and horizon are still those of the same policy."""
        self.chunks_published = self.pauses = 0
        self.inference_failures = self.late_answers = 0

    def published(self, chunk: ActionChunk) -> None:
        """A chunk was published."""
        self.chunks_published += 1
        self.pauses += not chunk.horizon and not chunk.last

    def answered(self, inference: Inference, policy_ns: int) -> None:
        """The policy has answered within so long [ns]; the last rows of a task may be fewer."""
        self._latencies.add(policy_ns)
        if not inference.done:
            self.horizon = len(inference.positions)

    def measured(self, observation: Observation, policy_ns: int, now_ns: int) -> None:
        """The chunk of an observation has just been published."""
        stamps = observation.image_stamps_ns.values()
        chunk_ns = now_ns - min(stamps, default=observation.stamp_ns)
        self.latency = Latency(
            inference_s=policy_ns / NANOSECONDS,
            chunk_s=chunk_ns / NANOSECONDS,
            overhead_s=(chunk_ns - policy_ns) / NANOSECONDS,
        )

    def quantiles(self) -> tuple[float, float]:
        """Median and 95th percentile of recent inferences [s]; NaN before the first."""
        p50_s, p95_s = self._latencies.quantiles((0.5, 0.95))
        return p50_s, p95_s
