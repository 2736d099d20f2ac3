"""Connecting and releasing several arms."""

import threading
import time

import numpy as np
import pytest

from trossen_pi0_control.settings import executor_config
from trossen_pi0_control.trossen import TrossenArm
from trossen_pi0_control.workers import Team
from trossen_pi0_core.errors import DriverError, ParameterError


def test_each_arm_that_does_not_connect_is_named(make_rig):
    rig = make_rig()
    rig.left.failing["connect"] = "timeout"
    rig.right.failing["connect"] = "no route"
    with pytest.raises(DriverError) as caught:
        rig.group.connect(threading.Event())
    assert str(caught.value) == "arm left (127.0.0.32): timeout; arm right (127.0.0.33): no route"


def test_connecting_can_be_interrupted(make_rig):
    rig = make_rig()
    rig.left.blocking["connect"] = threading.Event()
    stopping = threading.Event()
    threading.Timer(0.1, stopping.set).start()
    begun = time.monotonic()
    with pytest.raises(DriverError, match="interrupted"):
        rig.group.connect(stopping)
    assert time.monotonic() - begun < 1.0


def test_a_release_that_does_not_end_is_given_up(make_rig, caplog):
    rig = make_rig()
    rig.left.blocking["release"] = threading.Event()
    begun = time.monotonic()
    rig.group.release(0.1)
    assert time.monotonic() - begun < 1.0
    assert rig.right.calls[-1] == "release"
    assert "arm left (127.0.0.32) has not answered within 0.1 s" in caplog.text


def test_the_tighter_limits_count(make_rig):
    rig = make_rig()
    rig.right.allowed.velocity[3] = 2.0
    rig.right.allowed.lower[6] = 0.001
    limits = rig.group.tightened(rig.params.limits)
    assert limits.velocity[10] == 2.0
    assert limits.velocity[3] == 7.0
    assert limits.lower[13] == 0.001
    config = executor_config(rig.params, limits)
    np.testing.assert_allclose(config.limits.velocity, 0.7 * limits.velocity)
    np.testing.assert_allclose(config.move_limits.velocity, 0.3 * limits.velocity)
    assert config.max_tick_ns == 20_000_000


def test_moves_are_never_faster_than_commands_may_be(make_rig):
    rig = make_rig(velocity_fraction=0.2, move_velocity_fraction=0.9)
    config = executor_config(rig.params, rig.params.limits)
    np.testing.assert_allclose(config.move_limits.velocity, config.limits.velocity)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "wxai_v9"}, r"arm_models: 'wxai_v9' is not one of \[.*'wxai_v0'"),
        ({"end_effector": "claw"}, r"end_effectors: 'claw' is not one of \[.*'wxai_v0_follower'"),
    ],
)
def test_unknown_models_are_refused(changes, message):
    names = {"model": "wxai_v0", "end_effector": "wxai_v0_follower", **changes}
    with pytest.raises(ParameterError, match=message):
        TrossenArm("left", "127.0.0.32", timeout_s=0.5, control_rate=100.0, **names)


def test_a_team_works_at_the_same_time_and_hands_errors_over():
    team = Team(["a", "b", "c"])
    team.start()
    barrier = threading.Barrier(3, timeout=5.0)

    def meet():
        barrier.wait()

    for _ in range(3):
        team.run([meet, meet, meet])

    def broken():
        raise KeyError("bug")

    def fine():
        done.append(1)

    done = []
    with pytest.raises(KeyError, match="bug"):
        team.run([fine, broken, fine])
    team.run([fine, fine, fine])
    assert len(done) == 5
    team.stop()
