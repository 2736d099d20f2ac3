"""Between ROS messages and the contract of trossen_pi0_core."""

from __future__ import annotations

import array
from collections.abc import Sequence
from typing import Any

import numpy as np
from builtin_interfaces.msg import Duration, Time
from numpy.typing import NDArray
from sensor_msgs.msg import Image, JointState

from trossen_pi0_core.contract import NANOSECONDS, ActionChunk, Execution
from trossen_pi0_core.errors import InvalidChunkError
from trossen_pi0_core.images import rgb_from_raw
from trossen_pi0_msgs.msg import ActionChunk as ActionChunkMsg


def time_ns(stamp: Time | Duration) -> int:
    """A stamp or duration [ns]."""
    return stamp.sec * NANOSECONDS + stamp.nanosec


def time_msg(stamp_ns: int) -> Time:
    """A stamp from ns; whole seconds towards minus infinity."""
    return Time(sec=stamp_ns // NANOSECONDS, nanosec=stamp_ns % NANOSECONDS)


def duration_msg(duration_ns: int) -> Duration:
    """A duration from ns."""
    return Duration(sec=duration_ns // NANOSECONDS, nanosec=duration_ns % NANOSECONDS)


def image_to_rgb(message: Image) -> NDArray[np.uint8]:
    """The picture as uint8 RGB of shape (height, width, 3); may share the message's memory.

    Raises:
        ImageError: no colour encoding, or the data does not fit the size.
    """
    return rgb_from_raw(message.encoding, message.width, message.height, message.step, message.data)


def chunk_to_msg(chunk: ActionChunk, published_ns: int) -> ActionChunkMsg:
    """The chunk as a message, stamped with its publication time [ns]."""
    message = ActionChunkMsg()
    message.header.stamp = time_msg(published_ns)
    message.run_id = chunk.run_id
    message.chunk_id = chunk.chunk_id
    message.observation_stamp = time_msg(chunk.observation_stamp_ns)
    message.t_first = time_msg(chunk.t_first_ns)
    message.period = duration_msg(chunk.period_ns)
    message.joint_names = list(chunk.joint_names)
    message.horizon = chunk.horizon
    message.positions = array.array("d", chunk.positions.tobytes())
    message.last = chunk.last
    message.execution = int(chunk.execution)
    message.execute_rows = chunk.execute_rows
    message.committed_rows = chunk.committed_rows
    message.reason = chunk.reason
    return message


def chunk_from_msg(message: ActionChunkMsg) -> ActionChunk:
    """The message as a checked chunk.

    Raises:
        InvalidChunkError: the sizes do not fit, an unknown ``execution``, or ActionChunk's own
            checks fail.
    """
    if message.execution not in list(Execution):
        raise InvalidChunkError(
            f"execution must be one of {[int(e) for e in Execution]}, got {message.execution}"
        )
    joints = len(message.joint_names)
    if len(message.positions) != message.horizon * joints:
        raise InvalidChunkError(
            f"{message.horizon} rows of {joints} joints need {message.horizon * joints} "
            f"positions, got {len(message.positions)}"
        )
    return ActionChunk(
        run_id=message.run_id,
        chunk_id=message.chunk_id,
        observation_stamp_ns=time_ns(message.observation_stamp),
        t_first_ns=time_ns(message.t_first),
        period_ns=time_ns(message.period),
        joint_names=tuple(message.joint_names),
        positions=np.asarray(message.positions, dtype=np.float64).reshape(message.horizon, joints),
        last=message.last,
        execution=Execution(message.execution),
        execute_rows=message.execute_rows,
        committed_rows=message.committed_rows,
        reason=message.reason,
    )


def joint_state_msg(
    stamp_ns: int,
    names: Sequence[str],
    positions: NDArray[np.float64],
    velocities: NDArray[np.float64] | None = None,
    efforts: NDArray[np.float64] | None = None,
) -> JointState:
    """A joint state; arrays of shape (joints,) [rad, rad/s, N m; m, m/s, N for carriages]."""
    message = JointState()
    message.header.stamp = time_msg(stamp_ns)
    message.name = list(names)
    message.position = _doubles(positions)
    if velocities is not None:
        message.velocity = _doubles(velocities)
    if efforts is not None:
        message.effort = _doubles(efforts)
    return message


def _doubles(values: NDArray[np.float64]) -> Any:
    return array.array("d", np.asarray(values, dtype=np.float64).tobytes())
