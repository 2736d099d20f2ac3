"""From what the leaders do now to a short chunk that leads the followers on.

A chunk begins at the reading, goes on at the leaders' speed for a while, and then brakes to rest.
Chunks overlap by far: each takes over before the one before begins to brake, so that the followers
are where the leaders are now, not where they were a delay ago, and yet come to rest by themselves
when no further chunk comes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import NANOSECONDS, ActionChunk

_ROW_S = 0.02
# From seven tenths of the WidowX AI's speed limits, no joint needs more than four fifths of the
# controller's accelerations to brake in this time.
_BRAKING_S = 0.2
_ROWS_AT_REST = 2


@dataclass(frozen=True)
class LeaderReading:
    """What the leaders do at one instant.

    Attributes:
        stamp_ns: when they were read, ROS time [ns].
        positions: shape (joints,) [rad; m for carriages].
        velocities: shape (joints,) [rad/s; m/s].
    """

    stamp_ns: int
    positions: NDArray[np.float64]
    velocities: NDArray[np.float64]


def travel_s(after_s: NDArray[np.float64], prediction_s: float) -> NDArray[np.float64]:
    """The way that is predicted after some times [s], as a time at the present speed [s]."""
    braking = np.clip(after_s - prediction_s, 0.0, _BRAKING_S)
    return np.minimum(after_s, prediction_s) + braking - braking**2 / (2.0 * _BRAKING_S)


def following_chunk(
    reading: LeaderReading,
    prediction_s: float,
    *,
    run_id: str,
    chunk_id: int,
    joint_names: tuple[str, ...],
) -> ActionChunk:
    """Leads the followers on from a reading.

    Args:
        reading: of the leaders.
        prediction_s: for so long their speed is taken to stay what it is [s].
        run_id: of the chunk.
        chunk_id: of the chunk.
        joint_names: the followers' joints, in the order of the leaders'.
    """
    ahead = int(np.ceil((prediction_s + _BRAKING_S) / _ROW_S)) + _ROWS_AT_REST
    # One row lies before the reading: the curve of a chunk is straight at its first one.
    after_s = np.arange(-1, ahead, dtype=np.float64) * _ROW_S
    rows = reading.positions + travel_s(after_s, prediction_s)[:, None] * reading.velocities
    row_ns = round(_ROW_S * NANOSECONDS)
    return ActionChunk(
        run_id=run_id,
        chunk_id=chunk_id,
        observation_stamp_ns=reading.stamp_ns,
        t_first_ns=reading.stamp_ns - row_ns,
        period_ns=row_ns,
        joint_names=joint_names,
        positions=rows,
    )


def ending_chunk(
    stamp_ns: int, reason: str, *, run_id: str, chunk_id: int, joint_names: tuple[str, ...]
) -> ActionChunk:
    """Ends a run at this time [ns]: the followers come to rest and hold."""
    return ActionChunk(
        run_id=run_id,
        chunk_id=chunk_id,
        observation_stamp_ns=stamp_ns,
        t_first_ns=stamp_ns,
        period_ns=round(_ROW_S * NANOSECONDS),
        joint_names=joint_names,
        positions=np.zeros((0, len(joint_names))),
        last=True,
        reason=reason,
    )
