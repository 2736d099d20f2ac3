"""Converts recorded episodes to LeRobot data sets: ``python -m trossen_pi0_training.convert``.

Each episode is read, resampled and encoded by one of several processes; its result is kept beside
the data set until all are done. Then the data set is put together, checked, and moved to its name
in one step.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trossen_pi0_core.errors import DatasetError, TrossenPi0Error
from trossen_pi0_data.workers import process_pool
from trossen_pi0_training import layout, lerobot_env
from trossen_pi0_training.convert_options import LIBRARY, Options, parse
from trossen_pi0_training.convert_plan import Candidate, Plan, Skipped, make_plan
from trossen_pi0_training.convert_work import WorkFolder, working_folder
from trossen_pi0_training.convert_worker import Task, convert_episode
from trossen_pi0_training.publish import DataSet, publish, validation_root
from trossen_pi0_training.shards import Shard

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Result:
    """What a conversion did.

    Attributes:
        data_sets: written.
        skipped: episodes that were not converted.
        reused: so many episodes were there from an interrupted conversion.
        seconds: wall-clock time [s].
    """

    data_sets: tuple[DataSet, ...]
    skipped: tuple[Skipped, ...]
    reused: int
    seconds: float

    @property
    def episodes(self) -> int:
        """Converted."""
        return sum(len(each.shards) for each in self.data_sets)

    @property
    def content_s(self) -> float:
        """Length of the converted episodes [s]."""
        return sum(shard.frames / shard.fps for each in self.data_sets for shard in each.shards)


def convert(options: Options, progress: Callable[[int, int, str], None] | None = None) -> Result:
    """Converts episodes to one data set, or two with one for validation.

    Args:
        options: what to convert, and how.
        progress: called with episodes done, episodes in all and the name of the last one.

    Raises:
        DatasetError: nothing can be converted; with ``strict``: an episode cannot. No data set is
            under its name then that was not there before, and what was converted is kept for
            ``resume``.
    """
    started = time.monotonic()
    if options.writer == LIBRARY:
        lerobot_env.need_python(layout.V30)
    if options.val_fraction and validation_root(options).exists() and not options.overwrite:
        raise DatasetError(f"{validation_root(options)} is there already: --overwrite replaces it")
    plan = make_plan(options)
    _refuse([each for each in plan.skipped if each.bad], options)
    if not plan.chosen:
        raise DatasetError(_nothing(plan.skipped))
    with working_folder(options) as work:
        shards, failed, reused = _convert_all(plan, options, work, progress or _silent)
        _refuse(failed, options)
        skipped = (*plan.skipped, *failed)
        if not shards:
            work.remove()
            raise DatasetError(_nothing(skipped))
        sets = publish(shards, skipped, options, work.path)
        work.remove()
    return Result(tuple(sets), skipped, reused, time.monotonic() - started)


def _convert_all(
    plan: Plan, options: Options, work: WorkFolder, progress: Callable[[int, int, str], None]
) -> tuple[list[Shard], list[Skipped], int]:
    folders = {each.name: work.shard(each, options) for each in plan.chosen}
    todo = [each for each in plan.chosen if not folders[each.name].is_dir()]
    total, done = len(plan.chosen), len(plan.chosen) - len(todo)
    reused = done
    progress(done, total, "")
    failed: list[Skipped] = []
    if todo:
        go_on = " and go on with --resume"
        with process_pool(options.workers, len(todo), "conversion", go_on) as pool:
            for candidate, problem in _run(pool, todo, folders, options):
                done += 1
                if problem:
                    _log.warning("%s: %s", candidate.name, problem)
                    failed.append(Skipped(candidate.name, candidate.folder, problem))
                progress(done, total, candidate.name)
                if problem and options.strict:
                    break
    bad = {each.name for each in failed}
    there = [each for each in plan.chosen if each.name not in bad and folders[each.name].is_dir()]
    return [Shard.read(folders[each.name]) for each in there], failed, reused


def _run(
    pool: ProcessPoolExecutor,
    todo: Sequence[Candidate],
    folders: dict[str, Path],
    options: Options,
) -> Iterator[tuple[Candidate, str]]:
    """Yields each episode as it is done, with what was wrong with it, or nothing."""
    waiting: dict[Future[str], Candidate] = {}
    for each in todo:
        task = Task(each, folders[each.name], options)
        waiting[pool.submit(convert_episode, task)] = each
    while waiting:
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            candidate = waiting.pop(future)
            yield candidate, future.result()


def _refuse(bad: Sequence[Skipped], options: Options) -> None:
    if bad and options.strict:
        lines = "\n".join(f"  {each.name}: {each.reason}" for each in bad)
        raise DatasetError(f"{len(bad)} episodes cannot be converted (--strict):\n{lines}")


def _nothing(skipped: Sequence[Skipped]) -> str:
    lines = "\n".join(f"  {each.name}: {each.reason}" for each in skipped)
    return f"there is no episode to convert:\n{lines}"


def _silent(_done: int, _total: int, _name: str) -> None:
    return


def main(arguments: Sequence[str] | None = None) -> int:
    """Converts as the command line says; returns the exit status."""
    console = Console(stderr=True)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        options = parse(arguments)
        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TimeElapsedColumn(),
        )  # fmt: skip
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("episodes", total=None)

            def show(done: int, total: int, name: str) -> None:
                what = "putting together" if done == total else f"episodes {name}"
                bar.update(task, completed=done, total=total, description=what)

            result = convert(options, show)
    except (TrossenPi0Error, OSError) as error:
        sys.stderr.write(f"convert: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("convert: interrupted; --resume goes on\n")
        return 130
    sys.stdout.write(_summary(result))
    return 0


def _summary(result: Result) -> str:
    lines = [
        f"{each.repo_id}: {len(each.shards)} episodes, {sum(s.frames for s in each.shards)} frames "
        f"in {each.root}"
        for each in result.data_sets
    ]
    lines += [f"skipped {each.name}: {each.reason}" for each in result.skipped]
    lines.append(
        f"{result.episodes} episodes of {result.content_s:.1f} s in {result.seconds:.1f} s: "
        f"{60 * result.episodes / result.seconds:.1f} episodes/min, "
        f"{result.content_s / result.seconds:.2f} x real time"
        + (f"; {result.reused} were there already" if result.reused else "")
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
