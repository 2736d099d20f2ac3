"""What the simulated arm controller refuses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from trossen_arm_sim.protocol import ErrorState, Mode

from trossen_pi0_sim.arm_adapter import ArmAdapter, ControllerFaultError, SpeedCheck
from trossen_pi0_sim.expert import STAGED, STAGED_ARM
from trossen_pi0_sim.world import World

POSITION = [Mode.POSITION] * 7


@pytest.fixture
def world() -> World:
    world = World(visuals=False)
    world.place_arms(STAGED)
    return world


@pytest.fixture
def arm(world: World) -> ArmAdapter:
    return ArmAdapter(world, 1)


def pose(**changes: float) -> list[float]:
    """The staged pose with other values, such as ``j1=0.3``."""
    values = list(STAGED_ARM)
    for name, value in changes.items():
        values[int(name[1:])] = value
    return values


def test_commands_reach_the_own_arm(world: World, arm: ArmAdapter) -> None:
    for step in range(100):
        arm.apply_joint_commands(POSITION, pose(j0=0.003 * step), 0.0024 * step)
        world.step()
    world.step(300)
    outputs = [output.position for output in arm.read_joint_outputs()]
    np.testing.assert_allclose(outputs, pose(j0=0.297), atol=0.01)
    assert world.snapshot.positions[0] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(
    ("changes", "state", "message"),
    [
        ({"j0": math.nan}, ErrorState.ROBOT_INPUT_INFINITE, "joint_0: commanded position is nan"),
        ({"j6": math.inf}, ErrorState.ROBOT_INPUT_INFINITE, "left_carriage_joint: .* is inf"),
        ({"j1": -0.01}, ErrorState.JOINT_LIMIT_EXCEEDED, r"joint_1: .* -0\.0100 lies outside \[0"),
        ({"j6": 0.042}, ErrorState.JOINT_LIMIT_EXCEEDED, r"0\.0420 lies outside \[0\.0000, 0\.04"),
        ({"j0": 0.5}, ErrorState.JOINT_LIMIT_EXCEEDED, r"joint_0: commanded speed is above 6\.283"),
    ],
    ids=["nan", "infinite", "below", "above", "jump"],
)
def test_faults(
    world: World, arm: ArmAdapter, changes: dict[str, float], state: ErrorState, message: str
) -> None:
    arm.apply_joint_commands(POSITION, pose(), 0.0)
    with pytest.raises(ControllerFaultError, match=message) as caught:
        arm.apply_joint_commands(POSITION, pose(**changes), 0.0024)
    assert caught.value.state == state
    np.testing.assert_allclose(world.step(100).positions[7:], STAGED_ARM, atol=1e-3)


def test_first_command_may_not_jump_either(arm: ArmAdapter) -> None:
    with pytest.raises(ControllerFaultError, match="joint_2: commanded speed"):
        arm.apply_joint_commands(POSITION, pose(j2=1.5), 0.0)


def test_an_arm_at_rest_against_a_stop_may_command_what_it_measures(arm: ArmAdapter) -> None:
    arm.apply_joint_commands(POSITION, pose(j6=-0.0005), 0.0)


def test_other_modes_are_refused(arm: ArmAdapter) -> None:
    with pytest.raises(
        ControllerFaultError, match=r"\['effort', 'position'\]: .* can be"
    ) as caught:
        arm.apply_joint_commands([Mode.EFFORT, *POSITION[1:]], pose(), 0.0)
    assert caught.value.state == ErrorState.INVALID_MODE


def test_idle_brakes_where_the_arm_is(world: World, arm: ArmAdapter) -> None:
    for step in range(100):
        arm.apply_joint_commands(POSITION, pose(j0=0.01 * step), 0.0024 * step)
        world.step()
    reached = world.snapshot.positions[7]
    arm.apply_joint_commands([Mode.IDLE] * 7, pose(), 1.0)
    assert world.step(300).positions[7] == pytest.approx(reached, abs=0.1)
    assert reached < 0.95


LIMITS = np.array([2.0, 0.25])


def test_steady_speed_at_the_limit_passes_though_set_points_come_unevenly() -> None:
    check = SpeedCheck(LIMITS)
    check.start(np.zeros(2), 0.0)
    rng = np.random.default_rng(0)
    for step in range(1, 2000):
        late = rng.uniform(0.0, 0.009)
        assert check.exceeded(LIMITS * step * 0.0024, step * 0.0024 + late) is None


def test_a_stalled_server_that_catches_up_passes() -> None:
    check = SpeedCheck(LIMITS)
    check.start(np.zeros(2), 0.0)
    assert check.exceeded(LIMITS * 0.3, 0.3) is None


@pytest.mark.parametrize("joint", [0, 1])
def test_a_tenth_above_the_limit_does_not_pass_for_long(joint: int) -> None:
    check = SpeedCheck(LIMITS)
    check.start(np.zeros(2), 0.0)
    speed = LIMITS * np.where(np.arange(2) == joint, 1.1, 0.5)
    verdicts = [check.exceeded(speed * t, t) for t in np.arange(0.0, 0.5, 0.0024).tolist()]
    assert joint in verdicts
    assert 1 - joint not in verdicts


def test_going_to_and_fro_counts_as_speed() -> None:
    check = SpeedCheck(LIMITS)
    check.start(np.zeros(2), 0.0)
    verdicts = [
        check.exceeded(np.array([0.03 * (step % 2), 0.0]), step * 0.0024) for step in range(50)
    ]
    assert 0 in verdicts
