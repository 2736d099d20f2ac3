"""A control loop over programmable arms."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import pytest
from numpy.typing import ArrayLike, NDArray

from trossen_pi0_control.arm import ArmLimits, ArmReading
from trossen_pi0_control.arm_group import ArmGroup, Feedback
from trossen_pi0_control.control_loop import ControlLoop
from trossen_pi0_control.reports import Snapshot
from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.errors import DriverError
from trossen_pi0_core.execution import Command, State
from trossen_pi0_core.limits import WXAI_LOWER, WXAI_UPPER, WXAI_VELOCITY
from trossen_pi0_core.parameters import ArmControllerParameters

T = TypeVar("T")

STAGED = np.array([0.0, np.pi / 3, np.pi / 6, np.pi / 5, 0.0, 0.0, 0.02])
MS = 1_000_000


def wait_until(condition: Callable[[], T], what: str, deadline_s: float = 5.0) -> T:
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {deadline_s} s for {what}"
        time.sleep(0.001)
    return value


class FakeArm:
    """Goes where it is told at once, and fails as it is told."""

    def __init__(self, name: str, address: str) -> None:
        self.name = name
        self.address = address
        self.allowed = ArmLimits(*(np.array(v) for v in (WXAI_LOWER, WXAI_UPPER, WXAI_VELOCITY)))
        self.positions = STAGED.copy()
        self.noise = np.zeros(7)
        self.efforts = np.zeros(7)
        self.slow_s = 0.0
        self.obstacle = 0.0
        self.calls: list[str] = []
        self.commands: list[NDArray[np.float64]] = []
        self.failing: dict[str, str] = {}
        self.blocking: dict[str, threading.Event] = {}
        self.frozen = False
        self._header = 0

    @property
    def limits(self) -> ArmLimits:
        return copy.deepcopy(self.allowed)

    def connect(self) -> None:
        self._call("connect")

    def release(self) -> None:
        self._call("release")

    def enable(self) -> None:
        self._call("enable")

    def disable(self) -> None:
        self._call("disable")

    def read(self) -> ArmReading:
        self._fail("read")
        time.sleep(self.slow_s)
        if not self.frozen:
            self._header += 1
        return ArmReading(
            self.positions + self.noise,
            np.zeros(7),
            self.efforts.copy(),
            self._header,
            self._header,
            self.efforts.copy(),
        )

    def command(self, targets: NDArray[np.float64]) -> None:
        self._fail("command")
        self.commands.append(targets.copy())
        self.positions = targets.copy()
        self.positions[6] = max(targets[6], self.obstacle)

    def _call(self, method: str) -> None:
        self.calls.append(method)
        if method in self.blocking:
            self.blocking[method].wait(10.0)
        self._fail(method)

    def _fail(self, method: str) -> None:
        if method in self.failing:
            raise DriverError(f"arm {self.name} ({self.address}): {self.failing[method]}")


class Recorder:
    """Keeps what the loop tells."""

    def __init__(self) -> None:
        self.feedback: list[tuple[int, Feedback]] = []
        self.commands: list[tuple[int, Command]] = []
        self.states: list[tuple[State, str]] = []
        self.broken = ""

    def on_feedback(self, stamp_ns: int, feedback: Feedback) -> None:
        if self.broken:
            raise ValueError(self.broken)
        self.feedback.append((stamp_ns, feedback))

    def on_command(self, stamp_ns: int, command: Command) -> None:
        self.commands.append((stamp_ns, command))

    def on_state(self, state: State, reason: str) -> None:
        self.states.append((state, reason))


class Rig:
    """Two arms and their loop at 100 Hz; every command is reported."""

    def __init__(self, **changes: Any) -> None:
        self.params = ArmControllerParameters(
            **{
                "command_rate": 100.0,
                "driver_stale_s": 0.1,
                "round_trip_limit_s": 0.5,  # the machine may be busy
                "blend_s": 0.0,
                **changes,
            }
        )
        self.clock_offset_ns = 0
        self.simulated = False
        self.left, self.right = self.arms = [
            FakeArm("left", "127.0.0.32"),
            FakeArm("right", "127.0.0.33"),
        ]
        self.group = ArmGroup(self.arms, self.params.joint_map, self.params.driver_stale_s)
        self.heard = Recorder()
        self._chunk_id = 0
        self.loop = self.make_loop()

    def make_loop(self) -> ControlLoop:
        self.group.connect(threading.Event())
        limits = self.group.tightened(self.params.limits)
        return ControlLoop(
            self.group,
            self.params,
            limits,
            now_ns=self.now_ns,
            listener=self.heard,
            simulated=lambda: self.simulated,
        )

    def now_ns(self) -> int:
        return time.time_ns() + self.clock_offset_ns

    def start(self) -> Rig:
        self.loop.start(1.0)
        wait_until(lambda: len(self.heard.feedback) > 2, "the first ticks")
        return self

    @property
    def snapshot(self) -> Snapshot:
        snapshot = self.loop.snapshot()
        assert snapshot is not None
        return snapshot

    @property
    def state(self) -> State:
        return self.snapshot.state

    def until(self, state: State) -> Snapshot:
        wait_until(lambda: self.state == state, state.name)
        return self.snapshot

    def ticks(self, count: int = 5) -> None:
        """Waits for further ticks."""
        end = self.snapshot.ticks.ticks + count
        wait_until(lambda: self.snapshot.ticks.ticks >= end, f"{count} ticks")

    def chunk(self, rows: ArrayLike, **changes: Any) -> ActionChunk:
        """The next chunk, observed and due now, a row every 20 ms."""
        self._chunk_id += 1
        now_ns = self.now_ns()
        values: dict[str, Any] = {
            "run_id": "run",
            "chunk_id": self._chunk_id,
            "observation_stamp_ns": now_ns,
            "t_first_ns": now_ns,
            "period_ns": 20 * MS,
            "joint_names": self.params.joint_map.urdf_names,
            "positions": rows,
        }
        return ActionChunk(**{**values, **changes})

    def swing(self, rows: int = 50, speed: float = 0.5) -> ActionChunk:
        """A chunk that turns joint_0 of both arms at a speed [rad/s]."""
        targets = np.tile(STAGED, (rows, 2))
        targets[:, [0, 7]] += speed * 0.02 * np.arange(rows)[:, None]
        return self.chunk(targets)


@pytest.fixture
def make_rig() -> Iterator[Callable[..., Rig]]:
    """Makes rigs: ``make_rig(mode="test", ...)``; ends their loops."""
    rigs: list[Rig] = []

    def make(**changes: Any) -> Rig:
        rigs.append(Rig(**changes))
        return rigs[-1]

    yield make
    for rig in rigs:
        for arm in rig.arms:
            for event in arm.blocking.values():
                event.set()
        rig.loop.stop(1.0)


@pytest.fixture
def rig(make_rig: Callable[..., Rig]) -> Rig:
    """A started rig."""
    return make_rig().start()


@pytest.fixture
def until() -> Callable[..., Any]:
    """``until(condition, what)`` waits."""
    return wait_until
