"""The data report as one HTML file that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from trossen_pi0_training import report_plots as plots
from trossen_pi0_training.survey import Survey, is_gripper
from trossen_pi0_training.warning_signs import Sign, joint_limits

_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; color: #1d242b; max-width: 1240px; margin: 2em auto;
  padding: 0 1em }
h1 { font-size: 1.5em; margin-bottom: 0.2em } h2 { font-size: 1.15em; margin-top: 2em }
table { border-collapse: collapse; margin: 0.6em 0 } img { max-width: 100% }
th, td { padding: 0.25em 0.7em; border-bottom: 1px solid #dde2e7; text-align: left }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
.severe { color: #a31f1f } .mild { color: #6b5a12 } .good { color: #24713f }
.cameras { display: flex; flex-wrap: wrap; gap: 0.8em; margin: 0.6em 0 }
.cameras figure { margin: 0 } .cameras figcaption { font-size: 0.85em; color: #55606a }
.cameras img { width: 132px; margin-right: 2px } details { margin: 0.4em 0; padding: 0.3em 0.6em;
  border: 1px solid #dde2e7; border-radius: 4px } summary { cursor: pointer }
"""


def render(
    title: str,
    episodes: Sequence[Survey],
    signs: Mapping[str, Sequence[Sign]],
    unreadable: Mapping[str, str],
) -> str:
    """The page.

    Args:
        title: what it is about.
        episodes: what was surveyed.
        signs: by name of the episode.
        unreadable: name of each episode that could not be read -> why.
    """
    parts = [f"<h1>{_text(title)}</h1>", _summary(episodes, signs, unreadable)]
    if unreadable:
        rows = [[name, why] for name, why in unreadable.items()]
        parts.append(_section("Episodes that cannot be read", _table(["episode", "why"], rows)))
    parts.append(_section("Warnings", _warnings(signs)))
    if episodes:
        parts.extend(_figures(episodes))
        parts.append("<h2>Episodes</h2>")
        parts.extend(_episode(episode, signs[episode.name]) for episode in episodes)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(title)}'
        f"</title><style>{_STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _summary(
    episodes: Sequence[Survey],
    signs: Mapping[str, Sequence[Sign]],
    unreadable: Mapping[str, str],
) -> str:
    seconds = [episode.duration_s for episode in episodes]
    outcomes = [episode.outcome for episode in episodes]
    severe = sum(sign.severe for found in signs.values() for sign in found)
    rows = [
        ["episodes", f"{len(episodes)}, and {len(unreadable)} that cannot be read"],
        ["frames", f"{sum(e.frames for e in episodes)} at {_listed({e.fps for e in episodes})} Hz"],
        ["missing frames", str(sum(e.missing for e in episodes))],
        ["dropped messages", str(sum(e.dropped for e in episodes))],
        ["outcomes", ", ".join(f"{outcomes.count(o)} {o}" for o in sorted(set(outcomes)))],
        ["prompts", _listed({e.prompt or "(none)" for e in episodes})],
        ["warnings", str(severe)],
    ]
    if episodes:
        spread = f"{min(seconds):.1f} to {max(seconds):.1f} s, median {np.median(seconds):.1f} s"
        rows.insert(1, ["length", f"{sum(seconds) / 60:.1f} min; {spread}"])
    return _table([], rows)


def _warnings(signs: Mapping[str, Sequence[Sign]]) -> str:
    rows = [
        (sign.severe, [name, sign.kind, sign.text])
        for name, found in signs.items()
        for sign in found
    ]
    if not rows:
        return '<p class="good">None.</p>'
    rows.sort(key=lambda row: not row[0])
    classes = ["severe" if severe else "mild" for severe, _ in rows]
    return _table(["episode", "what", "why"], [row for _, row in rows], classes)


def _figures(episodes: Sequence[Survey]) -> Iterable[str]:
    alike = [e for e in episodes if e.joint_names == episodes[0].joint_names]
    yield _section("Durations", _image(plots.plot_durations(episodes)))
    yield _section(
        "Joint ranges", _image(plots.plot_ranges(alike)) + _details("figures", _ranges(alike))
    )
    yield _section(
        "Lag of the joints behind their commands",
        _image(plots.plot_lags(alike)) + _details("figures", _lags(alike)),
    )
    yield _section("Cameras", _image(plots.plot_sync(alike)))
    yield _section("Topics", _topics(episodes))


