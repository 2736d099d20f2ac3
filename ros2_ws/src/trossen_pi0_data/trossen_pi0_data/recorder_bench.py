"""Measures the recorder: four cameras 640x480 at 30 Hz, joints, commands and status over DDS.

Usage: ``python -m trossen_pi0_data.recorder_bench [--seconds N] [--compression none|jpeg|h264]``.
Prints lost messages, CPU, data rate and how long writes took. Exit status: 0 nothing was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import rclpy
from mcap.reader import make_reader
from rclpy.node import Node

from trossen_pi0_core.errors import EpisodeError
from trossen_pi0_core.parameters.recorder import IMAGE_COMPRESSIONS
from trossen_pi0_data.bag_writer import mcap_name
from trossen_pi0_data.episode_client import EpisodeClient
from trossen_pi0_data.episode_info import EpisodeInfo
from trossen_pi0_data.traffic import number_of

_READY_S = 30.0


@dataclass
class BenchResult:
    """What was measured.

    Attributes:
        info: of the episode.
        gaps: topic -> messages that are missing between its first and its last.
        cpu_cores: of the recorder, mean [cores].
        megabytes_per_s: of the file [MB/s].
        size_mb: of the file [MB].
        memory_mb: of the recorder, highest that was seen [MB].
        stop_s: how long the end took [s].
        late_s: how late the publisher was at most [s].
        log: of the recorder.
    """

    info: EpisodeInfo
    gaps: dict[str, int]
    cpu_cores: float
    megabytes_per_s: float
    size_mb: float
    memory_mb: float
    stop_s: float
    late_s: float
    log: str


def run_bench(folder: Path, seconds: float, compression: str, chunks: str = "none") -> BenchResult:
    """Records the traffic of a kit for some time.

    Raises:
        EpisodeError: the recorder did not do what it was asked for.
    """
    log = folder / "recorder.log"
    traffic = subprocess.Popen(
        [sys.executable, "-m", "trossen_pi0_data.traffic"], stdout=subprocess.PIPE, text=True
    )
    with log.open("wb") as output:
        recorder = subprocess.Popen(
            [
                *(sys.executable, "-m", "trossen_pi0_data.recorder_node", "--ros-args"),
                *("-p", f"episodes_dir:={folder}", "-p", f"image_compression:={compression}"),
                *("-p", f"chunk_compression:={chunks}", "-p", "min_disk_mb:=500"),
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    node = Node("recorder_bench")
    client = EpisodeClient(node)
    try:
        if not client.wait_until_ready(_READY_S):
            raise EpisodeError(f"the recorder did not start: {log.read_text()}")
        result = _record(client, folder, psutil.Process(recorder.pid), seconds)
    finally:
        client.close()
        node.destroy_node()
        for process in (recorder, traffic):
            process.send_signal(signal.SIGINT)
        said = traffic.communicate(timeout=20.0)[0]
        recorder.wait(20.0)
    result.late_s = json.loads(said.splitlines()[-1])["latest_s"]
    result.log = log.read_text()
    return result


def _record(
    client: EpisodeClient, folder: Path, process: psutil.Process, seconds: float
) -> BenchResult:
    time.sleep(1.0)  # the traffic runs, nobody listens
    answer = client.start("bench")
    if not answer.success:
        raise EpisodeError(answer.message)
    time.sleep(0.5)  # discovery
    used, began_s, memory = process.cpu_times(), time.monotonic(), 0
    while time.monotonic() < began_s + seconds:
        time.sleep(0.2)
        memory = max(memory, process.memory_info().rss)
    after, elapsed_s = process.cpu_times(), time.monotonic() - began_s
    stop_s = time.monotonic()
    answer = client.stop("success")
    stop_s = time.monotonic() - stop_s
    if not answer.success:
        raise EpisodeError(answer.message)
    episode = folder / "bench"
    info = EpisodeInfo.read(episode)
    size_mb = (episode / mcap_name(episode)).stat().st_size / 1e6
    return BenchResult(
        info=info,
        gaps=find_gaps(episode),
        cpu_cores=(after.user + after.system - used.user - used.system) / elapsed_s,
        megabytes_per_s=size_mb / max(info.duration_s, 1e-9),
        size_mb=size_mb,
        memory_mb=memory / 1e6,
        stop_s=stop_s,
        late_s=0.0,
        log="",
    )


def find_gaps(episode: Path) -> dict[str, int]:
    """Messages that are missing between the first and the last of each numbered topic.

    Compressed pictures keep their stamp where it was.
    """
    seen: dict[str, list[int]] = {}
    with (episode / mcap_name(episode)).open("rb") as file:
        for _, channel, message in make_reader(file).iter_messages(log_time_order=False):
            seen.setdefault(channel.topic, []).append(number_of(message.data))
    return {topic: max(n) - min(n) + 1 - len(set(n)) for topic, n in sorted(seen.items())}


def main(words: Sequence[str] | None = None) -> int:
    """Runs the measurement and prints it; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--compression", choices=IMAGE_COMPRESSIONS, default="none")
    parser.add_argument("--chunks", choices=("none", "zstd"), default="none")
    parser.add_argument("--dir", default="", help="where to record; empty: a temporary folder")
    given = parser.parse_args(words)
    folder = Path(tempfile.mkdtemp(prefix="recorder_bench_", dir=given.dir or None))
    rclpy.init()
    try:
        result = run_bench(folder, given.seconds, given.compression, given.chunks)
    except EpisodeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    finally:
        rclpy.try_shutdown()
        shutil.rmtree(folder, ignore_errors=True)
    _print(result)
    return 1 if sum(result.gaps.values()) or result.info.dropped else 0


def _print(result: BenchResult) -> None:
    info = result.info
    lines = [
        f"{'topic':<44} {'messages':>8} {'dropped':>8} {'gaps':>6}",
        *(
            f"{name:<44} {topic.messages:>8} {topic.dropped:>8} {result.gaps.get(name, 0):>6}"
            for name, topic in info.topics.items()
            if topic.messages or topic.dropped
        ),
        f"episode            {info.duration_s:.1f} s, {result.size_mb:.0f} MB",
        f"written            {result.megabytes_per_s:.1f} MB/s",
        f"recorder's CPU     {result.cpu_cores:.2f} cores of {os.cpu_count()}",
        f"recorder's memory  {result.memory_mb:.0f} MB",
        f"end of the episode {result.stop_s:.2f} s",
        f"publisher late     {result.late_s * 1e3:.0f} ms at most",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    sys.exit(main())
