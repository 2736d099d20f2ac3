"""The doctor at simulated arms, by the real driver: it finds what is wrong and moves nothing."""

import time

import numpy as np
import pytest
from domain_coordinator import domain_id
from trossen_arm_sim.protocol import JOINT_LIMIT_STRUCT, ErrorState, Mode

from trossen_pi0_bringup.arguments import Arguments, parse_command_line
from trossen_pi0_bringup.doctor.arms import check_arm
from trossen_pi0_bringup.doctor.command import DOCTOR_ARGUMENTS
from trossen_pi0_bringup.doctor.findings import Verdict
from trossen_pi0_bringup.doctor.plan import plan_of
from trossen_pi0_control.trossen import TrossenArm
from trossen_pi0_sim.arm_adapter import EFFORT_LIMITS, POSITION_LIMITS, VELOCITY_LIMITS
from trossen_pi0_sim.simulation import Simulation
from trossen_pi0_sim.world import World


class Kit:
    """Both arms, served in this process; and what the doctor looks at."""

    def __init__(self, addresses):
        self.addresses = addresses
        self.simulation = Simulation(World(visuals=False), addresses)
        self.simulation.start()

    @property
    def servers(self):
        return self.simulation.servers

    def check(self, arm="left", *words, holder=""):
        addresses = [
            f"{name}_arm_address:={address}"
            for name, address in zip(("left", "right"), self.addresses, strict=True)
        ]
        plan = plan_of(Arguments(DOCTOR_ARGUMENTS, parse_command_line([*addresses, *words])))
        return check_arm(plan, arm, holder)

    def positions(self):
        return np.array(
            [[o.position for o in server.sim.read_joint_outputs()] for server in self.servers]
        )


@pytest.fixture
def kit():
    with domain_id() as domain:
        made = Kit((f"127.33.{domain}.2", f"127.33.{domain}.3"))
        yield made
        made.simulation.stop()


def test_sound_arms_are_fine_and_nothing_moves(kit):
    before = kit.positions()
    for arm in ("left", "right"):
        findings = kit.check(arm)
        assert [f.verdict for f in findings] == [Verdict.OK] * 4, findings
        assert [f.what for f in findings] == [
            f"arm {arm}",
            f"arm {arm} versions",
            f"arm {arm} state",
            f"arm {arm} limits",
        ]
    assert findings[1].found.startswith("driver 1.")
    assert findings[2].found == "no error, on its brakes"
    np.testing.assert_allclose(kit.positions(), before, atol=5e-4)  # grippers settle by 1e-4 m
    assert {mode for server in kit.servers for mode in server.modes} == {Mode.IDLE}


def test_an_arm_that_is_not_there_is_told_within_the_deadline(kit):
    kit.servers[0].stop()
    began_s = time.monotonic()
    (finding,) = kit.check()
    assert time.monotonic() - began_s < 3.0
    assert finding.verdict == Verdict.FAIL
    assert finding.found.startswith(f"{kit.addresses[0]}: TCP port 50001: ")
    assert "make sim" in finding.advice


def test_a_limit_that_cuts_off_the_staged_pose_is_in_the_way(kit):
    limits = list(zip(POSITION_LIMITS, VELOCITY_LIMITS, EFFORT_LIMITS, strict=True))
    limits[1] = ((0.0, 0.9), *limits[1][1:])
    kit.servers[0]._limits = b"".join(
        JOINT_LIMIT_STRUCT.pack(low, high, 0.0, velocity, 0.0, effort, 0.0)
        for (low, high), velocity, effort in limits
    )
    findings = kit.check()
    assert [f.verdict for f in findings[-2:]] == [Verdict.WARN, Verdict.FAIL]
    assert "joint_1 [0, 0.9]" in findings[-2].found
    assert "the pose 'staged' lies outside" in findings[-1].found


def test_firmware_of_another_version_is_in_the_way(kit):
    kit.servers[1].driver_version = "1.10"
    findings = kit.check("right")
    assert [f.verdict for f in findings] == [Verdict.OK, Verdict.FAIL]
    assert findings[1].what == "arm right versions"
    assert "must match" in findings[1].found
    assert "firmware" in findings[1].advice


def test_an_error_state_is_told_and_not_cleared(kit):
    kit.servers[0].inject_fault("overheated")
    findings = kit.check()
    assert findings[-1].verdict == Verdict.FAIL
    assert "overheated" in findings[-1].found
    assert kit.servers[0].error_state == ErrorState.JOINT_FEEDBACK_FAILED


def test_an_arm_that_a_driver_holds_is_left_alone(kit):
    arm = TrossenArm(
        "left",
        kit.addresses[0],
        model="wxai_v0",
        end_effector="wxai_v0_follower",
        timeout_s=3.0,
        control_rate=100.0,
    )
    arm.connect()
    arm.enable()
    try:
        (finding,) = kit.check()
        assert finding.verdict == Verdict.FAIL
        assert "a program on this machine is connected to it" in finding.found
        (finding,) = kit.check(holder="/arm_controller")
        assert finding.verdict == Verdict.SKIP
        assert "held by the node /arm_controller" in finding.found
        assert set(kit.servers[0].modes) == {Mode.POSITION}
        first = arm.read().header_id
        deadline_s = time.monotonic() + 5.0
        while arm.read().header_id == first:  # the connection is as it was
            assert time.monotonic() < deadline_s
    finally:
        arm.release()
