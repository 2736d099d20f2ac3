"""What predicts: the policy, and two ways that know nothing, so that its errors mean something."""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import NANOSECONDS, Observation
from trossen_pi0_core.errors import BackendError, TrossenPi0Error
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_policy.backends import (
    BackendContext,
    Inference,
    InferenceRequest,
    PolicyBackend,
    make_backend,
)
from trossen_pi0_policy.backends.base import asked_again
from trossen_pi0_training.offline.options import Options

_VELOCITY_FRAMES = 3


class AskedPolicy:
    """The policy as the node runs it: the same backend, fed with recorded observations.

    Attributes:
        answer_ms: time of each answer, from observation to rows [ms].
        preparation_ms: part of it before the policy's own [ms].
        ready_s: loading, compiling and the trial answer [s].
        metadata: what the policy says of itself.
    """

    def __init__(self, backend: PolicyBackend, rate_hz: float, samples: int, seed: int) -> None:
        """Args:
        backend: not yet ready.
        rate_hz: rows a second [Hz].
        samples: chunks for each moment.
        seed: of the noise; each chunk has its own, which depends on the episode's name and the
            frame too, not on what was asked before.

        Raises:
            BackendError: it cannot be made ready.
        """
        self.answer_ms: list[float] = []
        self.preparation_ms: list[float] = []
        self._backend, self._samples, self._seed = backend, samples, seed
        self._period_ns = round(NANOSECONDS / rate_hz)
        begun_s = time.perf_counter()
        backend.prepare()
        self.ready_s = time.perf_counter() - begun_s
        self.metadata = dict(backend.metadata)
        self._rows = 0

    def chunks(self, episode: str, frame: int, seen: Observation) -> NDArray[np.float64]:
        """Asks for the chunks of a moment.

        Args:
            episode: its name.
            frame: its index.
            seen: what the policy sees.

        Returns:
            Shape (samples, horizon, joints) [rad; m for carriages], the same horizon each time.

        Raises:
            BackendError: no answer, or one that makes no sense.
        """
        asked = range(self._samples)
        return np.stack([self._answer(seed_of(self._seed, episode, frame, i), seen) for i in asked])

    def _answer(self, seed: int, seen: Observation) -> NDArray[np.float64]:
        begun_s = 0.0

        def ask() -> Inference:
            nonlocal begun_s
            self._backend.begin_run(seen.prompt, seed)
            begun_s = time.perf_counter()
            return self._backend.infer(InferenceRequest(seen, self._period_ns))

        try:
            answer = asked_again(self._backend, ask)
        except BackendError:
            raise
        except TrossenPi0Error as error:
            raise BackendError(f"the policy does not take the observation: {error}") from error
        self.answer_ms.append((time.perf_counter() - begun_s) * 1e3)
        self.preparation_ms.append(answer.preparation_ns / 1e6)
        self._rows = self._rows or len(answer.positions)
        if len(answer.positions) != self._rows:
            raise BackendError(
                f"the policy's chunks must have one length, got {len(answer.positions)} rows after "
                f"{self._rows}"
            )
        return answer.positions

    def close(self) -> None:
        """Releases the policy."""
        self._backend.close()


def open_policy(options: Options, cameras: Sequence[str], prompt: str) -> AskedPolicy:
    """Makes the policy ready.

    Args:
        options: which, and how.
        cameras: that it will see.
        prompt: of the trial observation.

    Raises:
        BackendError: there is none, it cannot be reached, or does not fit arms or cameras.
        ParameterError: options that a policy does not have.
    """
    common = PolicyParameters(cameras=tuple(cameras), prompt=prompt, control_rate=options.rate_hz)
    parameters = options.parameters(common)
    backend = make_backend(parameters.backend, BackendContext(parameters))
    with contextlib.ExitStack() as stack:
        stack.callback(backend.close)
        policy = AskedPolicy(backend, options.rate_hz, options.samples, options.seed)
        stack.pop_all()
    return policy


def seed_of(seed: int, episode: str, frame: int, sample: int) -> int:
    """Seed of one chunk's noise, from 0 to 2**31 - 1."""
    words = [seed, zlib.crc32(episode.encode()), frame, sample]
    return int(np.random.SeedSequence(words).generate_state(1)[0]) & 0x7FFFFFFF


def hold(state: NDArray[np.float64], horizon: int) -> NDArray[np.float64]:
    """The arms stay where they are, shape (horizon, joints)."""
    return np.tile(state, (horizon, 1))


def constant_velocity(
    before: Sequence[NDArray[np.float64] | None], state: NDArray[np.float64], horizon: int
) -> NDArray[np.float64]:
    """The last command goes on as it moved over 0.1 s of 30 Hz, shape (horizon, joints).

    Args:
        before: actions of the frames before, the nearest first; None where there is none.
        state: measured positions, for the beginning of an episode, shape (joints,).
        horizon: rows.
    """
    last = before[0] if before else None
    if last is None:
        return hold(state, horizon)
    earlier = before[_VELOCITY_FRAMES] if len(before) > _VELOCITY_FRAMES else None
    step = np.zeros_like(last) if earlier is None else (last - earlier) / _VELOCITY_FRAMES
    return last + np.arange(1, horizon + 1)[:, None] * step


def frames_before() -> int:
    """So many frames before the moment ``constant_velocity`` looks at."""
    return _VELOCITY_FRAMES + 1
