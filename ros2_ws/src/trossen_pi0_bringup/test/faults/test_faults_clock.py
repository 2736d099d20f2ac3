"""The ROS clock jumps and stops."""

import pytest

from fault_harness.processes import wait_until
from fault_harness.stack import MAX_OBSERVATION_AGE_S
from trossen_pi0_core.execution import State


@pytest.mark.parametrize("seconds", [10.0, -10.0, 0.7, -0.7])
def test_clock_jumps(campaign, clocked, seconds):
    """What was planned is not valid any more: the arms come to rest until a fresh chunk comes."""
    with campaign.fault(clocked, f"clock: jumps by {seconds:+g} s", "STARVED") as fault:
        jumps = clocked.kit.status.clock_jumps

        def act():
            clocked.server.answer = lambda _: None
            clocked.kit.published_time.jump(seconds)

        fault.inject(act)
        fault.holds(0.0, State.STARVED)
        wait_until(lambda: clocked.kit.status.clock_jumps == jumps + 1, "the count of jumps", 3.0)
        fault.same_run_goes_on()


def test_clock_jumps_and_the_policy_goes_on(campaign, clocked):
    """With a policy that answers, the run goes on by itself."""
    with campaign.fault(clocked, "clock: +10 s, -10 s, policy well", "EXECUTING") as fault:
        for seconds in (10.0, -10.0):
            fault.inject(lambda seconds=seconds: clocked.kit.published_time.jump(seconds))
            fault.same_run_goes_on()


def test_clock_stops(campaign, clocked):
    """Nothing is due any more, and nobody can tell that it is late."""
    with campaign.fault(clocked, "clock: stops", "at rest") as fault:
        fault.inject(clocked.kit.published_time.stop)
        fault.holds(MAX_OBSERVATION_AGE_S)
        clocked.kit.published_time.go_on()
        fault.same_run_goes_on()
