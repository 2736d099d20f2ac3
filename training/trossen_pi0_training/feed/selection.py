"""Where a data set lies, and which of its episodes are trained on."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trossen_pi0_training import layout
from trossen_pi0_training.config.fields import DataConfig, TrainConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.dataset import LeRobotFrames
from trossen_pi0_training.errors import TrainingError

_SEED = 0
"""Of the episodes held out: the same ones in every training, so that runs can be compared."""


@dataclass(frozen=True)
class Selection:
    """Numbers of episodes, ascending.

    Attributes:
        train: whose frames are trained on.
        val: held out.
        left_out: excluded, or of outcomes that are not wanted.
    """

    train: tuple[int, ...]
    val: tuple[int, ...]
    left_out: tuple[int, ...]


def dataset_folder(data: DataConfig) -> Path:
    """The data set's folder.

    Raises:
        TrainingError: it is not there.
    """
    home = os.environ.get("HF_LEROBOT_HOME") or Path.home() / ".cache" / "huggingface" / "lerobot"
    folder = data.root if data.root is not None else Path(home) / data.repo_id
    if not folder.is_dir():
        raise TrainingError(
            f"data set {data.repo_id!r}: there is no folder {folder}; convert episodes with "
            f"trossen_pi0_training.convert, or download one with "
            f"`hf download {data.repo_id} --repo-type dataset --local-dir {folder}`; "
            "--data.root names another folder"
        )
    return folder


def open_dataset(data: DataConfig) -> LeRobotFrames:
    """The data set of a config.

    Raises:
        TrainingError: it is not there.
        DatasetError: it is damaged, or lacks a joint or camera.
    """
    return LeRobotFrames(
        dataset_folder(data), data.joints, data.cameras, without=data.exclude_episodes
    )


def select_episodes(frames: LeRobotFrames, data: DataConfig) -> Selection:
    """Which episodes are trained on and which are held out.

    Splits of the data set named ``train`` and ``val`` count; without ``val`` a share of the
    episodes, ``val_fraction``, is held out, chosen with a fixed seed.

    Raises:
        TrainingError: none is left to train on, or one that is excluded is not there.
        DatasetError: what the data set says of outcomes is damaged.
    """
    outcomes = frames.outcomes
    numbers = [episode.index for episode in frames.episodes if episode.length]
    excluded = set(data.exclude_episodes)
    if strange := sorted(excluded - {episode.index for episode in frames.episodes}):
        raise TrainingError(
            f"exclude_episodes must be numbers of episodes of {frames.root}, 0 to "
            f"{len(frames.episodes) - 1}, got {strange}"
        )
    wanted = [
        n for n in numbers if n not in excluded and outcomes.get(n, "unknown") in data.outcomes
    ]
    left_out = tuple(n for n in numbers if n not in set(wanted))
    splits = frames.splits
    if "val" in splits:
        held = set(splits["val"])
        trained = set(splits.get("train", numbers)) - held
    else:
        count = round(data.val_fraction * len(wanted))
        if data.val_fraction and len(wanted) > 1:
            count = min(max(count, 1), len(wanted) - 1)
        chosen = np.random.default_rng(_SEED).permutation(len(wanted))[:count]
        held = {wanted[i] for i in chosen}
        trained = set(numbers) - held
    train = tuple(n for n in wanted if n in trained)
    if not train:
        raise TrainingError(
            f"{frames.root} has no episode to train on: {len(numbers)} with frames, of which "
            f"{len(left_out)} are excluded or have outcomes other than {list(data.outcomes)} and "
            f"{len(held)} are held out"
        )
    return Selection(train, tuple(n for n in wanted if n in held), left_out)


def example_frames(frames: LeRobotFrames, episode: int, config: TrainConfig) -> range:
    """Numbers in the data set of an episode's frames that are examples.

    Of one that is cut these are the frames whose whole chunk is there.
    """
    span = frames.episodes[episode]
    cut = frames.outcomes.get(episode) == layout.CUT
    missing = model_config(config).action_horizon - 1 if cut else 0
    return range(span.first, span.first + span.length - missing, config.data.frame_step)
