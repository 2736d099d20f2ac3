"""The arms' controllers fail, fall silent, or end."""

import json
import signal

import pytest

from fault_harness.stack import DRIVER_STALE_S, EFFORT_TIME_S
from trossen_pi0_core.execution import State

GIVING_WAY_S = 0.1
"""From the command to the measured pose, some hundredths of a radian away."""


def test_arms_killed_and_restarted(campaign, stack):
    with campaign.fault(stack, "arm servers: SIGKILL, restarted", "FAULT") as fault:
        fault.inject(stack.arms.kill)
        fault.holds(DRIVER_STALE_S, State.FAULT, reason="127.0.0.70")
        cleared, message = stack.kit.call("/arm_controller/clear_fault")
        assert not cleared
        assert "127.0.0.70" in message
        stack.arms.start()
        fault.new_run_works()


@pytest.mark.parametrize("arm", [0, 1])
def test_fault_of_an_arm(campaign, stack, arm):
    with campaign.fault(stack, f"arm {arm}: controller fault", "FAULT") as fault:
        fault.inject(lambda: stack.arms.tell(f"fault {arm} motor 3 is overheated"))
        fault.holds(DRIVER_STALE_S, State.FAULT, reason="motor 3 is overheated")
        fault.new_run_works()


@pytest.mark.parametrize(("name", "word"), [("frozen", "freeze"), ("silent", "silence")])
def test_arm_that_stands_still(campaign, stack, name, word):
    with campaign.fault(stack, f"arm: {name}", "FAULT") as fault:
        fault.inject(lambda: stack.arms.tell(f"{word} 1"))
        fault.holds(DRIVER_STALE_S, State.FAULT, reason="its feedback stands still")
        stack.arms.tell("thaw 1")
        fault.new_run_works()


def test_both_arms_suspended(campaign, stack):
    with campaign.fault(stack, "arm servers: SIGSTOP", "FAULT") as fault:
        fault.inject(lambda: stack.arms.send(signal.SIGSTOP))
        fault.holds(DRIVER_STALE_S, State.FAULT, reason="its feedback stands still")
        stack.arms.send(signal.SIGCONT)
        fault.new_run_works()


@pytest.mark.parametrize("field", ["position", "velocity", "effort"])
def test_feedback_that_is_not_finite(campaign, stack, field):
    with campaign.fault(stack, f"arm: {field} NaN", "FAULT") as fault:
        words = json.dumps({field: float("nan")})
        fault.inject(lambda: stack.arms.tell(f"lie 0 {words}"))
        try:
            fault.holds(DRIVER_STALE_S, State.FAULT, reason="are not finite")
        finally:
            stack.arms.tell("lie 0")
        fault.new_run_works()


def test_effort_beyond_its_limit(campaign, stack):
    """The arm gives way to where it is before it holds."""
    with campaign.fault(stack, "arm: effort too high", "FAULT") as fault:
        fault.inject(lambda: stack.arms.tell('lie 1 {"effort": 6.5}'))
        try:
            fault.holds(EFFORT_TIME_S + GIVING_WAY_S, State.FAULT, reason="is beyond its limit")
        finally:
            stack.arms.tell("lie 1")
        fault.new_run_works()
