"""The offline report as one HTML file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trossen_pi0_data.page_parts import (
    details,
    figure,
    image,
    page,
    paragraph,
    section,
    table,
    text,
)
from trossen_pi0_training.offline import plots
from trossen_pi0_training.offline.evaluation import HOLD, POLICY, Evaluation
from trossen_pi0_training.offline.figures import differences
from trossen_pi0_training.offline.moments import Moment
from trossen_pi0_training.offline.sources import JOINTS
from trossen_pi0_training.plot_parts import short_name

_STYLE = """
.moment { border-top: 1px solid #dde2e7; padding-top: 0.6em; margin-top: 1em }
.moment .cameras img { width: 280px } h3 { font-size: 1em; margin: 0.3em 0 }
"""
_FOLDED = 15
_EXPLANATION = (
    "Errors are of predicted joint positions against recorded commands, row by row. As % of the "
    "range they are divided by how far the joint moves in the recordings (1st to 99th percentile) "
    "and averaged over the joints that move. Rows behind the end of an episode, or where frames "
    "are missing, are not judged."
)
_LIMITS = (
    "A small error does not mean that the task succeeds, and a policy that would do it in another "
    "way has a large one: the recorded arms never do what it says."
)


def render(
    found: Evaluation, ours: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]
) -> str:
    """The page.

    Args:
        found: the evaluation, for its worst moments.
        ours: its figures.
        others: label -> figures of other evaluations.
    """
    parts = [_summary(ours), paragraph(f"{_EXPLANATION} {_LIMITS}")]
    parts.extend(_unlike(ours, others))
    if ours["left_out"]:
        rows = [[each, why] for each, why in ours["left_out"].items()]
        parts.append(section("Episodes left out", table(["episode", "why"], rows)))
    parts.append(section("Error", _errors(ours, others)))
    executed = ours["settings"]["executed"]
    parts.append(section("Error by step ahead", image(plots.plot_steps(ours, others, executed))))
    parts.append(section("Error of each joint", _joints(ours)))
    parts.append(section("Grippers", _grippers(ours)))
    parts.append(section("First row and state", _first_rows(ours)))
    parts.append(section("Along the episodes", image(plots.plot_along(ours))))
    if len(ours["prompts"]) > 1:
        parts.append(section("Prompts", _prompts(ours)))
    parts.append(section("Episodes", _episodes(ours)))
    if found.worst.moments:
        parts.append(section("Worst moments", _worst(found, ours)))
    parts.append(section("Time of the answers", _timing(ours)))
    return page(f"Offline evaluation of {_name(ours)}", parts, _STYLE)


def _summary(ours: Mapping[str, Any]) -> str:
    settings, predictors = ours["settings"], ours["predictors"]
    error, resting = predictors[POLICY]["normalised"], predictors[HOLD]["normalised"]
    samples = settings["samples"]
    asked = f"every {settings['stride']} frames, {samples} chunk{'s' * (samples > 1)} at each"
    rows = [
        ["policy", f"{ours['policy']['source']} ({_told(ours['policy']['metadata'])})"],
        ["cameras", ", ".join(settings["cameras"])],
        ["moments", f"{ours['moments']} in {len(ours['episodes'])} episodes, {asked}"],
        ["judged", f"{settings['horizon']} rows of a chunk at {settings['rate_hz']:g} Hz"],
        ["error", f"{_percent(error)} of the range; holding still {_percent(resting)}"],
    ]
    missing = _cameras_missing(ours)
    if missing:
        rows.append(["missing", f"the model also takes {', '.join(missing)}"])
    return table([], rows)


def _name(ours: Mapping[str, Any]) -> str:
    """Of the policy, as short as it can be recognised."""
    source = ours["policy"]["source"].rstrip("/")
    if ours["policy"]["kind"] == "server":
        return source
    return "/".join(source.split("/")[-2:])


def _told(metadata: Mapping[str, Any]) -> str:
    config = metadata.get("config")
    return f"config {config}" if isinstance(config, str) else "config not told"


def _cameras_missing(ours: Mapping[str, Any]) -> list[str]:
    wanted = ours["policy"]["metadata"].get("cameras")
    wanted = wanted if isinstance(wanted, (list, tuple)) else ()
    return [str(camera) for camera in wanted if camera not in ours["settings"]["cameras"]]


def _unlike(ours: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> list[str]:
    texts = {label: differences(ours, other) for label, other in others.items()}
    return [
        paragraph(f"{label} cannot be compared line by line: {'; '.join(why)}.", "severe")
        for label, why in texts.items()
        if why
    ]


def _errors(ours: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> str:
    first, end = ours["settings"]["executed"]
    lines = {**ours["predictors"]}
    lines |= {label: other["predictors"][POLICY] for label, other in others.items()}
    rows = []
    for name, each in lines.items():
        steps = each["normalised_steps"]
        figures = (each["normalised"], each["normalised_executed"], steps[0], steps[-1])
        units = [_mean(each["mean_abs"], ours["units"], unit) for unit in ("rad", "m")]
        rows.append([name, *(_percent(v) for v in figures), *units])
    head = [
        "",
        "all rows",
        f"executed rows ({first} to {end - 1})",
        "first row",
        "last row",
        "revolute joints [rad]",
        "carriages [mm]",
    ]
    return table(head, rows, numbers=range(1, 7))


def _joints(ours: Mapping[str, Any]) -> str:
    policy, resting = ours["predictors"][POLICY], ours["predictors"][HOLD]
    rows = []
    for i, name in enumerate(ours["joints"]):
        size = ours["range"][i]
        part = policy["mean_abs"][i] / size if size else None
        figures = [policy[each][i] for each in ("mean_abs", "rmse", "p95", "bias")]
        rows.append(
            [
                short_name(name),
                ours["units"][i],
                *(_number(value) for value in figures),
                _percent(part) if part is not None else "rests",
                _number(policy["mean_abs_executed"][i]),
                _number(resting["mean_abs"][i]),
            ]
        )
    head = ["joint", "unit", "mean", "RMSE", "p95", "bias", "of range", "executed rows", "hold"]
    shown = image(plots.plot_joint_steps(ours))
    return table(head, rows, numbers=range(2, 9)) + shown + _samples(ours)


def _samples(ours: Mapping[str, Any]) -> str:
    if ours["sample_spread"] is None:
        return ""
    spread = np.nanmean(np.array(ours["sample_spread"], float), axis=0)
    rows = [
        [short_name(name), unit, _number(value)]
        for name, unit, value in zip(ours["joints"], ours["units"], spread, strict=True)
    ]
    head = ["joint", "unit", "standard deviation"]
    body = table(head, rows, numbers=[2])
    return details(f"between the {ours['settings']['samples']} samples of a moment", body)


def _grippers(ours: Mapping[str, Any]) -> str:
    rows = []
    for each in ours["grippers"]:
        if each["agreement"] is None:
            rows.append([short_name(each["joint"]), "rests", "", "", "", "", "", ""])
            continue
        late, off = each["late_median_s"], each["off_p90_s"]
        rows.append(
            [
                short_name(each["joint"]),
                _percent(each["agreement"]),
                str(each["changes"]),
                str(each["found"]),
                str(each["missed"]),
                str(each["invented"]),
                "" if late is None else f"{late:+.2f}",
                "" if off is None else f"{off:.2f}",
            ]
        )
    head = ["gripper", "rows that agree", "chunks with a change", "found", "missed", "invented"]
    head += ["late by, median [s]", "off by, 90 % within [s]"]
    words = "Open or closed, by the middle of the gripper's range; counted for each chunk."
    return paragraph(words) + table(head, rows, numbers=range(1, 8))


def _first_rows(ours: Mapping[str, Any]) -> str:
    each = ours["first_row"]
    rows = [
        [short_name(name), unit, *(_number(each[key][i]) for key in each)]
        for i, (name, unit) in enumerate(zip(ours["joints"], ours["units"], strict=True))
    ]
    head = ["joint", "unit", "predicted, mean", "largest", "recorded, mean", "largest"]
    words = "How far the first row of a chunk lies from the measured position."
    return paragraph(words) + _folded(table(head, rows, numbers=range(2, 6)), len(rows), 0)


def _prompts(ours: Mapping[str, Any]) -> str:
    rows = [[each["prompt"], *_short(each)] for each in ours["prompts"]]
    head = ["prompt", "moments", "error", "executed rows", "hold"]
    return table(head, rows, numbers=range(1, 5))


def _episodes(ours: Mapping[str, Any]) -> str:
    rows = [
        [
            each["name"],
            each["outcome"],
            str(each["frames"]),
            str(each["missing"]),
            *_short(each),
            "; ".join(each["notes"]),
        ]
        for each in ours["episodes"]
    ]
    head = ["episode", "outcome", "frames", "missing", "moments", "error", "executed rows"]
    head += ["hold", "notes"]
    return _folded(table(head, rows, numbers=range(2, 8)), len(rows), _FOLDED)


def _short(each: Mapping[str, Any]) -> list[str]:
    values = [_percent(each[key]) for key in ("normalised", "normalised_executed", "hold")]
    return [str(each["moments"]), *values]


def _worst(found: Evaluation, ours: Mapping[str, Any]) -> str:
    words = "Orange: recorded; violet: predicted; blue dot: measured. The joints most wrong."
    rate_hz = ours["settings"]["rate_hz"]
    moments = [_moment(each, found, rate_hz) for each in found.worst.moments]
    return paragraph(words) + "".join(moments)


def _moment(moment: Moment, found: Evaluation, rate_hz: float) -> str:
    scale = found.plan.motion.scale
    worst = ", ".join(
        f"{short_name(JOINTS.dataset_names[i])} {_percent(moment.joint_errors[i] / scale[i])}"
        for i in plots.joints_by_error(moment, scale)[:3]
    )
    head = (
        f"{moment.episode}, {moment.time_s:.2f} s (frame {moment.frame}): "
        f"{_percent(moment.error)}, hold {_percent(moment.hold_error)}"
    )
    shown = "".join(figure(image(uri), camera) for camera, uri in moment.pictures.items())
    return (
        f'<div class="moment"><h3>{text(head)}</h3>{paragraph(f"“{moment.prompt}”; {worst}")}'
        f'<div class="cameras">{shown}</div>{image(plots.plot_moment(moment, scale, rate_hz))}'
        "</div>"
    )


def _timing(ours: Mapping[str, Any]) -> str:
    times = ours["timing"]
    rows = [
        ["answers", str(times["answers"])],
        ["median", f"{times['p50_ms']:.1f} ms"],
        ["p5, p95, p99", ", ".join(f"{times[f'p{p}_ms']:.1f}" for p in (5, 95, 99)) + " ms"],
        ["first, longest", f"{times['first_ms']:.1f}, {times['most_ms']:.1f} ms"],
        ["preparation, median", f"{times['preparation_p50_ms']:.1f} ms"],
        ["loading and compiling, or connecting", f"{times['ready_s']:.1f} s"],
    ]
    return table([], rows)


def _folded(body: str, rows: int, limit: int) -> str:
    return details(f"{rows} rows", body) if rows > limit else body


def _mean(values: Sequence[float | None], units: Sequence[str], unit: str) -> str:
    chosen = [v for v, u in zip(values, units, strict=True) if u == unit and v is not None]
    if not chosen:
        return ""
    return f"{np.mean(chosen):.4f}" if unit == "rad" else f"{1e3 * np.mean(chosen):.2f}"


def _percent(value: float | None) -> str:
    return "" if value is None or not np.isfinite(value) else f"{100 * value:.2f} %"


def _number(value: float | None) -> str:
    return "" if value is None or not np.isfinite(value) else f"{value:.4f}"
