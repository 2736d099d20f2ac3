"""Recorded episodes as the frames of data sets, and what makes one unfit for it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from trossen_pi0_core.errors import DatasetError
from trossen_pi0_core.joints import JointMap, select_joints
from trossen_pi0_data.bag_reader import EpisodeReader
from trossen_pi0_data.frames import EpisodeFrames, FrameCounts, FrameSettings
from trossen_pi0_training.convert_options import INTERRUPTED, Options
from trossen_pi0_training.convert_plan import Candidate
from trossen_pi0_training.shards import Frame, Origin

_HARMLESS = ("the folder was renamed", "were dropped in recording", "the recorder's clock was")
"""Problems that frames show themselves, or that do not touch them."""

_CUT_OFF = ("its recorder was killed", "were recorded", "has no footer", "was never ended")
"""Problems of a recording that ends too early."""

_JOINTS = JointMap().dataset_names


@dataclass
class Recording:
    """An episode that is opened for conversion.

    Attributes:
        origin: what it is.
        task: instruction.
        cameras: to convert, in order.
        notes: harmless problems; complete after the last frame.
    """

    origin: Origin
    task: str
    cameras: tuple[str, ...]
    notes: list[str]
    _frames: EpisodeFrames
    _damaged: bool

    def frames(self) -> Iterator[Frame]:
        """The frames, in order.

        Raises:
            DatasetError: after the last one, if the episode turned out to be unfit.
            TrossenPi0Error: it cannot be read.
        """
        joints = self._frames.dataset_joint_names
        for frame in self._frames:
            yield Frame(
                select_joints(joints, frame.observation.state, _JOINTS),
                select_joints(joints, frame.action, _JOINTS),
                frame.observation.images,
            )
        counts = self._frames.counts
        problem = _gap(counts, self._frames.fps, damaged=self._damaged)
        if problem:
            raise DatasetError(problem)
        missing = set(counts.reasons())
        found = [text for text in self._frames.problems if text not in missing]
        reader = self._frames.reader
        found += reader.problems
        notes, bad = _sort(found, _ignored(reader, self.cameras), damaged=self._damaged)
        if bad:
            raise DatasetError("; ".join(bad))
        self.notes = notes
        if counts.missing:
            at_begin, at_end = counts.first, counts.grid - 1 - counts.last
            self.notes.append(
                f"{at_begin} frames at the beginning and {at_end} at the end left out"
            )
        if counts.held:
            self.notes.append(f"{counts.held} frames show the observation of one before")


def open_recording(candidate: Candidate, options: Options) -> Recording:
    """Opens an episode.

    Raises:
        DatasetError: it is unfit, as far as can be told without its pictures.
        TrossenPi0Error: it cannot be read.
    """
    reader = EpisodeReader(candidate.folder)
    damaged = INTERRUPTED in options.include
    notes, bad = _sort(reader.problems, _ignored(reader, options.cameras), damaged=damaged)
    if bad:
        raise DatasetError("; ".join(bad))
    frames = EpisodeFrames(reader, FrameSettings(fps=float(options.fps)), options.cameras)
    task = frames.prompt.strip() or options.prompt.strip()
    if not task:
        raise DatasetError("it has no prompt; --prompt gives one to those without")
    missing = [name for name in _JOINTS if name not in frames.dataset_joint_names]
    if missing:
        raise DatasetError(f"it lacks the joints {missing}, it has {frames.dataset_joint_names}")
    info = reader.info
    origin = Origin(
        name=candidate.name,
        folder=str(candidate.folder),
        sha256=file_hashes(candidate.folder),
        outcome=info.outcome,
        began=info.began,
        seed=info.seed,
        software=dataclasses.asdict(info.software),
    )
    return Recording(origin, task, options.cameras, notes, frames, damaged)


def file_hashes(folder: Path) -> Mapping[str, str]:
    """SHA-256 of an episode's MCAP files, by name."""
    hashes: dict[str, str] = {}
    for path in sorted(folder.glob("*.mcap")):
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        hashes[path.name] = digest.hexdigest()
    return hashes


def _gap(counts: FrameCounts, fps: float, *, damaged: bool) -> str:
    """What is missing between the frames, or too much at their end; empty when nothing is."""
    lost = counts.lost
    inside = [index for index in lost if index < counts.last]
    if inside:
        begin_s, why = inside[0] / fps, lost[inside[0]]
        return f"{len(inside)} frames are missing inside, the first at {begin_s:.2f} s: {why}"
    if lost and not damaged:
        return f"no frames in the last {len(lost) / fps:.2f} s: {lost[min(lost)]}"
    return ""


def _ignored(reader: EpisodeReader, wanted: tuple[str, ...]) -> tuple[str, ...]:
    """Beginnings of problems of cameras that are not converted."""
    others = (camera for name, camera in reader.info.cameras.items() if name not in wanted)
    return tuple(f"{camera.topic}:" for camera in others)


def _sort(
    problems: list[str], ignored: tuple[str, ...], *, damaged: bool
) -> tuple[list[str], list[str]]:
    """Harmless problems, and those that make the episode unfit."""
    harmless = _HARMLESS + (_CUT_OFF if damaged else ())
    notes: list[str] = []
    bad: list[str] = []
    for problem in dict.fromkeys(problems):
        if any(text in problem for text in harmless):
            notes.append(problem)
        elif not ignored or not problem.startswith(ignored):
            bad.append(problem)
    return notes, bad
