"""``make bench-stack``: latency, jitter, processor shares and losses of the whole stack.

Runs the expert on the simulated kit once at each picture size, without video, and prints a table.
Usage: ``python -m trossen_pi0_bringup.bench [sizes:=640x480x30,320x240x30] [name:=value ...]``;
further arguments are those of ``make sim``.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from trossen_pi0_bringup.arguments import Arguments, parse_command_line
from trossen_pi0_bringup.episodes import EpisodeResult, EpisodeRunner
from trossen_pi0_bringup.kit import camera_topics
from trossen_pi0_bringup.nodes import node_specs
from trossen_pi0_bringup.report import write_json
from trossen_pi0_bringup.resources import ResourceMonitor
from trossen_pi0_bringup.sim import SIM_ARGUMENTS
from trossen_pi0_bringup.supervisor import Supervisor
from trossen_pi0_core.errors import ParameterError, TrossenPi0Error
from trossen_pi0_msgs.msg import PolicyStatus, SimStatus
from trossen_pi0_ros.convert import time_ns

DEFAULT_SIZES = "640x480x30,320x240x30"


@dataclass
class Counts:
    """Counters of the statuses, in the order of arrival.

    Attributes:
        published: time [ns] and pictures published so far.
        received: time [ns] and pictures that the policy has received so far.
        skipped: pictures skipped so far.
        ticks: control ticks and missed deadlines so far.
    """

    published: list[tuple[int, int]] = field(default_factory=list)
    received: list[tuple[int, int]] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    ticks: list[tuple[int, int]] = field(default_factory=list)

    def watch(self, runner: EpisodeRunner) -> None:
        """Takes the newest statuses."""
        seen = runner.recording
        if seen.sim is not None:
            self.add_sim(seen.sim)
        if seen.policy is not None:
            self.add_policy(seen.policy)
        if seen.controller is not None:
            self.ticks.append((seen.controller.ticks, seen.controller.missed_deadlines))

    def add_sim(self, status: SimStatus) -> None:
        """Takes a status, unless it was the last one too."""
        stamp = time_ns(status.header.stamp)
        if not self.published or stamp > self.published[-1][0]:
            self.published.append((stamp, status.images_published))
            self.skipped.append(status.images_skipped)

    def add_policy(self, status: PolicyStatus) -> None:
        """Takes a status, unless it was the last one too."""
        stamp = time_ns(status.header.stamp)
        if not self.received or stamp > self.received[-1][0]:
            self.received.append((stamp, status.images_received))

    def lost(self) -> tuple[float, float]:
        """Pictures lost on the way and pictures published, in the time that both counts cover.

        From the mean rates of both counters, since they are not read at the same instants.
        """
        first_ns = max(self.published[0][0], self.received[0][0])
        last_ns = min(self.published[-1][0], self.received[-1][0])
        duration_s = (last_ns - first_ns) / 1e9
        sent = _rate(self.published, first_ns, last_ns) * duration_s
        return sent - _rate(self.received, first_ns, last_ns) * duration_s, sent


def _rate(counts: list[tuple[int, int]], first_ns: int, last_ns: int) -> float:
    """Mean rate of a counter between two times [1/s]; NaN if it was read only once."""
    points = [((t - first_ns) / 1e9, count) for t, count in counts if first_ns <= t <= last_ns]
    if len(points) < 2:
        return math.nan
    times_s, values = np.array(points).T
    return float(np.polyfit(times_s, values, 1)[0])


def measure(
    arguments: Arguments, folder: Path, say: Callable[[str], None]
) -> tuple[dict[str, Any], EpisodeResult]:
    """Runs one episode and returns its figures.

    Raises:
        TrossenPi0Error: the stack failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor(folder, say)
    counts = Counts()
    try:
        supervisor.start(node_specs(arguments))
        runner = EpisodeRunner(camera_topics(arguments))
        monitor = ResourceMonitor(supervisor.pids)

        def watch() -> None:
            supervisor.check()
            counts.watch(runner)

        try:
            runner.wait_until_ready(arguments["ready_timeout_s"], watch)
            monitor.restart()
            result = runner.run_episode(
                arguments["seed"], arguments["variant"], arguments["max_duration_s"], watch
            )
            return _figures(result, counts, monitor), result
        finally:
            runner.close()
            monitor.close()
    finally:
        supervisor.stop()


