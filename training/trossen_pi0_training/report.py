"""Looks at recorded episodes or a LeRobot data set and writes an HTML report.

python -m trossen_pi0_training.report DATASET [--output DIR] [--jobs N] [--strict]
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from rich.console import Console
from rich.progress import track

from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_data.bag_reader import list_episodes
from trossen_pi0_data.files import write_atomically
from trossen_pi0_training import layout
from trossen_pi0_training.dataset import LeRobotFrames
from trossen_pi0_training.episode_source import DatasetEpisode, RecordedEpisode, episode_name
from trossen_pi0_training.survey import Survey, survey
from trossen_pi0_training.warning_signs import Sign, alike, signs_of

FILE = "report.html"
"""Name of the report."""


@dataclass(frozen=True)
class Findings:
    """What was found in a folder of episodes.

    Attributes:
        episodes: that could be read, by name.
        unreadable: name of each other -> why.
        signs: what is remarkable, by name of the episode.
    """

    episodes: list[Survey]
    unreadable: dict[str, str]
    signs: dict[str, list[Sign]]

    @property
    def is_good(self) -> bool:
        """Whether all episodes can be read and none has a warning."""
        severe = any(sign.severe for found in self.signs.values() for sign in found)
        return not self.unreadable and not severe


@dataclass(frozen=True)
class EpisodePlace:
    """Where an episode is.

    Attributes:
        folder: of the recording, or of the data set.
        number: in the data set; None: a recording.
    """

    folder: Path
    number: int | None = None

    @property
    def name(self) -> str:
        """Of the episode."""
        return self.folder.name if self.number is None else episode_name(self.number)


def find_episodes(root: Path) -> list[EpisodePlace]:
    """The episodes of a data set, if the folder is one, else the recordings in it.

    Raises:
        TrossenPi0Error: there are none, or the data set is damaged.
    """
    if (root / layout.INFO).is_file():
        episodes = LeRobotFrames(root).episodes
        return [EpisodePlace(root, number) for number in range(len(episodes))]
    return [EpisodePlace(folder) for folder in list_episodes(root)]


def look_at(
    places: Sequence[EpisodePlace], jobs: int = 1, console: Console | None = None
) -> Findings:
    """Surveys episodes, several at a time with ``jobs`` processes; shows progress on a console."""
    console = console or Console(quiet=True)
    results = _surveys(places, min(jobs, len(places)))
    found = dict(track(results, "episodes", total=len(places), console=console, transient=True))
    episodes = [found[place.name] for place in places]
    readable = [each for each in episodes if isinstance(each, Survey)]
    signs = {each.name: signs_of(each) for each in readable}
    for one, other in alike(readable):
        signs[other].append(Sign("alike", f"its commands are the same as those of {one}"))
    unreadable = {name: why for name, why in sorted(found.items()) if isinstance(why, str)}
    return Findings(readable, unreadable, signs)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status: 1 when told to be strict and something is bad."""
    options = _parser().parse_args(arguments)
    console = Console(stderr=True)
    try:
        findings = look_at(find_episodes(options.episodes), options.jobs, console)
        output = Path(options.output or options.episodes)
        path = _write(findings, options.episodes, output)
    except (TrossenPi0Error, OSError) as error:
        console.print(f"report: {error}", style="red", markup=False, highlight=False)
        return 1
    for line in _lines(findings):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"report: {path}", markup=False, highlight=False, soft_wrap=True)
    if not findings.episodes:
        return 1
    return 1 if options.strict and not findings.is_good else 0


def _write(findings: Findings, episodes: Path, output: Path) -> Path:
    from trossen_pi0_training.report_page import render  # loads matplotlib

    output.mkdir(parents=True, exist_ok=True)
    path = output / FILE
    title = f"Episodes in {Path(episodes).resolve().name}"
    write_atomically(path, render(title, findings.episodes, findings.signs, findings.unreadable))
    return path


def _lines(findings: Findings) -> Iterator[str]:
    frames = sum(episode.frames for episode in findings.episodes)
    yield f"{len(findings.episodes)} episodes, {frames} frames"
    for name, why in findings.unreadable.items():
        yield f"  {name}: cannot be read: {why}"
    for name, signs in findings.signs.items():
        for sign in signs:
            yield f"  {name}: {'warning' if sign.severe else 'note'}: {sign.kind}: {sign.text}"


def _surveys(places: Sequence[EpisodePlace], jobs: int) -> Iterator[tuple[str, Survey | str]]:
    if jobs <= 1:
        for place in places:
            yield place.name, _survey(place)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        futures = {pool.submit(_survey, place): place.name for place in places}
        for future in as_completed(futures):
            yield futures[future], future.result()


@lru_cache(maxsize=1)
def _dataset(root: Path) -> LeRobotFrames:
    """The data set of this process, whose tables are read once."""
    return LeRobotFrames(root)


def _survey(place: EpisodePlace) -> Survey | str:
    """The survey of an episode, or why there is none."""
    try:
        if place.number is None:
            return survey(RecordedEpisode(place.folder))
        return survey(DatasetEpisode(_dataset(place.folder), place.number))
    except TrossenPi0Error as error:
        return str(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trossen_pi0_training.report",
        description="Looks at recorded episodes or a LeRobot data set; writes an HTML report.",
    )
    parser.add_argument(
        "episodes", type=Path, help="folder of episodes, one episode, or folder of a data set"
    )
    parser.add_argument("--output", type=Path, help=f"folder of {FILE}; default: that of episodes")
    parser.add_argument("--jobs", type=_jobs, default=2, help="processes, default 2")
    parser.add_argument(
        "--strict",
        action="store_true",
        help="end with status 1 if an episode cannot be read or has a warning",
    )
    return parser


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"need 1 to 64 processes, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
