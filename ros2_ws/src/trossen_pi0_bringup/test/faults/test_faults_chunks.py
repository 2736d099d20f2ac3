"""Chunks that no policy should send, or that come from somebody else."""

import copy
import time

import numpy as np
import pytest
from builtin_interfaces.msg import Duration

from fault_harness.processes import wait_until
from fault_harness.stack import MAX_CHUNK_AGE_S
from trossen_pi0_core.execution import State
from trossen_pi0_ros.convert import time_msg, time_ns


def chunk_of_run(stack, **fields):
    """The run's newest chunk with the next id, due and observed now, and with other fields."""
    message = copy.deepcopy(stack.kit.chunks[-1])
    now_ns = stack.kit.clock.now_ns()
    message.chunk_id += 1
    message.observation_stamp = message.t_first = time_msg(now_ns)
    message.positions = stack.motion.rows(time.monotonic()).ravel().tolist()
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def swapped(stack):
    names = chunk_of_run(stack).joint_names
    return chunk_of_run(stack, joint_names=[*names[7:], *names[:7]])


def other_joints(stack):
    names = [f"other_{name}" for name in chunk_of_run(stack).joint_names]
    return chunk_of_run(stack, joint_names=names)


def fewer_joints(stack):
    message = chunk_of_run(stack)
    rows = np.reshape(message.positions, (50, 14))[:, :7]
    message.joint_names, message.positions = message.joint_names[:7], rows.ravel().tolist()
    return message


def with_value(value):
    def make(stack):
        message = chunk_of_run(stack)
        message.positions[3] = value
        return message

    return make


def late(seconds):
    """Observed now; the first row was due some time ago, or is to come."""

    def make(stack):
        t_first = time_msg(stack.kit.clock.now_ns() - round(seconds * 1e9))
        return chunk_of_run(stack, t_first=t_first)

    return make


def observed(seconds):
    def make(stack):
        message = chunk_of_run(stack)
        stamp_ns = time_ns(message.observation_stamp) + round(seconds * 1e9)
        message.observation_stamp = time_msg(stamp_ns)
        return message

    return make


def earlier(by):
    def make(stack):
        return chunk_of_run(stack, chunk_id=max(0, stack.kit.chunks[-1].chunk_id - by))

    return make


def wrong_count(stack):
    message = chunk_of_run(stack)
    message.positions = message.positions[:-1]
    return message


def without_rows(stack, run_id):
    return chunk_of_run(stack, run_id=run_id, horizon=0, positions=[])


def of_an_ended_run(stack):
    run_id = stack.kit.status.run_id
    return chunk_of_run(
        stack, run_id=next(c.run_id for c in stack.kit.chunks if c.run_id != run_id)
    )


REFUSED = {
    "other joints": (other_joints, "it is for the joints"),
    "arms swapped": (swapped, "it is for the joints"),
    "one arm's joints": (fewer_joints, "it is for the joints"),
    "NaN": (with_value(float("nan")), "must be finite"),
    "infinite": (with_value(float("inf")), "must be finite"),
    "1e300 rad": (with_value(1e300), "within +-1e+06"),
    "one number too few": (wrong_count, "need 700 positions, got 699"),
    "horizon 4e9": (lambda s: chunk_of_run(s, horizon=2**32 - 1), "positions, got 700"),
    "duplicate id": (earlier(0), "ids must increase"),
    "older id": (earlier(1), "ids must increase"),
    "all rows past": (late(3.0), "all its rows are past"),
    "due in 60 s": (late(-60.0), "in the future"),
    "observed 20 s ago": (observed(-20.0), "its observation is"),
    "observed in 20 s": (observed(20.0), "in the future"),
    "period 0": (lambda s: chunk_of_run(s, period=Duration()), "period must be greater than 0"),
    "no joint names": (lambda s: chunk_of_run(s, joint_names=[]), ""),
    "unknown execution": (lambda s: chunk_of_run(s, execution=9), "execution must be one of"),
    "pause of another run": (lambda s: without_rows(s, "other"), "its run is not under way"),
    "of a run that has ended": (of_an_ended_run, "has ended"),
    "no run id": (lambda s: chunk_of_run(s, run_id=""), "needs the id of its run"),
    "execute_rows beyond its rows": (lambda s: chunk_of_run(s, execute_rows=51), "execute_rows"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(campaign, stack, name):
    """The run goes on as if it had not been there."""
    make, reason = REFUSED[name]
    with campaign.fault(stack, f"chunk: {name}", "EXECUTING") as fault:
        known = len(stack.kit.statuses)
        fault.inject(lambda: stack.kit.chunk_publisher.publish(make(stack)))
        fault.goes_on(0.5)
        told = {status.last_rejection for status in stack.kit.statuses[known:]}
        assert any(text and reason in text for text in told), told


def test_second_policy(campaign, stack):
    """While a run is in force nobody else leads the arms, however often he tries."""
    with campaign.fault(stack, "chunks of a second policy, 10/s", "EXECUTING") as fault:
        known = len(stack.kit.statuses)
        end_s = time.monotonic() + 1.5
        fault.inject(lambda: None)
        for i in range(15):
            message = chunk_of_run(stack, run_id="usurper", chunk_id=i + 1)
            stack.kit.chunk_publisher.publish(message)
            time.sleep(max(0.0, min(0.1, end_s - time.monotonic())))
        fault.goes_on(0.5)
        statuses = stack.kit.statuses[known:]
        assert {status.run_id for status in statuses} == {stack.kit.status.run_id}
        assert "usurper" not in {status.run_id for status in statuses}


def test_ten_thousand_rows(campaign, stack):
    """A plan of five minutes is one all the same; the next chunks take over from it."""
    with campaign.fault(stack, "chunk: 10,000 rows", "EXECUTING") as fault:
        accepted = stack.kit.status.chunks_accepted
        rows = stack.motion.rows(time.monotonic(), 10_000)
        message = chunk_of_run(stack, horizon=10_000, positions=rows.ravel().tolist())
        fault.inject(lambda: stack.kit.chunk_publisher.publish(message))
        fault.goes_on(1.0)
        assert stack.kit.status.chunks_accepted > accepted


def test_huge_id(campaign, stack):
    """All later chunks of the run count as older: the run starves, and another one works."""
    with campaign.fault(stack, "chunk: id 2^64-1", "STARVED") as fault:
        message = chunk_of_run(stack, chunk_id=2**64 - 1)
        fault.inject(lambda: stack.kit.chunk_publisher.publish(message))
        fault.holds(MAX_CHUNK_AGE_S, State.STARVED, State.HOLDING)
        fault.new_run_works()


def test_flood(campaign, stack):
    with campaign.fault(stack, "chunk flood: 500/s for 2 s", "EXECUTING") as fault:
        before = stack.kit.status
        first_id = stack.kit.chunks[-1].chunk_id
        messages = [chunk_of_run(stack, chunk_id=first_id) for _ in range(1000)]
        begun_s = time.monotonic()
        fault.inject(lambda: None)
        for i, message in enumerate(messages):
            stack.kit.chunk_publisher.publish(message)
            time.sleep(max(0.0, begun_s + i / 500.0 - time.monotonic()))
        fault.goes_on(0.5)
        # Of those that come while it is busy the queue keeps the newest ten; how many it gets to
        # see depends on the machine.
        wait_until(
            lambda: stack.kit.status.chunks_rejected > before.chunks_rejected + 100,
            "the rejections to be counted",
        )
