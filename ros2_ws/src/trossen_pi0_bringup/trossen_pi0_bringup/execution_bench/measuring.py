"""Runs the episodes of all cells, spread over processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from itertools import product

from trossen_pi0_bringup.execution_bench.cells import Cell
from trossen_pi0_bringup.execution_bench.episode import Bench
from trossen_pi0_bringup.virtual.figures import Figures
from trossen_pi0_bringup.virtual.processes import ONE_THREAD, environment

PROCESSES = 2

_ENVIRONMENT = {**ONE_THREAD, "JAX_PLATFORMS": "cpu"}

Results = dict[Cell, list[Figures]]

_bench: Bench | None = None


def all_cells(policies: Iterable[str], modes: Iterable[str], delays: Iterable[int]) -> list[Cell]:
    """Every combination."""
    return [Cell(*parts) for parts in product(policies, modes, delays)]


def measure(
    cells: Sequence[Cell],
    seeds: Sequence[int],
    *,
    processes: int = PROCESSES,
    done: Callable[[int, int], None] = lambda _done, _all: None,
) -> Results:
    """Runs one episode of each cell with each seed.

    Args:
        cells: what is compared.
        seeds: of the episodes; every cell gets the same ones.
        processes: how many work at once.
        done: told how many episodes are done, and of how many.

    Returns:
        Each cell's figures in the order of the seeds.
    """
    results: dict[tuple[Cell, int], Figures] = {}
    with environment(_ENVIRONMENT):
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(processes, mp_context=context) as pool:
            jobs = {pool.submit(_episode, c, s): (c, s) for s, c in product(seeds, cells)}
            try:
                for job in as_completed(jobs):
                    results[jobs[job]] = job.result()
                    done(len(results), len(jobs))
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return {cell: [results[cell, seed] for seed in seeds] for cell in cells}


def _episode(cell: Cell, seed: int) -> Figures:
    """One episode, with the expert of this process."""
    global _bench  # noqa: PLW0603 - an expert is made once a process
    if _bench is None:
        _bench = Bench()
    return _bench.run(cell, seed)
