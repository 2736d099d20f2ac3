"""``make evaluate``: a policy does episodes on the running simulated kit and is judged.

Usage: ``python -m trossen_pi0_bringup.evaluation [name:=value ...]``, as with ``backend:=pi0
checkpoint:=DIR``; ``--help`` lists the arguments. Nodes, driver and cameras are those of
``make sim``; figures and report are those of the evaluation in virtual time (``make
evaluate-fast``).
Exit status: 0 the success rate is at least ``least``, 1 it is lower, 2 bad arguments, 3 the stack
failed, 130 ended by Ctrl-C.
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.parameter import parameter_value_to_python
from rclpy.parameter_client import AsyncParameterClient
from rich.console import Console

from trossen_pi0_bringup.arguments import ARM_CONTROLLER, POLICY, Arguments, own_argument
from trossen_pi0_bringup.episodes import EpisodeResult, EpisodeRunner
from trossen_pi0_bringup.evaluation.command import tell, write
from trossen_pi0_bringup.evaluation.headless import VIDEOS
from trossen_pi0_bringup.evaluation.options import FIRST_SEED
from trossen_pi0_bringup.evaluation.results import Episode, Evaluation, summary
from trossen_pi0_bringup.evaluation.settings import Setting
from trossen_pi0_bringup.kit import camera_topics
from trossen_pi0_bringup.nodes import NodeSpec
from trossen_pi0_bringup.progress import describe_result
from trossen_pi0_bringup.sim import SIM_ARGUMENTS
from trossen_pi0_bringup.stack_command import EXIT_OK, EXIT_TASK, StackCommand, checked_specs
from trossen_pi0_bringup.video import MosaicVideo
from trossen_pi0_bringup.virtual.episode import Ending
from trossen_pi0_bringup.virtual.figures import Figures, measured_figures
from trossen_pi0_core.contract import CAMERAS, NANOSECONDS
from trossen_pi0_core.execution import Counters
from trossen_pi0_core.parameters.sim import PROMPTS, VARIANTS, variants_of
from trossen_pi0_msgs.msg import ControllerStatus
from trossen_pi0_sim.progress import Stage

_START_POSE = "staged"
_OTHERS = ("episodes", "video", "scene", "variant", "seed", "mode", "teleop")

EVALUATION_ARGUMENTS = (
    *(argument for argument in SIM_ARGUMENTS if argument.name not in _OTHERS),
    own_argument("teleop", False, "Not for this command: a policy is judged."),
    own_argument("episodes", 10, "How many episodes of each scenario.", low=1, high=1e5),
    own_argument(
        "seed", FIRST_SEED, "Of the first episode; the others follow.", low=0, high=2**31 - 1
    ),
    own_argument("variants", "red_cube", f"Scenarios, with commas: {', '.join(VARIANTS)}; or all."),
    own_argument("videos", "failures", "Of which episodes videos are kept.", choices=VIDEOS),
    own_argument("least", 0.0, "Success rate that is asked for [%].", low=0.0, high=100.0),
)
"""Arguments of ``make evaluate``: those of ``make sim`` that tell of the kit, and its own."""


def evaluation_specs(arguments: Arguments) -> list[NodeSpec]:
    """The processes of the simulated kit.

    Raises:
        ParameterError: arguments that do not go together.
    """
    variants_of(arguments["variants"])
    return checked_specs(arguments)


def main(words: list[str] | None = None) -> int:
    """Runs the stack and the episodes; the last line tells the success rate."""
    words = sys.argv[1:] if words is None else words
    command = StackCommand.from_words(
        words, __doc__ or "", EVALUATION_ARGUMENTS, "evaluation_%Y%m%d_%H%M%S", evaluation_specs
    )
    if isinstance(command, int):
        return command
    found: list[Evaluation] = []

    def work() -> int:
        found.append(_evaluate(command))
        rate = 100 * summary(found[0].episodes).rate
        return EXIT_OK if rate >= command.arguments["least"] else EXIT_TASK

    status = command.run(work)
    if found:
        tell(found[0], command.folder, Console(highlight=False, soft_wrap=True))
    return status


def _evaluate(command: StackCommand) -> Evaluation:
    arguments = command.arguments
    runner = EpisodeRunner(camera_topics(arguments))
    episodes: list[Episode] = []
    begun_s = time.monotonic()
    seeds = range(arguments["seed"], arguments["seed"] + arguments["episodes"])
    try:
        command.say("waiting for the nodes")
        runner.wait_until_ready(arguments["ready_timeout_s"], command.watch)
        for setting in _settings(command, runner):
            for seed in seeds:
                episodes.append(_episode(command, runner, setting, seed))
                write(_result(command, episodes, seeds, begun_s), {}, command.folder)
    finally:
        runner.close()
    return _result(command, episodes, seeds, begun_s)


def _settings(command: StackCommand, runner: EpisodeRunner) -> list[Setting]:
    """One for each scenario, with the knobs as the nodes have them."""

    def told(node: str, *names: str) -> list[Any]:
        client = AsyncParameterClient(runner.node, node)
        future = runner.request(lambda: client.get_parameters(list(names)), command.watch)
        answer = runner.answer(future, command.watch, f"question for {list(names)} of {node}")
        return [parameter_value_to_python(value) for value in answer.values]

    execution, rate = told(POLICY, "execution", "rate_of_inference")
    (coefficient,) = told(ARM_CONTROLLER, "temporal_ensemble_coefficient")
    ensemble = None if math.isnan(coefficient) else coefficient
    variants = dict.fromkeys(variants_of(command.arguments["variants"]))
    return [Setting(variant, execution, rate, ensemble) for variant in variants]


def _episode(command: StackCommand, runner: EpisodeRunner, setting: Setting, seed: int) -> Episode:
    arguments = command.arguments
    name = f"{setting.variant}_seed{seed}.mp4"
    film = command.folder / name
    prompt = arguments["prompt"] if "prompt" in arguments.given else PROMPTS[setting.variant]
    # The arms are at the start pose before the object is, as when an operator lays it there.
    runner.move_arms(_START_POSE, command.watch)
    before = runner.recording.controller
    video = MosaicVideo(film, CAMERAS) if arguments["videos"] != "none" else None
    if video:
        video.caption = f"seed {seed}, {setting.variant}"
        runner.begin_video(video)
    try:
        result = runner.run_episode(
            seed, setting.variant, arguments["max_duration_s"], command.watch, prompt=prompt
        )
    finally:
        runner.end_video()
    kept = video is not None and (arguments["videos"] == "all" or not result.success)
    if not kept:
        film.unlink(missing_ok=True)
    command.say(describe_result(result), "green" if result.success else "red")
    return Episode(setting, _figures(result, before), name if kept else "")


def _figures(result: EpisodeResult, before: ControllerStatus | None) -> Figures:
    """What was measured, from the first chunk until the task was decided."""
    recording = result.recording
    end_ns = recording.begun_ns + round(result.decided_s * NANOSECONDS)
    first_ns = min((published for published, _, _ in recording.chunks), default=end_ns)
    times_ns, measured = _between(*recording.measured.arrays(), first_ns, end_ns)
    command_ns, commands = _between(*recording.commands.arrays(), first_ns, end_ns)
    if not len(commands):
        times_ns, measured = times_ns[:0], measured[:0]
    figures = measured_figures(
        result.seed,
        Ending(result.reason, Stage[result.stage.upper()], result.decided_s),
        _at(times_ns, command_ns, commands),
        measured,
        _rate_hz(times_ns),
        None,
        _counted(before, recording.controller),
        result.chunks,
    )
    # Commands are published less often than they are sent, too seldom for a third derivative.
    return dataclasses.replace(figures, jerk=dict.fromkeys(figures.jerk, math.nan))


def _between(
    times_ns: NDArray[np.int64], values: NDArray[np.float64], first_ns: int, end_ns: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    chosen = (times_ns >= first_ns) & (times_ns <= end_ns)
    return times_ns[chosen], values[chosen]


def _at(
    times_ns: NDArray[np.int64], given_ns: NDArray[np.int64], values: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Values at other times, between the given ones; shapes (n,), (m,), (m, joints)."""
    if not len(times_ns):
        return values[:0]
    at_s, given_s = (times_ns - times_ns[0]) / NANOSECONDS, (given_ns - times_ns[0]) / NANOSECONDS
    return np.stack([np.interp(at_s, given_s, column) for column in values.T], axis=1)


