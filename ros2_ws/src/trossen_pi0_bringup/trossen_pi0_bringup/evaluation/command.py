"""The evaluation in virtual time as a command."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from trossen_pi0_bringup.evaluation.headless import Kit, run_all
from trossen_pi0_bringup.evaluation.options import Options, parse
from trossen_pi0_bringup.evaluation.results import (
    Episode,
    Evaluation,
    failures,
    load,
    markdown,
    save,
    summary,
)
from trossen_pi0_bringup.virtual.metrics import success_text
from trossen_pi0_core.errors import BackendError, ParameterError, TrossenPi0Error
from trossen_pi0_data.files import by_folder, write_atomically

PAGE, FIGURES = "evaluation.html", "evaluation.json"
"""Names of the files."""

EXIT_OK, EXIT_BELOW, EXIT_USAGE, EXIT_POLICY, EXIT_INTERRUPTED = 0, 1, 2, 3, 130


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command; the last line tells the success rate.

    Returns:
        Exit status: 0; 1 if the success rate is below the one asked for; 2 for bad arguments or a
        policy that cannot be used; 3 if the policy or a process was lost; 130 after Ctrl-C.
    """
    console = Console(highlight=False, soft_wrap=True)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        options = parse(words)
        evaluation = evaluate(options, errors)
        tell(evaluation, options.output, console)
    except (ParameterError, BackendError) as error:
        return _fail(errors, str(error), EXIT_USAGE)
    except (TrossenPi0Error, OSError) as error:
        return _fail(errors, str(error), EXIT_POLICY)
    except KeyboardInterrupt:
        return _fail(errors, "interrupted", EXIT_INTERRUPTED)
    return EXIT_OK if 100 * summary(evaluation.episodes).rate >= options.least else EXIT_BELOW


def evaluate(options: Options, console: Console) -> Evaluation:
    """Runs the episodes and writes the files.

    Raises:
        TrossenPi0Error: the policy cannot be used, or was lost.
        OSError: the files cannot be written.
    """
    others = {name: load(path) for name, path in by_folder(options.compare).items()}
    options.output.mkdir(parents=True, exist_ok=True)
    began_s = time.monotonic()
    columns = (
        TextColumn("episodes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=len(options.settings) * len(options.seeds), said="")
        successes = 0

        def done(episode: Episode) -> None:
            nonlocal successes
            successes += episode.figures.success
            bar.update(task, advance=1, said=f"{successes} succeeded")

        episodes = run_all(
            options.judged,
            options.kit,
            options.settings,
            options.seeds,
            options.output,
            workers=options.workers,
            done=done,
        )
    wall_s = time.monotonic() - began_s
    how = _how(options.kit, options.seeds, wall_s, options.workers)
    evaluation = Evaluation(options.judged.name, how, episodes)
    write(evaluation, others, options.output)
    return evaluation


def write(evaluation: Evaluation, others: dict[str, Evaluation], folder: Path) -> None:
    """Writes figures and page."""
    from trossen_pi0_bringup.evaluation.page import render  # loads matplotlib

    save(evaluation, folder / FIGURES)
    write_atomically(folder / PAGE, render(evaluation, others))


def tell(evaluation: Evaluation, folder: Path, console: Console) -> None:
    """Prints table, failures and, last, the success rate."""
    console.print(markdown(evaluation), markup=False)
    for line in failures(evaluation):
        console.print(f"failed: {line}", markup=False)
    found = summary(evaluation.episodes)
    console.print(f"report: {folder / PAGE}", markup=False)
    console.print(f"all settings: {success_text(found.successes, found.episodes)}", markup=False)
    console.print(f"success {100 * found.rate:.1f} %")


def _how(kit: Kit, seeds: range, wall_s: float, workers: int) -> dict[str, str]:
    low_ms = 1e3 * kit.latency_s
    looks = "drawn anew for each episode" if kit.looks else "as the kit is built"
    return {
        "way": "virtual time",
        "seeds": f"{seeds[0]} to {seeds[-1]}",
        "cameras": f"{', '.join(kit.cameras)}, {kit.size[0]}x{kit.size[1]} pixels",
        "looks": looks,
        "an inference takes": f"{low_ms:.0f} to {low_ms + 1e3 * kit.jitter_s:.0f} ms and what is "
        "added",
        "time limit": f"{kit.max_duration_s:g} s",
        "wall-clock time": f"{wall_s:.0f} s with {workers} processes",
    }


def _fail(console: Console, message: str, status: int) -> int:
    console.print(f"evaluate: {message}", style="red", markup=False)
    return status
