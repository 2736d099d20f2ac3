"""Moments at which the policy was asked, and the worst of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_training.offline.metrics import Recorded


@dataclass(frozen=True)
class Moment:
    """A moment, judged.

    Attributes:
        episode: its name.
        prompt: instruction.
        frame: index in the episode.
        time_s: since the episode began [s].
        error: of the policy, mean over its chunks; 1 is the joints' whole range.
        hold_error: of arms that stay where they are.
        joint_errors: of each joint over the judged rows, shape (joints,) [rad; m for carriages].
        state: measured positions, shape (joints,) [rad; m for carriages].
        chunks: of the policy, shape (samples, horizon, joints) [rad; m for carriages].
        recorded: what was commanded instead.
        before: actions of the frames before, oldest first, shape (n, joints); NaN where none was.
        pictures: camera -> data URI.
    """

    episode: str
    prompt: str
    frame: int
    time_s: float
    error: float
    hold_error: float
    joint_errors: NDArray[np.float64]
    state: NDArray[np.float64]
    chunks: NDArray[np.float64]
    recorded: Recorded
    before: NDArray[np.float64]
    pictures: Mapping[str, str]


class WorstMoments:
    """Keeps the worst moments, of which no two are of the same chunk's time."""

    def __init__(self, limit: int) -> None:
        """Keeps so many at most."""
        self._limit = limit
        self._kept: list[Moment] = []

    def add(self, moment: Moment) -> None:
        """Takes a moment if it is worse than one that is kept.

        Moments with less than half of their rows judged are left out: there is little to see.
        """
        horizon = len(moment.recorded.valid)
        if 2 * int(moment.recorded.valid.sum()) < horizon:
            return
        near = [
            each
            for each in self._kept
            if each.episode == moment.episode and abs(each.frame - moment.frame) < horizon
        ]
        if any(each.error >= moment.error for each in near):
            return
        kept = [each for each in self._kept if all(each is not other for other in near)]
        kept.append(moment)
        kept.sort(key=lambda each: (-each.error, each.episode, each.frame))
        self._kept = kept[: self._limit]

    def merge(self, other: WorstMoments) -> None:
        """Takes those that another one has kept."""
        for moment in other.moments:
            self.add(moment)

    @property
    def moments(self) -> tuple[Moment, ...]:
        """The worst first."""
        return tuple(self._kept)
