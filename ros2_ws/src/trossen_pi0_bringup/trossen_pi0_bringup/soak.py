"""``make soak``: the whole simulated kit, episode after episode, watched for leaks and lateness.

Usage: ``python -m trossen_pi0_bringup.soak [minutes:=60] [name:=value ...]``; ``--help`` lists the
arguments. Ctrl-C ends the run early, with a verdict over what there is by then.
Exit status: 0 nothing was wrong, 1 something was, 2 bad arguments, 3 the stack failed, 130 ended by
Ctrl-C before there was anything to judge.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field
from typing import Any

from trossen_pi0_bringup.arguments import Arguments, own_argument
from trossen_pi0_bringup.episodes import EpisodeRunner
from trossen_pi0_bringup.kit import camera_topics
from trossen_pi0_bringup.progress import describe_result
from trossen_pi0_bringup.report import episode_summary, write_json
from trossen_pi0_bringup.resources import ResourceMonitor
from trossen_pi0_bringup.sim import SIM_ARGUMENTS, episode_passed
from trossen_pi0_bringup.soak_plot import plot_soak
from trossen_pi0_bringup.soak_report import (
    SoakBounds,
    failed_table,
    judge,
    process_figures,
    process_table,
    stack_figures,
    stack_table,
    verdict,
)
from trossen_pi0_bringup.soak_run import REST, RUN, SoakRun
from trossen_pi0_bringup.soak_samples import SoakSampler, leftover_segments
from trossen_pi0_bringup.soak_trends import MemoryBounds
from trossen_pi0_bringup.stack_command import (
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_STACK,
    EXIT_TASK,
    StackCommand,
)
from trossen_pi0_bringup.supervisor import StackError
from trossen_pi0_core.parameters.sim import VARIANTS
from trossen_pi0_msgs.msg import PolicyStatus

_REST_S = 1.0
_IDLE_TIMEOUT_S = 10.0

SOAK_ARGUMENTS = (
    *(a for a in SIM_ARGUMENTS if a.name not in ("episodes", "video", "scene")),
    own_argument(
        "minutes", 60.0, "How long episodes are begun [min].", low=0.05, high=7 * 24 * 60.0
    ),
    own_argument("sample_s", 5.0, "Time between two samples [s].", low=0.2, high=600.0),
    own_argument(
        "warm_up_minutes",
        5.0,
        "Beginning of which memory is not judged [min]; at most a third of the run.",
        low=0.0,
        high=24 * 60.0,
    ),
    own_argument("memory_mb_per_h", 20.0, "Largest growth of a process [MB/h].", low=0.0, high=1e6),
    own_argument(
        "memory_percent",
        5.0,
        "Largest growth of a process over the judged time [%].",
        low=0.0,
        high=1e6,
    ),
    own_argument(
        "memory_floor_mb",
        2.0,
        "Growth of a process that is allowed over any time [MB].",
        low=0.0,
        high=1e6,
    ),
    own_argument(
        "success_percent", 90.0, "Smallest part of successful episodes [%].", low=0.0, high=100.0
    ),
)
"""Arguments of ``make soak``: those of ``make sim`` but for its number of episodes and its video.

