"""The policy node dies, freezes or leaves."""

import signal

from fault_harness.stack import MAX_CHUNK_AGE_S
from trossen_pi0_core.execution import State


def test_policy_killed_in_the_middle_of_a_chunk(campaign, stack):
    with campaign.fault(stack, "policy node: SIGKILL mid-chunk", "STARVED") as fault:
        fault.inject(stack.policy.kill)
        fault.holds(MAX_CHUNK_AGE_S, State.STARVED)
        fault.new_run_works()


def test_policy_frozen(campaign, stack):
    with campaign.fault(stack, "policy node: SIGSTOP", "STARVED") as fault:
        fault.inject(lambda: stack.policy.send(signal.SIGSTOP))
        fault.holds(MAX_CHUNK_AGE_S, State.STARVED)
        stack.policy.send(signal.SIGCONT)
        fault.same_run_goes_on()
