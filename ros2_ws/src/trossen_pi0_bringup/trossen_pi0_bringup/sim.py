"""``make sim``: the whole stack on the simulated kit, from start to result.

Usage: ``python -m trossen_pi0_bringup.sim [name:=value ...]``; ``--help`` lists the arguments.
Exit status: 0 every episode succeeded, 1 one did not, 2 bad arguments, 3 the stack failed,
130 ended by Ctrl-C.
"""

from __future__ import annotations

import dataclasses
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from trossen_pi0_bringup.arguments import (
    LAUNCH_ARGUMENTS,
    Argument,
    Arguments,
    own_argument,
    parse_command_line,
)
from trossen_pi0_bringup.episodes import EpisodeResult, EpisodeRunner
from trossen_pi0_bringup.nodes import NodeSpec, camera_topics, node_specs
from trossen_pi0_bringup.progress import Progress, describe_result
from trossen_pi0_bringup.report import episode_summary, plot_joints, write_json
from trossen_pi0_bringup.resources import ResourceMonitor
from trossen_pi0_bringup.supervisor import StackError, Supervisor
from trossen_pi0_bringup.video import MosaicVideo
from trossen_pi0_core.contract import CAMERAS
from trossen_pi0_core.errors import ParameterError

EXIT_OK, EXIT_TASK, EXIT_USAGE, EXIT_STACK, EXIT_INTERRUPTED = 0, 1, 2, 3, 130

_NOT_HERE = {
    "rviz": "RViz is not installed by this tool: use `ros2 launch` on a machine with ROS 2",
    "record": "recording needs `ros2 bag`: use `ros2 launch` on a machine with ROS 2",
}


SIM_ARGUMENTS = (
    *LAUNCH_ARGUMENTS,
    own_argument("episodes", 1, "How many episodes, with seeds from `seed` on.", low=1, high=10000),
    own_argument("max_duration_s", 40.0, "Time limit of an episode [s].", low=1.0, high=3600.0),
    own_argument(
        "ready_timeout_s",
        180.0,
        "Longest wait for the nodes and the policy's compilation [s].",
        low=1.0,
        high=3600.0,
    ),
    own_argument("video", True, "Writes a video of the cameras."),
    own_argument("run_dir", "", "Folder for the results; empty: runs/<date and time>."),
)
"""Arguments of ``make sim``: those of the launch file and its own."""


class Interrupted(Exception):  # noqa: N818 - a request, no error
    """Ctrl-C or SIGTERM."""


@dataclasses.dataclass
class _Run:
    """What one call works with."""

    arguments: Arguments
    folder: Path
    console: Console
    interrupted: threading.Event
    supervisor: Supervisor

    def watch(self) -> None:
        """Raises when the waiting shall end."""
        if self.interrupted.is_set():
            raise Interrupted
        self.supervisor.check()


def main(words: list[str] | None = None) -> int:
    """Runs the stack and returns the exit status."""
    words = sys.argv[1:] if words is None else words
    console = Console(highlight=False, soft_wrap=True)
    if {"-h", "--help"} & set(words):
        print_help(console, __doc__ or "", SIM_ARGUMENTS)
        return EXIT_OK
    try:
        arguments = Arguments(SIM_ARGUMENTS, parse_command_line(words))
        specs = checked_specs(arguments)
    except ParameterError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return EXIT_USAGE
    folder = Path(arguments["run_dir"] or Path("runs") / time.strftime("%Y%m%d_%H%M%S")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    interrupted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: interrupted.set())
    supervisor = Supervisor(folder, lambda line: console.print(line, style="yellow", markup=False))
    run = _Run(arguments, folder, console, interrupted, supervisor)
    try:
        supervisor.start(specs)
        return _run_episodes(run)
    except Interrupted:
        console.print("interrupted", style="yellow")
        return EXIT_INTERRUPTED
    except StackError as error:
        console.print(f"error: {error}", style="red", markup=False)
        return EXIT_STACK
    finally:
        killed = supervisor.stop()
        if killed:
            console.print(f"had to be killed: {', '.join(killed)}", style="red")
        console.print(f"results: {folder}", markup=False)


