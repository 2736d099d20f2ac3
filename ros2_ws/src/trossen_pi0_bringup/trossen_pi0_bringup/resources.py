"""What the nodes' processes hold and use, each with the processes that it has started."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

SHARED_MEMORY = Path("/dev/shm")
"""Where the segments of DDS lie."""


@dataclass(frozen=True)
class Usage:
    """What a process, or several together, hold at an instant.

    Attributes:
        processes: how many there are.
        threads: in them.
        files: open file descriptors, sockets among them, those of ``/proc`` not.
        sockets: open sockets.
        resident_bytes: resident memory; pages that two of them share count twice.
        unique_bytes: memory that would be free if they ended.
        cpu_s: processor time so far [s].
        segments: names of the shared-memory segments that they have mapped.
    """

    processes: int = 0
    threads: int = 0
    files: int = 0
    sockets: int = 0
    resident_bytes: int = 0
    unique_bytes: int = 0
    cpu_s: float = 0.0
    segments: frozenset[str] = frozenset()

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.processes + other.processes,
            self.threads + other.threads,
            self.files + other.files,
            self.sockets + other.sockets,
            self.resident_bytes + other.resident_bytes,
            self.unique_bytes + other.unique_bytes,
            self.cpu_s + other.cpu_s,
            self.segments | other.segments,
        )


def process_usage(process: psutil.Process) -> Usage:
    """What one process holds; nothing when it has ended."""
    try:
        memory = process.memory_full_info()
        cpu = process.cpu_times()
        targets = _descriptor_targets(process.pid)
        return Usage(
            processes=1,
            threads=process.num_threads(),
            files=len(targets),
            sockets=sum(target.startswith("socket:") for target in targets),
            resident_bytes=memory.rss,
            unique_bytes=memory.uss,
            cpu_s=cpu.user + cpu.system,
            segments=_mapped_segments(process.pid),
        )
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return Usage()


def _descriptor_targets(pid: int) -> list[str]:
    """What each open file descriptor leads to, but for what such a look at processes opens."""
    targets: list[str] = []
    for entry in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed in the meantime
            targets.append(os.readlink(f"/proc/{pid}/fd/{entry}"))
    return [target for target in targets if not target.startswith("/proc/")]


def _mapped_segments(pid: int) -> frozenset[str]:
    """Names of the shared-memory segments in a process's address space."""
    prefix = f" {SHARED_MEMORY}/"
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    paths = (line.partition(prefix)[2] for line in lines)
    return frozenset(path.removesuffix(" (deleted)") for path in paths if path)


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

    def usages(self) -> dict[str, Usage]:
        """What each process holds at present; may be called from any thread."""
        return {
            name: sum((process_usage(member) for member in _family(process)), Usage())
            for name, process in self._processes.items()
        }

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
