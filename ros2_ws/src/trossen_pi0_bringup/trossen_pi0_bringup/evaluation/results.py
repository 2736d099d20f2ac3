"""What came of an evaluation: figures of every episode, their summary, and their file."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trossen_pi0_bringup.evaluation.settings import Setting
from trossen_pi0_bringup.virtual.figures import Figures
from trossen_pi0_bringup.virtual.metrics import (
    finite_mean,
    finite_median,
    number_text,
    success_text,
    wilson,
)
from trossen_pi0_core.errors import ParameterError
from trossen_pi0_data.files import write_atomically
from trossen_pi0_data.plain_json import to_json
from trossen_pi0_sim.progress import Stage

FORMAT = 1
"""Of the file."""

STAGES = tuple(stage for stage in Stage if stage != Stage.NONE)
"""Stages that count for the partial score."""


@dataclass(frozen=True)
class Episode:
    """One episode.

    Attributes:
        setting: of the kit.
        figures: measured.
        video: its file, below the folder of the results; empty: there is none.
        aim_m: how far the first chunk aims from where the expert does (see ``Aim.miss``) [m]; NaN
            where it was not measured.
    """

    setting: Setting
    figures: Figures
    video: str = ""
    aim_m: float = math.nan


@dataclass(frozen=True)
class Evaluation:
    """All episodes, in the order of settings and seeds.

    Attributes:
        policy: what was judged, for a person.
        how: other facts of the run, by name.
        episodes: all of them.
    """

    policy: str
    how: Mapping[str, str]
    episodes: tuple[Episode, ...] = field(default=())

    @property
    def settings(self) -> tuple[Setting, ...]:
        """In their order."""
        return tuple(dict.fromkeys(each.setting for each in self.episodes))

    def of(self, setting: Setting) -> list[Episode]:
        """Its episodes."""
        return [each for each in self.episodes if each.setting == setting]


@dataclass(frozen=True)
class Summary:
    """Figures of several episodes. Means are over all of them unless said otherwise.

    Attributes:
        episodes: how many.
        successes: of them.
        interval: of the success rate, 95 %, by Wilson.
        score: mean share of the stages that were reached [1].
        reached: by stage, the share of episodes that came so far [1].
        duration_s: of the successes; NaN without any [s].
        pause_s: standing still [s].
        jerk: of the arms as measured, RMS [rad/s^3].
        jump_rad: largest jump between chunks [rad].
        limit_events: ticks in which limits changed commands.
        starvations: how often no row covered the present.
        rejected: chunks refused.
        aim_m: median miss of the first chunks' aim [m]; NaN where it was not measured.
    """

    episodes: int
    successes: int
    interval: tuple[float, float]
    score: float
    reached: dict[Stage, float]
    duration_s: float
    pause_s: float
    jerk: float
    jump_rad: float
    limit_events: float
    starvations: float
    rejected: float
    aim_m: float

    @property
    def rate(self) -> float:
        """Success rate [1]."""
        return self.successes / self.episodes


def summary(episodes: Sequence[Episode]) -> Summary:
    """Sums up one episode or more."""
    every = [each.figures for each in episodes]
    successes = sum(f.success for f in every)
    count = len(every)

    def mean(value: Callable[[Figures], float], chosen: Sequence[Figures] = every) -> float:
        return finite_mean(map(value, chosen))

    return Summary(
        episodes=count,
        successes=successes,
        interval=wilson(successes, count),
        score=mean(lambda f: f.stage / len(STAGES)),
        reached={stage: sum(f.stage >= stage for f in every) / count for stage in STAGES},
        duration_s=mean(lambda f: f.duration_s, [f for f in every if f.success]),
        pause_s=mean(lambda f: f.pause_s),
        jerk=mean(lambda f: f.measured_jerk["arms"]),
        jump_rad=mean(lambda f: f.jump_rad),
        limit_events=mean(lambda f: f.limit_events),
        starvations=mean(lambda f: f.starvations),
        rejected=mean(lambda f: f.rejected),
        aim_m=finite_median(each.aim_m for each in episodes),
    )


HEAD = (
    "scenario", "execution", "rate_of_inference", "ensembling", "added delay [ms]",
    "success (95 %)", "partial score", "time [s]", "pauses [s]", "jerk [rad/s³]",
    "largest jump [mrad]", "limit events", "starvations", "first aim [mm]",
)  # fmt: skip
"""Heads of the table's columns."""

TEXT_COLUMNS = 2
"""So many of its first columns are words."""


def rows(evaluation: Evaluation) -> Iterator[list[str]]:
    """The table's rows, one for each setting."""
    for setting in evaluation.settings:
        found = summary(evaluation.of(setting))
        yield [
            setting.variant,
            setting.execution,
            str(setting.rate_of_inference),
            setting.ensemble_text,
            str(setting.delay_ms),
            success_text(found.successes, found.episodes),
            percent(found.score),
            number_text(found.duration_s, 1),
            number_text(found.pause_s, 1),
            number_text(found.jerk, 0),
            number_text(1e3 * found.jump_rad, 0),
            number_text(found.limit_events, 0),
            number_text(found.starvations, 1),
            number_text(1e3 * found.aim_m, 0),
        ]


def percent(share: float) -> str:
    """A share, rounded."""
    return f"{100 * share:.0f} %"


def markdown(evaluation: Evaluation) -> str:
    """The table."""
    rules = ["---" if i < TEXT_COLUMNS else "---:" for i in range(len(HEAD))]
    lines = [list(HEAD), rules, *rows(evaluation)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def failures(evaluation: Evaluation) -> list[str]:
    """A line for each failed episode."""
    return [
        f"{each.setting.name}, seed {each.figures.seed}: {each.figures.reason}"
        for each in evaluation.episodes
        if not each.figures.success
    ]


def save(evaluation: Evaluation, path: Path) -> None:
    """Writes the figures as JSON; what is not finite becomes null."""
    content = {
        "format": FORMAT,
        "policy": evaluation.policy,
        "how": dict(evaluation.how),
        "episodes": [dataclasses.asdict(each) for each in evaluation.episodes],
    }
    write_atomically(path, to_json(content))


def load(path: Path) -> Evaluation:
    """What ``save`` wrote.

    Raises:
        ParameterError: the file holds something else.
    """
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT:
            raise ParameterError(f"{path}: format {content['format']}, this is for {FORMAT}")
        episodes = tuple(
            Episode(
                Setting(**each["setting"]),
                Figures(**_numbers(each["figures"])),
                each["video"],
                _numbers(each.get("aim_m")),
            )
            for each in content["episodes"]
        )
        return Evaluation(str(content["policy"]), dict(content["how"]), episodes)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ParameterError(f"{path}: holds no evaluation: {error!r}") from error


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _numbers(each) for key, each in value.items()}
    return math.nan if value is None else value
