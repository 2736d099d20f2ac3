"""What the real driver sends to an arm's controller, datagram by datagram."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
import trossen_arm
from numpy.typing import NDArray
from trossen_arm_sim.protocol import ErrorState, parse_robot_input
from typing_extensions import override

from trossen_pi0_control.arm_group import ArmGroup, Feedback
from trossen_pi0_control.control_loop import ControlLoop
from trossen_pi0_control.trossen import TrossenArm, trossen_arms
from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.execution import Command, State
from trossen_pi0_core.parameters import ArmControllerParameters
from trossen_pi0_sim.arm_adapter import ArmAdapter
from trossen_pi0_sim.arm_server import ArmServer
from trossen_pi0_sim.world import World

PERIOD_S = 0.01
AMPLITUDE, OMEGA = 0.15, np.pi  # 0.3 rad to and fro at 0.5 Hz
MS = 1_000_000


class Controller(ArmServer):
    """A simulated controller that keeps time [s], position and speed of joint 0's set-points."""

    def __init__(self, world: World, arm: int, address: str) -> None:
        super().__init__(ArmAdapter(world, arm), address)
        self.set_points: list[tuple[float, float, float]] = []

    @override
    def _take_commands(self, payload: bytes) -> None:
        joint = parse_robot_input(payload, 7)[0]
        self.set_points.append((time.monotonic(), joint.position, joint.velocity))
        super()._take_commands(payload)


@pytest.fixture
def controllers(addresses: tuple[str, str]) -> Iterator[list[Controller]]:
    """Both arms' controllers, which listen; the world stands still."""
    world = World(visuals=False)
    servers = [Controller(world, arm, address) for arm, address in enumerate(addresses)]
    for server in servers:
        server.start()
    yield servers
    for server in servers:
        server.stop()


def wave(time_s: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return (
        AMPLITUDE * (1.0 - np.cos(OMEGA * time_s)),
        AMPLITUDE * OMEGA * np.sin(OMEGA * time_s),
    )


def paced(duration_s: float) -> Iterator[float]:
    """Times since now [s], one a period."""
    began = due = time.monotonic()
    while due < began + duration_s:
        time.sleep(max(due - time.monotonic(), 0.0))
        yield time.monotonic() - began
        due += PERIOD_S


def test_linear_set_points_carry_the_speed_of_the_trajectory(controllers: list[Controller]) -> None:
    arm = TrossenArm(
        "left",
        controllers[0].host,
        model="wxai_v0",
        end_effector="wxai_v0_follower",
        timeout_s=5.0,
        control_rate=1.0 / PERIOD_S,
    )
    arm.connect()
    arm.enable()
    try:
        target = np.zeros(7)
        controllers[0].set_points.clear()
        began_s = time.monotonic()
        for now_s in paced(3.0):
            target[0] = wave(np.array(now_s))[0]
            arm.command(target)
    finally:
        arm.release()
    times, positions, velocities = np.array(controllers[0].set_points).T
    times -= began_s
    moving = (times > 0.3) & (times < 2.9)
    times, positions, velocities = times[moving], positions[moving], velocities[moving]
    assert len(times) > 3 * 2.6 / PERIOD_S  # several set-points a command
    delays = np.arange(0.0, 0.1, 0.0005)
    errors = [np.sqrt(np.mean((positions - wave(times - d)[0]) ** 2)) for d in delays]
    delay = delays[np.argmin(errors)]
    assert min(errors) < 0.003
    assert 0.005 < delay < 0.05
    speeds = wave(times - delay)[1]
    assert np.corrcoef(velocities, speeds)[0, 1] > 0.97
    assert np.sqrt(np.mean((velocities - speeds) ** 2)) < 0.1
    assert controllers[0].error_state == ErrorState.NONE


@pytest.mark.parametrize(("goal_time_s", "used"), [(0.015, False), (0.0, True)])
def test_the_driver_uses_given_speeds_for_steps_alone(
    controllers: list[Controller], goal_time_s: float, *, used: bool
) -> None:
    driver = trossen_arm.TrossenArmDriver()
    driver.set_log_level(trossen_arm.LogLevel.warn)
    driver.configure(
        trossen_arm.Model.wxai_v0,
        trossen_arm.StandardEndEffector.wxai_v0_follower,
        controllers[0].host,
        False,
        5.0,
    )
    try:
        driver.set_all_modes(trossen_arm.Mode.position)
        speeds = trossen_arm.VectorDouble([1.25, *[0.0] * 6])
        target = np.zeros(7)
        controllers[0].set_points.clear()
        for now_s in paced(0.5):
            target[0] = 0.2 * now_s
            goal = trossen_arm.VectorDouble(target.tolist())
            driver.set_all_positions(goal, goal_time_s, False, speeds)
        seen = [velocity for _, _, velocity in list(controllers[0].set_points)]
    finally:
        driver.cleanup(False)
    assert (1.25 in seen) == used
    if not used:
        assert np.median(seen) == pytest.approx(0.2, abs=0.1)


class Nobody:
    """Listens to a control loop without a word."""

    def on_feedback(self, stamp_ns: int, feedback: Feedback) -> None: ...

    def on_command(self, stamp_ns: int, command: Command) -> None: ...

    def on_state(self, state: State, reason: str) -> None: ...


def test_hold_ups_before_sending_never_look_like_too_high_a_speed(
    controllers: list[Controller], addresses: tuple[str, str]
) -> None:
    """At 0.7 of the controller's own speed, with every sixth command held up for 35 ms."""
    params = ArmControllerParameters(
        arm_addresses=addresses,
        velocity_limit=(6.283, *[3.0] * 5, 0.25),
        acceleration_limit=(40.0, *[15.0] * 5, 2.5),
        driver_stale_s=5.0,
        round_trip_limit_s=5.0,
        blend_s=0.0,
        start_tolerance_s=2.0,
    )
    arms = trossen_arms(params)
    group = ArmGroup(arms, params.joint_map, params.driver_stale_s)
    group.connect(threading.Event())
    loop = ControlLoop(
        group,
        params,
        group.tightened(params.limits),
        now_ns=time.time_ns,
        listener=Nobody(),
    )
    for arm in arms:
        hold_up(arm)
    loop.start(2.0)
    try:
        rows = np.zeros((40, 14))
        rows[:, 0] = rows[:, 7] = np.clip(0.084 * np.arange(40), 0.0, 2.9)
        now_ns = time.time_ns()
        names = params.joint_map.urdf_names
        loop.submit(ActionChunk("run", 1, now_ns, now_ns, 20 * MS, names, rows))
        deadline = time.monotonic() + 10.0
        while controllers[0].set_points[-1][1] < 2.89:
            assert time.monotonic() < deadline, loop.snapshot()
            time.sleep(0.01)
    finally:
        loop.stop(2.0)
        group.release(5.0)
    for controller in controllers:
        assert controller.error_state == ErrorState.NONE
        fastest = np.abs(np.array(controller.set_points)[:, 2]).max()
        assert 3.5 < fastest < 6.283


def hold_up(arm: TrossenArm) -> None:
    """Every sixth command of an arm is handed to its driver 35 ms late."""
    command, count = arm.command, 0

    def late(positions: NDArray[np.float64]) -> None:
        nonlocal count
        count += 1
        if count % 6 == 0:
            time.sleep(0.035)
        command(positions)

    arm.command = late  # pyright: ignore[reportAttributeAccessIssue]
