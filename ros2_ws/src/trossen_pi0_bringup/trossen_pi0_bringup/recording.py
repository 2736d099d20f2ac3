"""What happened in an episode, gathered from the topics."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import JointState

from trossen_pi0_core.joints import select_joints
from trossen_pi0_msgs.msg import (
    ActionChunk,
    ControllerStatus,
    GroundTruth,
    PolicyStatus,
    SimStatus,
)
from trossen_pi0_ros.convert import time_ns


@dataclass
class Series:
    """Joint positions over time.

    Attributes:
        names: joints of each vector, those of the first message.
        stamps_ns: ROS time [ns].
        values: each of shape (joints,) [rad; m for carriages].
    """

    names: tuple[str, ...] = ()
    stamps_ns: list[int] = field(default_factory=list)
    values: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, message: JointState) -> None:
        """Takes a joint state; one of fewer joints, as when an arm has failed, is left out."""
        names: list[str] = list(message.name)
        self.names = self.names or tuple(names)
        if set(self.names) <= set(names):
            self.stamps_ns.append(time_ns(message.header.stamp))
            self.values.append(select_joints(names, message.position, self.names))

    def copy(self) -> Series:
        """A series of the same samples."""
        return Series(self.names, list(self.stamps_ns), list(self.values))

    def arrays(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Stamps (n,) [ns] and values (n, joints)."""
        return np.array(self.stamps_ns, dtype=np.int64), np.array(self.values)


@dataclass
class EpisodeRecording:
    """Topics of one episode. Filled by the callback thread; others read single fields, or a copy.

    Attributes:
        begun_ns: when the episode began, ROS time [ns].
        commands: what was sent to the arms.
        measured: what the arms reported.
        chunks: publication time, first row's time and id of each chunk [ns].
        plans: the newest two chunks with rows, the newest last.
        overheads_s: by chunk id, oldest picture to publication without the inference [s].
        inferences_s: by chunk id, latency of the inference [s].
        real_time_factors: of the simulation, one a status.
        controller: last status of the arm controller.
        policy: last status of the policy.
        sim: last status of the simulation.
        truth: last true state of the simulated world.
    """

    begun_ns: int = 0
    commands: Series = field(default_factory=Series)
    measured: Series = field(default_factory=Series)
    chunks: list[tuple[int, int, int]] = field(default_factory=list)
    plans: deque[ActionChunk] = field(default_factory=lambda: deque[ActionChunk](maxlen=2))
    overheads_s: dict[int, float] = field(default_factory=dict)
    inferences_s: dict[int, float] = field(default_factory=dict)
    real_time_factors: list[float] = field(default_factory=list)
    controller: ControllerStatus | None = None
    policy: PolicyStatus | None = None
    sim: SimStatus | None = None
    truth: GroundTruth | None = None
    changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def joint_names(self) -> tuple[str, ...]:
        """Order of the vectors: that of the commands, or of the measurements without any."""
        return self.commands.names or self.measured.names

    def copy(self) -> EpisodeRecording:
        """What there is by now; nothing is added to the copy."""
        with self.changed:
            return replace(
                self,
                commands=self.commands.copy(),
                measured=self.measured.copy(),
                chunks=list(self.chunks),
                plans=self.plans.copy(),
                overheads_s=dict(self.overheads_s),
                inferences_s=dict(self.inferences_s),
                real_time_factors=list(self.real_time_factors),
                changed=threading.Condition(),
            )

    def add_command(self, message: JointState) -> None:
        """Takes what was sent to the arms."""
        with self.changed:
            self.commands.add(message)

    def add_measured(self, message: JointState) -> None:
        """Takes what the arms reported."""
        with self.changed:
            self.measured.add(message)

    def add_chunk(self, message: ActionChunk) -> None:
        """Takes a chunk."""
        if message.horizon:
            published, first = time_ns(message.header.stamp), time_ns(message.t_first)
            with self.changed:
                self.chunks.append((published, first, message.chunk_id))
                self.plans.append(message)

    def add_sim(self, message: SimStatus) -> None:
        """Takes the state of the simulation and wakes who waits for it."""
        if time_ns(message.header.stamp) < self.begun_ns:
            return  # of the episode before
        with self.changed:
            self.sim = message
            self.real_time_factors.append(message.real_time_factor)
            self.changed.notify_all()

    def add_truth(self, message: GroundTruth) -> None:
        """Takes the true state of the simulated world."""
        if time_ns(message.header.stamp) < self.begun_ns:
            return  # of the episode before
        with self.changed:
            self.truth = message

    def add_policy(self, message: PolicyStatus) -> None:
        """Takes the state of the policy and wakes who waits for it."""
        with self.changed:
            self.policy = message
            if message.chunk_id:
                self.overheads_s[message.chunk_id] = message.overhead_latency_s
                self.inferences_s[message.chunk_id] = message.inference_latency_s
            self.changed.notify_all()

    def add_controller(self, message: ControllerStatus) -> None:
        """Takes the state of the arm controller and wakes who waits for it."""
        with self.changed:
            self.controller = message
            self.changed.notify_all()

    def tracking_error(self) -> NDArray[np.float64]:
        """Measured minus commanded at the times of the commands, shape (n, joints) [rad; m]."""
        command_ns, commands = self.commands.arrays()
        measured_ns, measured = self.measured.arrays()
        if not len(command_ns) or not len(measured_ns):
            return np.zeros((0, len(self.joint_names)))
        origin = command_ns[0]
        at, grid = (command_ns - origin) / 1e9, (measured_ns - origin) / 1e9
        columns = [np.interp(at, grid, measured[:, j]) for j in range(measured.shape[1])]
        return np.stack(columns, axis=1) - commands
