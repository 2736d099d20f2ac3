"""What passes between cameras, joints, policies and the arm controller."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_core.errors import ImageError, InvalidChunkError, ObservationError

CAMERAS = ("cam_high", "cam_low", "cam_left_wrist", "cam_right_wrist")
"""Camera names of the kit, which are also openpi's ALOHA names."""

NANOSECONDS = 1_000_000_000
"""Nanoseconds in a second."""

LARGEST_TARGET = 1e6
"""No joint target is further from zero than this [rad; m]: beyond it the policy is broken."""


@dataclass(frozen=True)
class Observation:
    """What a policy sees at one instant.

    Attributes:
        stamp_ns: stamp of the joint state, ROS time [ns].
        joint_names: URDF names, one per entry of ``state``.
        state: measured joint positions, shape (joints,) [rad; m for carriages].
        images: camera name -> RGB picture, uint8, shape (height, width, 3).
        image_stamps_ns: camera name -> stamp of its picture, ROS time [ns].
        prompt: instruction in plain language.
    """

    stamp_ns: int
    joint_names: tuple[str, ...]
    state: NDArray[np.float64]
    images: Mapping[str, NDArray[np.uint8]]
    image_stamps_ns: Mapping[str, int] = field(default_factory=dict)
    prompt: str = ""

    def __post_init__(self) -> None:
        if self.state.shape != (len(self.joint_names),):
            raise ObservationError(
                f"state has shape {self.state.shape}, {len(self.joint_names)} joints are named"
            )
        if not np.isfinite(self.state).all():
            bad = [
                n for n, v in zip(self.joint_names, self.state, strict=True) if not np.isfinite(v)
            ]
            raise ObservationError(f"joint positions are not finite: {bad}")
        for camera, image in self.images.items():
            check_image(image, camera)


def check_image(image: NDArray[np.uint8], camera: str) -> None:
    """Raises ImageError unless the picture is uint8 of shape (height, width, 3)."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ImageError(
            f"{camera}: a picture must be uint8 of shape (height, width, 3), "
            f"got {image.dtype} {image.shape}"
        )


class Execution(enum.IntEnum):
    """How inference and motion go together; the values are those of the ActionChunk message."""

    ASYNC = 0
    BLOCKING = 1
    RTC = 2


@dataclass(frozen=True)
class ActionPrefix:
    """Rows that the arms follow while a policy infers, for real-time chunking (arXiv 2506.07339).

    Attributes:
        positions: targets in force at the times of the next chunk's first rows, float64, shape
            (rows >= 1, joints) [rad; m for carriages]. Read-only.
        frozen: so many of them will have been executed when the next chunk arrives.
    """

    positions: NDArray[np.float64]
    frozen: int

    def __post_init__(self) -> None:
        positions = np.array(self.positions, dtype=np.float64)
        positions.flags.writeable = False
        object.__setattr__(self, "positions", positions)
        if positions.ndim != 2 or 0 in positions.shape or not np.isfinite(positions).all():
            raise ObservationError(
                f"a prefix must be finite and of shape (rows >= 1, joints), got {positions.shape}"
            )
        if not 0 <= self.frozen <= len(positions):
            raise ObservationError(
                f"frozen must lie in 0..{len(positions)}, the rows of the prefix, got {self.frozen}"
            )


@dataclass(frozen=True)
class ActionChunk:
    """Joint targets planned from one observation. Row i is due at ``t_first_ns + i * period_ns``.

    A chunk without rows ends its run (``last``) or pauses it: the arms come to rest.

    Attributes:
        run_id: policy run that the chunk belongs to.
        chunk_id: increases within a run.
        observation_stamp_ns: stamp of the observation behind it, ROS time [ns].
        t_first_ns: when row 0 is due, ROS time [ns].
        period_ns: time between rows [ns].
        joint_names: URDF names, one per column.
        positions: targets, float64, shape (horizon, joints) [rad; m for carriages]. Read-only.
        last: the run ends with this chunk.
        execution: how it was planned to be executed.
        execute_rows: after so many rows the arms hold until the next chunk; 0: all rows.
        committed_rows: so many first rows were made to agree with the chunk before.
        reason: why it ends or pauses the run; empty when there is nothing to say.
    """

    run_id: str
    chunk_id: int
    observation_stamp_ns: int
    t_first_ns: int
    period_ns: int
    joint_names: tuple[str, ...]
    positions: NDArray[np.float64]
    last: bool = False
    execution: Execution = Execution.ASYNC
    execute_rows: int = 0
    committed_rows: int = 0
    reason: str = ""

    def __post_init__(self) -> None:
        try:
            positions = np.array(self.positions, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidChunkError(f"positions must be rows of numbers: {error}") from error
        positions.flags.writeable = False
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "joint_names", tuple(self.joint_names))
        if not self.run_id:
            raise InvalidChunkError("a chunk needs the id of its run, got an empty one")
        if self.period_ns <= 0:
            raise InvalidChunkError(f"period must be greater than 0 ns, got {self.period_ns}")
        if len(set(self.joint_names)) != len(self.joint_names) or not self.joint_names:
            raise InvalidChunkError(f"joints must be named once each, got {list(self.joint_names)}")
        if positions.ndim != 2 or positions.shape[1] != len(self.joint_names):
            raise InvalidChunkError(
                f"positions must have shape (horizon, {len(self.joint_names)}), "
                f"got {positions.shape}"
            )
        for name in ("execute_rows", "committed_rows"):
            if not 0 <= getattr(self, name) <= self.horizon:
                raise InvalidChunkError(
                    f"{name} must lie in 0..{self.horizon}, the rows of the chunk, "
                    f"got {getattr(self, name)}"
                )
        usable = np.abs(positions) <= LARGEST_TARGET
        if not usable.all():
            row, column = np.argwhere(~usable)[0]
            raise InvalidChunkError(
                f"targets must be finite and within +-{LARGEST_TARGET:g}, "
                f"got {positions[row, column]} for {self.joint_names[column]} in row {row}"
            )

    @property
    def horizon(self) -> int:
        """Number of rows."""
        return self.positions.shape[0]

    @property
    def t_end_ns(self) -> int:
        """When the last row has been in force for one period, ROS time [ns]."""
        return self.t_first_ns + self.horizon * self.period_ns

    @property
    def t_hold_ns(self) -> int:
        """When the last row to be executed has been in force for one period, ROS time [ns]."""
        return self.t_first_ns + (self.execute_rows or self.horizon) * self.period_ns

    def covers(self, now_ns: int) -> bool:
        """Whether a row is in force at ``now_ns``."""
        return self.t_first_ns <= now_ns < self.t_end_ns
