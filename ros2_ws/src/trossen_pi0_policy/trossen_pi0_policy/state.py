"""What the policy node does, as its messages say it."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass

from trossen_pi0_core.contract import NANOSECONDS, Execution
from trossen_pi0_core.execution import State
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_policy.backends.base import PrefixSupport

PREPARING = "preparing the backend"
"""Reason of a policy whose backend connects, loads or compiles, and has not failed."""


class PolicyState(enum.IntEnum):
    """What the policy does; the values are those of PolicyStatus."""

    IDLE = 0
    STARTING = 1
    RUNNING = 2
    STALLED = 3
    ERROR = 4


class Outcome(enum.IntEnum):
    """How a run ended; the values are those of RunPolicy."""

    DONE = 0
    TIMEOUT = 1
    STOPPED = 2
    FAILED = 3


@dataclass(frozen=True)
class RunSettings:
    """How runs go; may be replaced while one is under way.

    Attributes:
        prompt: instruction of runs that bring none.
        period_ns: time between two rows of a chunk [ns].
        rate_of_inference: rows between two inferences.
        max_duration_ns: time limit of runs that bring none [ns].
        stall_timeout_ns: a run that gets no chunk for this long fails [ns].
        execution: how inference and motion go together.
        delay_quantile: quantile of recent delays that is expected of the next.
        max_observation_age_ns: longest time that a run goes on without usable inputs [ns].
    """

    prompt: str
    period_ns: int
    rate_of_inference: int
    max_duration_ns: int
    stall_timeout_ns: int
    execution: Execution = Execution.ASYNC
    delay_quantile: float = 0.9
    max_observation_age_ns: int = 300_000_000

    @classmethod
    def of(cls, parameters: PolicyParameters) -> RunSettings:
        """The settings in the node's parameters."""
        return cls(
            prompt=parameters.prompt,
            period_ns=round(NANOSECONDS / parameters.control_rate),
            rate_of_inference=parameters.rate_of_inference,
            max_duration_ns=round(parameters.max_duration_s * NANOSECONDS),
            stall_timeout_ns=round(parameters.stall_timeout_s * NANOSECONDS),
            execution=Execution[parameters.execution.upper()],
            delay_quantile=parameters.delay_quantile,
            max_observation_age_ns=round(parameters.max_observation_age_s * NANOSECONDS),
        )


def in_force(execution: Execution, support: PrefixSupport) -> Execution:
    """What becomes of the wanted execution with a policy: without prefixes, ``rtc`` is async."""
    unsupported = execution == Execution.RTC and support == PrefixSupport.NONE
    return Execution.ASYNC if unsupported else execution


@dataclass(frozen=True)
class RunRequest:
    """What a run is asked for.

    Attributes:
        prompt: instruction; empty takes the default, also when that changes.
        max_duration_ns: time limit from the first observation [ns]; 0 takes the default.
        seed: for whatever is random in the policy.
    """

    prompt: str = ""
    max_duration_ns: int = 0
    seed: int = 0


@dataclass(frozen=True)
class RunResult:
    """How a run ended.

    Attributes:
        run_id: id that its chunks carried.
        outcome: how it ended.
        message: why.
        duration_ns: first observation to end [ns]; 0 without one.
        chunks: chunks published.
    """

    run_id: str
    outcome: Outcome
    message: str
    duration_ns: int
    chunks: int


@dataclass(frozen=True)
class ControllerReport:
    """What the arm controller says.

    Attributes:
        stamp_ns: when it said so, ROS time [ns].
        state: what it does.
        reason: why.
        run_id: policy run in force; empty when there is none.
        rejections: chunks refused since its activation.
        last_rejection: why the last one was refused.
        chunk_id: newest chunk in force; 0 when there is none.
        chunk_delay_ns: by how much its rows are late, since limits slow the arms down [ns].
    """

    stamp_ns: int
    state: State
    reason: str = ""
    run_id: str = ""
    rejections: int = 0
    last_rejection: str = ""
    chunk_id: int = 0
    chunk_delay_ns: int = 0


@dataclass(frozen=True)
class Latency:
    """How long the last inference and its chunk took; NaN before the first [s].

    Attributes:
        inference_s: the policy alone.
        chunk_s: oldest picture's stamp (the joint state's without pictures) to publication.
        overhead_s: the same without the policy.
    """

    inference_s: float = math.nan
    chunk_s: float = math.nan
    overhead_s: float = math.nan


@dataclass(frozen=True)
class RunnerStatus:
    """What the runner does and how it does.

    Attributes:
        state: what it does.
        reason: why; empty when there is nothing to say.
        missing: inputs that stand in the way of an observation.
        prompt: instruction of the run, or the default.
        run_id: run under way; empty when there is none.
        elapsed_ns: since the run's first observation [ns].
        chunk_id: last chunk of the run; 0 before the first.
        chunks_published: since it was enabled.
        inference_failures: since it was enabled.
        latency: of the last inference.
        latency_p50_s: median of recent inferences [s].
        latency_p95_s: 95th percentile of recent inferences [s].
        execution: how inference and motion go together at present.
        pauses: times a run was paused since it was enabled.
        late_answers: answers of which every row was past, since it was enabled.
        expected_delay_s: expected time from an observation to its chunk's execution [s]; NaN
            before the first.
        advice: settings that cannot do what they say.
        backend_problem: why the backend cannot be asked, ``PREPARING`` while it only needs time;
            empty when it can.
    """

    state: PolicyState
    reason: str
    missing: tuple[str, ...]
    prompt: str
    run_id: str
    elapsed_ns: int
    chunk_id: int
    chunks_published: int
    inference_failures: int
    latency: Latency
    latency_p50_s: float
    latency_p95_s: float
    execution: Execution
    pauses: int
    late_answers: int
    expected_delay_s: float
    advice: tuple[str, ...]
    backend_problem: str = ""