Without ``variant`` the episodes go through all variants in turn.
"""


@dataclass
class _Soak:
    """What one call works with, and what it has seen so far."""

    command: StackCommand
    episodes: list[dict[str, Any]] = field(default_factory=list)
    sampler: SoakSampler | None = None

    @property
    def arguments(self) -> Arguments:
        """As given."""
        return self.command.arguments

    @property
    def bounds(self) -> SoakBounds:
        """What the run must keep."""
        given = self.arguments
        memory = MemoryBounds(
            given["memory_mb_per_h"], given["memory_percent"] / 100.0, given["memory_floor_mb"]
        )
        return SoakBounds(memory, given["warm_up_minutes"] * 60.0, given["success_percent"] / 100.0)


def main(words: list[str] | None = None) -> int:
    """Runs the stack for the time asked for and returns the exit status."""
    words = sys.argv[1:] if words is None else words
    folder_name = "soak_%Y%m%d_%H%M%S"
    command = StackCommand.from_words(words, __doc__ or "", SOAK_ARGUMENTS, folder_name)
    if isinstance(command, int):
        return command
    soak = _Soak(command)
    command.run(lambda: _run(soak))
    return _conclude(soak)


def _run(soak: _Soak) -> int:
    """Runs episodes until the time is up; the one under way then is brought to its end."""
    command = soak.command
    runner = EpisodeRunner(camera_topics(soak.arguments))
    monitor = ResourceMonitor(command.supervisor.pids)
    try:
        command.say("waiting for the nodes")
        runner.wait_until_ready(soak.arguments["ready_timeout_s"], command.watch)
        minutes = soak.arguments["minutes"]
        command.say(f"stack ready; episodes are begun for {minutes:g} min, Ctrl-C ends it early")
        soak.sampler = SoakSampler(runner, monitor, command.folder / "soak.csv")
        end_s = time.monotonic() + minutes * 60.0
        while time.monotonic() < end_s:
            _episode(soak, soak.sampler, runner, len(soak.episodes))
        return EXIT_OK
    finally:
        if soak.sampler:
            soak.sampler.close()
        runner.close()
        monitor.close()


def _episode(soak: _Soak, sampler: SoakSampler, runner: EpisodeRunner, index: int) -> None:
    arguments = soak.arguments
    seed = (arguments["seed"] + index) % 2**32
    given = "variant" in arguments.given
    variant = arguments["variant"] if given else VARIANTS[index % len(VARIANTS)]

    def watch() -> None:
        soak.command.watch()
        sampler.watch()
        if sampler.age_s >= arguments["sample_s"]:
            sampler.sample(index, seed, RUN)

    result = runner.run_episode(seed, variant, arguments["max_duration_s"], watch)
    soak.episodes.append(episode_summary(result))
    _rest(runner, watch)
    row = sampler.sample(index, seed, REST)
    memory = ", ".join(f"{name} {row[f'{name}.uss_mb']:.0f}" for name in sampler.processes)
    threads = ", ".join(str(row[f"{name}.threads"]) for name in sampler.processes)
    soak.command.say(
        f"{row['time_s'] / 60.0:6.1f} min | {describe_result(result)} | MB: {memory} | "
        f"threads: {threads} | missed deadlines {row['missed_deadlines']}",
        None if result.success else "red",
    )


def _rest(runner: EpisodeRunner, watch: Any) -> None:
    """Waits until the policy is idle, and a little more for what ends after its run."""
    limit_s = time.monotonic() + _IDLE_TIMEOUT_S
    idle_s: float | None = None
    while idle_s is None or time.monotonic() < idle_s + _REST_S:
        watch()
        recording = runner.recording
        with recording.changed:
            recording.changed.wait(0.1)
        policy = recording.policy
        if idle_s is None and policy is not None and policy.state == PolicyStatus.IDLE:
            idle_s = time.monotonic()
        if time.monotonic() > limit_s:
            raise StackError(f"the policy is not idle {_IDLE_TIMEOUT_S:g} s after its run")


def _conclude(soak: _Soak) -> int:
    """Judges the run, writes its files and prints the verdict; returns the exit status."""
    command, sampler, bounds = soak.command, soak.sampler, soak.bounds
    if sampler is None or not (soak.episodes or command.failure):
        command.say("there is nothing to judge: no episode ended", "yellow")
        return EXIT_STACK if command.failure else EXIT_INTERRUPTED
    run = SoakRun(
        processes=sampler.processes,
        rows=sampler.rows,
        passed=[episode_passed(soak.arguments, e) for e in soak.episodes],
        faults=sampler.faults,
        leftovers=leftover_segments(sampler.segments),
        failure=command.failure,
    )
    checks = judge(run, bounds)
    figures = stack_figures(run, bounds.warm_up_s)
    processes = process_figures(run, bounds.warm_up_s)
    passed = verdict(checks)
    write_json(
        command.folder / "soak.json",
        {
            "arguments": {k: str(soak.arguments[k]) for k in sorted(soak.arguments.given)},
            "passed": passed,
            "interrupted": command.interrupted.is_set(),
            "killed": command.killed,
            "checks": [vars(check) for check in checks],
            "stack": figures,
            "processes": processes,
            "episodes": soak.episodes,
        },
    )
    words = "passed" if passed else "FAILED"
    title = f"soak {words}: {figures['duration_s'] / 60.0:.1f} min, {len(run.passed)} episodes"
    plot_soak(run, command.folder / "soak.png", bounds.warm_up_s, title)
    command.console.print(process_table(processes))
    command.console.print(stack_table(figures))
    if not passed:
        command.console.print(failed_table(checks))
    unjudged = sum(check.passed is None for check in checks)
    if unjudged:
        command.say(f"too little to judge {unjudged} of {len(checks)} checks", "yellow")
    command.say(title, "green" if passed else "red")
    command.say(f"results: {command.folder}")
    if command.failure:
        return EXIT_STACK
    return EXIT_OK if passed else EXIT_TASK


if __name__ == "__main__":
    sys.exit(main())
