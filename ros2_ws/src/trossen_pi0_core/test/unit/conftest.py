"""A motion executor on a bench: its clock, its chunks and its moves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.errors import ChunkRejectedError
from trossen_pi0_core.executor import Command, ExecutorConfig, MotionExecutor, State
from trossen_pi0_core.limits import JointLimits
from trossen_pi0_core.timeline import ChunkTimeline

T0 = 1_700_000_000_000_000_000
MS = 1_000_000
SECOND = 1000 * MS
NAMES = ("a", "b")


def limits(acceleration: float) -> JointLimits:
    """+-1 rad, 2 rad/s."""
    two = np.ones(2)
    return JointLimits(NAMES, -two, two, 2.0 * two, acceleration * two)


def config(acceleration: float) -> ExecutorConfig:
    """Moves with 1 rad/s and 10 rad/s^2."""
    return ExecutorConfig(
        limits=limits(acceleration),
        move_limits=limits(10.0).slowed(0.5),
        start_tolerance_s=0.1,  # 0.1 rad at the speed of a move
        max_chunk_age_ns=1 * SECOND,
        max_tick_ns=20 * MS,
    )


class Rig:
    """An executor, its clock, and the ids of one run."""

    def __init__(
        self,
        measured: ArrayLike = (0.0, 0.0),
        *,
        blend_ms: int = 0,
        coefficient: float = math.nan,
        acceleration: float = 1e4,
    ) -> None:
        self.now = T0
        self.timeline = ChunkTimeline(blend_ns=blend_ms * MS, ensemble_coefficient=coefficient)
        start = np.asarray(measured)
        self.executor = MotionExecutor(config(acceleration), self.timeline, start, T0)
        self.chunk_id = 0

    @property
    def state(self) -> State:
        return self.executor.state

    def tick(self, ticks: int = 1, *, step_ms: int = 10) -> Command:
        """The last command of some ticks, 10 ms apart."""
        command = None
        for _ in range(ticks):
            self.now += step_ms * MS
            command = self.executor.tick(self.now)
        assert command is not None
        return command

    def chunk(self, rows: ArrayLike = ((0.0, 0.0),) * 10, **changes: Any) -> ActionChunk:
        """The next chunk of the run: observed and due now, a row every 20 ms."""
        self.chunk_id += 1
        values: dict[str, Any] = {
            "run_id": "run",
            "chunk_id": self.chunk_id,
            "observation_stamp_ns": self.now,
            "t_first_ns": self.now,
            "period_ns": 20 * MS,
            "joint_names": NAMES,
            "positions": np.reshape(np.asarray(rows, dtype=np.float64), (-1, 2)),
        }
        return ActionChunk(**{**values, **changes})

    def submit(self, rows: ArrayLike = ((0.0, 0.0),) * 10, **changes: Any) -> None:
        self.executor.submit(self.chunk(rows, **changes), self.now)

    def refused(self, message: str, rows: ArrayLike = ((0.0, 0.0),) * 10, **changes: Any) -> None:
        """Submits a chunk, which must be refused with this message."""
        counters = self.executor.counters
        before = (counters.chunks_accepted, counters.chunks_rejected)
        with pytest.raises(ChunkRejectedError, match=message) as caught:
            self.submit(rows, **changes)
        assert (counters.chunks_accepted, counters.chunks_rejected - 1) == before
        assert counters.last_rejection.endswith(str(caught.value))

    def last(self, **changes: Any) -> None:
        """Ends the run with a chunk without rows."""
        self.submit(np.empty((0, 2)), last=True, **changes)

    def until(self, *states: State, limit: int = 1000) -> Command:
        for _ in range(limit):
            command = self.tick()
            if self.state in states:
                return command
        raise AssertionError(f"still {self.state.name} after {limit} ticks")

    def move(self, goal: ArrayLike = (0.5, 0.0), scale: float = 1.0) -> None:
        self.executor.start_move(np.asarray(goal, dtype=np.float64), scale, self.now)


@pytest.fixture
def make_rig() -> type[Rig]:
    """Makes rigs: ``make_rig(measured, blend_ms=..., acceleration=...)``."""
    return Rig


@pytest.fixture
def rig() -> Rig:
    """A rig at zero, without a blend, whose acceleration limits play no part in chunks."""
    return Rig()


@pytest.fixture
def gentle_rig() -> Rig:
    """A rig at zero, without a blend, with 10 rad/s^2."""
    return Rig(acceleration=10.0)
