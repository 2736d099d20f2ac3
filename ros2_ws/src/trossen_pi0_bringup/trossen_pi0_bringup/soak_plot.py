"""A long run in one picture: memory, threads and files, lateness, load over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from trossen_pi0_bringup.soak_run import SoakRun

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#666666")


def plot_soak(run: SoakRun, path: Path, warm_up_s: float, title: str) -> None:
    """Draws the run.

    Args:
        run: the run.
        path: of the PNG file.
        warm_up_s: beginning of the run of which memory is not judged [s]; drawn in grey.
        title: of the figure.
    """
    figure, axes = plt.subplots(3, 2, figsize=(15, 11), sharex=True)
    minutes = [t / 60.0 for t in run.column("time_s")]
    warm_up_end = run.judged_from_s(warm_up_s) / 60.0
    _processes(axes[0][0], run, minutes, "uss_mb", "unshared memory over its start [MB]", zero=True)
    _processes(axes[0][1], run, minutes, "rss_mb", "resident memory [MB]")
    _processes(axes[1][0], run, minutes, "threads", "threads (line), open files (dots)")
    _processes(axes[1][0], run, minutes, "files", "", style=":")
    _cores(axes[1][1], run)
    _lines(
        axes[2][0],
        run,
        minutes,
        {"lateness_p99_ms": "tick lateness p99", "round_trip_p99_ms": "driver round trip p99"},
        "time [ms]",
    )
    missed = axes[2][0].twinx()
    counts = run.column("missed_deadlines")
    missed.step(minutes, counts, color="#666666", lw=1.0, where="post")
    missed.set_ylabel("missed deadlines so far (grey)")
    missed.set_ylim(0, 1.1 * max([1, *counts]))
    _lines(axes[2][1], run, minutes, {"inference_p95_ms": "inference p95"}, "time [ms]")
    factor = axes[2][1].twinx()
    factor.plot(minutes, run.column("real_time_factor"), color="#666666", lw=1.0)
    factor.set_ylabel("real-time factor (grey)")
    factor.set_ylim(0.0, 1.1)
    for axis in axes.flat:
        if minutes:
            axis.axvspan(minutes[0], warm_up_end, color="0.93", zorder=0)
        axis.margins(x=0.01)
        axis.grid(color="0.9", lw=0.6)
        axis.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncol=4, frameon=False)
    for axis in axes[-1]:
        axis.set_xlabel("time [min]; grey: warm-up")
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _processes(
    axis: Any,
    run: SoakRun,
    minutes: list[float],
    column: str,
    label: str,
    *,
    style: str = "-",
    zero: bool = False,
) -> None:
    """One line a process; with ``zero`` each begins at zero, so that growth is seen."""
    for i, process in enumerate(run.processes):
        values = run.column(f"{process}.{column}")
        if zero and values:
            values = [v - values[0] for v in values]
        name = process if style == "-" else None
        axis.plot(minutes, values, style, color=_COLOURS[i % len(_COLOURS)], lw=1.3, label=name)
    if label:
        axis.set_ylabel(label)


def _cores(axis: Any, run: SoakRun) -> None:
    for i, process in enumerate(run.processes):
        times_s, shares = run.cores(process)
        minutes = [t / 60.0 for t in times_s]
        axis.plot(minutes, shares, color=_COLOURS[i % len(_COLOURS)], lw=1.3, label=process)
    axis.set_ylabel("processor within episodes [cores]")
    axis.set_ylim(bottom=0)


def _lines(
    axis: Any, run: SoakRun, minutes: list[float], columns: dict[str, str], label: str
) -> None:
    for i, (column, name) in enumerate(columns.items()):
        axis.plot(minutes, run.column(column), color=_COLOURS[i], lw=1.3, label=name)
    axis.set_ylabel(label)
    axis.set_ylim(bottom=0)
