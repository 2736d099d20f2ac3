"""``make sim``: the whole stack on the simulated kit, from start to result.

The policy is the π0 that comes with the suite, in the node's own process, unless `backend` names
another.
Usage: ``python -m trossen_pi0_bringup.sim [name:=value ...]``; ``--help`` lists the arguments.
Exit status: 0 every episode succeeded, 1 one did not, 2 bad arguments, 3 the stack failed,
130 ended by Ctrl-C.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from pathlib import Path
from typing import Any

from trossen_pi0_bringup.arguments import LAUNCH_ARGUMENTS, Arguments, own_argument
from trossen_pi0_bringup.episodes import EpisodeResult, EpisodeRunner
from trossen_pi0_bringup.kit import ARMS, BOTH, camera_topics, cameras_of
from trossen_pi0_bringup.progress import Progress, describe_result
from trossen_pi0_bringup.report import episode_summary, plot_joints, write_json
from trossen_pi0_bringup.resources import ResourceMonitor
from trossen_pi0_bringup.scene_moment import Moment, MomentKeeper
from trossen_pi0_bringup.stack_command import EXIT_OK, EXIT_TASK, StackCommand
from trossen_pi0_bringup.video import MosaicVideo
from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_core.parameters.sim import PROMPTS

SIM_ARGUMENTS = (
    *LAUNCH_ARGUMENTS,
    own_argument(
        "arm",
        BOTH,
        "The arms that are used; with one of them, name a `backend` for it.",
        choices=(BOTH, *ARMS),
    ),
    own_argument("episodes", 1, "How many episodes, with seeds from `seed` on.", low=1, high=10000),
    own_argument("max_duration_s", 60.0, "Time limit of an episode [s].", low=1.0, high=3600.0),
    own_argument(
        "ready_timeout_s",
        180.0,
        "Longest wait for the nodes and the policy's compilation [s].",
        low=1.0,
        high=3600.0,
    ),
    own_argument("video", True, "Writes a video of the cameras."),
    own_argument("scene", True, "Writes a picture of the kit with its planned gripper paths."),
    own_argument("run_dir", "", "Folder for the results; empty: runs/<date and time>."),
)
"""Arguments of ``make sim``: those of the launch file and its own."""

_POLICY = {"backend": "pi0", "checkpoint": "shipped://sim_handover"}


def main(words: list[str] | None = None) -> int:
    """Runs the stack and returns the exit status."""
    words = sys.argv[1:] if words is None else words
    table = tuple(
        dataclasses.replace(argument, default=_POLICY.get(argument.name, argument.default))
        for argument in SIM_ARGUMENTS
    )
    command = StackCommand.from_words(with_policy(words), __doc__ or "", table, "%Y%m%d_%H%M%S")
    if isinstance(command, int):
        return command
    status = command.run(lambda: _run_episodes(command))
    command.say(f"results: {command.folder}")
    return status


def with_policy(words: list[str]) -> list[str]:
    """The command line with the policy that comes with the suite, where it names none.

    With one arm there is none: `backend` must be named, and is asked for.
    """
    parts = [word.partition(":=") for word in words]
    given = {name: text for name, _, text in parts}
    if "backend" in given or given.get("arm", BOTH) != BOTH:
        return words
    return [*words, *(f"{name}:={value}" for name, value in _POLICY.items() if name not in given)]


def _run_episodes(run: StackCommand) -> int:
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


def _episode(
    run: StackCommand, runner: EpisodeRunner, progress: Progress, seed: int
) -> EpisodeResult:
    folder = run.folder / f"episode_{seed:06d}" if run.arguments["episodes"] > 1 else run.folder
    folder.mkdir(exist_ok=True)
    cameras = cameras_of(run.arguments)
    video = MosaicVideo(folder / "video.mp4", cameras) if run.arguments["video"] else None
    if video:
        runner.begin_video(video)

    keeper = MomentKeeper()
    variant = run.arguments["variant"]
    prompt = run.arguments["prompt"] if "prompt" in run.arguments.given else PROMPTS[variant]

    def watch() -> None:
        run.watch()
        if run.arguments["scene"]:
            keeper.look(runner.recording, runner.now_ns())
        caption = progress.tick(seed)
        if video:
            video.caption = caption

    try:
        result = runner.run_episode(
            seed, variant, run.arguments["max_duration_s"], watch, prompt=prompt
        )
    finally:
        runner.end_video()
    verdict = "success" if result.success else f"failure: {result.reason}"
    plot_joints(result.recording, folder / "joints.png", f"seed {seed}, {verdict}")
    if keeper.best is not None:
        title = f"seed {seed}, {keeper.best.elapsed_s(result.recording):.1f} s"
        _draw_scene(run, keeper.best, runner.description, folder / "scene.png", title)
    return result


def _draw_scene(run: StackCommand, moment: Moment, urdf: str, path: Path, title: str) -> None:
    """Renders a picture, when the episode is over: it takes the processor for a second or two."""
    from trossen_pi0_bringup.scene_picture import draw_scene

    if not urdf:
        run.say(f"no {path.name}: no /robot_description has come", "yellow")
        return
    try:
        draw_scene(moment, urdf, path, title)
    except TrossenPi0Error as error:
        run.say(f"no {path.name}: {error}", "yellow")


def episode_passed(arguments: Arguments, summary: dict[str, Any]) -> bool:
    """Whether an episode went well. In test mode nothing moves: there the policy's run counts."""
    if arguments["mode"] == "test":
        return summary["outcome"] != "failed" and summary["chunks"] > 0
    return summary["success"]


def _write_summary(
    run: StackCommand, summaries: list[dict[str, Any]], monitor: ResourceMonitor
) -> None:
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


if __name__ == "__main__":
    sys.exit(main())
