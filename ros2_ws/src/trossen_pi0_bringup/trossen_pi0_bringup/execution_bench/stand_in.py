"""Policies that stand in for a trained one: the expert with noise, by one way or by several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_bringup.execution_bench.mixture import Mixture
from trossen_pi0_bringup.execution_bench.ways import Ways
from trossen_pi0_core.contract import NANOSECONDS
from trossen_pi0_core.joints import JOINTS_PER_ARM
from trossen_pi0_policy.backends.base import Inference, InferenceRequest, PrefixSupport
from trossen_pi0_policy.pi0.guidance import prefix_weights
from trossen_pi0_sim.expert import STAGED, HandoverExpert
from trossen_pi0_sim.tasks import episode_rng

Array = NDArray[np.float64]

HORIZON = 50
"""Rows of a chunk, as π0's."""

MOVED_M = 0.005
"""The handover is planned anew when the object has moved further than this before the grasp [m]."""

_REPLAN_LEAD_S = 0.1
# What is normalised away, as a data set's statistics would [rad; m for carriages].
_CENTRE = STAGED
_SCALE = np.tile([*(0.4,) * 6, 0.015], 2)
# Noise of a chunk in the free stretches and next to the object [rad]; carriages have none.
_NOISE_RAD = 0.012
_NOISE_AT_OBJECT = 0.25
_NOISE_LENGTH_ROWS = 6.0
# A chunk begins where the arms are and has come to its way after so long.
_APPROACH_S = 0.4
_NOISE_STREAM = 2


@dataclass(frozen=True)
class Kind:
    """One sort of stand-in.

    Attributes:
        name: for the table.
        ways: how many detours each of its modes makes; all are equally likely.
        variant: scenario that it is tried in.
        text: one line about it.
    """

    name: str
    ways: tuple[float, ...]
    variant: str
    text: str


KINDS = {
    kind.name: kind
    for kind in (
        Kind("expert", (0.0,), "disturbance", "one way, with noise; the object is pushed aside"),
        Kind("multimodal", (-1.0, 0.0, 1.0), "red_cube", "three ways, drawn anew in each chunk"),
    )
}
"""The stand-ins by name."""


@dataclass(frozen=True)
class Sight:
    """What a stand-in knows at the stamp of an observation besides what the arms measure.

    Attributes:
        command: last commanded positions, shape (14,) [rad; m for carriages].
        followed_stamp_ns: stamp of the observation behind the chunk that the arms follow, ROS time
            [ns]; None before the first.
        followed_s: how far along that chunk they have been led [s].
        object_pose: shape (7,): position [m], quaternion w x y z.
        object_half_size: half edge lengths [m].
    """

    command: Array
    followed_stamp_ns: int | None
    followed_s: float
    object_pose: Array
    object_half_size: tuple[float, float, float]


@dataclass(frozen=True)
class _Place:
    """A time along the ways."""

    ways: Ways
    at_s: float


class StandIn:
    """Plans from the true state of the object and of the commands, at each inference.

    A chunk begins where the commands are, comes to one of the ways within ``_APPROACH_S``, and
    follows it with smooth noise. Which way, is drawn anew each time, as a policy does that has seen
    several. It is a flow policy (see ``Mixture``), so it can be guided.
    """

    prefix_support = PrefixSupport.GUIDED

    def __init__(self, kind: Kind, expert: HandoverExpert) -> None:
        self._kind = kind
        self._expert = expert
        self._weights = np.full(len(kind.ways), 1.0 / len(kind.ways))
        self.begin(0)

    def begin(self, seed: int) -> None:
        """Forgets the episode before; ``seed`` decides on all that is random."""
        self._rng = episode_rng(seed, _NOISE_STREAM)
        self._handed_out: dict[int, _Place] = {}

    def infer(self, request: InferenceRequest, sight: Sight) -> Inference:
        """Plans from one observation."""
        stamp_ns = request.observation.stamp_ns
        place = self._place(sight)
        self._handed_out[stamp_ns] = place
        period_s = request.period_ns / NANOSECONDS
        mixture = self._mixture(place, sight.command, period_s)
        noise = self._rng.standard_normal(mixture.variances.shape)
        target, agreement = np.zeros((HORIZON, len(_SCALE))), np.zeros(HORIZON)
        prefix, committed = request.prefix, 0
        if prefix is not None:
            rows = min(len(prefix.positions), HORIZON)
            committed = min(prefix.frozen, rows)
            target[:rows] = (prefix.positions[:rows] - _CENTRE) / _SCALE
            agreement = np.asarray(prefix_weights(committed, rows, HORIZON))
        positions = _CENTRE + mixture.sample(noise, target, agreement) * _SCALE
        done = place.at_s >= place.ways.plan.duration_s
        return Inference(positions, done=done, committed_rows=committed)

    def _place(self, sight: Sight) -> _Place:
        """Where along the ways the arms are; the object may ask for a new plan."""
        followed = self._handed_out.get(sight.followed_stamp_ns or 0)
        if followed is None:
            return _Place(self._planned(sight, None), 0.0)
        plan = followed.ways.plan
        at_s = min(followed.at_s + sight.followed_s, plan.duration_s)
        offset = sight.object_pose[:3] - plan.object_pose[:3]
        if at_s < plan.grasp_time_s - _REPLAN_LEAD_S and np.linalg.norm(offset) > MOVED_M:
            return _Place(self._planned(sight, plan.velocity(at_s)[0]), 0.0)
        return _Place(followed.ways, at_s)

    def _planned(self, sight: Sight, velocity: Array | None) -> Ways:
        plan = self._expert.plan(sight.command, sight.object_pose, sight.object_half_size, velocity)
        return Ways(plan)

    def _mixture(self, place: _Place, command: Array, period_s: float) -> Mixture:
        """The distribution of chunks from one place."""
        times = place.at_s + np.arange(HORIZON) * period_s
        straight, detour = place.ways.straight(times), place.ways.detour(times)
        paths = np.array([straight + way * detour for way in self._kind.ways])
        part = np.clip(np.arange(HORIZON) * period_s / _APPROACH_S, 0.0, 1.0)
        remaining = 1.0 - part * part * (3.0 - 2.0 * part)
        offset = command - paths[:, 0]
        offset[:, JOINTS_PER_ARM - 1 :: JOINTS_PER_ARM] = 0.0
        means = paths + remaining[:, None] * offset[:, None]
        freedom = place.ways.freedom(times)
        noise = _NOISE_RAD * (_NOISE_AT_OBJECT + (1.0 - _NOISE_AT_OBJECT) * freedom)
        spread = noise[:, None] / _SCALE
        spread[:, JOINTS_PER_ARM - 1 :: JOINTS_PER_ARM] = 0.0
        means = (means - _CENTRE) / _SCALE
        return Mixture.smooth(means, self._weights, spread, _NOISE_LENGTH_ROWS)
