"""The real arm driver against the simulated controllers, over the wire."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

import numpy as np
import pytest
import trossen_arm
from numpy.typing import NDArray
from trossen_arm_sim.protocol import UDP_PORT, UDPCommand

from trossen_pi0_core.errors import DriverError
from trossen_pi0_sim import arm_server
from trossen_pi0_sim.arm_adapter import ArmAdapter
from trossen_pi0_sim.arm_server import ArmServer
from trossen_pi0_sim.expert import STAGED, STAGED_ARM, HandoverExpert
from trossen_pi0_sim.simulation import Simulation
from trossen_pi0_sim.world import World

Wait = Callable[[Callable[[], object], str], None]


@pytest.fixture
def simulation(arm_addresses: tuple[str, str]) -> Iterator[Simulation]:
    world = World(seed=2, visuals=False)
    world.place_arms(STAGED)
    simulation = Simulation(world, arm_addresses)
    simulation.start()
    yield simulation
    simulation.stop()


class Drivers:
    """Makes drivers and lets go of them."""

    def __init__(self) -> None:
        self._made: list[trossen_arm.TrossenArmDriver] = []

    def connect(self, address: str, *, clear_error: bool = False) -> trossen_arm.TrossenArmDriver:
        driver = trossen_arm.TrossenArmDriver()
        driver.configure(
            trossen_arm.Model.wxai_v0,
            trossen_arm.StandardEndEffector.wxai_v0_follower,
            address,
            clear_error,
            timeout=3.0,
        )
        self._made.append(driver)
        return driver

    def position_mode(self, address: str) -> trossen_arm.TrossenArmDriver:
        driver = self.connect(address)
        driver.set_all_modes(trossen_arm.Mode.position)
        return driver

    def close(self) -> None:
        for driver in self._made:
            driver.cleanup()


@pytest.fixture
def drivers(simulation: Simulation) -> Iterator[Drivers]:
    drivers = Drivers()
    yield drivers
    drivers.close()


def measured(driver: trossen_arm.TrossenArmDriver) -> NDArray[np.float64]:
    return np.array(list(driver.get_all_positions()))


def send(
    driver: trossen_arm.TrossenArmDriver,
    goal: Sequence[float] | NDArray[np.float64],
    goal_time_s: float,
    *,
    blocking: bool = False,
) -> None:
    driver.set_all_positions(trossen_arm.VectorDouble(list(goal)), goal_time_s, blocking)


def refuses(driver: trossen_arm.TrossenArmDriver) -> str:
    """The driver's error text, empty while it works."""
    try:
        driver.get_all_positions()
    except trossen_arm.RuntimeError as error:
        return str(error)
    return ""


def connection_error(drivers: Drivers, address: str) -> str:
    """Why a driver cannot connect; the driver is gone afterwards, and its connection with it."""
    try:
        drivers.connect(address)
    except trossen_arm.RuntimeError as error:
        return str(error)
    return ""


def test_reports_the_limits_of_a_delivered_arm(
    simulation: Simulation, drivers: Drivers, arm_addresses: tuple[str, str]
) -> None:
    limits = drivers.connect(arm_addresses[0]).get_joint_limits()
    np.testing.assert_allclose(
        [limit.velocity_max for limit in limits], [6.283] * 3 + [9.425] * 3 + [0.25], rtol=1e-6
    )
    assert {limit.velocity_tolerance for limit in limits} == {0.0}
    np.testing.assert_allclose(
        [limit.position_max for limit in limits],
        [math.pi, math.pi, 2.356, math.pi / 2, math.pi / 2, math.pi, 0.04],
        rtol=1e-6,
    )


