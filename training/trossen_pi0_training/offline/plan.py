"""What is evaluated: which episodes, and by which range of motion errors are measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import DatasetError, TrossenPi0Error
from trossen_pi0_data.bag_reader import list_episodes
from trossen_pi0_training.offline.options import Options
from trossen_pi0_training.offline.sources import (
    JOINTS,
    DatasetSource,
    RecordedSource,
    Source,
    open_dataset,
)
from trossen_pi0_training.survey import is_gripper

GRIPPERS = tuple(i for i, name in enumerate(JOINTS.dataset_names) if is_gripper(name))
"""Columns of the gripper carriages."""

_LEAST_RANGE = np.array([0.002 if is_gripper(name) else 0.02 for name in JOINTS.dataset_names])
_LEAST_GRIP_M = 0.005


@dataclass(frozen=True)
class Motion:
    """The range of the recorded commands.

    Attributes:
        low: 1st percentile of each joint, shape (joints,) [rad; m for carriages].
        high: 99th percentile, likewise.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    @classmethod
    def of(cls, commands: Sequence[NDArray[np.floating]]) -> Motion:
        """Of commands, each of shape (n, joints).

        Raises:
            DatasetError: no joint moves.
        """
        low, high = np.quantile(np.concatenate(commands), (0.01, 0.99), axis=0)
        motion = cls(low, high)
        if not np.isfinite(motion.scale).any():
            raise DatasetError("no joint moves in any of the episodes: there is nothing to judge")
        return motion

    @property
    def scale(self) -> NDArray[np.float64]:
        """By which errors are divided, shape (joints,); NaN for joints that rest."""
        size = self.high - self.low
        return np.where(size >= _LEAST_RANGE, size, np.nan)

    @property
    def grip_middle(self) -> NDArray[np.float64]:
        """Between open and closed, shape (grippers,) [m]; NaN for grippers that rest."""
        columns = list(GRIPPERS)
        middle = 0.5 * (self.low + self.high)[columns]
        return np.where((self.high - self.low)[columns] >= _LEAST_GRIP_M, middle, np.nan)


@dataclass(frozen=True)
class Planned:
    """An episode to evaluate.

    Attributes:
        name: of the episode, different from all others.
        prompt: instruction.
        outcome: success, failure or unknown.
        expected: about how many frames there are.
        open: opens it anew.
    """

    name: str
    prompt: str
    outcome: str
    expected: int
    open: Callable[[], Source]


@dataclass(frozen=True)
class Plan:
    """What is evaluated.

    Attributes:
        episodes: in order.
        left_out: name of each other -> why.
        cameras: that the policy sees.
        motion: of all episodes together.
    """

    episodes: tuple[Planned, ...]
    left_out: dict[str, str]
    cameras: tuple[str, ...]
    motion: Motion


def make_plan(options: Options) -> Plan:
    """Opens every episode once, without looking at its pictures.

    Raises:
        DatasetError: with ``strict``, the first one that cannot be used; or none can be.
        EpisodeError: a folder has no episodes.
    """
    cameras, found = options.cameras, []
    left_out: dict[str, str] = {}
    commands: list[NDArray[np.float32]] = []
    for name, opener in _candidates(options, left_out):
        if options.episodes_limit and len(found) == options.episodes_limit:
            break
        try:
            source = opener(cameras)
        except (TrossenPi0Error, OSError) as error:
            left_out[name] = str(error)
            _refuse_if_strict(options, left_out)
            continue
        cameras = cameras or source.cameras
        reopen = partial(opener, cameras)
        found.append(Planned(name, source.prompt, source.outcome, source.expected, reopen))
        commands.append(source.commands().astype(np.float32))
    if not found:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise DatasetError(f"no episode can be evaluated: {why}")
    return Plan(tuple(found), left_out, cameras, Motion.of(commands))


_Opener = Callable[[Sequence[str]], Source]


def _candidates(options: Options, left_out: dict[str, str]) -> Iterator[tuple[str, _Opener]]:
    folders = [folder for root in options.episodes for folder in list_episodes(root)]
    names = [folder.resolve().name for folder in folders]
    counts = Counter(names)
    for name, folder in zip(names, folders, strict=True):

        def recorded(cameras: Sequence[str], folder: Path = folder) -> Source:
            return RecordedSource(folder, options.rate_hz, cameras, options.prompt)

        yield (name if counts[name] == 1 else str(folder)), recorded
    for root in options.datasets:
        try:
            data = open_dataset(root, options.rate_hz, options.cameras)
        except (TrossenPi0Error, OSError) as error:
            left_out[str(root)] = str(error)
            _refuse_if_strict(options, left_out)
            continue
        for span in data.frames.episodes:

            def of_set(cameras: Sequence[str], span=span, data=data) -> Source:
                return DatasetSource(data, span, cameras, options.prompt)

            yield f"{root}/{span.index}", of_set


def _refuse_if_strict(options: Options, left_out: dict[str, str]) -> None:
    if options.strict:
        name, why = next(reversed(left_out.items()))
        raise DatasetError(f"{name}: {why}")