def checked_specs(arguments: Arguments) -> list[NodeSpec]:
    """The processes of the simulated kit.

    Raises:
        ParameterError: arguments that do not go together, or that only `ros2 launch` can obey.
    """
    if not arguments["sim"]:
        raise ParameterError(
            "sim: this command runs the simulated kit; real arms and cameras are started with "
            "`ros2 launch trossen_pi0_bringup bimanual.launch.py sim:=false ...`"
        )
    for name, reason in _NOT_HERE.items():
        if arguments[name]:
            raise ParameterError(f"{name}: {reason}")
    return node_specs(arguments)


def _run_episodes(run: _Run) -> int:
    arguments = run.arguments
    runner = EpisodeRunner(camera_topics(arguments))
    monitor = ResourceMonitor(run.supervisor.pids)
    summaries: list[dict[str, Any]] = []
    begun_s = time.monotonic()
    try:
        progress = Progress(run.console, runner)
        progress.say("waiting for the nodes")
        runner.wait_until_ready(arguments["ready_timeout_s"], run.watch)
        run.console.print(f"stack ready after {time.monotonic() - begun_s:.1f} s")
        monitor.restart()
        for i in range(arguments["episodes"]):
            result = _episode(run, runner, progress, arguments["seed"] + i)
            summaries.append(episode_summary(result))
            run.console.print(describe_result(result), style=_style(result), markup=False)
            _write_summary(run, summaries, monitor)
    finally:
        runner.close()
        monitor.close()
    done = sum(episode_passed(arguments, s) for s in summaries)
    rate = 100.0 * done / len(summaries)
    run.console.print(f"{done} of {len(summaries)} episodes succeeded ({rate:.0f} %)")
    return EXIT_OK if done == len(summaries) else EXIT_TASK


def _episode(run: _Run, runner: EpisodeRunner, progress: Progress, seed: int) -> EpisodeResult:
    folder = run.folder / f"episode_{seed:06d}" if run.arguments["episodes"] > 1 else run.folder
    folder.mkdir(exist_ok=True)
    video = MosaicVideo(folder / "video.mp4", CAMERAS) if run.arguments["video"] else None
    if video:
        runner.begin_video(video)

    def watch() -> None:
        run.watch()
        caption = progress.tick(seed)
        if video:
            video.caption = caption

    try:
        result = runner.run_episode(
            seed, run.arguments["variant"], run.arguments["max_duration_s"], watch
        )
    finally:
        runner.end_video()
    verdict = "success" if result.success else f"failure: {result.reason}"
    plot_joints(result.recording, folder / "joints.png", f"seed {seed}, {verdict}")
    return result


def episode_passed(arguments: Arguments, summary: dict[str, Any]) -> bool:
    """Whether an episode went well. In test mode nothing moves: there the policy's run counts."""
    if arguments["mode"] == "test":
        return summary["outcome"] != "failed" and summary["chunks"] > 0
    return summary["success"]


def _write_summary(run: _Run, summaries: list[dict[str, Any]], monitor: ResourceMonitor) -> None:
    given = {name: run.arguments[name] for name in sorted(run.arguments.given)}
    write_json(
        run.folder / "summary.json",
        {
            "arguments": {k: str(v) for k, v in given.items()},
            "mode": run.arguments["mode"],
            "episodes": summaries,
            "success_rate": sum(s["success"] for s in summaries) / len(summaries),
            "cpu_cores": {k: round(v, 3) for k, v in monitor.cpu_shares().items()},
            "peak_memory_mb": {k: round(v, 1) for k, v in monitor.peak_memory_mb().items()},
        },
    )


def _style(result: EpisodeResult) -> str:
    return "green" if result.success else "red"


def print_help(console: Console, text: str, table: tuple[Argument, ...]) -> None:
    """Prints what a command is for and its arguments."""
    console.print(text.strip() + "\n", markup=False)
    for argument in table:
        spec = argument.spec
        allowed = f" One of {', '.join(spec.choices)}." if spec.choices else ""
        line = f"  {spec.name}:={argument.default_text}\n      {spec.description}{allowed}"
        console.print(line, markup=False)


if __name__ == "__main__":
    sys.exit(main())
