"""Which episodes are converted, in which order, and which are kept for validation."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trossen_pi0_core.errors import DatasetError, EpisodeError
from trossen_pi0_data.bag_reader import list_episodes
from trossen_pi0_data.episode_info import FILE, FINISHED, EpisodeInfo
from trossen_pi0_training.convert_options import INTERRUPTED, UNKNOWN, Options


@dataclass(frozen=True)
class Skipped:
    """An episode that is not converted.

    Attributes:
        name: of its folder.
        folder: where it lies.
        reason: why.
        bad: it is damaged, rather than not asked for.
    """

    name: str
    folder: Path
    reason: str
    bad: bool = True


@dataclass(frozen=True)
class Candidate:
    """An episode that is to be converted.

    Attributes:
        name: of the episode.
        folder: where it lies.
        began_ns: when it began, ROS time [ns]; 0 when it does not say.
        outcome: success, failure or unknown.
    """

    name: str
    folder: Path
    began_ns: int
    outcome: str


@dataclass(frozen=True)
class Plan:
    """What will be done.

    Attributes:
        chosen: to convert, the oldest first.
        skipped: the others.
    """

    chosen: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...]


def make_plan(options: Options) -> Plan:
    """Looks at what the folders hold; reads only what ``episode.json`` says.

    Raises:
        DatasetError: a folder has no episodes.
    """
    chosen: dict[str, Candidate] = {}
    skipped: list[Skipped] = []
    for folder in _folders(options.episodes):
        found = _look_at(folder, options)
        if isinstance(found, Candidate) and found.name in chosen:
            other = chosen[found.name].folder
            found = Skipped(found.name, folder, f"{other} holds an episode of the same name")
        if isinstance(found, Skipped):
            skipped.append(found)
        else:
            chosen[found.name] = found
    ordered = sorted(chosen.values(), key=lambda each: (each.began_ns, each.name))
    return Plan(tuple(ordered), tuple(skipped))


def validation_names(names: Sequence[str], fraction: float, seed: int) -> frozenset[str]:
    """The episodes kept for validation: the same for the same names, fraction and seed.

    At least one of two or more, if the fraction is not zero, and never all.
    """
    if fraction <= 0.0 or len(names) < 2:
        return frozenset()
    count = min(max(1, round(fraction * len(names))), len(names) - 1)
    drawn = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    return frozenset(drawn[:count])


def _folders(roots: Iterable[Path]) -> list[Path]:
    folders: dict[Path, None] = {}
    for root in roots:
        try:
            found = list_episodes(root)
        except EpisodeError as error:
            raise DatasetError(str(error)) from error
        for folder in found:
            folders[folder.resolve()] = None
    return list(folders)


def _look_at(folder: Path, options: Options) -> Candidate | Skipped:
    if not (folder / FILE).exists():  # made by `ros2 bag record`: nothing is known of it
        found = Candidate(folder.name, folder, 0, UNKNOWN)
    else:
        try:
            info = EpisodeInfo.read(folder)
        except EpisodeError as error:
            return Skipped(folder.name, folder, str(error))
        if info.state != FINISHED and INTERRUPTED not in options.include:
            reason = f"unfinished ({info.state}); --include takes `{INTERRUPTED}` too"
            return Skipped(info.name, folder, reason)
        found = Candidate(info.name, folder, info.began_ns, info.outcome)
    if found.outcome not in options.include:
        reason = f"outcome {found.outcome}, wanted are {', '.join(options.include)}"
        return Skipped(found.name, folder, reason, bad=False)
    return found
