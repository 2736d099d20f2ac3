"""Telling how far a download is."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int], None]
"""Takes the number of bytes that have arrived since the last call."""

LOG_PERIOD_S = 10.0

_LOG = logging.getLogger(__name__)


@contextmanager
def download_progress(what: str, total: int, done: int) -> Iterator[Advance]:
    """A bar on a terminal's standard error, log lines where there is none.

    Args:
        what: is downloaded.
        total: its size [bytes].
        done: what is there already [bytes].
    """
    reporter = _bar if sys.stderr.isatty() else _lines
    with reporter(what, total, done) as advance:
        yield advance


@contextmanager
def _bar(what: str, total: int, done: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=total, completed=done)
        yield lambda count: progress.advance(task, count)


@contextmanager
def _lines(what: str, total: int, done: int) -> Iterator[Advance]:
    arrived = done
    begin_s = told_s = time.monotonic()

    def advance(count: int) -> None:
        nonlocal arrived, told_s
        arrived += count
        now_s = time.monotonic()
        if now_s - told_s >= LOG_PERIOD_S:
            told_s = now_s
            rate = (arrived - done) / (now_s - begin_s) / 1e6
            _LOG.info("%s: %.0f of %.0f MB, %.1f MB/s", what, arrived / 1e6, total / 1e6, rate)

    _LOG.info("%s: downloading, %.0f of %.0f MB are there", what, done / 1e6, total / 1e6)
    yield advance
    _LOG.info("%s: %.0f MB in %.1f s", what, total / 1e6, time.monotonic() - begin_s)
