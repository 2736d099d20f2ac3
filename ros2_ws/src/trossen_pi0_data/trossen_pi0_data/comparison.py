"""How planned and executed motions compare with recorded commands. ROS-free and pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.contract import NANOSECONDS, ActionChunk
from trossen_pi0_core.joints import ARM_JOINTS, select_joints
from trossen_pi0_data.commands import CommandTrack

_AHEAD_S = (0.0, 0.5, 1.0, 1.5)
"""Beginnings of the stretches of a chunk whose errors are told apart [s]."""


_STEP_NS = NANOSECONDS // 200  # between two commands that a delayed one is compared with
_RAD_PER_M = 10.0  # what a carriage's way counts for in the choice of the nearest command


@dataclass(frozen=True)
class Deviation:
    """How far values lie from the recorded ones; joints and gripper carriages apart.

    Attributes:
        values: rows that were compared.
        joints_mean_rad: mean absolute difference of the revolute joints [rad]; NaN without rows.
        joints_rms_rad: root of its mean square [rad].
        joints_max_rad: the largest [rad].
        carriages_mean_m: mean absolute difference of the carriages [m].
        carriages_rms_m: root of its mean square [m].
        carriages_max_m: the largest [m].
    """

    values: int
    joints_mean_rad: float
    joints_rms_rad: float
    joints_max_rad: float
    carriages_mean_m: float
    carriages_rms_m: float
    carriages_max_m: float

    def __str__(self) -> str:
        return (
            f"joints mean {self.joints_mean_rad:.4f}, RMS {self.joints_rms_rad:.4f}, "
            f"max {self.joints_max_rad:.4f} rad; carriages mean {self.carriages_mean_m * 1e3:.2f}, "
            f"RMS {self.carriages_rms_m * 1e3:.2f}, max {self.carriages_max_m * 1e3:.2f} mm"
        )


@dataclass(frozen=True)
class ChunkComparison:
    """How chunks compare with what was commanded at the times of their rows.

    Attributes:
        chunks: with at least one row in the time of the commands.
        overall: over all rows.
        ahead: by how far ahead of the observation the row is: from, to (at last infinity) [s], and
            the deviation.
    """

    chunks: int
    overall: Deviation
    ahead: tuple[tuple[float, float, Deviation], ...]


def compare_chunks(chunks: Iterable[ActionChunk], track: CommandTrack) -> ChunkComparison:
    """Compares chunks with the commands at the times at which their rows are due."""
    used = 0
    differences: list[NDArray[np.float64]] = [np.zeros((0, len(track.names)))]
    aheads: list[NDArray[np.float64]] = [np.zeros(0)]
    for chunk in chunks:
        due_ns = chunk.t_first_ns + np.arange(chunk.horizon) * chunk.period_ns
        times_ns = due_ns - track.stamps_ns[0]
        inside = (times_ns >= 0) & (times_ns <= track.duration_ns)
        if not inside.any():
            continue
        used += 1
        planned = select_joints(chunk.joint_names, chunk.positions[inside], track.names)
        differences.append(planned - track.sample(times_ns[inside]))
        aheads.append((due_ns[inside] - chunk.observation_stamp_ns) / NANOSECONDS)
    difference, ahead_s = np.concatenate(differences), np.concatenate(aheads)
    ends_s = (*_AHEAD_S[1:], np.inf)
    parts = [
        (begin, end, difference[(ahead_s >= begin) & (ahead_s < end)])
        for begin, end in zip(_AHEAD_S, ends_s, strict=True)
    ]
    return ChunkComparison(
        used,
        _deviation(difference, track.names),
        tuple(
            (begin, end, _deviation(part, track.names)) for begin, end, part in parts if len(part)
        ),
    )


def compare_motion(
    track: CommandTrack,
    names: Sequence[str],
    stamps_ns: NDArray[np.int64],
    positions: NDArray[np.float64],
    *,
    began_ns: int,
    delay_ns: int,
    rate: float,
) -> Deviation:
    """Compares what was commanded now with what was commanded then.

    A motion that was delayed is compared with the nearest commands of the times between no delay
    and all of it: what is told is how far the arms left the recorded path.

    Args:
        track: the recorded commands.
        names: joints of the positions.
        stamps_ns: of the commands, shape (n,), ROS time [ns].
        positions: shape (n, joints) [rad; m for carriages].
        began_ns: when the first recorded command was due, without delays [ns].
        delay_ns: of the motion at its end [ns].
        rate: episode time over real time.
    """
    on_time_ns = (stamps_ns - began_ns) * rate
    late_ns = delay_ns * rate
    inside = (on_time_ns >= late_ns) & (on_time_ns <= track.duration_ns + late_ns)
    executed = select_joints(names, positions, track.names)[inside]
    lags_ns = np.linspace(0.0, late_ns, 1 + math.ceil(late_ns / _STEP_NS))
    differences = [
        _smallest(row - track.sample(at_ns - lags_ns), track.names)
        for row, at_ns in zip(executed, on_time_ns[inside], strict=True)
    ]
    return _deviation(np.reshape(differences, (-1, len(track.names))), track.names)


def _smallest(differences: NDArray[np.float64], names: Sequence[str]) -> NDArray[np.float64]:
    """That of the differences, shape (n, joints), whose largest value is the smallest."""
    weights = np.where(_carriages(names), _RAD_PER_M, 1.0)
    return differences[np.abs(differences * weights).max(axis=1).argmin()]


def _deviation(difference: NDArray[np.float64], names: Sequence[str]) -> Deviation:
    carriage = _carriages(names)
    return Deviation(
        len(difference), *_figures(difference[:, ~carriage]), *_figures(difference[:, carriage])
    )


def _carriages(names: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([name.endswith(ARM_JOINTS[-1]) for name in names])


def _figures(difference: NDArray[np.float64]) -> tuple[float, float, float]:
    if not difference.size:
        return float("nan"), float("nan"), float("nan")
    size = np.abs(difference)
    return float(size.mean()), float(np.sqrt(np.mean(size**2))), float(size.max())
