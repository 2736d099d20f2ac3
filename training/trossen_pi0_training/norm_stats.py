"""Norm stats of a config's data set: ``python -m trossen_pi0_training.norm_stats CONFIG``."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import NormStatsError, TrossenPi0Error
from trossen_pi0_core.transforms import (
    ALOHA_DELTA_RUNS,
    NormStats,
    load_norm_stats,
    mask_from_runs,
    save_norm_stats,
    to_delta,
)
from trossen_pi0_training import layout
from trossen_pi0_training.config.command_line import parse_config
from trossen_pi0_training.config.fields import TrainConfig
from trossen_pi0_training.config.model import model_config
from trossen_pi0_training.dataset import LeRobotFrames
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.feed.selection import open_dataset, select_episodes
from trossen_pi0_training.moments_of_rows import stats_of_rows

SIDECAR = "made_of.json"
"""Says which data the statistics beside it are of; openpi ignores it."""

_LOG = logging.getLogger(__name__)


def compute(
    frames: LeRobotFrames, episodes: Sequence[int], horizon: int, *, delta: bool
) -> dict[str, NormStats]:
    """Statistics of the states, and of the actions of all chunks, as the model is given them.

    As openpi has it, each frame brings a chunk: an action counts once for each chunk that holds
    it, the last of an episode more often.

    Args:
        frames: the data set.
        episodes: numbers of those that count.
        horizon: rows of a chunk.
        delta: actions relative to the state at their chunk's beginning, but for the grippers.

    Returns:
        ``state`` and ``actions``, float64, a number for each joint [rad; m for carriages].

    Raises:
        TrainingError: a value is not finite.
    """
    mask = mask_from_runs(*ALOHA_DELTA_RUNS) if delta else None

    def states() -> Iterator[NDArray[np.float64]]:
        for state, _ in _episodes(frames, episodes):
            yield state

    def chunks() -> Iterator[NDArray[np.float64]]:
        for state, action in _episodes(frames, episodes):
            rows = np.arange(len(state))[:, None] + np.arange(horizon)
            chunk = action[np.minimum(rows, len(state) - 1)]
            yield to_delta(chunk, state, mask).reshape(-1, action.shape[1])

    return {"state": stats_of_rows(states), "actions": stats_of_rows(chunks)}


def read_stats(config: TrainConfig, wanted: Mapping[str, Any]) -> dict[str, NormStats]:
    """The statistics of a config, of the data that ``made_of`` describes.

    Raises:
        TrainingError: they are missing or damaged, do not say what they were made of, or were
            made of other data; says how to make them.
    """
    folder = config.stats_folder
    file = folder / SIDECAR
    try:
        stats = load_norm_stats(folder)
    except NormStatsError as error:
        raise TrainingError(f"norm stats cannot be used: {error}; {_hint(config)}") from error
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise TrainingError(
            f"norm stats in {folder} do not say what data they are of: {SIDECAR} is missing there, "
            f"which openpi does not write; {_hint(config)}"
        ) from error
    except (OSError, ValueError) as error:
        raise TrainingError(f"{file} cannot be read: {error}; {_hint(config)}") from error
    if not isinstance(told, dict):
        raise TrainingError(
            f"{file} must hold a map with the keys {list(wanted)}, got {str(told)[:60]}; "
            f"{_hint(config)}"
        )
    other = [
        f"{name}: {told.get(name)!r}, now {value!r}"
        for name, value in wanted.items()
        if told.get(name) != value
    ]
    if other:
        raise TrainingError(
            f"norm stats in {folder} are of other data: {'; '.join(other)}; {_hint(config)}"
        )
    return stats


def main(argv: Sequence[str] | None = None) -> int:
    """Works the statistics out and writes them where training looks for them."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    words = sys.argv[1:] if argv is None else argv
    try:
        config = parse_config(words, "python -m trossen_pi0_training.norm_stats")
        if not config.data.repo_id:
            _LOG.info("config %s has synthetic data and needs no norm stats", config.name)
            return 0
        frames = open_dataset(config.data)
        selection = select_episodes(frames, config.data)
        horizon = model_config(config).action_horizon
        began_s = time.monotonic()
        stats = compute(frames, selection.train, horizon, delta=config.data.delta_actions)
        folder = save_norm_stats(config.stats_folder, stats).parent
        told = made_of(config, frames, selection.train)
        (folder / SIDECAR).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    except (TrossenPi0Error, OSError) as error:
        _LOG.error("%s", error)
        return 1
    _LOG.info(
        "norm stats of %d frames in %d episodes (%d held out, %d left out) in %.1f s: %s",
        told["frames"],
        len(selection.train),
        len(selection.val),
        len(selection.left_out),
        time.monotonic() - began_s,
        folder,
    )
    return 0


def made_of(config: TrainConfig, frames: LeRobotFrames, episodes: Sequence[int]) -> dict[str, Any]:
    """What statistics depend on; the digest tells other values of the same number of frames.

    Raises:
        TrainingError: a value is not finite.
    """
    digest = hashlib.sha256()
    count = 0
    for state, action in _episodes(frames, episodes):
        count += len(state)
        digest.update(state.tobytes())
        digest.update(action.tobytes())
    return {
        "repo_id": config.data.repo_id,
        "joints": list(frames.joint_names),
        "delta_actions": config.data.delta_actions,
        "horizon": model_config(config).action_horizon,
        "episodes": len(episodes),
        "frames": count,
        "digest": digest.hexdigest()[:16],
    }


def _hint(config: TrainConfig) -> str:
    return (
        f"make them with `python -m trossen_pi0_training.norm_stats {config.name}` and the same "
        "--data options"
    )


def _episodes(
    frames: LeRobotFrames, episodes: Sequence[int]
) -> Iterator[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    states = frames.select(frames.joint_names, layout.STATE)
    actions = frames.select(frames.joint_names, layout.ACTION)
    for number in episodes:
        span = frames.episodes[number]
        rows = slice(span.first, span.first + span.length)
        state, action = states[rows].astype(np.float64), actions[rows].astype(np.float64)
        _check_finite(frames, number, layout.STATE, state)
        _check_finite(frames, number, layout.ACTION, action)
        yield state, action


def _check_finite(
    frames: LeRobotFrames, episode: int, feature: str, values: NDArray[np.float64]
) -> None:
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        frame, joint = bad[0]
        raise TrainingError(
            f"{frames.root}: episode {episode} has {len(bad)} values that are not finite in "
            f"{feature}, the first in frame {frame} of {frames.joint_names[joint]}: "
            f"{values[frame, joint]}; repair the episode or leave it out of the data set"
        )


if __name__ == "__main__":
    raise SystemExit(main())
