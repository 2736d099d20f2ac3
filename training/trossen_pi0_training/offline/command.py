"""Runs the evaluation and writes its files."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trossen_pi0_core.errors import BackendError, ParameterError, TrossenPi0Error
from trossen_pi0_data.files import by_folder, write_atomically
from trossen_pi0_data.plain_json import to_json
from trossen_pi0_training.offline.evaluation import HOLD, POLICY, evaluate, stride_of
from trossen_pi0_training.offline.figures import figures, read_figures
from trossen_pi0_training.offline.options import Options, parse
from trossen_pi0_training.offline.plan import Plan, make_plan
from trossen_pi0_training.offline.predictors import open_policy

PAGE, FIGURES = "offline.html", "offline.json"
"""Names of the files."""

EXIT_OK, EXIT_DATA, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


def main(words: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        Exit status: 0; 1 if the episodes cannot be used; 2 for bad arguments or a policy that
        cannot be used; 130 after Ctrl-C. Files are written only with 0.
    """
    console = Console(stderr=True)
    try:
        run(parse(words), console)
    except (ParameterError, BackendError) as error:
        return _fail(console, str(error), EXIT_USAGE)
    except TrossenPi0Error as error:
        return _fail(console, str(error), EXIT_DATA)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(console, f"{where}{error.strerror or error}", EXIT_DATA)
    except KeyboardInterrupt:
        return _fail(console, "interrupted", EXIT_INTERRUPTED)
    return EXIT_OK


def run(options: Options, console: Console) -> dict[str, Any]:
    """Evaluates and writes both files; returns the figures.

    Raises:
        ParameterError: options that do not go together, or with the policy.
        BackendError: the policy cannot be used.
        TrossenPi0Error: no episode can be, or with ``strict`` not each one.
        OSError: the files cannot be written.
    """
    others = {label: read_figures(path) for label, path in by_folder(options.compare).items()}
    with _folder(options.output):
        return _evaluated(options, others, console)


def _evaluated(
    options: Options, others: dict[str, dict[str, Any]], console: Console
) -> dict[str, Any]:
    plan = make_plan(options)
    for name, why in plan.left_out.items():
        _say(console, f"  {name}: left out: {why}")
    with contextlib.ExitStack() as stack:
        with console.status("making the policy ready"):
            policy = open_policy(options, plan.cameras, plan.episodes[0].prompt)
        stack.callback(policy.close)
        on_moment = stack.enter_context(_progress(plan, options, console))
        found = evaluate(plan, policy, options, on_moment)
    text = to_json(figures(found, policy, options))
    plain = json.loads(text)

    from trossen_pi0_training.offline.page import render  # loads matplotlib

    html = render(found, plain, others)
    write_atomically(options.output / FIGURES, text)
    write_atomically(options.output / PAGE, html)
    for line in _lines(plain, plan):
        _say(console, line)
    _say(console, f"offline: {options.output / PAGE}")
    return plain


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[None]:
    """A folder that can be written, made before the long work; it is gone if that fails."""
    is_new = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):  # something is in it
                path.rmdir()
        raise


@contextlib.contextmanager
def _progress(plan: Plan, options: Options, console: Console) -> Iterator[Callable[[str], None]]:
    total = sum(math.ceil(each.expected / stride_of(each, options)) for each in plan.episodes)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("moments", total=total)

        def on_moment(name: str) -> None:
            bar.update(task, advance=1, description=name)

        yield on_moment


def _lines(ours: dict[str, Any], plan: Plan) -> Iterator[str]:
    known = set(plan.left_out)
    for name, why in ours["left_out"].items():
        if name not in known:
            yield f"  {name}: left out: {why}"
    policy, resting = (ours["predictors"][name] for name in (POLICY, HOLD))
    yield f"{len(ours['episodes'])} episodes, {ours['moments']} moments"
    yield (
        f"error {100 * policy['normalised']:.2f} % of the joints' range, "
        f"in executed rows {100 * policy['normalised_executed']:.2f} %; "
        f"holding still {100 * resting['normalised']:.2f} %"
    )
    yield f"an answer takes {ours['timing']['p50_ms']:.1f} ms"


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


def _fail(console: Console, message: str, status: int) -> int:
    console.print(f"offline: {message}", style="red", markup=False, highlight=False, soft_wrap=True)
    return status