def _ranges(episodes: Sequence[Survey]) -> str:
    names = episodes[0].joint_names
    lower, upper = joint_limits(names)
    low, high = plots.value_range(episodes, "state")
    wanted_low, wanted_high = plots.value_range(episodes, "action")
    columns = (low, high, wanted_low, wanted_high, lower, upper)
    rows = [
        [name, "m" if is_gripper(name) else "rad", *(f"{column[i]:.4f}" for column in columns)]
        for i, name in enumerate(names)
    ]
    head = ["joint", "unit", "state from", "to", "action from", "to", "limits from", "to"]
    return _table(head, rows, numbers=range(2, 8))


def _lags(episodes: Sequence[Survey]) -> str:
    lags_ms = np.array([episode.lags_s for episode in episodes]) * 1e3
    rows = []
    for i, name in enumerate(episodes[0].joint_names):
        known = lags_ms[:, i][np.isfinite(lags_ms[:, i])]
        figures = (
            [f"{v:.0f}" for v in (np.median(known), known.min(), known.max())]
            if known.size
            else ["rests", "", ""]
        )
        rows.append([name, *figures, str(known.size)])
    head = ["joint", "median [ms]", "least", "most", "episodes"]
    return _table(head, rows, numbers=range(1, 5))


def _topics(episodes: Sequence[Survey]) -> str:
    names = sorted({topic for episode in episodes for topic in episode.topics})
    rows = []
    for name in names:
        counts = [episode.topics[name] for episode in episodes if name in episode.topics]
        rates = [count.rate_hz for count in counts]
        rows.append(
            [
                name,
                str(sum(count.messages for count in counts)),
                f"{np.median(rates):.2f}",
                f"{min(rates):.2f}",
                str(sum(count.dropped for count in counts)),
                f"{len(counts)} of {len(episodes)}",
            ]
        )
    head = ["topic", "messages", "median rate [Hz]", "least", "dropped", "episodes"]
    return _table(head, rows, numbers=range(1, 6))


def _episode(episode: Survey, signs: Sequence[Sign]) -> str:
    severe = sum(sign.severe for sign in signs)
    colour = "severe" if severe else "good"
    head = (
        f"<b>{_text(episode.name)}</b> &middot; {episode.duration_s:.1f} s &middot; "
        f"{episode.frames} frames &middot; {_text(episode.outcome)} &middot; "
        f"“{_text(episode.prompt)}” &middot; "
        f'<span class="{colour}">{severe} warnings</span>'
    )
    rows = [[sign.kind, sign.text] for sign in signs]
    shown = "".join(
        f"<figure>{''.join(_image(uri) for uri in uris)}"
        f"<figcaption>{_text(camera)}: first, middle, last</figcaption></figure>"
        for camera, uris in episode.thumbnails.items()
    )
    body = f'<div class="cameras">{shown}</div>{_image(plots.plot_joints(episode))}'
    legend = "<p>Orange: commanded (action), blue: measured (state).</p>"
    table = _table(["what", "why"], rows) if rows else ""
    return f"<details><summary>{head}</summary>{table}{body}{legend}</details>"


def _section(title: str, body: str) -> str:
    return f"<h2>{_text(title)}</h2>\n{body}"


def _details(title: str, body: str) -> str:
    return f"<details><summary>{_text(title)}</summary>{body}</details>"


def _table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    classes: Sequence[str] = (),
    numbers: Iterable[int] = (),
) -> str:
    right = set(numbers)

    def line(cells: Sequence[str], tag: str, style: str = "") -> str:
        inner = "".join(
            f"<{tag}{' class=number' if i in right else ''}>{_text(cell)}</{tag}>"
            for i, cell in enumerate(cells)
        )
        return f'<tr class="{style}">{inner}</tr>' if style else f"<tr>{inner}</tr>"

    top = line(head, "th") if head else ""
    styles = [*classes, *[""] * (len(rows) - len(classes))]
    body = "".join(line(row, "td", style) for row, style in zip(rows, styles, strict=True))
    return f"<table>{top}{body}</table>"


def _image(uri: str) -> str:
    return f'<img alt="" src="{uri}">' if uri else "<p>Nothing to show.</p>"


def _listed(values: Iterable[object]) -> str:
    return ", ".join(sorted(f"{v:g}" if isinstance(v, float) else str(v) for v in values))


def _text(value: str) -> str:
    return html.escape(str(value), quote=True)