def _rate_hz(times_ns: NDArray[np.int64]) -> float:
    """Of the measurements; 1 with too few of them [Hz]."""
    return NANOSECONDS / float(np.median(np.diff(times_ns))) if len(times_ns) > 1 else 1.0


def _counted(before: ControllerStatus | None, after: ControllerStatus | None) -> Counters:
    """What the arm controller counted in between."""
    counters = Counters()
    if after is None:
        return counters
    names = {
        "position_limit_events": "position_limit_events",
        "speed_limit_events": "speed_limit_events",
        "acceleration_limit_events": "acceleration_limit_events",
        "starvations": "starvation_count",
        "chunks_rejected": "chunks_rejected",
    }
    for ours, theirs in names.items():
        then = getattr(before, theirs) if before is not None else 0
        setattr(counters, ours, getattr(after, theirs) - then)
    then_s = before.slowdown_s if before is not None else 0.0
    counters.slowdown_ns = round((after.slowdown_s - then_s) * 1e9)
    return counters


def _result(
    command: StackCommand, episodes: Sequence[Episode], seeds: range, begun_s: float
) -> Evaluation:
    arguments = command.arguments
    given = next(spec.parameters for spec in command.specs if spec.name == POLICY)
    size = f"{arguments['camera_width']}x{arguments['camera_height']}"
    policy = str(given.get("checkpoint") or given["backend"])
    how = {
        "way": "whole stack, real time",
        "seeds": f"{seeds[0]} to {seeds[-1]}",
        "cameras": f"{', '.join(CAMERAS)}, {size} pixels",
        "time limit": f"{arguments['max_duration_s']:g} s",
        "wall-clock time": f"{time.monotonic() - begun_s:.0f} s",
    }
    return Evaluation(policy, how, tuple(episodes))