def test_each_driver_moves_its_own_arm(
    simulation: Simulation, drivers: Drivers, arm_addresses: tuple[str, str], wait_until: Wait
) -> None:
    both = [drivers.position_mode(address) for address in arm_addresses]
    goals = np.add(STAGED_ARM, [[0.2, 0, 0, 0, 0, 0, 0.02], [0, 0.1, 0, 0, 0, 0.3, 0]])
    for driver, goal in zip(both, goals, strict=True):
        send(driver, goal, 0.5)

    def arrived() -> bool:
        return bool(np.allclose([measured(driver) for driver in both], goals, atol=0.01))

    wait_until(arrived, "both arms at their goals")
    np.testing.assert_allclose(simulation.instant.snapshot.positions, goals.ravel(), atol=0.01)


@pytest.mark.parametrize(
    ("joint", "value", "message"),
    [
        (0, math.nan, "joint_0: commanded position is nan"),
        (2, math.inf, "joint_2: commanded position is inf"),
        (1, 3.2, r"joint_1: commanded position 3\.2000 lies outside"),
        (0, 1.5, r"joint_0: commanded speed is above 6\.283"),
    ],
    ids=["nan", "infinite", "outside", "jump"],
)
def test_bad_commands_fault_until_cleared(
    simulation: Simulation,
    drivers: Drivers,
    arm_addresses: tuple[str, str],
    wait_until: Wait,
    joint: int,
    value: float,
    message: str,
) -> None:
    driver = drivers.position_mode(arm_addresses[1])
    goal = list(STAGED_ARM)
    goal[joint] = value
    send(driver, goal, 0.0)
    wait_until(lambda: refuses(driver), "fault")
    with pytest.raises(trossen_arm.RuntimeError, match=message):
        driver.get_all_positions()
    driver.clear_error()
    assert set(driver.get_modes()) == {trossen_arm.Mode.idle}
    np.testing.assert_allclose(measured(driver), STAGED_ARM, atol=0.01)


def test_injected_fault_outlives_the_connection(
    simulation: Simulation, drivers: Drivers, arm_addresses: tuple[str, str], wait_until: Wait
) -> None:
    driver = drivers.position_mode(arm_addresses[0])
    simulation.servers[0].inject_fault("encoder of joint_3 is silent")
    wait_until(lambda: "encoder of joint_3 is silent" in refuses(driver), "fault")
    driver.cleanup()
    assert "encoder of joint_3 is silent" in connection_error(drivers, arm_addresses[0])
    assert not refuses(drivers.connect(arm_addresses[0], clear_error=True))


@pytest.mark.parametrize("silent", [False, True], ids=["repeating", "silent"])
def test_frozen_controller_shows_only_in_the_header(
    simulation: Simulation,
    drivers: Drivers,
    arm_addresses: tuple[str, str],
    wait_until: Wait,
    silent: bool,
) -> None:
    driver = drivers.position_mode(arm_addresses[0])

    def newest() -> int:
        return driver.get_robot_output().header.id

    def advances(within_s: float) -> bool:
        before, deadline = newest(), time.monotonic() + within_s
        while time.monotonic() < deadline:
            if newest() != before:
                return True
            time.sleep(0.005)
        return False

    assert advances(5.0)
    simulation.servers[0].freeze(silent=silent)
    wait_until(lambda: not advances(0.1), "stand-still")
    assert not refuses(driver)
    simulation.servers[0].thaw()
    assert advances(5.0)


