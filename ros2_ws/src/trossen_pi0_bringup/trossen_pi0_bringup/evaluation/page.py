"""The report of an evaluation: one HTML file, with the videos beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from trossen_pi0_bringup.evaluation.results import (
    HEAD,
    STAGES,
    TEXT_COLUMNS,
    Episode,
    Evaluation,
    Summary,
    percent,
    rows,
    summary,
)
from trossen_pi0_bringup.evaluation.settings import Setting
from trossen_pi0_bringup.virtual.metrics import number_text, success_text
from trossen_pi0_data.page_parts import (
    details,
    image,
    page,
    paragraph,
    png_uri,
    section,
    table,
    text,
)
from trossen_pi0_sim.progress import Stage

_LISTED = 25
_VIDEO_STYLE = "video { width: 480px; margin: 0.4em 0; display: block }"


def render(evaluation: Evaluation, others: Mapping[str, Evaluation]) -> str:
    """The page.

    Args:
        evaluation: at least one episode.
        others: other evaluations by their names, to stand beside this one.
    """
    found = summary(evaluation.episodes)
    low, high = found.interval
    verdict = (
        f"{found.successes} of {found.episodes} episodes succeeded: {100 * found.rate:.1f} % "
        f"(95 %: {percent(low)} to {percent(high)}); partial score {percent(found.score)}."
    )
    parts = [
        paragraph(verdict),
        section("What was judged", table((), [["policy", evaluation.policy], *_how(evaluation)])),
        section("Settings", _settings(evaluation)),
        section("How far the episodes came", _stages(evaluation)),
    ]
    if others:
        parts.append(section("Beside other evaluations", _compared(evaluation, others)))
    parts.append(section("Failures", _failures(evaluation)))
    parts.append(section("All episodes", _episodes(evaluation.episodes)))
    return page("Closed-loop evaluation", parts, _VIDEO_STYLE)


def _how(evaluation: Evaluation) -> list[list[str]]:
    return [[name, value] for name, value in evaluation.how.items()]


def _settings(evaluation: Evaluation) -> str:
    body = table(HEAD, list(rows(evaluation)), numbers=range(TEXT_COLUMNS, len(HEAD)))
    note = "Time is the mean of the successes; all else is the mean of all episodes."
    return body + paragraph(note)


def _stages(evaluation: Evaluation) -> str:
    names = [stage.name.lower().replace("_", " ") for stage in STAGES]
    lines: list[list[str]] = []
    shares: dict[Setting, list[float]] = {}
    for setting in evaluation.settings:
        reached = summary(evaluation.of(setting)).reached
        shares[setting] = [reached[stage] for stage in STAGES]
        lines.append([setting.name, *(percent(share) for share in shares[setting])])
    body = table(["setting", *names], lines, numbers=range(1, len(names) + 1))
    return image(_stage_plot(names, shares)) + body


def _stage_plot(names: Sequence[str], shares: Mapping[Setting, Sequence[float]]) -> str:
    figure, axis = plt.subplots(figsize=(8.0, 3.2))
    for setting, values in shares.items():
        axis.plot(range(len(names)), [100 * v for v in values], "o-", ms=4, label=setting.name)
    axis.set_xticks(range(len(names)), names)
    axis.set_ylabel("episodes that came so far [%]")
    axis.set_ylim(0, 104)
    axis.grid(alpha=0.3)
    if len(shares) <= 8:
        axis.legend(fontsize=7, frameon=False)
    figure.tight_layout()
    uri = png_uri(figure, dpi=100)
    plt.close(figure)
    return uri


def _compared(evaluation: Evaluation, others: Mapping[str, Evaluation]) -> str:
    known = {"this one": evaluation, **others}
    settings = dict.fromkeys(s for each in known.values() for s in each.settings)
    lines = [
        [
            setting.name,
            *(
                success_text(found.successes, found.episodes) if found else "-"
                for found in (_summary(each, setting) for each in known.values())
            ),
        ]
        for setting in settings
    ]
    return table(["setting", *known], lines, numbers=range(1, len(known) + 1))


def _summary(evaluation: Evaluation, setting: Setting) -> Summary | None:
    episodes = evaluation.of(setting)
    return summary(episodes) if episodes else None


def _failures(evaluation: Evaluation) -> str:
    failed = [each for each in evaluation.episodes if not each.figures.success]
    if not failed:
        return paragraph("There are none.", "good")
    parts: list[str] = []
    for each in failed:
        film = (
            f'<video controls preload="none" src="{text(each.video)}"></video>'
            if each.video
            else paragraph("No video was kept.")
        )
        stage = Stage(each.figures.stage).name.lower().replace("_", " ")
        title = f"seed {each.figures.seed}, {each.setting.name}: came as far as {stage!r}"
        parts.append(details(title, paragraph(each.figures.reason, "severe") + film))
    return "\n".join(parts)


def _episodes(episodes: Sequence[Episode]) -> str:
    head = [
        "seed", "setting", "result", "stage", "time [s]", "pauses [s]", "jerk [rad/s³]",
        "chunks", "limit events", "starvations", "refused",
    ]  # fmt: skip
    lines = [
        [
            str(each.figures.seed),
            each.setting.name,
            "success" if each.figures.success else "failure",
            Stage(each.figures.stage).name.lower().replace("_", " "),
            number_text(each.figures.duration_s, 1),
            number_text(each.figures.pause_s, 1),
            number_text(each.figures.measured_jerk["arms"], 0),
            str(each.figures.chunks),
            str(each.figures.limit_events),
            str(each.figures.starvations),
            str(each.figures.rejected),
        ]
        for each in episodes
    ]
    classes = ["good" if each.figures.success else "severe" for each in episodes]
    body = table(head, lines, classes, numbers=[0, *range(4, len(head))])
    return body if len(lines) <= _LISTED else details(f"{len(lines)} episodes", body)
