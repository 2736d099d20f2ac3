"""The adapter over the real driver, against simulated controllers."""

import signal
import time

import numpy as np
import pytest

from trossen_pi0_control.trossen import TrossenArm
from trossen_pi0_core.errors import DriverError


@pytest.fixture
def make_arm():
    arms = []

    def make(address, timeout_s=3.0):
        arms.append(
            TrossenArm(
                "left",
                address,
                model="wxai_v0",
                end_effector="wxai_v0_follower",
                timeout_s=timeout_s,
                control_rate=100.0,
            )
        )
        return arms[-1]

    yield make
    for arm in arms:
        arm.release()


@pytest.fixture
def arm(servers, make_arm):
    arm = make_arm(servers.addresses[0])
    arm.connect()
    return arm


def settle(arm, condition, deadline_s=5.0):
    end = time.monotonic() + deadline_s
    while not condition(reading := arm.read()):
        assert time.monotonic() < end, reading
        time.sleep(0.01)
    return reading


def test_limits_are_those_of_the_controller(arm):
    np.testing.assert_allclose(arm.limits.velocity, [6.283] * 3 + [9.425] * 3 + [0.25], rtol=1e-6)
    np.testing.assert_allclose(arm.limits.upper[[1, 2, 6]], [np.pi, 2.356, 0.04], rtol=1e-6)
    np.testing.assert_allclose(arm.limits.lower[[1, 2, 6]], 0.0)


def test_the_arm_follows_commands_in_position_mode(arm):
    first = arm.read()
    arm.enable()
    target = np.clip(first.positions, arm.limits.lower, arm.limits.upper)
    for _ in range(30):
        target[0] += 0.01
        arm.command(target)
        time.sleep(0.01)
    reading = settle(arm, lambda r: abs(r.positions[0] - target[0]) < 0.005)
    assert reading.header_id > first.header_id
    assert reading.timestamp_us > first.timestamp_us
    assert reading.velocities.shape == reading.efforts.shape == (7,)
    arm.disable()
    with pytest.raises(
        DriverError, match=r"arm left \(127\.31\.\d+\.2\): commanding failed: .*mode"
    ):
        arm.command(target)


@pytest.mark.parametrize("bad", [np.full(7, np.nan), np.full(7, np.inf), np.zeros(6)])
def test_bad_commands_never_reach_the_driver(arm, bad):
    arm.enable()
    with pytest.raises(DriverError, match="need 7 finite positions, got"):
        arm.command(bad)
    arm.read()  # no fault


def test_an_address_without_a_controller(make_arm, domain):
    begun = time.monotonic()
    with pytest.raises(DriverError) as caught:
        make_arm(f"127.31.{domain}.7", timeout_s=0.5).connect()
    assert time.monotonic() - begun < 1.0
    for part in ("arm left", f"(127.31.{domain}.7)", "timeout 0.5 s", "Failed to connect"):
        assert part in str(caught.value)
    assert "docs.trossenrobotics.com" not in str(caught.value)


def test_an_old_error_is_cleared_and_told(servers, make_arm, caplog):
    servers.tell("fault 0 motor 3 is overheated")
    arm = make_arm(servers.addresses[0])
    arm.connect()
    arm.read()
    assert "motor 3 is overheated; cleared" in caplog.text


def test_a_dead_controller_and_its_return(servers, arm):
    arm.enable()
    servers.kill()
    with pytest.raises(DriverError, match="Connection refused"):
        settle(arm, lambda _: False)
    arm.release()
    servers.start()
    arm.connect()
    arm.enable()
    assert np.isfinite(arm.read().positions).all()


def test_a_silent_controller_shows_in_the_header_alone(servers, arm):
    arm.enable()
    servers.process.send_signal(signal.SIGSTOP)
    time.sleep(0.05)
    first = arm.read()
    time.sleep(0.2)
    second = arm.read()
    assert (first.header_id, first.timestamp_us) == (second.header_id, second.timestamp_us)
    servers.process.send_signal(signal.SIGCONT)
    settle(arm, lambda reading: reading.header_id > second.header_id)


def test_a_released_controller_is_free_for_the_next(servers, make_arm):
    first, second = make_arm(servers.addresses[1]), make_arm(servers.addresses[1])
    for arm in (first, second, first):
        arm.connect()
        arm.enable()
        arm.read()
        arm.release()
        arm.release()
    with pytest.raises(DriverError, match="only while it is connected"):
        _ = first.limits
