"""What the evaluation in virtual time is told."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from trossen_pi0_bringup.evaluation.asking import Judged
from trossen_pi0_bringup.evaluation.headless import VIDEOS, Kit
from trossen_pi0_bringup.evaluation.settings import (
    MOST_DELAY_MS,
    OFF,
    Choices,
    Setting,
    coefficient,
)
from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.parameters import PolicyParameters
from trossen_pi0_core.parameters.policy import EXECUTIONS
from trossen_pi0_core.parameters.sim import VARIANTS
from trossen_pi0_policy.cli import arguments as common
from trossen_pi0_policy.cli.choice import add_choice, chosen

FIRST_SEED = 1_000_000
"""Seeds from here on are for evaluation: those of training data count up from 0."""

_LARGEST_SEED = 2**31 - 1
_DESCRIPTION = """\
Lets a policy do episodes in the simulated kit, in closed loop and in virtual time, and judges them.
Writes evaluation.html for a person, evaluation.json with all figures, and videos of the failures.
"""
_EPILOG = """\
Values with commas between them are tried in all combinations, with --one-by-one each alone.
"""


@dataclass(frozen=True)
class Options:
    """What is evaluated, and how.

    Attributes:
        judged: the policy.
        kit: that it is tried in.
        settings: compared.
        seeds: of the episodes.
        workers: processes.
        output: folder of the results.
        compare: files of other evaluations.
        least: success rate that is asked for [%].
    """

    judged: Judged
    kit: Kit
    settings: tuple[Setting, ...]
    seeds: range
    workers: int
    output: Path
    compare: tuple[Path, ...]
    least: float


def parse(words: Sequence[str] | None = None) -> Options:
    """Reads the command line.

    Raises:
        ParameterError: values that do not go together.
        SystemExit: argparse has said what is wrong.
    """
    parser = argparse.ArgumentParser(
        prog="python -m trossen_pi0_training.evaluate",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_choice(parser).add_argument(
        "--expert",
        action="store_true",
        help="the scripted expert, which knows where the object is: what can be reached",
    )
    _add_settings(parser)
    _add_kit(parser)
    add, number = parser.add_argument, common.whole_number
    add("--workers", type=number(1, 256), default=1, metavar="N",
        help="processes, each with the policy (default: %(default)s)")  # fmt: skip
    add("--output", type=Path, metavar="DIR",
        help="folder of the results (default: runs/evaluation_<date>)")  # fmt: skip
    add("--compare", type=common.existing_file, nargs="+", default=[], metavar="FILE",
        help="evaluation.json of others, to stand beside this one")  # fmt: skip
    add("--least", type=common.number(0.0, 100.0, "%"), default=0.0, metavar="PERCENT",
        help="exit status 1 if the success rate is lower")  # fmt: skip
    given = parser.parse_args(words)
    choices = Choices(
        VARIANTS if given.variants == ("all",) else given.variants,
        given.executions, given.rates, given.ensembles, given.delays,
    )  # fmt: skip
    kit = Kit(
        cameras=given.cameras,
        size=(given.width, given.height),
        looks=given.looks,
        latency_s=given.latency_ms / 1e3,
        jitter_s=given.jitter_ms / 1e3,
        max_duration_s=float(given.max_duration),
        videos=given.videos,
    )
    folder = given.output or Path("runs") / f"evaluation_{datetime.now():%Y%m%d_%H%M%S}"
    return Options(
        judged=Judged(
            **chosen(vars(given)), expert=given.expert, prompt=given.default_prompt or ""
        ),
        kit=kit,
        settings=choices.one_by_one() if given.one_by_one else choices.combined(),
        seeds=range(given.seed, given.seed + given.episodes),
        workers=given.workers,
        output=folder,
        compare=tuple(given.compare),
        least=given.least,
    )


def _add_settings(parser: argparse.ArgumentParser) -> None:
    add, number = parser.add_argument, common.whole_number
    live = PolicyParameters()
    add("--episodes", type=number(1, 10**6), default=20, metavar="N",
        help="of each setting (default: %(default)s)")  # fmt: skip
    add("--seed", type=number(0, _LARGEST_SEED), default=FIRST_SEED, metavar="N",
        help="of the first episode; the others follow (default: %(default)s)")  # fmt: skip
    add("--variants", type=common.several(common.one_of((*VARIANTS, "all"))), default=("red_cube",),
        metavar="NAME,...", help=f"{','.join(VARIANTS)}, or all (default: red_cube)")  # fmt: skip
    add("--executions", type=common.several(common.one_of(EXECUTIONS)), default=(live.execution,),
        metavar="NAME,...", help=f"{','.join(EXECUTIONS)} (default: {live.execution})")  # fmt: skip
    add("--rates", type=common.several(number(1, 1000)), default=(live.rate_of_inference,),
        metavar="N,...", help="control steps between two inferences "
        f"(default: {live.rate_of_inference})")  # fmt: skip
    add("--ensembles", type=common.several(coefficient), default=(None,), metavar="K,...",
        help=f"temporal ensembling: ACT's coefficient, or {OFF} (default: {OFF})")  # fmt: skip
    add("--delays", type=common.several(number(0, MOST_DELAY_MS)), default=(0,), metavar="MS,...",
        help="added to each inference [ms] (default: 0)")  # fmt: skip
    add("--one-by-one", action="store_true",
        help="the first value of each, and around it each other value alone; delays with each "
        "execution")  # fmt: skip


def _add_kit(parser: argparse.ArgumentParser) -> None:
    add, number, usual = parser.add_argument, common.whole_number, Kit()
    add("--cameras", type=common.several(common.one_of(CAMERAS)), default=CAMERAS,
        metavar="NAME,...", help="what the policy sees (default: all four)")  # fmt: skip
    add("--width", type=number(16, 1920), default=usual.size[0], metavar="PIXELS",
        help="of the pictures (default: %(default)s)")  # fmt: skip
    add("--height", type=number(16, 1080), default=usual.size[1], metavar="PIXELS",
        help="of the pictures (default: %(default)s)")  # fmt: skip
    add("--looks", action="store_true",
        help="draw light, colours, cameras and clutter anew for each episode")  # fmt: skip
    add("--latency-ms", type=number(0, MOST_DELAY_MS), default=round(1e3 * usual.latency_s),
        metavar="MS", help="of each inference, way of the pictures included, without --delays "
        "(default: %(default)s)")  # fmt: skip
    add("--jitter-ms", type=number(0, MOST_DELAY_MS), default=round(1e3 * usual.jitter_s),
        metavar="MS", help="each takes up to so much longer (default: %(default)s)")  # fmt: skip
    add("--max-duration", type=number(1, 3600), default=round(usual.max_duration_s), metavar="S",
        help="time limit of an episode (default: %(default)s)")  # fmt: skip
    add("--videos", choices=VIDEOS, default=usual.videos,
        help="of which episodes (default: %(default)s)")  # fmt: skip