def test_silent_controller_does_not_even_answer(
    simulation: Simulation, arm_addresses: tuple[str, str]
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.settimeout(2.0)
        asking.connect((arm_addresses[0], UDP_PORT))
        asking.send(bytes([UDPCommand.GET_ROBOT_OUTPUT]))
        assert len(asking.recv(4096)) == 1 + 16 + 7 * 24  # error state, header, seven joints
        simulation.servers[0].freeze(silent=True)
        asking.settimeout(0.3)
        asking.send(bytes([UDPCommand.GET_ROBOT_OUTPUT]))
        with pytest.raises(TimeoutError):
            asking.recv(4096)


def test_arm_holds_when_its_driver_goes_and_takes_the_next_one(
    simulation: Simulation, drivers: Drivers, arm_addresses: tuple[str, str]
) -> None:
    driver = drivers.position_mode(arm_addresses[0])
    goal = np.add(STAGED_ARM, [0.2, 0, 0, 0, 0, 0, 0])
    send(driver, goal, 0.5, blocking=True)
    driver.cleanup()
    following = drivers.position_mode(arm_addresses[0])
    np.testing.assert_allclose(measured(following), goal, atol=0.02)


def test_reset_with_drivers_attached_leaves_the_arms(
    simulation: Simulation, drivers: Drivers, arm_addresses: tuple[str, str]
) -> None:
    driver = drivers.position_mode(arm_addresses[1])
    before = measured(driver)
    simulation.reset(9, "wooden_block")
    assert simulation.world.ground_truth.variant == "wooden_block"
    np.testing.assert_allclose(measured(driver), before, atol=0.005)


def test_stopped_simulation_is_noticed_by_the_driver(
    simulation: Simulation, drivers: Drivers, arm_addresses: tuple[str, str], wait_until: Wait
) -> None:
    driver = drivers.position_mode(arm_addresses[0])
    simulation.stop()
    wait_until(lambda: refuses(driver), "loss")


def test_address_in_use_is_refused(simulation: Simulation, arm_addresses: tuple[str, str]) -> None:
    server = ArmServer(ArmAdapter(simulation.world, 0), arm_addresses[1])
    with pytest.raises(DriverError, match=rf"{arm_addresses[1]}.* in use; give a free address"):
        server.start()


@pytest.mark.parametrize("address", ["203.0.113.7", "no address"])
def test_address_of_another_machine_is_refused(simulation: Simulation, address: str) -> None:
    with pytest.raises(DriverError, match=rf"left arm cannot be served on '{address}'"):
        ArmServer(ArmAdapter(simulation.world, 0), address).start()


def test_address_is_free_again_after_the_end(
    simulation: Simulation, arm_addresses: tuple[str, str]
) -> None:
    simulation.stop()
    again = Simulation(World(visuals=False), arm_addresses)
    again.start()
    again.stop()


def test_expert_hands_over_through_the_drivers_in_real_time(
    simulation: Simulation, drivers: Drivers, arm_addresses: tuple[str, str]
) -> None:
    arms = [drivers.position_mode(address) for address in arm_addresses]
    for arm in arms:
        send(arm, STAGED_ARM, 0.5, blocking=True)
    truth = simulation.world.ground_truth
    plan = HandoverExpert().plan(STAGED, truth.object_pose, truth.object_half_size)
    # Times are simulated ones, so that a machine that is too slow does not fail the test.
    began = before = simulation.instant.snapshot.time_s
    while (now := simulation.instant.snapshot.time_s) - began < plan.duration_s:
        ahead_s = max(0.02, now - before)
        row = plan.sample(now - began + ahead_s)[0]
        for index, arm in enumerate(arms):
            send(arm, row[7 * index : 7 * index + 7], ahead_s)
        before = now
        time.sleep(0.01)
    assert simulation.world.progress.success, simulation.world.progress.stage


def test_a_set_point_counts_from_its_arrival_though_it_is_read_late():
    with (
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server,
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as driver,
    ):
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        server.setsockopt(socket.SOL_SOCKET, arm_server._SO_TIMESTAMPNS, 1)
        sent_s = time.monotonic()
        driver.sendto(b"old", server.getsockname())
        driver.sendto(b"new", server.getsockname())
        arrived_by_s = time.monotonic()
        time.sleep(0.1)  # it lies in the queue
        newest = arm_server._newest_datagram(server)
        assert newest is not None
        assert newest[0] == b"new"
        assert sent_s - 0.01 <= newest[2] <= arrived_by_s + 0.01
        assert arm_server._newest_datagram(server) is None
