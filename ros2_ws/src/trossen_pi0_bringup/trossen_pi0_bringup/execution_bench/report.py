"""Table and plot of the bench."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from trossen_pi0_bringup.execution_bench.cells import BASE_LATENCY_S, JITTER_S, Cell
from trossen_pi0_bringup.execution_bench.measuring import Results
from trossen_pi0_bringup.execution_bench.stand_in import KINDS
from trossen_pi0_bringup.virtual.figures import Figures
from trossen_pi0_bringup.virtual.metrics import finite_mean, number_text, success_text, wilson
from trossen_pi0_core.errors import ParameterError

BEGIN = "<!-- bench-execution: begin -->"
END = "<!-- bench-execution: end -->"

_COLOURS = {
    "blocking": "#b03a2e",
    "blocking+ensemble": "#e59866",
    "async-no-blend": "#7f8c8d",
    "async": "#2471a3",
    "async+ensemble": "#76b7e0",
    "rtc": "#1e8449",
}
_DODGE_MS = 3.0  # markers of different modes stand beside each other


@dataclass(frozen=True)
class _Column:
    """One figure of an episode, averaged over a cell.

    Attributes:
        title: with its unit.
        value: of one episode.
        digits: behind the point in the table.
        plotted: whether it has a panel in the plot.
    """

    title: str
    value: Callable[[Figures], float]
    digits: int
    plotted: bool = False


def _duration(figures: Figures) -> float:
    return figures.duration_s if figures.success else math.nan


def _events(figures: Figures) -> float:
    return figures.limit_events


_COLUMNS = (
    _Column("time [s]", _duration, 1, plotted=True),
    _Column("pauses [s]", lambda f: f.pause_s, 1, plotted=True),
    _Column("jerk commanded [rad/s³]", lambda f: f.jerk["arms"], 0, plotted=True),
    _Column("jerk measured [rad/s³]", lambda f: f.measured_jerk["arms"], 0, plotted=True),
    _Column("largest jump [mrad]", lambda f: f.jump_rad * 1e3, 0, plotted=True),
    _Column("mean jump [mrad]", lambda f: f.mean_jump_rad * 1e3, 1),
    _Column("limit events [ticks]", _events, 0),
    _Column("slowed down [s]", lambda f: f.slowdown_s, 2),
    _Column("starvations", lambda f: f.starvations, 1),
    _Column("tracking RMS [mrad]", lambda f: f.tracking_rms_rad * 1e3, 0),
)


def mean(column: _Column, episodes: Sequence[Figures]) -> float:
    """Mean over the episodes that have the figure; NaN without any."""
    return finite_mean(map(column.value, episodes))


def tables(results: Results, seeds: Sequence[int]) -> str:
    """Markdown: one table for each stand-in."""
    base_ms, jitter_ms = round(BASE_LATENCY_S * 1e3), round(JITTER_S * 1e3)
    intro = (
        f"{len(seeds)} episodes a row, seeds {seeds[0]} to {seeds[-1]}. Each inference takes "
        f"{base_ms} to {base_ms + jitter_ms} ms and the added delay."
    )
    parts = [intro]
    for policy in dict.fromkeys(cell.policy for cell in results):
        kind = KINDS[policy]
        parts.append(f"**{kind.name}**: {kind.text}.\n\n{_table(results, policy)}")
    return "\n\n".join(parts)


def _table(results: Results, policy: str) -> str:
    titles = ["mode", "added delay [ms]", "success (95 %)", *(c.title for c in _COLUMNS)]
    lines = [_line(titles), _line(["---", "---:", "---", *("---:" for _ in _COLUMNS)])]
    for cell, episodes in results.items():
        if cell.policy == policy:
            figures = (number_text(mean(c, episodes), c.digits) for c in _COLUMNS)
            success = success_text(sum(f.success for f in episodes), len(episodes))
            lines.append(_line([cell.mode, str(cell.delay_ms), success, *figures]))
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def failures(results: Results) -> str:
    """Every failed episode with its reason; empty without any."""
    return "\n".join(
        f"{cell.policy}, {cell.mode}, {cell.delay_ms} ms, seed {figures.seed}: {figures.reason}"
        for cell, episodes in results.items()
        for figures in episodes
        if not figures.success
    )


def plot(results: Results, path: Path) -> None:
    """Figures over the added delay: a column for each stand-in, a line for each mode."""
    policies = list(dict.fromkeys(cell.policy for cell in results))
    modes = list(dict.fromkeys(cell.mode for cell in results))
    columns = [column for column in _COLUMNS if column.plotted]
    figure, axes = plt.subplots(
        len(columns) + 1,
        len(policies),
        figsize=(5.6 * len(policies), 2.3 * (len(columns) + 1)),
        sharex=True,
        sharey="row",
        squeeze=False,
    )
    for across, policy in enumerate(policies):
        for place, mode in enumerate(modes):
            cells = [c for c in results if (c.policy, c.mode) == (policy, mode)]
            shift = _DODGE_MS * (place - (len(modes) - 1) / 2)
            _draw_success(axes[0][across], results, cells, shift)
            for axis, column in zip(axes[1:, across], columns, strict=True):
                values = [mean(column, results[c]) for c in cells]
                axis.plot([c.delay_ms for c in cells], values, "o-", **_style(mode))
        axes[0][across].set_title(policy)
        axes[-1][across].set_xlabel("added delay [ms]")
    for axis, title in zip(axes[:, 0], ["success", *(c.title for c in columns)], strict=True):
        axis.set_ylabel(title)
    for axis in axes[1:].flat:
        axis.set_ylim(bottom=0.0)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    handles, labels = axes[1][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=3, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 1 - 0.7 / figure.get_figheight()))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _draw_success(axis: Axes, results: Results, cells: Sequence[Cell], shift_ms: float) -> None:
    for cell in cells:
        episodes = results[cell]
        count = sum(f.success for f in episodes)
        low, high = wilson(count, len(episodes))
        x = cell.delay_ms + shift_ms
        style = _style(cell.mode)
        axis.plot([x, x], [low, high], color=style["color"], lw=1.2)
        axis.plot([x], [count / len(episodes)], "o", color=style["color"], ms=4)
    axis.set_ylim(0.0, 1.05)


def _style(mode: str) -> dict[str, str | float]:
    return {"color": _COLOURS.get(mode, "black"), "label": mode, "ms": 4.0, "lw": 1.4}


def write_table(path: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Puts the tables between the marks of a document; without a document it makes one of them.

    Raises:
        ParameterError: the document has no marks.
    """
    marked = f"{begin}\n\n{text}\n\n{end}"
    if path.exists():
        document = path.read_text()
        head, found_begin, rest = document.partition(begin)
        _, found_end, tail = rest.partition(end)
        if not found_begin or not found_end:
            raise ParameterError(f"{path}: need the lines {begin!r} and {end!r} in this order")
        marked = head + marked + tail
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        marked += "\n"
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(marked)
    part.replace(path)
