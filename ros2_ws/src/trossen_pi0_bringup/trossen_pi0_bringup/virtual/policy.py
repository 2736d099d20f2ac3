"""The policy node in virtual time: the run, and inferences that take their time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from trossen_pi0_core.contract import NANOSECONDS, ActionChunk, Observation
from trossen_pi0_core.errors import BackendError
from trossen_pi0_core.joints import JointMap
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_policy.backends.base import Inference, InferenceRequest, PrefixSupport
from trossen_pi0_policy.run import PolicyRun
from trossen_pi0_policy.state import ControllerReport, RunRequest, RunSettings
from trossen_pi0_sim.tasks import episode_rng

_JITTER_STREAM = 3

Sight = TypeVar("Sight")
_Sight_contra = TypeVar("_Sight_contra", contravariant=True)


class VirtualPolicy(Protocol[_Sight_contra]):
    """What is asked. Besides the question it is given what was seen at the observation's stamp."""

    @property
    def prefix_support(self) -> PrefixSupport:
        """What it makes of a question's prefix."""
        ...

    def infer(self, request: InferenceRequest, sight: _Sight_contra) -> Inference:
        """Plans from one observation, whose pictures are still to be taken.

        Raises:
            BackendError: no answer, or one that makes no sense.
        """
        ...


@dataclass(frozen=True)
class Latency:
    """How long an inference takes.

    Attributes:
        least_s: at least, the way of the pictures included [s].
        jitter_s: each one takes up to so much longer, evenly distributed [s].
    """

    least_s: float
    jitter_s: float = 0.0


@dataclass(frozen=True)
class _Answer:
    """An inference under way; in its place the reason when it fails."""

    observation: Observation
    outcome: Inference | str
    due_ns: int


class PolicySide(Generic[Sight]):
    """What the policy node's thread does, with inferences of a known duration."""

    def __init__(
        self,
        policy: VirtualPolicy[Sight],
        parameters: PolicyParameters,
        *,
        seed: int,
        latency: Latency,
        send: Callable[[ActionChunk, int], None],
        now_ns: int,
    ) -> None:
        """Begins a run.

        Args:
            policy: to be asked.
            parameters: of the node.
            seed: of the jitter.
            latency: of each inference.
            send: takes each chunk and the time of its publication [ns].
            now_ns: present time [ns].
        """
        self._policy = policy
        self._rng = episode_rng(seed, _JITTER_STREAM)
        self._latency = latency
        self._send = send
        self._answer: _Answer | None = None
        self._newest: tuple[Observation, Sight] | None = None
        request = RunRequest(seed=seed)
        self.run = PolicyRun("virtual", request, RunSettings.of(parameters), JointMap().urdf_names)
        self.run.release(now_ns)

    def observe(self, observation: Observation, sight: Sight) -> None:
        """Takes what cameras and joints say now."""
        self._newest = observation, sight

    def hear(self, report: ControllerReport, now_ns: int) -> None:
        """Takes the arm controller's status and looks at the time limits."""
        self._publish(self.run.controller(report, now_ns), now_ns)
        self._publish(self.run.check(now_ns, preparing=False), now_ns)

    def step(self, now_ns: int) -> None:
        """Publishes an answer that is due, and asks again where the run wants it."""
        answer = self._answer
        if answer is not None and answer.due_ns <= now_ns:
            self._answer = None
            self._take(answer, now_ns)
        if self._answer is None and self._newest and self.run.wants_inference(now_ns):
            self._ask(*self._newest, now_ns)

    def _take(self, answer: _Answer, now_ns: int) -> None:
        if isinstance(answer.outcome, str):
            self.run.failed(answer.outcome)
        else:
            chunk = self.run.answered(answer.observation, answer.outcome, now_ns)
            self._publish(chunk, now_ns)

    def _ask(self, observation: Observation, sight: Sight, now_ns: int) -> None:
        if not self.run.takes(observation, now_ns):
            return
        request = self.run.question(observation, now_ns, self._policy.prefix_support)
        self.run.began(now_ns)
        try:
            outcome: Inference | str = self._policy.infer(request, sight)
        except BackendError as error:
            outcome = str(error)
        lasts_s = self._latency.least_s + self._rng.uniform(0.0, self._latency.jitter_s)
        due_ns = now_ns + int(np.ceil(lasts_s * NANOSECONDS))
        self._answer = _Answer(observation, outcome, due_ns)

    def _publish(self, chunk: ActionChunk | None, now_ns: int) -> None:
        if chunk is not None:
            self._send(chunk, now_ns)