def _figures(result: EpisodeResult, counts: Counts, monitor: ResourceMonitor) -> dict[str, Any]:
    seen = result.recording
    controller = seen.controller
    assert controller is not None
    overheads = [v * 1e3 for v in seen.overheads_s.values() if math.isfinite(v)]
    lost, sent = counts.lost()
    ticks = counts.ticks[-1][0] - counts.ticks[0][0]
    missed = counts.ticks[-1][1] - counts.ticks[0][1]
    return {
        "success": result.success,
        "chunks": len(overheads),
        "image to chunk p50 [ms]": _quantile(overheads, 0.5),
        "image to chunk p99 [ms]": _quantile(overheads, 0.99),
        "tick lateness p99 [ms]": controller.tick_lateness_p99_s * 1e3,
        "driver round trip p99 [ms]": controller.driver_round_trip_p99_s * 1e3,
        "ticks": ticks,
        "missed deadlines": missed,
        "real-time factor mean": float(np.mean(seen.real_time_factors)),
        "real-time factor min": float(np.min(seen.real_time_factors)),
        "pictures published": sent,
        "pictures lost": lost,
        "pictures skipped": counts.skipped[-1] - counts.skipped[0],
        **{f"cpu {name} [cores]": share for name, share in monitor.cpu_shares().items()},
        **{f"memory {name} [MB]": size for name, size in monitor.peak_memory_mb().items()},
    }


def _quantile(values: list[float], fraction: float) -> float:
    return float(np.quantile(values, fraction)) if values else math.nan


def main(words: list[str] | None = None) -> int:
    """Measures at each size and prints the table; returns the exit status."""
    console = Console(highlight=False, soft_wrap=True)
    try:
        texts = parse_command_line(sys.argv[1:] if words is None else words)
        sizes = [_size(text) for text in texts.pop("sizes", DEFAULT_SIZES).split(",")]
        columns: dict[str, dict[str, Any]] = {}
        folder = Path(texts.pop("run_dir", "") or f"runs/bench_{time.strftime('%Y%m%d_%H%M%S')}")
        for width, height, fps in sizes:
            name = f"{width}x{height}@{fps}"
            console.print(f"measuring at {name}", markup=False)
            changed = {"camera_width": width, "camera_height": height, "camera_fps": fps}
            arguments = Arguments(SIM_ARGUMENTS, {**texts, **changed})
            say = lambda line: console.print(line, style="yellow", markup=False)  # noqa: E731
            columns[name], _ = measure(arguments, (folder / name).resolve(), say)
    except ParameterError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 2
    except TrossenPi0Error as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 3
    console.print(_table(columns))
    write_json(folder / "bench.json", _without_nan(columns))
    console.print(f"figures: {folder / 'bench.json'}", markup=False)
    return 0


def _size(text: str) -> tuple[str, str, str]:
    parts = text.split("x")
    if len(parts) != 3 or not all(part.isdigit() for part in parts):
        raise ParameterError(f"sizes: need width x height x rate such as 640x480x30, got {text!r}")
    return parts[0], parts[1], parts[2]


def _table(columns: dict[str, dict[str, Any]]) -> Table:
    table = Table("figure", *columns)
    for row in next(iter(columns.values())):
        table.add_row(escape(row), *(_cell(figures.get(row)) for figures in columns.values()))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def _without_nan(columns: dict[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        name: {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in figures.items()
        }
        for name, figures in columns.items()
    }


if __name__ == "__main__":
    sys.exit(main())
