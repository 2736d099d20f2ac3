"""What the arms follow while a policy infers, for real-time chunking (arXiv 2506.07339)."""

from __future__ import annotations

import numpy as np

from trossen_pi0_core.contract import ActionChunk, ActionPrefix
from trossen_pi0_core.curves import ChunkCurve, Places


def prefix_of(
    previous: ActionChunk,
    first_ns: int,
    period_ns: int,
    now_ns: int,
    delay_rows: int,
    late_ns: int = 0,
) -> ActionPrefix | None:
    """The previous chunk at the times of the next chunk's rows; None where it does not reach.

    It is sampled by the curve that the arm controller follows, also between its rows. Only rows
    that are executed count: none after ``t_hold_ns``.

    Args:
        previous: chunk in force.
        first_ns: when row 0 of the next chunk will be due, ROS time [ns].
        period_ns: time between two rows of the next chunk [ns].
        now_ns: present time [ns].
        delay_rows: rows of the next chunk that will have passed when it arrives.
        late_ns: by how much the rows of the previous chunk are late [ns].
    """
    begin_ns, end_ns = previous.t_first_ns + late_ns, previous.t_hold_ns + late_ns
    if not previous.horizon or not begin_ns <= now_ns < end_ns:
        return None
    if not begin_ns <= first_ns < end_ns:
        return None
    count = -(-(end_ns - first_ns) // period_ns)
    curve = ChunkCurve(previous, previous.t_first_ns)
    curve.delay(late_ns)
    rows = Places([curve], first_ns + np.arange(count) * period_ns).positions()[0]
    return ActionPrefix(rows, min(max(1, delay_rows), count))
