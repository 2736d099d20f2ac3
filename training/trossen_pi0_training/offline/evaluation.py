"""Goes through episodes, asks the policy, and judges what it says by what was recorded."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import Observation
from trossen_pi0_core.errors import BackendError, DatasetError, ParameterError, TrossenPi0Error
from trossen_pi0_data.page_parts import jpeg_uri
from trossen_pi0_training.offline.metrics import (
    Errors,
    Grip,
    Jumps,
    Recorded,
    moment_errors,
)
from trossen_pi0_training.offline.moments import Moment, WorstMoments
from trossen_pi0_training.offline.options import Options
from trossen_pi0_training.offline.plan import GRIPPERS, Motion, Plan, Planned
from trossen_pi0_training.offline.predictors import constant_velocity, frames_before, hold
from trossen_pi0_training.offline.sources import JOINTS, Row

POLICY, BEST, HOLD, VELOCITY = "policy", "policy, best sample", "hold", "constant velocity"
"""The ways to predict, by name."""

_PICTURE = (320, 240)
_SHOWN_BEFORE = 15


class Asked(Protocol):
    """Who is asked for chunks."""

    def chunks(self, episode: str, frame: int, seen: Observation) -> NDArray[np.float64]:
        """Chunks of a moment, shape (samples, rows, joints) [rad; m for carriages]."""
        ...


class Scores:
    """All that is summed up over moments.

    Attributes:
        errors: by the way to predict.
        spread: between the samples of a moment, summed, shape (horizon, joints) [rad; m].
        grips: of each gripper, by its column.
        jumps: of the policy's first rows from the state.
        recorded_jumps: of the recorded actions from the state.
        moments: how many.
    """

    def __init__(self, horizon: int, samples: int) -> None:
        joints = JOINTS.size
        names = (POLICY, *((BEST,) if samples > 1 else ()), HOLD, VELOCITY)
        self.errors = {name: Errors(horizon, joints) for name in names}
        self.spread = np.zeros((horizon, joints))
        self.grips = {column: Grip() for column in GRIPPERS}
        self.jumps, self.recorded_jumps = Jumps(joints), Jumps(joints)
        self.moments = 0

    def merge(self, other: Scores) -> None:
        """Adds what was summed up over other moments."""
        for name, errors in self.errors.items():
            errors.merge(other.errors[name])
        self.spread += other.spread
        for column, grip in self.grips.items():
            grip.merge(other.grips[column])
        self.jumps.merge(other.jumps)
        self.recorded_jumps.merge(other.recorded_jumps)
        self.moments += other.moments


@dataclass
class EpisodeResult:
    """What came of an episode.

    Attributes:
        name: of the episode.
        prompt: instruction.
        outcome: success, failure or unknown.
        frames: that it has.
        missing: that could not be made.
        notes: what is wrong with it.
        scores: of its moments.
        times_s: of the moments [s].
        moment_errors: of the policy at them, normalised.
    """

    name: str
    prompt: str
    outcome: str
    frames: int
    missing: int
    notes: list[str]
    scores: Scores
    times_s: list[float]
    moment_errors: list[float]


@dataclass
class Evaluation:
    """What came of all.

    Attributes:
        plan: what was evaluated.
        horizon: judged rows of a chunk.
        executed: rows that are executed, from the first to before the last.
        scores: of all moments.
        by_prompt: likewise, of each prompt.
        episodes: in order; their scores are of their moments.
        left_out: name of each other episode -> why.
        worst: moments.
    """

    plan: Plan
    horizon: int
    executed: tuple[int, int]
    scores: Scores
    worst: WorstMoments
    by_prompt: dict[str, Scores] = field(default_factory=dict)
    episodes: list[EpisodeResult] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def evaluate(
    plan: Plan,
    policy: Asked,
    options: Options,
    on_moment: Callable[[str], None] = lambda _name: None,
) -> Evaluation:
    """Evaluates a policy.

    Args:
        plan: the episodes.
        policy: ready to be asked.
        options: which moments, and how they are judged.
        on_moment: called with the name of the episode after each inference.

    Raises:
        BackendError: the policy failed.
        ParameterError: more rows shall be judged or executed than a chunk has.
        DatasetError: no episode could be evaluated, or, with ``strict``, not each one.
    """
    found: Evaluation | None = None
    left_out = dict(plan.left_out)
    for planned in plan.episodes:
        walk = _Walk(planned, policy, options, plan.motion, on_moment)
        try:
            result = walk.result()
        except (BackendError, ParameterError):
            raise
        except (TrossenPi0Error, OSError) as error:
            if options.strict:
                raise DatasetError(f"{planned.name}: {error}") from error
            left_out[planned.name] = str(error)
            continue
        if found is None:
            executed = options.executed_rows(walk.horizon)
            scores = Scores(walk.horizon, options.samples)
            found = Evaluation(plan, walk.horizon, executed, scores, WorstMoments(options.worst))
        _collect(found, result, walk, options)
    if found is None:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise DatasetError(f"no episode could be evaluated: {why}")
    found.left_out = left_out
    return found


def stride_of(planned: Planned, options: Options) -> int:
    """Frames between two inferences in an episode, so that there are not too many."""
    if not options.max_frames:
        return options.stride
    return max(options.stride, math.ceil(planned.expected / options.max_frames))


def _collect(found: Evaluation, result: EpisodeResult, walk: _Walk, options: Options) -> None:
    found.episodes.append(result)
    found.scores.merge(result.scores)
    prompt = found.by_prompt.setdefault(result.prompt, Scores(found.horizon, options.samples))
    prompt.merge(result.scores)
    found.worst.merge(walk.worst)


@dataclass(frozen=True)
class _Pending:
    """A moment whose rows are not all recorded yet."""

    frame: int
    time_s: float
    state: NDArray[np.float64]
    action: NDArray[np.float64]
    prompt: str
    chunks: NDArray[np.float64]
    pictures: Mapping[str, str]


class _Walk:
    """One way through an episode. Pictures are let go as soon as a moment is judged."""

    def __init__(
        self,
        planned: Planned,
        policy: Asked,
        options: Options,
        motion: Motion,
        on_moment: Callable[[str], None],
    ) -> None:
        self.horizon = 0
        self.worst = WorstMoments(options.worst)
        self._planned, self._policy, self._options = planned, policy, options
        self._motion, self._on_moment = motion, on_moment
        self._actions: dict[int, NDArray[np.float64]] = {}
        self._pending: deque[_Pending] = deque()
        self._scores: Scores | None = None
        self._times_s: list[float] = []
        self._errors: list[float] = []

    def result(self) -> EpisodeResult:
        """Walks.

        Raises:
            TrossenPi0Error: the episode cannot be read, or has no frames.
        """
        source = self._planned.open()
        stride = stride_of(self._planned, self._options)
        due, frames, asked = 0, 0, 0
        for row in source.rows():
            frames += 1
            self._actions[row.index] = row.action
            most = self._options.max_frames
            if row.fresh and row.index >= due and (not most or asked < most):
                self._ask(row)
                due, asked = row.index + stride, asked + 1
            while self._pending and self._pending[0].frame + self.horizon - 1 <= row.index:
                self._judge(self._pending.popleft())
        while self._pending:
            self._judge(self._pending.popleft())
        notes = source.notes()
        if self._scores is None:
            raise DatasetError("; ".join(["it has no frames", *notes]))
        return EpisodeResult(
            name=self._planned.name,
            prompt=source.prompt,
            outcome=source.outcome,
            frames=frames,
            missing=source.missing(),
            notes=notes,
            scores=self._scores,
            times_s=self._times_s,
            moment_errors=self._errors,
        )

    def _ask(self, row: Row) -> None:
        seen = row.observe()
        chunks = self._policy.chunks(self._planned.name, row.index, seen)
        if self._scores is None:
            self.horizon = self._options.judged_rows(chunks.shape[1])
            self._options.executed_rows(self.horizon)
            self._scores = Scores(self.horizon, len(chunks))
        pictures = seen.images if self._options.worst else {}
        uris = {camera: jpeg_uri(image, _PICTURE) for camera, image in pictures.items()}
        rows = chunks[:, : self.horizon]
        at = (row.index, row.time_s, row.state, row.action)
        self._pending.append(_Pending(*at, seen.prompt, rows, uris))
        self._on_moment(self._planned.name)

    def _judge(self, moment: _Pending) -> None:
        assert self._scores is not None
        scores, state, scale = self._scores, moment.state, self._motion.scale
        recorded = self._recorded(moment.frame)
        before = [self._actions.get(moment.frame - 1 - i) for i in range(frames_before())]
        resting = hold(state, self.horizon)[None]
        going = constant_velocity(before, state, self.horizon)[None]
        errors = moment_errors(moment.chunks, recorded, scale)
        scores.moments += 1
        scores.errors[POLICY].add(moment.chunks, recorded)
        scores.errors[HOLD].add(resting, recorded)
        scores.errors[VELOCITY].add(going, recorded)
        if BEST in scores.errors:
            best = int(np.argmin(errors))
            scores.errors[BEST].add(moment.chunks[best : best + 1], recorded)
            spread = moment.chunks.std(axis=0, ddof=1)
            scores.spread[recorded.valid] += spread[recorded.valid]
        scores.jumps.add(moment.chunks[:, 0], state)
        scores.recorded_jumps.add(moment.action[None], state)
        self._grip(moment.chunks, recorded)
        self._times_s.append(moment.time_s)
        self._errors.append(float(errors.mean()))
        resting_error = float(moment_errors(resting, recorded, scale)[0])
        self._show(moment, recorded, float(errors.mean()), resting_error)

    def _grip(self, chunks: NDArray[np.float64], recorded: Recorded) -> None:
        assert self._scores is not None
        for column, middle in zip(GRIPPERS, self._motion.grip_middle, strict=True):
            if not np.isfinite(middle):
                continue
            real = recorded.actions[recorded.valid, column]
            for chunk in chunks:
                self._scores.grips[column].add(chunk[recorded.valid, column], real, float(middle))

    def _show(self, moment: _Pending, recorded: Recorded, error: float, resting: float) -> None:
        judged = recorded.valid
        sizes = np.abs(moment.chunks - recorded.actions)[:, judged]
        none = np.full(JOINTS.size, np.nan)
        earlier = range(moment.frame - _SHOWN_BEFORE, moment.frame)
        self.worst.add(
            Moment(
                episode=self._planned.name,
                prompt=moment.prompt,
                frame=moment.frame,
                time_s=moment.time_s,
                error=error,
                hold_error=resting,
                joint_errors=sizes.mean(axis=(0, 1)),
                state=moment.state,
                chunks=moment.chunks,
                recorded=recorded,
                before=np.array([self._actions.get(i, none) for i in earlier]),
                pictures=moment.pictures,
            )
        )

    def _recorded(self, first: int) -> Recorded:
        none = np.full(JOINTS.size, np.nan)
        rows = [self._actions.get(i) for i in range(first, first + self.horizon)]
        return Recorded(
            np.array([none if row is None else row for row in rows]),
            np.array([row is not None for row in rows]),
        )
