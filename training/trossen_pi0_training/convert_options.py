"""Options of the conversion, as the command line gives them."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import DatasetError
from trossen_pi0_training import layout
from trossen_pi0_training.video import CODECS

LIBRARY, NATIVE = "lerobot", "native"
WRITERS = (LIBRARY, NATIVE)
"""Who puts a v3.0 data set together: the `lerobot` library, or this suite."""

SUCCESS, FAILURE, UNKNOWN, INTERRUPTED = "success", "failure", "unknown", "interrupted"
OUTCOMES = (SUCCESS, FAILURE, UNKNOWN, INTERRUPTED)


@dataclass(frozen=True)
class Options:
    """What to convert, and how.

    Attributes:
        episodes: folders with episodes.
        repo_id: name of the data set, ``owner/name``.
        root: folder of the data set.
        version: one of ``layout.FORMATS``.
        writer: one of ``WRITERS``.
        fps: frames a second.
        include: outcomes to convert, of ``OUTCOMES``; ``interrupted`` takes episodes whose
            recorder was killed, or that are damaged at the end, up to there.
        cameras: those to convert, in order.
        prompt: instruction for episodes that have none; empty: those are not converted.
        val_fraction: share of the episodes kept for validation, 0..0.9.
        one_dataset: validation episodes stand at the end of the data set, named in ``splits``,
            instead of in a data set of their own.
        seed: chooses the validation episodes.
        codec: one of ``video.CODECS``.
        workers: processes.
        resume: go on with an interrupted conversion.
        strict: an episode that cannot be converted ends the conversion.
        overwrite: replace a data set or an interrupted conversion that is there.
    """

    episodes: tuple[Path, ...]
    repo_id: str
    root: Path
    version: str = layout.V30
    writer: str = LIBRARY
    fps: int = 30
    include: tuple[str, ...] = (SUCCESS, UNKNOWN)
    cameras: tuple[str, ...] = CAMERAS
    prompt: str = ""
    val_fraction: float = 0.0
    one_dataset: bool = False
    seed: int = 0
    codec: str = "libsvtav1"
    workers: int = 1
    resume: bool = False
    strict: bool = False
    overwrite: bool = False

    def __post_init__(self) -> None:
        for label, value, allowed in (
            ("format", self.version, layout.FORMATS),
            ("writer", self.writer, WRITERS),
            ("codec", self.codec, tuple(CODECS)),
        ):
            if value not in allowed:
                raise DatasetError(f"{label} must be one of {list(allowed)}, got {value!r}")
        unknown = [each for each in self.include if each not in OUTCOMES]
        if unknown or not self.include:
            raise DatasetError(f"include must name some of {list(OUTCOMES)}, got {unknown}")
        if not self.cameras or len(set(self.cameras)) != len(self.cameras):
            raise DatasetError(f"cameras must be named once each, got {list(self.cameras)}")
        if not 0.0 <= self.val_fraction <= 0.9:
            raise DatasetError(f"val-fraction must lie in 0..0.9, got {self.val_fraction}")
        for label, number in (("fps", self.fps), ("workers", self.workers)):
            if not 1 <= number <= 256:
                raise DatasetError(f"{label} must lie in 1..256, got {number}")
        owner, _, name = self.repo_id.rpartition("/")
        if not name or "/" in owner or self.repo_id.startswith((".", "/")) or ".." in self.repo_id:
            raise DatasetError(f"repo-id must be NAME or OWNER/NAME, got {self.repo_id!r}")


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Reads the command line; raises DatasetError for values that are not allowed."""
    parser = argparse.ArgumentParser(
        prog="python -m trossen_pi0_training.convert",
        description="Converts recorded episodes to a LeRobot data set.",
    )
    add = parser.add_argument
    add("--episodes", type=Path, nargs="+", required=True, metavar="DIR",
        help="folders with recorded episodes")  # fmt: skip
    add("--repo-id", required=True, metavar="NAME", help="name of the data set, OWNER/NAME")
    add("--root", type=Path, metavar="DIR", help="its folder; default: where lerobot looks for it")
    add("--format", dest="version", choices=layout.FORMATS, default=layout.V30,
        help="v3.0, or v2.1 for openpi (default %(default)s)")  # fmt: skip
    add("--writer", choices=WRITERS, help="who writes v3.0 (default lerobot); v2.1: native")
    add("--fps", type=int, default=30, help="frames a second (default %(default)s)")
    add("--include", type=_list, default=(SUCCESS, UNKNOWN), metavar="OUTCOMES",
        help=f"of {','.join(OUTCOMES)} (default success,unknown)")  # fmt: skip
    add("--cameras", type=_list, default=CAMERAS, metavar="NAMES", help="default: all four")
    add("--prompt", default="", help="instruction for episodes that were recorded without one")
    add("--val-fraction", type=float, default=0.0, help="share of episodes for validation")
    add("--one-dataset", action="store_true",
        help="name them in `splits` of one data set, not in a second one, NAME_val")  # fmt: skip
    add("--seed", type=int, default=0, help="chooses the validation episodes")
    add("--codec", choices=tuple(CODECS), default="libsvtav1", help="default %(default)s")
    add("--workers", type=int, default=cores(), help="processes (default: one a core)")
    add("--resume", action="store_true", help="go on with an interrupted conversion")
    add("--strict", action="store_true", help="refuse everything if one episode is bad")
    add("--overwrite", action="store_true", help="replace what is there")
    given = vars(parser.parse_args(arguments))
    given["episodes"] = tuple(given["episodes"])
    given["writer"] = _writer(given["writer"], given["version"])
    given["root"] = (given["root"] or default_root(given["repo_id"])).absolute()
    return Options(**given)


def default_root(repo_id: str) -> Path:
    """Where the `lerobot` library looks for a data set."""
    cache = os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface"
    return Path(os.environ.get("HF_LEROBOT_HOME") or Path(cache) / "lerobot") / repo_id


def _writer(given: str | None, version: str) -> str:
    if version == layout.V21:
        if given == LIBRARY:
            raise DatasetError(
                "the pinned lerobot library writes v3.0 only; v2.1 has --writer native"
            )
        return NATIVE
    return given or LIBRARY


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0))
