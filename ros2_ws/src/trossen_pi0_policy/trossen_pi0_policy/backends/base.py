"""What a policy backend is."""

from __future__ import annotations

import contextlib
import enum
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import ActionPrefix, Observation
from trossen_pi0_core.errors import BackendUnavailableError
from trossen_pi0_core.parameters import PolicyParameters

_ATTEMPTS = 3


@dataclass(frozen=True)
class InferenceRequest:
    """One question to a policy.

    Attributes:
        observation: what the policy sees.
        period_ns: time between the rows of the answer [ns].
        prefix: what the arms follow meanwhile, its first row due with the answer's first row; None:
            the answer need not agree with anything. Only for backends with ``prefix_support``.
    """

    observation: Observation
    period_ns: int
    prefix: ActionPrefix | None = None


@dataclass(frozen=True)
class Inference:
    """One answer of a policy.

    Attributes:
        positions: joint targets, float64, shape (horizon >= 1, joints), in the joint order of the
            observation [rad; m for carriages].
        first_due_ns: when row 0 is due, after the observation's stamp [ns].
        done: the task ends with these rows.
        committed_rows: so many first rows agree with the prefix of the request.
        preparation_ns: part of the call that turned the observation into the policy's input [ns];
            it counts as the suite's own latency, the rest as the policy's.
    """

    positions: NDArray[np.float64]
    first_due_ns: int = 0
    done: bool = False
    committed_rows: int = 0
    preparation_ns: int = 0


@dataclass(frozen=True)
class GroundTruth:
    """True state of the simulated object, for the scripted expert only.

    Attributes:
        stamp_ns: ROS time [ns].
        object_pose: centre in the world frame, shape (7,): x, y, z [m], quaternion w, x, y, z.
        object_half_size: half edge lengths along its own axes, shape (3,) [m].
    """

    stamp_ns: int
    object_pose: NDArray[np.float64]
    object_half_size: NDArray[np.float64]


class LatestGroundTruth:
    """Hands the newest ground truth from the thread that receives it to the one that plans."""

    def __init__(self) -> None:
        self._value: GroundTruth | None = None

    def set(self, value: GroundTruth) -> None:
        """Takes a new one. Any thread."""
        self._value = value

    def get(self) -> GroundTruth | None:
        """The newest one, if any has come. Any thread."""
        return self._value


@dataclass(frozen=True)
class BackendContext:
    """What a backend is made from.

    Attributes:
        parameters: parameters of the node.
        ground_truth: filled only for backends with ``needs_ground_truth``.
        clock_ns: monotonic clock for measuring durations [ns].
    """

    parameters: PolicyParameters
    ground_truth: LatestGroundTruth = field(default_factory=LatestGroundTruth)
    clock_ns: Callable[[], int] = time.perf_counter_ns


class PrefixSupport(enum.Enum):
    """What a policy makes of the prefix of a request."""

    NONE = "none"
    """It cannot take one."""
    GUIDED = "guided"
    """It is guided to agree with it (real-time chunking, arXiv 2506.07339)."""
    CONDITIONED = "conditioned"
    """It was trained with clean prefixes (arXiv 2512.05964)."""


def told_prefix_support(metadata: Mapping[str, Any]) -> PrefixSupport:
    """What a policy's metadata says that it makes of prefixes; NONE if it says nothing known."""
    told = metadata.get("rtc")
    known = {each.value: each for each in PrefixSupport}
    return known.get(told, PrefixSupport.NONE) if isinstance(told, str) else PrefixSupport.NONE


class PolicyBackend(Protocol):
    """A policy. All calls but ``interrupt`` come from one thread at a time, never together.

    Every call ends within a bounded time. After a failed call ``prepare`` is called again before
    the next one.

    Attributes:
        needs_ground_truth: the node shall subscribe to the simulation's ground truth. False for
            every learned policy: none may see it.
        prefix_support: what it makes of a request's prefix; known after ``prepare``. Any thread
            may read it.
    """

    needs_ground_truth: bool
    prefix_support: PrefixSupport = PrefixSupport.NONE

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What a learned policy says of itself, known after ``prepare``; else empty."""
        return {}

    def prepare(self) -> None:
        """Makes the backend ready: connects, compiles, warms up. Does nothing when it is ready.

        Raises:
            BackendUnavailableError: not now; trying again may help.
            BackendError: it cannot be made ready as things are.
        """
        ...

    def begin_run(self, prompt: str, seed: int) -> None:
        """Forgets the run before.

        Args:
            prompt: instruction of the first observation; each observation brings its own.
            seed: for whatever is random in the policy.

        Raises:
            BackendError: the run cannot begin.
        """
        ...

    def infer(self, request: InferenceRequest) -> Inference:
        """Plans from one observation.

        Raises:
            BackendUnavailableError: no answer this time; trying again may help.
            BackendError: no answer, or one that makes no sense.
        """
        ...

    def interrupt(self) -> None:
        """Makes a call under way return or raise soon, if that is possible. Any thread. Final."""
        ...

    def close(self) -> None:
        """Releases everything. The last call; may be called without ``prepare``."""
        ...


def asked_again(backend: PolicyBackend, ask: Callable[[], Inference]) -> Inference:
    """An answer, for commands that can wait: where there is none now, it is asked for again.

    Args:
        backend: made ready before each attempt.
        ask: asks it.

    Raises:
        BackendUnavailableError: no answer to the last attempt.
        BackendError: it cannot be made ready, or its answer makes no sense.
    """
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(BackendUnavailableError):
            backend.prepare()
            return ask()
    backend.prepare()
    return ask()
