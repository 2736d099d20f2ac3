"""Work on many episodes, spread over processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from trossen_pi0_data.workers import process_pool

LEAST = 64
"""Fewer items are not worth a process's start."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def spread(
    function: Callable[[Sequence[Item]], list[Result]],
    items: Sequence[Item],
    workers: int,
    task: str,
) -> list[Result]:
    """What a function makes of items, in their order.

    Args:
        function: gives a result for each of the items that it is given; can be pickled.
        items: to be worked on.
        workers: processes; few items are worked on in this one.
        task: what they do, for a message.

    Raises:
        DatasetError: a process was killed.
        Exception: whatever the function raises.
    """
    if workers == 1 or len(items) < 2 * LEAST:
        return function(items)
    size = max(LEAST, -(-len(items) // (4 * workers)))
    parts = [items[i : i + size] for i in range(0, len(items), size)]
    with process_pool(workers, len(parts), task) as pool:
        return [result for part in pool.map(function, parts) for result in part]
