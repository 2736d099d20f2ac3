"""Batches in order, made ahead by other processes or by threads."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from typing import Literal

from typing_extensions import Self, override

from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_core.transforms import NormStats
from trossen_pi0_training.config.fields import LoaderConfig, TrainConfig
from trossen_pi0_training.convert_options import cores
from trossen_pi0_training.errors import TrainingError
from trossen_pi0_training.feed.batches import HostBatch
from trossen_pi0_training.feed.cached import CachedExamples
from trossen_pi0_training.feed.examples import DatasetExamples, Examples
from trossen_pi0_training.feed.order import example_numbers
from trossen_pi0_training.feed.picture_cache import open_cache
from trossen_pi0_training.feed.selection import open_dataset, select_episodes
from trossen_pi0_training.feed.synthetic import SyntheticExamples

_LEAVE_S, _POLL_S = 30.0, 0.01
_PROCESSES, _MOST_THREADS = 2, 4

Split = Literal["train", "val"]


@dataclass(frozen=True)
class Source:
    """What a worker needs to make batches.

    Attributes:
        config: of the training.
        stats: of state and actions.
        split: which examples.
        rows: begin and end of those of each batch that are made here; the others are another
            process's.
    """

    config: TrainConfig
    stats: Mapping[str, NormStats]
    split: Split
    rows: tuple[int, int]

    def open(self) -> Examples:
        """The examples.

        Raises:
            TrossenPi0Error: what is wrong with the data set or the config.
        """
        if not self.config.data.repo_id:
            return SyntheticExamples(self.config, held_out=self.split == "val")
        frames = open_dataset(self.config.data)
        selection = select_episodes(frames, self.config.data)
        episodes = selection.train if self.split == "train" else selection.val
        if not episodes:
            raise TrainingError(f"{frames.root} has no episode in the split {self.split!r}")
        cache = open_cache(self.config, frames)
        if cache is None:
            return DatasetExamples(self.config, frames, self.stats, episodes)
        return CachedExamples(self.config, frames, self.stats, episodes, cache)


class Loader(Iterator[HostBatch]):
    """Batches of a source, from a step on, without end. One thread takes them.

    Attributes:
        waited_s: time that ``next`` has waited for batches [s].
    """

    def __init__(self, source: Source, *, start_step: int = 0) -> None:
        """Args:
        source: of the examples.
        start_step: number of the first batch.
        """
        self.waited_s = 0.0
        self._source = source
        self._options = source.config.loader
        self._workers = _workers(self._options)
        self._step = start_step
        self._pids: SimpleQueue[int] | None = None
        self._begun: set[int] = set()
        self._make: Callable[[int], HostBatch] = _make_in_worker
        self._executor = self._make_executor()
        self._under_way: deque[tuple[int, Future[HostBatch]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @override
    def __iter__(self) -> Self:
        return self

    @override
    def __next__(self) -> HostBatch:
        """The next batch.

        Raises:
            TrainingError: a worker was killed or answers no more.
            TrossenPi0Error: what is wrong with the data.
        """
        ahead = max(self._options.batches_ahead, self._workers)
        while len(self._under_way) < ahead:
            try:
                future = self._executor.submit(self._make, self._step)
            except BrokenProcessPool as error:
                raise self._lost() from error
            self._under_way.append((self._step, future))
            self._step += 1
        step, future = self._under_way.popleft()
        began_s = time.monotonic()
        try:
            return future.result(self._options.worker_timeout_s)
        except BrokenProcessPool as error:
            raise self._lost() from error
        except concurrent.futures.TimeoutError as error:
            self._kill()
            raise TrainingError(
                f"no batch {step} after {self._options.worker_timeout_s:g} s, allowed by "
                "--loader.worker-timeout-s: a process that reads examples hangs, or the disk does"
            ) from error
        finally:
            self.waited_s += time.monotonic() - began_s

    @staticmethod
    def _lost() -> TrainingError:
        return TrainingError(
            "a process that reads examples ended before its time; was it killed, perhaps for want "
            "of memory? Fewer --loader.workers need less"
        )

    def close(self) -> None:
        """Ends the processes, once they are done with the batches that they are at."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        # One that is killed while it hands over a batch leaves half of it, whose rest the executor
        # would wait for without end.
        deadline_s = time.monotonic() + _LEAVE_S
        while self._alive() and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
        self._kill()
        self._executor.shutdown(wait=True)

    def _alive(self) -> set[int]:
        """Processes that have not ended."""
        while self._pids is not None and not self._pids.empty():
            self._begun.add(self._pids.get())
        return self._begun & {each.pid for each in multiprocessing.active_children() if each.pid}

    def _make_executor(self) -> Executor:
        # Pictures from a cache are faster read here than handed over by another process.
        if not self._workers or self._options.cache is not None:
            self._make = _Maker(self._source).make
            return ThreadPoolExecutor(max(self._workers, 1), thread_name_prefix="examples")
        context = multiprocessing.get_context("spawn")
        self._pids = context.SimpleQueue()
        return ProcessPoolExecutor(
            self._workers,
            context,
            initializer=_begin_worker,
            initargs=(self._source, self._pids),
        )

    def _kill(self) -> None:
        """Ends the workers whatever they are at; they hold nothing that could be damaged."""
        for pid in self._alive():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue  # it has ended


def _workers(options: LoaderConfig) -> int:
    """Processes that make batches, or threads where there is a cache."""
    if options.workers is not None:
        return options.workers
    return _PROCESSES if options.cache is None else min(_MOST_THREADS, cores())


class _Maker:
    """Makes the batches of a source, which it opens for the first one.

    Any threads, where the source's examples may be made by several.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._examples: Examples | None = None
        self._opening = threading.Lock()

    def make(self, step: int) -> HostBatch:
        with self._opening:
            if self._examples is None:
                self._examples = self._source.open()
        examples, config = self._examples, self._source.config
        numbers = example_numbers(config.seed, len(examples), config.batch_size, step)
        try:
            return examples.batch(numbers[slice(*self._source.rows)])
        except TrossenPi0Error as error:
            raise TrainingError(f"batch {step}: {error}") from error


_makers: list[_Maker] = []
"""The one of this process, where it is a worker."""


def _begin_worker(source: Source, pids: SimpleQueue[int]) -> None:
    """Runs first in a worker: it leaves Ctrl-C and SIGTERM to its parent, and ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a whole group is given it, as by Slurm
    _makers.append(_Maker(source))
    pids.put(os.getpid())
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _make_in_worker(step: int) -> HostBatch:
    return _makers[0].make(step)
