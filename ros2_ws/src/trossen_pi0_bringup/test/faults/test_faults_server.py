"""The policy server is gone, slow, or answers what it should not."""

import time

import numpy as np
import pytest

from fault_harness.motion_server import ROWS, packed
from fault_harness.processes import wait_until
from fault_harness.stack import MAX_CHUNK_AGE_S
from trossen_pi0_core.execution import State
from trossen_pi0_policy.state import PolicyState

LAST_VALUE = (ROWS - 1, 13)


def spoilt(value):
    """One value of an answer is not what it should be."""

    def answer(rows):
        rows[LAST_VALUE] = value
        return {"actions": rows}

    return answer


BAD_ANSWERS = {
    "wrong shape": (lambda rows: {"actions": rows[None]}, "must have shape"),
    "no rows": (lambda rows: {"actions": rows[:0]}, "must have shape"),
    "13 joints": (lambda rows: {"actions": rows[:, :13]}, "is the server's policy one for"),
    "NaN": (spoilt(np.nan), "must be finite"),
    "infinite": (spoilt(np.inf), "must be finite"),
    "1e7 rad": (spoilt(1e7), "within +-1e+06"),
    "text frame": (lambda _: "Traceback:\nboom", "boom"),
    "half of a frame's map": (lambda rows: packed({"actions": rows})[:2000], "bad answer"),
    "not msgpack": (lambda _: b"\xc1\xc1 rubbish", "bad answer"),
    "a list": (lambda _: packed([1, 2]), "must be a map"),
    "empty map": (lambda _: {}, "needs a numeric array 'actions'"),
    "closed in mid-answer": (lambda _: None, "closed the connection"),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_bad_answers(campaign, stack, name):
    answer, reason = BAD_ANSWERS[name]
    with campaign.fault(stack, f"server: {name}", "STARVED") as fault:
        fault.inject(lambda: setattr(stack.server, "answer", answer))
        fault.holds(MAX_CHUNK_AGE_S, State.STARVED)
        fault.policy_says(PolicyState.STALLED, reason)
        fault.same_run_goes_on()


def test_server_gone_and_back(campaign, stack):
    with campaign.fault(stack, "server: gone", "STARVED") as fault:
        fault.inject(stack.server.stop)
        fault.holds(MAX_CHUNK_AGE_S, State.STARVED)
        fault.policy_says(PolicyState.STALLED, "cannot be reached")
        stack.server.start()
        fault.same_run_goes_on()


def test_server_never_there(campaign, stack):
    with campaign.fault(stack, "server: never there", "HOLDING", running=False) as fault:
        stack.server.stop()
        stack.policy.kill()
        known = len(stack.kit.policy_statuses)
        stack.policy.start()
        wait_until(lambda: len(stack.kit.policy_statuses) > known + 5, "the policy")
        fault.inject(lambda: stack.kit.call("/policy/start"))
        fault.policy_says(PolicyState.STALLED, "cannot be reached")
        fault.holds(0.0, State.HOLDING)
        stack.server.start()
        stack.wait_for_motion()
        stack.end_run()


def test_server_slow_but_in_time(campaign, stack):
    def answer(rows):
        time.sleep(0.25)
        return {"actions": rows}

    with campaign.fault(stack, "server: answers after 0.25 s", "EXECUTING") as fault:
        fault.inject(lambda: setattr(stack.server, "answer", answer))
        fault.goes_on(2.0)


def test_server_too_slow(campaign, stack):
    def answer(rows):
        time.sleep(2.0)
        return {"actions": rows}

    with campaign.fault(stack, "server: answers after 2 s", "STARVED") as fault:
        fault.inject(lambda: setattr(stack.server, "answer", answer))
        fault.holds(MAX_CHUNK_AGE_S, State.STARVED)
        fault.policy_says(PolicyState.STALLED, "no answer within 1 s")
        fault.same_run_goes_on()


@pytest.mark.parametrize(("name", "value"), [("out of limits", 2.5), ("1e5 rad", 1e5)])
def test_targets_beyond_the_limits(campaign, stack, name, value):
    """The arms go to the limits, as fast as they may and no further."""

    def answer(rows):
        rows[:, [3, 6, 12]] = value  # a wrist, a gripper, and the other wrist's last joint
        return {"actions": rows}

    with campaign.fault(stack, f"server: targets {name}", "EXECUTING") as fault:
        before = stack.kit.status.position_limit_events
        fault.inject(lambda: setattr(stack.server, "answer", answer))
        fault.goes_on(2.5)
        assert stack.kit.status.position_limit_events > before
        at = stack.kit.commands_since(time.monotonic() - 0.2)["positions"][-1]
        limits = stack.rules.limits
        np.testing.assert_allclose(at[[3, 6]], limits.upper[[3, 6]], atol=1e-3)
        stack.undo()
        fault.goes_on(2.5)
