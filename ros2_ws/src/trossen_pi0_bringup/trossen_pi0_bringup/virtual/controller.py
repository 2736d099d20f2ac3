"""The arm controller in virtual time: executor, arms, reports, and what is recorded of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trossen_pi0_bringup.virtual.arms import VirtualArms
from trossen_pi0_bringup.virtual.metrics import REVOLUTE, jump, row_at
from trossen_pi0_control.settings import apply_live, executor_config
from trossen_pi0_core.contract import NANOSECONDS, ActionChunk
from trossen_pi0_core.errors import ChunkRejectedError
from trossen_pi0_core.execution import Command, Counters, State
from trossen_pi0_core.executor import MotionExecutor
from trossen_pi0_core.parameters import ArmControllerParameters
from trossen_pi0_core.timeline import ChunkTimeline
from trossen_pi0_policy.state import ControllerReport
from trossen_pi0_sim.world import World

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Followed:
    """The chunk that leads the arms, and how long they had been slowed down when it came [ns]."""

    chunk: ActionChunk
    slowdown_ns: int


class ControllerSide:
    """What the arm controller node does at each control tick, without the node.

    Attributes:
        commands: of each tick since the first chunk, each of shape (14,) [rad; m for carriages].
        measured: what the arms measured when they were sent, likewise.
        jumps: how far each chunk but the first began from where the arms would have been [rad].
    """

    def __init__(self, world: World, parameters: ArmControllerParameters, now_ns: int) -> None:
        """Takes a world whose arms are at rest.

        Args:
            world: stepped by the arms.
            parameters: of the node.
            now_ns: present time [ns].
        """
        self._world = world
        self.arms = VirtualArms(world, parameters.control_rate)
        timeline = ChunkTimeline()
        apply_live(timeline, parameters)
        limits = VirtualArms.tightened(parameters.limits)
        self._executor = MotionExecutor(
            executor_config(parameters, limits), timeline, world.snapshot.positions, now_ns
        )
        self.commands: list[Array] = []
        self.measured: list[Array] = []
        self.jumps: list[float] = []
        self._followed: _Followed | None = None
        self._beginning: list[ActionChunk] = []
        self._last: tuple[int, Command] | None = None

    @property
    def command(self) -> Array:
        """Last commanded positions, shape (14,) [rad; m for carriages]."""
        return self._executor.command

    @property
    def counters(self) -> Counters:
        """Events so far."""
        return self._executor.counters

    def submit(self, chunk: ActionChunk, now_ns: int) -> None:
        """Takes a chunk; one that is refused only counts."""
        try:
            self._executor.submit(chunk, now_ns)
        except ChunkRejectedError:
            return
        if self._executor.chunk is chunk and chunk.horizon:
            if self._followed is not None:
                self._beginning.append(chunk)
            self._followed = _Followed(chunk, self.counters.slowdown_ns)

    def tick(self, now_ns: int) -> bool:
        """One control tick: commands the arms and records; returns whether the state changes."""
        before = self._executor.state, self._executor.reason
        command = self._executor.tick(now_ns)
        self._judge_beginnings(now_ns)
        self.arms.command(command.positions)
        self._last = now_ns, command
        if self._followed is not None:
            self.commands.append(command.positions.copy())
            self.measured.append(self._world.snapshot.positions.copy())
        return before != (self._executor.state, self._executor.reason)

    def report(self, now_ns: int) -> ControllerReport:
        """What the status says."""
        executor = self._executor
        return ControllerReport(
            stamp_ns=now_ns,
            state=executor.state,
            reason=executor.reason,
            run_id=executor.run_id,
            rejections=executor.counters.chunks_rejected,
            last_rejection=executor.counters.last_rejection,
            chunk_id=executor.chunk.chunk_id if executor.chunk else 0,
            chunk_delay_ns=executor.timeline.delay_ns,
        )

    @property
    def halted(self) -> str:
        """Why the arms are left alone; empty when they are not."""
        executor = self._executor
        return executor.reason if executor.state in (State.FAULT, State.ESTOP) else ""

    def followed(self, now_ns: int) -> tuple[int | None, float]:
        """The chunk that leads the arms: its observation's stamp, and how far they are along it.

        Returns:
            The stamp [ns], None before the first chunk, and the time along its rows [s].
        """
        if self._followed is None:
            return None, 0.0
        chunk = self._followed.chunk
        slowed_ns = self.counters.slowdown_ns - self._followed.slowdown_ns
        longest_ns = chunk.t_hold_ns - chunk.t_first_ns
        elapsed_ns = min(max(now_ns - chunk.t_first_ns - slowed_ns, 0), longest_ns)
        return chunk.observation_stamp_ns, elapsed_ns / NANOSECONDS

    def _judge_beginnings(self, now_ns: int) -> None:
        """Measures how far the chunks that take over in this tick are from the arms' way."""
        begun = [chunk for chunk in self._beginning if chunk.t_first_ns <= now_ns]
        self._beginning = [chunk for chunk in self._beginning if chunk.t_first_ns > now_ns]
        if self._last is None:
            return
        last_ns, last = self._last
        for chunk in begun:
            elapsed_s = (now_ns - chunk.t_first_ns) / NANOSECONDS
            target = row_at(chunk.positions, elapsed_s, chunk.period_ns / NANOSECONDS)
            since_s = (now_ns - last_ns) / NANOSECONDS
            where = last.positions[REVOLUTE], last.velocities[REVOLUTE]
            self.jumps.append(jump(*where, since_s, target[REVOLUTE]))
