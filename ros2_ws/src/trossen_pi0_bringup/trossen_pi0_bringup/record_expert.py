"""``make record-expert``: the scripted expert does episodes in the simulated kit and is recorded.

Usage: ``python -m trossen_pi0_bringup.record_expert [episodes:=50] [seed:=0] [name:=value ...]``;
``--help`` lists the arguments. Each seed is one episode, named after its variant and seed. A seed
that is there already is left out, so that a call that was interrupted is taken up again by the
same words. Episodes in which the task was not done are kept and marked.
Exit status: 0 all are there and nothing was lost, 1 messages were lost, 2 bad arguments, 3 the
stack failed, 130 ended by Ctrl-C.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.node import Node
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as ProgressBar

from trossen_pi0_bringup.arguments import RECORDER, Arguments, own_argument
from trossen_pi0_bringup.episodes import EpisodeResult, EpisodeRunner
from trossen_pi0_bringup.kit import camera_topics
from trossen_pi0_bringup.nodes import NodeSpec, recorder, suite_node
from trossen_pi0_bringup.progress import describe_result
from trossen_pi0_bringup.report import episode_summary, write_json
from trossen_pi0_bringup.sim import SIM_ARGUMENTS
from trossen_pi0_bringup.stack_command import EXIT_OK, EXIT_TASK, StackCommand, checked_specs
from trossen_pi0_bringup.supervisor import StackError
from trossen_pi0_core.errors import EpisodeError, ParameterError
from trossen_pi0_core.parameters.sim import PROMPTS, VARIANTS, variants_of
from trossen_pi0_data.episode_client import EpisodeClient
from trossen_pi0_data.episode_info import FAILURE, FINISHED, SUCCESS, EpisodeInfo

_START_POSE = "staged"
_READY_S = 30.0

RECORD_EXPERT_ARGUMENTS = (
    *(
        argument
        for argument in SIM_ARGUMENTS
        if argument.name not in ("episodes", "video", "scene", "variant", "record")
    ),
    own_argument("record", False, "Not for this command, which records by itself."),
    own_argument("episodes", 50, "How many episodes, with seeds from `seed` on.", low=1, high=1e6),
    own_argument(
        "variants",
        "red_cube",
        f"Task variants that the episodes go through in turn, with commas: {', '.join(VARIANTS)}; "
        "or all.",
    ),
)
"""Arguments of ``make record-expert``: those of ``make sim`` that tell of the kit, and its own."""


@dataclass(frozen=True)
class PlannedEpisode:
    """One episode to be recorded.

    Attributes:
        seed: of the simulation.
        variant: of the task.
        prompt: instruction.
    """

    seed: int
    variant: str
    prompt: str

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"expert_{self.variant}_{self.seed:06d}"


def planned_episodes(arguments: Arguments) -> list[PlannedEpisode]:
    """All that the arguments ask for, in order.

    Raises:
        ParameterError: an unknown variant.
    """
    variants = variants_of(arguments["variants"])
    given = arguments["prompt"] if "prompt" in arguments.given else ""
    planned: list[PlannedEpisode] = []
    for i in range(arguments["episodes"]):
        variant = variants[i % len(variants)]
        seed = (arguments["seed"] + i) % 2**32
        planned.append(PlannedEpisode(seed, variant, given or PROMPTS[variant]))
    return planned


def recorded_already(folder: Path, episode: PlannedEpisode) -> EpisodeInfo | None:
    """The finished episode of this seed, whatever its outcome; None when there is none."""
    for path in sorted(folder.glob(f"{episode.name}*")):
        if path.name not in (episode.name, *_other_names(path.name, episode)):
            continue
        try:
            info = EpisodeInfo.read(path)
        except EpisodeError:  # it was not begun properly, and stands beside the new one
            continue
        if info.state == FINISHED:
            return info
    return None


def free_name(folder: Path, episode: PlannedEpisode) -> str:
    """Its name, or another when an unfinished one of that name was left."""
    name, attempt = episode.name, 1
    while (folder / name).exists():
        attempt += 1
        name = f"{episode.name}_try{attempt}"
    return name


def _other_names(name: str, episode: PlannedEpisode) -> tuple[str, ...]:
    attempt = name.removeprefix(f"{episode.name}_try")
    return (name,) if attempt.isdigit() else ()


def expert_specs(arguments: Arguments) -> list[NodeSpec]:
    """The processes of the simulated kit and the recorder.

    Raises:
        ParameterError: arguments that do not go together.
    """
    if arguments["record"]:
        raise ParameterError("record: not for this command, which records by itself")
    if "backend" in arguments.given and arguments["backend"] != "expert":
        raise ParameterError(
            f"backend: this command records 'expert', not {arguments['backend']!r}"
        )
    planned_episodes(arguments)
    parameters = {
        **recorder(arguments),
        "episodes_dir": str(_folder(arguments)),
        "record_runs": False,
    }
    return [
        *checked_specs(arguments),
        suite_node(arguments, RECORDER, "trossen_pi0_data", "recorder_node", parameters),
    ]


def _folder(arguments: Arguments) -> Path:
    return Path(arguments["episodes_dir"]).expanduser().resolve()


def main(words: list[str] | None = None) -> int:
    """Records the episodes and returns the exit status."""
    words = sys.argv[1:] if words is None else words
    command = StackCommand.from_words(
        words, __doc__ or "", RECORD_EXPERT_ARGUMENTS, "expert_%Y%m%d_%H%M%S", expert_specs
    )
    if isinstance(command, int):
        return command
    folder = _folder(command.arguments)
    planned = planned_episodes(command.arguments)
    missing = [episode for episode in planned if recorded_already(folder, episode) is None]
    command.say(f"{len(planned) - len(missing)} of {len(planned)} episodes are in {folder}")
    if not missing:
        return EXIT_OK
    recording = _Recording(command, folder, missing)
    status = command.run(recording.run)
    command.say(f"episodes: {folder}; figures: {command.folder}")
    return status


class _Recording:
    """One call that has something to record."""

    def __init__(self, command: StackCommand, folder: Path, missing: list[PlannedEpisode]) -> None:
        self._command = command
        self._folder = folder
        self._missing = missing
        self._summaries: list[dict[str, Any]] = []

    def run(self) -> int:
        """With the stack started; returns the exit status."""
        command, arguments = self._command, self._command.arguments
        runner = EpisodeRunner(camera_topics(arguments))
        node = Node("record_expert")
        episodes = EpisodeClient(node)
        try:
            command.say("waiting for the nodes")
            runner.wait_until_ready(arguments["ready_timeout_s"], command.watch)
            self._wait_for(episodes)
            with self._bar() as bar:
                task = bar.add_task("episodes", total=len(self._missing), said="")
                for episode in self._missing:
                    said = self._record(episode, runner, episodes)
                    bar.update(task, advance=1, said=said)
        finally:
            episodes.close()
            node.destroy_node()
            runner.close()
        lost = sum(summary["dropped"] for summary in self._summaries)
        done = sum(summary["success"] for summary in self._summaries)
        command.say(
            f"{len(self._summaries)} episodes recorded, {done} of them successes; "
            f"{lost} messages lost",
            "red" if lost else "green",
        )
        return EXIT_TASK if lost else EXIT_OK

    def _bar(self) -> ProgressBar:
        return ProgressBar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[said]}"),
            console=self._command.console,
        )

    def _wait_for(self, episodes: EpisodeClient) -> None:
        deadline_s = time.monotonic() + _READY_S
        while not episodes.ready:
            self._command.watch()
            if time.monotonic() > deadline_s:
                raise StackError(f"after {_READY_S:g} s there is still no recorder")
            time.sleep(0.05)

    def _record(
        self, episode: PlannedEpisode, runner: EpisodeRunner, episodes: EpisodeClient
    ) -> str:
        """Records one episode; returns what became of it."""
        command = self._command
        name = free_name(self._folder, episode)
        begun: list[str] = []

        def begin() -> None:
            notes = f"scripted expert, variant {episode.variant}"
            answer = episodes.start(name, prompt=episode.prompt, notes=notes, seed=episode.seed)
            if not answer.success:
                raise StackError(f"the recorder refused episode {name!r}: {answer.message}")
            begun.append(answer.path)

        try:
            # The arms are at the start pose before the episode begins, as when a policy is asked.
            runner.move_arms(_START_POSE, command.watch)
            result = runner.run_episode(
                episode.seed,
                episode.variant,
                command.arguments["max_duration_s"],
                command.watch,
                prompt=episode.prompt,
                begin=begin,
            )
            self._end(episodes, result)
            info = EpisodeInfo.read(begun[0])
        except BaseException as error:
            if begun:  # half an episode is none; its seed is recorded by the next call
                self._discard(episodes)
            if isinstance(error, EpisodeError):
                raise StackError(str(error)) from error
            raise
        self._summaries.append(
            {
                **episode_summary(result),
                "name": name,
                "prompt": episode.prompt,
                "messages": info.messages,
                "dropped": info.dropped,
                "recorded_s": round(info.duration_s, 3),
            }
        )
        write_json(command.folder / "summary.json", {"episodes": self._summaries})
        said = f"{describe_result(result)}, {info.messages} messages, {info.dropped} lost"
        if not command.console.is_terminal:
            left = len(self._missing) - len(self._summaries)
            command.say(f"{name}: {said}; {left} left")
        return said

    @staticmethod
    def _end(episodes: EpisodeClient, result: EpisodeResult) -> None:
        answer = episodes.stop(
            SUCCESS if result.success else FAILURE, notes="" if result.success else result.reason
        )
        if not answer.success:
            raise StackError(f"the recorder did not end the episode: {answer.message}")

    def _discard(self, episodes: EpisodeClient) -> None:
        try:
            episodes.stop(discard=True)
        except EpisodeError as error:
            self._command.say(f"the unfinished episode stays: {error}", "yellow")


if __name__ == "__main__":
    sys.exit(main())
