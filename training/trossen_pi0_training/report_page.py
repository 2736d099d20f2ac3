"""The data report as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from trossen_pi0_data.page_parts import (
    details,
    figure,
    image,
    listed,
    page,
    section,
    table,
    text,
)
from trossen_pi0_training import report_plots as plots
from trossen_pi0_training.survey import Survey, is_gripper
from trossen_pi0_training.warning_signs import Sign, joint_limits

_FOLDED = 15
"""More notes than these are folded away."""


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
    parts = [_summary(episodes, signs, unreadable)]
    if unreadable:
        rows = [[name, why] for name, why in unreadable.items()]
        parts.append(section("Episodes that cannot be read", table(["episode", "why"], rows)))
    parts.append(section("Warnings", _warnings(signs)))
    if episodes:
        parts.extend(_figures(episodes))
        parts.append("<h2>Episodes</h2>")
        parts.extend(_episode(episode, signs[episode.name]) for episode in episodes)
    return page(title, parts)


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
        ["frames", f"{sum(e.frames for e in episodes)} at {listed({e.fps for e in episodes})} Hz"],
        ["missing frames", str(sum(e.missing for e in episodes))],
        ["dropped messages", str(sum(e.dropped for e in episodes))],
        ["outcomes", ", ".join(f"{outcomes.count(o)} {o}" for o in sorted(set(outcomes)))],
        ["prompts", listed({e.prompt or "(none)" for e in episodes})],
        ["warnings", str(severe)],
    ]
    if episodes:
        spread = f"{min(seconds):.1f} to {max(seconds):.1f} s, median {np.median(seconds):.1f} s"
        rows.insert(1, ["length", f"{sum(seconds) / 60:.1f} min; {spread}"])
    return table([], rows)


def _warnings(signs: Mapping[str, Sequence[Sign]]) -> str:
    rows = [
        (sign.severe, [name, sign.kind, sign.text])
        for name, found in signs.items()
        for sign in found
    ]
    if not rows:
        return '<p class="good">None.</p>'
    head = ["episode", "what", "why"]
    severe = [row for is_severe, row in rows if is_severe]
    mild = [row for is_severe, row in rows if not is_severe]
    parts = [table(head, severe, ["severe"] * len(severe))] if severe else []
    notes = table(head, mild, ["mild"] * len(mild)) if mild else ""
    parts.append(details(f"{len(mild)} notes", notes) if len(mild) > _FOLDED else notes)
    return "".join(parts)


def _figures(episodes: Sequence[Survey]) -> Iterable[str]:
    alike = [e for e in episodes if e.joint_names == episodes[0].joint_names]
    yield section("Durations", image(plots.plot_durations(episodes)))
    yield section(
        "Joint ranges", image(plots.plot_ranges(alike)) + details("figures", _ranges(alike))
    )
    yield section(
        "Lag of the joints behind their commands",
        image(plots.plot_lags(alike)) + details("figures", _lags(alike)),
    )
    sync = plots.plot_sync(alike)
    if sync:  # data sets keep neither stamps nor messages
        yield section("Cameras", image(sync))
    if any(episode.topics for episode in episodes):
        yield section("Topics", _topics(episodes))


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
    return table(head, rows, numbers=range(2, 8))


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
    return table(head, rows, numbers=range(1, 5))


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
    return table(head, rows, numbers=range(1, 6))


def _episode(episode: Survey, signs: Sequence[Sign]) -> str:
    severe = sum(sign.severe for sign in signs)
    colour = "severe" if severe else "good"
    head = (
        f"<b>{text(episode.name)}</b> &middot; {episode.duration_s:.1f} s &middot; "
        f"{episode.frames} frames &middot; {text(episode.outcome)} &middot; "
        f"“{text(episode.prompt)}” &middot; "
        f'<span class="{colour}">{severe} warnings</span>'
    )
    rows = [[sign.kind, sign.text] for sign in signs]
    shown = "".join(
        figure("".join(image(uri) for uri in uris), f"{camera}: first, middle, last")
        for camera, uris in episode.thumbnails.items()
    )
    body = f'<div class="cameras">{shown}</div>{image(plots.plot_joints(episode))}'
    legend = "<p>Orange: commanded (action), blue: measured (state).</p>"
    found = table(["what", "why"], rows) if rows else ""
    return f"<details><summary>{head}</summary>{found}{body}{legend}</details>"
