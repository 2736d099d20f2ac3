"""The command of the bench: arguments, progress, table and plot."""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from trossen_pi0_bringup.execution_bench.cells import DELAYS_MS, MODES, Cell
from trossen_pi0_bringup.execution_bench.measuring import PROCESSES, Results, all_cells, measure
from trossen_pi0_bringup.execution_bench.report import failures, plot, tables, write_table
from trossen_pi0_bringup.execution_bench.stand_in import KINDS
from trossen_pi0_bringup.virtual.figures import Figures
from trossen_pi0_core.errors import ParameterError, TrossenPi0Error
from trossen_pi0_policy.cli.arguments import existing_file, one_of, several, whole_number

EPISODES = 12
"""Episodes of a cell: the whole bench then takes some 15 minutes on two free cores."""

_LARGEST_DELAY_MS = 2000
_TELL_EVERY_S = 15.0


def main(words: Sequence[str] | None = None) -> int:
    """Runs the bench and writes table and plot; returns the exit status."""
    console = Console(highlight=False, soft_wrap=True)
    arguments = _parser().parse_args(words)
    try:
        if arguments.redraw:
            results, seeds = load(arguments.redraw)
        else:
            seeds = range(arguments.seed, arguments.seed + arguments.episodes)
            cells = all_cells(arguments.policies, arguments.modes, arguments.delays)
            told = _Progress(console)
            results = measure(cells, seeds, processes=arguments.processes, done=told)
        text = tables(results, seeds)
        console.print(text, markup=False)
        console.print(failures(results), markup=False)
        write_table(arguments.out / "execution.md", text)
        plot(results, arguments.out / "images" / "execution.png")
        if arguments.json:
            save(results, arguments.json)
    except (ParameterError, OSError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 2
    except TrossenPi0Error as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 3
    except KeyboardInterrupt:
        console.print("interrupted", style="red")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="make bench-execution",
        description="Compares the modes of execution in simulation, at added inference delays.",
    )
    add = parser.add_argument
    add(
        "--episodes", type=whole_number(1, 1000), default=EPISODES, help="of each cell; %(default)s"
    )
    add(
        "--delays",
        type=several(whole_number(0, _LARGEST_DELAY_MS)),
        default=list(DELAYS_MS),
        help=f"added to each inference [ms]; {','.join(map(str, DELAYS_MS))}",
    )
    for name, known in (("--modes", MODES), ("--policies", KINDS)):
        chosen = ",".join(known)
        add(name, type=several(one_of(known)), default=list(known), help=chosen)
    add("--seed", type=whole_number(0, 2**31), default=0, help="of the first episode; %(default)s")
    add("--processes", type=whole_number(1, 256), default=PROCESSES, help="%(default)s")
    add("--out", type=Path, default=Path("docs"), help="folder of execution.md and images/; docs")
    add("--json", type=Path, help="also write the figures of every episode to this file")
    add("--redraw", type=existing_file, help="measure nothing, take the figures of a --json file")
    return parser


class _Progress:
    """Says now and then how far the bench is."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began_s = self._told_s = time.monotonic()

    def __call__(self, done: int, of: int) -> None:
        now_s = time.monotonic()
        if now_s - self._told_s < _TELL_EVERY_S and done < of:
            return
        self._told_s = now_s
        elapsed_s = now_s - self._began_s
        left_s = elapsed_s / done * (of - done)
        self._console.print(f"{done} of {of} episodes, {elapsed_s:.0f} s; {left_s:.0f} s to go")


def save(results: Results, path: Path) -> None:
    """Writes the figures of every episode as JSON."""
    content = [
        {
            **dataclasses.asdict(cell),
            "episodes": [dataclasses.asdict(figures) for figures in episodes],
        }
        for cell, episodes in results.items()
    ]
    path.write_text(json.dumps(content, indent=1) + "\n")


def load(path: Path) -> tuple[Results, list[int]]:
    """The figures that ``save`` wrote, and the seeds of their episodes.

    Raises:
        ParameterError: the file holds something else.
    """
    try:
        results = {
            Cell(item["policy"], item["mode"], item["delay_ms"]): [
                Figures(**figures) for figures in item["episodes"]
            ]
            for item in json.loads(path.read_text())
        }
        return results, [figures.seed for figures in next(iter(results.values()))]
    except (ValueError, TypeError, KeyError, StopIteration) as error:
        raise ParameterError(f"{path}: holds no figures of this bench: {error!r}") from error
