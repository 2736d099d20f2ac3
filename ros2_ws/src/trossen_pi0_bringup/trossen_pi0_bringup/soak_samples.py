"""What a long run is seen to do: one row every few seconds, written to a table at once."""

from __future__ import annotations

import csv
import math
import re
import time
from pathlib import Path
from typing import Any

import psutil

from trossen_pi0_bringup.episodes import EpisodeRunner
from trossen_pi0_bringup.resources import (
    SHARED_MEMORY,
    ResourceMonitor,
    process_usage,
)
from trossen_pi0_bringup.soak_run import (
    CONTROLLER_COUNTERS,
    GAUGES,
    POLICY_COUNTERS,
    SIM_COUNTERS,
    USAGE_COLUMNS,
    Row,
)
from trossen_pi0_msgs.msg import ControllerStatus, PolicyStatus, SimStatus

SUPERVISOR = "supervisor"
"""Name of this process among those that are watched."""

_DATA_SEGMENT = re.compile(r"(fastrtps|fastdds)_[0-9a-f]{16}")


class SoakSampler:
    """Takes the rows. Its methods are called by one thread.

    Attributes:
        processes: names of what is watched: the nodes and this process.
        rows: taken so far.
        faults: entries into FAULT or ESTOP that were seen, each with its reason.
        segments: names of all shared-memory segments that the processes ever had mapped.
    """

    def __init__(self, runner: EpisodeRunner, monitor: ResourceMonitor, path: Path) -> None:
        """Args:
        runner: whose topics are read.
        monitor: of the nodes' processes.
        path: of the CSV file.
        """
        self.processes = (*monitor.usages(), SUPERVISOR)
        self.rows: list[Row] = []
        self.faults: list[str] = []
        self.segments: set[str] = set()
        self._runner = runner
        self._monitor = monitor
        self._own = psutil.Process()
        self._sim: SimStatus | None = None
        self._state: int | None = None
        self._begun_s = time.monotonic()
        self._last_s = -math.inf
        self._file = path.open("w", newline="")
        self._writer = csv.DictWriter(self._file, self.columns())
        self._writer.writeheader()

    def columns(self) -> list[str]:
        """Names of the columns."""
        usage = [f"{name}.{column}" for name in self.processes for column in USAGE_COLUMNS]
        stack = [*GAUGES, *CONTROLLER_COUNTERS, *POLICY_COUNTERS, *SIM_COUNTERS]
        return ["time_s", "episode", "seed", "phase", *usage, *stack]

    @property
    def age_s(self) -> float:
        """Time since the last row [s]."""
        return time.monotonic() - self._last_s

    def close(self) -> None:
        """Closes the table."""
        self._file.close()

    def watch(self) -> None:
        """Sees whether the arms stopped for a fault; called several times a second."""
        status = self._runner.recording.controller
        if status is None or status.state == self._state:
            return
        self._state = status.state
        names = {ControllerStatus.FAULT: "FAULT", ControllerStatus.ESTOP: "ESTOP"}
        if status.state in names:
            after_s = time.monotonic() - self._begun_s
            self.faults.append(f"{names[status.state]} after {after_s:.0f} s: {status.reason}")

    def sample(self, episode: int, seed: int, phase: str) -> Row:
        """Takes a row and writes it.

        Args:
            episode: index of the episode.
            seed: of the episode.
            phase: ``RUN`` or ``REST``.
        """
        seen = self._runner.recording
        self._sim = seen.sim or self._sim
        self._last_s = time.monotonic()
        row: Row = {"time_s": self._last_s - self._begun_s, "episode": episode, "seed": seed}
        row["phase"] = phase
        row.update(self._usage())
        row.update(_stack(seen.controller, seen.policy, self._sim))
        self.rows.append(row)
        self._writer.writerow({name: _plain(row[name]) for name in self.columns()})
        self._file.flush()
        return row

    def _usage(self) -> Row:
        usages = {**self._monitor.usages(), SUPERVISOR: process_usage(self._own)}
        row: Row = {}
        for name, usage in usages.items():
            row[f"{name}.rss_mb"] = usage.resident_bytes / 1e6
            row[f"{name}.uss_mb"] = usage.unique_bytes / 1e6
            row[f"{name}.threads"] = usage.threads
            row[f"{name}.files"] = usage.files
            row[f"{name}.sockets"] = usage.sockets
            row[f"{name}.processes"] = usage.processes
            row[f"{name}.cpu_s"] = usage.cpu_s
        mapped = frozenset().union(*(usage.segments for usage in usages.values()))
        self.segments |= mapped
        row["shm_mapped"] = len(mapped)
        row["shm_files"], row["shm_mb"] = _shared_memory()
        return row


def _stack(
    controller: ControllerStatus | None, policy: PolicyStatus | None, sim: SimStatus | None
) -> Row:
    """Figures from the newest statuses; NaN where there is none."""
    row: Row = {}
    for message, names in (
        (controller, CONTROLLER_COUNTERS),
        (policy, POLICY_COUNTERS),
        (sim, SIM_COUNTERS),
    ):
        row.update({name: getattr(message, name, math.nan) for name in names})
    row["lateness_p99_ms"] = getattr(controller, "tick_lateness_p99_s", math.nan) * 1e3
    row["round_trip_p99_ms"] = getattr(controller, "driver_round_trip_p99_s", math.nan) * 1e3
    row["inference_p50_ms"] = getattr(policy, "inference_latency_p50_s", math.nan) * 1e3
    row["inference_p95_ms"] = getattr(policy, "inference_latency_p95_s", math.nan) * 1e3
    row["real_time_factor"] = sim.real_time_factor if sim else math.nan
    return row


def _shared_memory() -> tuple[int, float]:
    """Files in shared memory and their size [MB], of all programs on this machine."""
    sizes: list[int] = []
    for path in SHARED_MEMORY.iterdir():
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # removed in the meantime
            continue
    return len(sizes), sum(sizes) / 1e6


def leftover_segments(segments: set[str]) -> list[str]:
    """Those data segments of DDS that are still there when the nodes have ended.

    This process keeps its own until it ends. ``fastrtps_port*`` belong to all programs of a
    domain and are no data segments.
    """
    own = process_usage(psutil.Process()).segments
    return sorted(
        name
        for name in segments - own
        if _DATA_SEGMENT.fullmatch(name) and (SHARED_MEMORY / name).exists()
    )


def _plain(value: Any) -> Any:
    """A value as it stands in the table: short, and empty for NaN."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:.6g}"
    return value
