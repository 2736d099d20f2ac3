"""What ``python -m trossen_pi0_training.offline`` is told."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_policy.cli import arguments as common
from trossen_pi0_policy.cli.choice import PolicyChoice, add_choice, chosen

_DESCRIPTION = """\
Asks a policy at moments of recorded episodes and compares its chunks with what was commanded.
Writes offline.html for a person and offline.json with all figures.
"""
_LIVE = PolicyParameters()
_LARGEST_SEED = 2**31 - 1
_WORST = 8


@dataclass(frozen=True)
class Options(PolicyChoice):
    """What is evaluated, and how.

    Attributes:
        episodes: folders of recorded episodes, or single ones.
        datasets: LeRobot data sets.
        prompt: of episodes that have none; empty: those are left out.
        cameras: that the policy sees; empty: those of the first episode.
        rate_hz: rows of a chunk a second, which is the rate of the frames too [Hz].
        stride: frames between two inferences.
        horizon: rows that are judged; 0: all of a chunk.
        execute: rows that are executed, from the first to before the last; None: as many as the
            policy node executes by default.
        max_frames: most inferences in an episode, spread over it; 0: no limit.
        episodes_limit: most episodes; 0: no limit.
        samples: chunks that are drawn at each moment.
        seed: of the noise.
        worst: moments to show.
        output: folder of the files.
        compare: results of other evaluations, to stand beside these.
        strict: one bad episode refuses everything, instead of being left out.
    """

    episodes: tuple[Path, ...] = ()
    datasets: tuple[Path, ...] = ()
    prompt: str = ""
    cameras: tuple[str, ...] = ()
    rate_hz: float = _LIVE.control_rate
    stride: int = 10
    horizon: int = 0
    execute: tuple[int, int] | None = None
    max_frames: int = 0
    episodes_limit: int = 0
    samples: int = 1
    seed: int = 0
    worst: int = _WORST
    output: Path = Path("runs/offline")
    compare: tuple[Path, ...] = ()
    strict: bool = False

    def __post_init__(self) -> None:
        if not self.episodes and not self.datasets:
            raise ParameterError("need recorded episodes (--episodes) or data sets (--dataset)")
        if bool(self.checkpoint) == bool(self.server):
            raise ParameterError("need a policy: either --checkpoint or --server")
        if self.server and self.config:
            raise ParameterError("--config goes with --checkpoint; a server has its own model")
        unknown = [camera for camera in self.cameras if camera not in CAMERAS]
        if unknown or len(set(self.cameras)) != len(self.cameras):
            raise ParameterError(
                f"--cameras: need different names out of {list(CAMERAS)}, got {list(self.cameras)}"
            )

    def executed_rows(self, horizon: int) -> tuple[int, int]:
        """Which of so many judged rows are executed.

        Raises:
            ParameterError: there are not so many.
        """
        first, end = self.execute or (0, min(_LIVE.rate_of_inference, horizon))
        if not 0 <= first < end <= horizon:
            raise ParameterError(
                f"--execute-rows: need rows A:B with A < B, within the {horizon} that are judged, "
                f"got {first}:{end}"
            )
        return first, end

    def judged_rows(self, rows: int) -> int:
        """How many rows are judged of chunks with so many.

        Raises:
            ParameterError: there are not so many.
        """
        if self.horizon > rows:
            raise ParameterError(
                f"--horizon: the policy's chunks have {rows} rows, got {self.horizon}"
            )
        return self.horizon or rows


def parse(words: Sequence[str] | None = None) -> Options:
    """Reads the command line.

    Raises:
        ParameterError: values that do not go together.
        SystemExit: argparse has said what is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m trossen_pi0_training.offline",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_sources(parser)
    add_choice(parser)
    _add_moments(parser)
    _add_output(parser)
    given = vars(parser.parse_args(words))
    given["prompt"] = given.pop("default_prompt") or ""
    given["output"] = given["output"] or Path("runs") / f"offline_{datetime.now():%Y%m%d_%H%M%S}"
    given |= chosen(given)
    for name in ("episodes", "datasets", "compare"):
        given[name] = tuple(given[name])
    return Options(**given)


def _add_sources(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--episodes", type=Path, nargs="+", default=[], metavar="DIR",
        help="folders of recorded episodes, or single ones")  # fmt: skip
    add("--dataset", dest="datasets", type=Path, nargs="+", default=[], metavar="DIR",
        help="LeRobot data sets, v2.1 or v3.0")  # fmt: skip
    add("--cameras", type=_names, default=(), metavar="NAME,...",
        help="what the policy sees (default: the cameras of the first episode)")  # fmt: skip
    add("--episodes-limit", type=common.whole_number(0, 10**6), default=0, metavar="N",
        help="at most so many episodes; 0: all (default)")  # fmt: skip


def _add_moments(parser: argparse.ArgumentParser) -> None:
    add, number = parser.add_argument, common.whole_number
    add("--rate", dest="rate_hz", type=common.number(1.0, 200.0, "Hz"),
        default=_LIVE.control_rate, metavar="HZ",
        help="rows of a chunk a second, as in training (default: %(default)g)")  # fmt: skip
    add("--stride", type=number(1, 10**6), default=10, metavar="N",
        help="frames between two inferences (default: %(default)s)")  # fmt: skip
    add("--horizon", type=number(0, 1000), default=0, metavar="N",
        help="rows of each chunk that are judged; 0: all (default)")  # fmt: skip
    add("--execute-rows", dest="execute", type=_rows, metavar="N|A:B",
        help="the first N rows, or A up to before B, are those that are executed "
        f"(default: {_LIVE.rate_of_inference})")  # fmt: skip
    add("--max-frames", type=number(0, 10**9), default=0, metavar="N",
        help="at most so many inferences in an episode, spread over it; 0: any")  # fmt: skip
    add("--samples", type=number(1, 1000), default=1, metavar="K",
        help="chunks drawn at each moment (default: %(default)s)")  # fmt: skip
    add("--seed", type=number(0, _LARGEST_SEED), default=0, metavar="N",
        help="of the noise (default: %(default)s)")  # fmt: skip


def _add_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--worst", type=common.whole_number(0, 100), default=_WORST, metavar="N",
        help="worst moments to show (default: %(default)s)")  # fmt: skip
    add("--output", type=Path, metavar="DIR",
        help="folder of offline.html and offline.json (default: runs/offline_<date>)")  # fmt: skip
    add("--compare", type=common.existing_file, nargs="+", default=[], metavar="FILE",
        help="offline.json of other evaluations, to stand beside this one")  # fmt: skip
    add("--strict", action="store_true", help="refuse everything if one episode is bad")


def _names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _rows(text: str) -> tuple[int, int]:
    begin, colon, end = text.partition(":")
    words = (begin, end) if colon else ("0", begin)
    if not all(word.isdecimal() for word in words) or int(words[0]) >= int(words[1]):
        raise argparse.ArgumentTypeError(f"need N or A:B with A < B, got {text!r}")
    return int(words[0]), int(words[1])
