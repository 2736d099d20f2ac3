"""A policy for the bench: the arms go round and round, at a known speed and by one of three ways.

It sees nothing but the state, like a policy that was trained on such laps, and is asked over the
websocket like any other. Its chunks are drawn from a known distribution (``Mixture``): each takes
one of three ways anew, with smooth noise, so that chunks disagree as those of π0 do where several
ways are good. Prefixes guide it by π0's own code.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_bringup.execution_bench.mixture import Mixture
from trossen_pi0_core.errors import ObservationError
from trossen_pi0_core.joints import JOINTS_PER_ARM
from trossen_pi0_policy.pi0.guidance import prefix_weights
from trossen_pi0_sim.expert import STAGED

Array = NDArray[np.float64]

HORIZON = 50
"""Rows of a chunk, as π0's."""

LAP_ROWS = 150
"""Rows of a lap: 5 s at 30 rows a second."""

_RADIUS_RAD = 0.25
_WAYS = (0.4, 1.0, 1.6)
_NOISE_RAD = 0.008
_NOISE_LENGTH_ROWS = 6.0
_SCALE = np.tile([*(0.4,) * 6, 0.015], 2)
# What the arms measure is behind what they were told, and a policy that learned from such data says
# what comes next.
_LEAD_ROWS = 2.0
# A chunk begins where the arms are and has come to its way after so many rows.
_APPROACH_ROWS = 12
_CARRIAGES = np.array([JOINTS_PER_ARM - 1, 2 * JOINTS_PER_ARM - 1])
# The two joints of each arm that go round: the base and the wrist's pitch.
_COSINE, _SINE = (np.array([j, j + JOINTS_PER_ARM]) for j in (0, 3))


@dataclass(frozen=True)
class Answering:
    """How long the policy takes.

    Attributes:
        usual_s: an inference [s].
        slow_s: every ``slow_every``-th one [s].
        slow_every: 0: none is slow.
    """

    usual_s: float = 0.1
    slow_s: float = 0.0
    slow_every: int = 0

    def latency_s(self, number: int) -> float:
        """Latency of one inference [s]; numbers count from 0."""
        slow = self.slow_every and number % self.slow_every == self.slow_every - 1
        return self.slow_s if slow else self.usual_s


@dataclass(frozen=True)
class _Question:
    state: Array
    prefix: Array | None
    frozen: int


class LapPolicy:
    """Behind a ``PolicyServer``. ``answering`` may be set by any thread, and begins it anew."""

    metadata: Mapping[str, Any] = {"rtc": "guided"}
    max_batch = 1

    def __init__(self, seed: int) -> None:
        """``seed`` decides on ways and noise."""
        self._seed = seed
        self._rng = np.random.default_rng(seed)
        self._lock = threading.Lock()
        self._answering = Answering()
        self._number = 0

    @property
    def answering(self) -> Answering:
        """How long it takes."""
        return self._answering

    @answering.setter
    def answering(self, value: Answering) -> None:
        with self._lock:
            self._answering, self._number = value, 0
            self._rng = np.random.default_rng(self._seed)

    def prepare(self, request: Mapping[str, Any]) -> _Question:
        """Takes the state, and what the chunk shall agree with if there is something.

        Raises:
            ObservationError: a state of another shape.
        """
        state = np.asarray(request.get("state"), dtype=np.float64)
        if state.shape != STAGED.shape:
            raise ObservationError(f"state: need shape {STAGED.shape}, got {state.shape}")
        rtc = request.get("rtc")
        if rtc is None:
            return _Question(state, None, 0)
        return _Question(state, np.asarray(rtc["prefix"], dtype=np.float64), int(rtc["frozen"]))

    def infer(self, prepared: Sequence[_Question]) -> list[dict[str, Any]]:
        """Plans a chunk for each, and takes its time."""
        return [self._answer(question) for question in prepared]

    def _answer(self, question: _Question) -> dict[str, Any]:
        began_s = time.monotonic()
        with self._lock:
            latency_s = self._answering.latency_s(self._number)
            self._number += 1
            rows, committed = self._plan(question)
        time.sleep(max(0.0, began_s + latency_s - time.monotonic()))
        return {
            "actions": rows.astype(np.float32),
            "committed_rows": committed,
            "policy_timing": {"infer_ms": (time.monotonic() - began_s) * 1e3},
        }

    def _plan(self, question: _Question) -> tuple[Array, int]:
        """A chunk, shape (rows, joints) [rad; m]; how many of its rows agree with the prefix."""
        mixture = _distribution(question.state)
        noise = self._rng.standard_normal(mixture.variances.shape)
        target, agreement, committed = np.zeros((HORIZON, len(STAGED))), np.zeros(HORIZON), 0
        if question.prefix is not None:
            rows = min(len(question.prefix), HORIZON)
            committed = min(question.frozen, rows)
            target[:rows] = (question.prefix[:rows] - STAGED) / _SCALE
            agreement = np.asarray(prefix_weights(committed, rows, HORIZON))
        plan = STAGED + mixture.sample(noise, target, agreement) * _SCALE
        plan[:, _CARRIAGES] = STAGED[_CARRIAGES]  # the flow leaves them a rounding error away
        return plan, committed


def phase(positions: Array) -> Array:
    """Where on the lap the arms are [rad], from positions of shape (..., 14)."""
    away = positions - STAGED
    return np.arctan2(away[..., _SINE].sum(axis=-1), away[..., _COSINE].sum(axis=-1))


def on_lap(phases: Array, way: float = 1.0) -> Array:
    """Positions at phases of shape (n,), shape (n, 14) [rad; m]."""
    rows = np.tile(STAGED, (len(phases), 1))
    rows[:, _COSINE] += way * _RADIUS_RAD * np.cos(phases)[:, None]
    rows[:, _SINE] += way * _RADIUS_RAD * np.sin(phases)[:, None]
    return rows


def _distribution(state: Array) -> Mixture:
    """Of the chunks from one state, normalised."""
    here = float(phase(state))
    step = 2.0 * math.pi / LAP_ROWS
    phases: Array = here + step * (_LEAD_ROWS + np.arange(HORIZON, dtype=np.float64))
    part = np.clip(np.arange(HORIZON) / _APPROACH_ROWS, 0.0, 1.0)
    remaining = (1.0 - part * part * (3.0 - 2.0 * part))[:, None]
    means = np.array(
        [
            on_lap(phases, way) + remaining * (state - on_lap(np.array([here]), way)[0])
            for way in _WAYS
        ]
    )
    spread = np.full((HORIZON, len(STAGED)), _NOISE_RAD) / _SCALE
    spread[:, _CARRIAGES] = 0.0
    weights = np.full(len(_WAYS), 1.0 / len(_WAYS))
    return Mixture.smooth((means - STAGED) / _SCALE, weights, spread, _NOISE_LENGTH_ROWS)
