"""Simulated leaders: the hand's motions, and what a braked and a freed arm does."""

from __future__ import annotations

import numpy as np
import pytest
from trossen_arm_sim.protocol import Mode

from trossen_pi0_core.errors import JointError
from trossen_pi0_sim.arm_adapter import ControllerFaultError
from trossen_pi0_sim.hand import Reach, Rest, Swing
from trossen_pi0_sim.leader_server import HeldArm

POSE = np.array([0.0, 1.0, 0.5, 0.6, 0.0, 0.0, 0.02])
FREE = [Mode.EXTERNAL_EFFORT] * 7


@pytest.mark.parametrize(
    "motion",
    [
        Reach(POSE, POSE + 0.3, 1.0, 2.0),
        Swing(POSE, np.full(7, 0.2), np.linspace(0.2, 0.8, 7, dtype=np.float64), 1.0),
    ],
)
def test_velocities_are_the_rates_of_the_positions(motion) -> None:
    for now in np.linspace(0.0, 4.0, 41):
        ahead, behind = motion.sample(now + 1e-6)[0], motion.sample(now - 1e-6)[0]
        np.testing.assert_allclose((ahead - behind) / 2e-6, motion.sample(now)[1], atol=2e-5)
    start, speed = motion.sample(1.0)
    np.testing.assert_array_equal(start, POSE)
    np.testing.assert_array_equal(speed, np.zeros(7))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_braked_arm_does_not_follow_the_hand_and_a_freed_one_does() -> None:
    clock = Clock()
    arm = HeldArm("leader left", POSE, clock)
    arm.lead(lambda at, now: Reach(at, at + 0.1, now, 1.0))
    clock.now = 1.0
    np.testing.assert_array_equal(arm.positions(), POSE)
    arm.apply_joint_commands(FREE, [0.0] * 7, clock.now)
    arm.lead(lambda at, now: Reach(at, at + 0.01, now, 1.0))
    clock.now = 1.5
    assert arm.positions()[0] == pytest.approx(0.005)
    assert arm.read_joint_outputs()[0].velocity > 0.01
    arm.apply_joint_commands([Mode.IDLE] * 7, [0.0] * 7, clock.now)
    clock.now = 3.0
    assert arm.positions()[0] == pytest.approx(0.005)
    assert arm.read_joint_outputs()[0].velocity == 0.0


def test_the_hand_cannot_move_a_joint_beyond_its_stops() -> None:
    clock = Clock()
    arm = HeldArm("leader left", POSE, clock)
    arm.apply_joint_commands(FREE, [0.0] * 7, 0.0)
    arm.lead(lambda at, _: Rest(at - 2.0))
    assert arm.positions()[1] == 0.0
    assert arm.positions()[6] == 0.0


def test_efforts_are_kept_until_it_brakes() -> None:
    arm = HeldArm("leader left", POSE, Clock())
    arm.apply_joint_commands(FREE, [1.0] * 7, 0.0)
    assert arm.efforts.tolist() == [1.0] * 7
    arm.stop()
    assert not arm.efforts.any()
    assert not arm.free


@pytest.mark.parametrize(
    ("modes", "efforts", "told"),
    [
        (FREE, [np.nan] + [0.0] * 6, "joint_0: commanded effort is nan"),
        (FREE, [0.0, 30.0] + [0.0] * 5, r"joint_1: commanded effort 30.00 is above 27.00"),
        ([Mode.POSITION] * 7, [0.0] * 7, "all idle or all in external effort mode"),
    ],
)
def test_commands_that_the_controller_refuses_are_faults(modes, efforts, told) -> None:
    arm = HeldArm("leader left", POSE, Clock())
    with pytest.raises(ControllerFaultError, match=told):
        arm.apply_joint_commands(modes, efforts, 0.0)
    assert not arm.free


def test_a_malformed_pose_is_refused() -> None:
    with pytest.raises(JointError, match="need 7 finite joint positions"):
        HeldArm("leader left", POSE[:3])
