"""How far a training is: a bar on a terminal, lines elsewhere."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from typing_extensions import Self

_LOG = logging.getLogger(__name__)


class TrainingProgress:
    """Tells steps and figures on stderr."""

    def __init__(self, first: int, last: int) -> None:
        """Args:
        first: step that the training begins at.
        last: step that it ends at.
        """
        console = Console(stderr=True)
        self._first, self._last = first, last
        self._began_s = time.monotonic()
        self._bar = Progress(
            MofNCompleteColumn(),
            BarColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("compiling", total=last, completed=first)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def step(self, done: int) -> None:
        """So many steps are done."""
        self._bar.update(self._task, completed=done)

    def figures(self, step: int, figures: Mapping[str, float]) -> None:
        """Tells figures."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if not self._bar.disable:
            self._bar.update(self._task, description=text)
            return
        done = step - self._first
        spent_s = time.monotonic() - self._began_s
        left_s = spent_s / done * (self._last - step) if done else 0.0
        _LOG.info("step %d of %d  %s  %.0f s left", step, self._last, text, left_s)
