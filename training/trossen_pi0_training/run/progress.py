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
        self._last = last
        self._begun_at, self._began_s = first, time.monotonic()
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

    def compiled(self, done: int) -> None:
        """The step is compiled; the time left is told by what is done from here on."""
        self._begun_at, self._began_s = done, time.monotonic()

    def step(self, done: int) -> None:
        """So many steps are done."""
        self._bar.update(self._task, completed=done)

    def figures(self, step: int, figures: Mapping[str, float]) -> None:
        """Tells figures."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if not self._bar.disable:
            self._bar.update(self._task, description=text)
            return
        done = step - self._begun_at
        spent_s = time.monotonic() - self._began_s
        left = f"  {spent_s / done * (self._last - step):.0f} s left" if done > 0 else ""
        _LOG.info("step %d of %d  %s%s", step, self._last, text, left)
