"""Processor and memory of the nodes' processes, each with the processes that it has started."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping

import psutil


class ResourceMonitor:
    """Samples processes on a thread of its own."""

    def __init__(self, pids: Mapping[str, int], interval_s: float = 0.5) -> None:
        """Args:
        pids: process ids by name.
        interval_s: time between samples of the memory [s].
        """
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._peak_bytes = dict.fromkeys(pids, 0)
        self._peak_total = 0
        self._cpu: dict[str, float] = {}
        self._begun_s = time.monotonic()
        self._interval_s = interval_s
        self._stop = threading.Event()
        self.restart()
        self._thread = threading.Thread(target=self._run, name="resources")
        self._thread.start()

    def restart(self) -> None:
        """Counts processor time from now on."""
        self._begun_s = time.monotonic()
        self._cpu = {name: _cpu_seconds(p) for name, p in self._processes.items()}

    def cpu_shares(self) -> dict[str, float]:
        """Part of one core that each process used since the last ``restart``."""
        elapsed = max(time.monotonic() - self._begun_s, 1e-9)
        return {
            name: max(0.0, _cpu_seconds(process) - self._cpu[name]) / elapsed
            for name, process in self._processes.items()
        }

    def peak_memory_mb(self) -> dict[str, float]:
        """Largest resident memory of each process [MB], and of all together as ``total``."""
        peaks = {name: size / 1e6 for name, size in self._peak_bytes.items()}
        return {**peaks, "total": self._peak_total / 1e6}

    def close(self) -> None:
        """Ends the sampling."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while True:
            sizes = {name: _resident_bytes(p) for name, p in self._processes.items()}
            for name, size in sizes.items():
                self._peak_bytes[name] = max(self._peak_bytes[name], size)
            self._peak_total = max(self._peak_total, sum(sizes.values()))
            if self._stop.wait(self._interval_s):
                return


def _family(process: psutil.Process) -> list[psutil.Process]:
    """The process and those that it has started; empty when it has ended."""
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _cpu_seconds(process: psutil.Process) -> float:
    """Processor time so far of a process and those that it has started [s]."""
    total = 0.0
    for member in _family(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            total += times.user + times.system
    return total


def _resident_bytes(process: psutil.Process) -> int:
    """Resident memory of a process and those that it has started; shared pages count twice."""
    total = 0
    for member in _family(process):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += member.memory_info().rss
    return total
