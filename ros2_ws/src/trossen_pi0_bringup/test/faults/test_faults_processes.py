"""The arm controller is starved, killed, restarted and told to end in every phase."""

import signal
import subprocess
import sys
import time

import pytest

from fault_harness.processes import wait_until
from fault_harness.stack import DRIVER_STALE_S, ENDS_S, MAX_CHUNK_AGE_S, NOBODY
from trossen_pi0_core.execution import State
from trossen_pi0_msgs.action import MoveTo
from trossen_pi0_policy.state import PolicyState

ENDS_WITHIN_S = 3.0


def test_controller_suspended(campaign, stack):
    """No set-point arrives meanwhile. SIGCONT may interrupt the driver's reading, which it takes
    for a lost connection.
    """
    with campaign.fault(stack, "controller: SIGSTOP for 0.5 s", "FAULT") as fault:
        fault.inject(lambda: stack.suspend(stack.controller, 0.5))
        assert stack.arms.quiet(fault.injected_s + 0.05, fault.injected_s + 0.5)
        time.sleep(0.2)
        if stack.kit.status.state == State.FAULT:
            fault.holds(0.5, State.FAULT, reason="Interrupted system call")
            fault.new_run_works()
        else:  # no reading was under way
            fault.same_run_goes_on()


def test_policy_suspended(campaign, stack):
    """It wakes with observations of the past, pauses the run and goes on with new ones."""
    with campaign.fault(stack, "policy: SIGSTOP for 0.5 s", "EXECUTING") as fault:
        fault.inject(lambda: stack.suspend(stack.policy, 0.5))
        fault.goes_on(1.0, State.STARVED)
        fault.same_run_goes_on()


def test_busy_processor(campaign, stack):
    busy = [sys.executable, "-c", "while True: pass"]
    with campaign.fault(stack, "CPU: 4 busy processes for 3 s", "EXECUTING") as fault:
        crowd = []
        try:
            fault.inject(lambda: crowd.extend(subprocess.Popen(busy) for _ in range(4)))
            time.sleep(3.0)
        finally:
            for process in crowd:
                process.kill()
                process.wait()
        fault.same_run_goes_on()
        fault.goes_on(0.5)


def test_controller_killed_and_restarted(campaign, stack):
    """The arms hold the last set-point; a new controller takes them over where they are."""
    with campaign.fault(stack, "controller: SIGKILL, restarted", "HOLDING") as fault:
        fault.inject(stack.controller.kill)
        fault.holds(0.0)
        stack.controller.start()
        stack.wait_for_controller()
        fault.says(State.HOLDING)
        fault.new_run_works()


def fresh(stack):
    """The controller has just been started and is about to connect to somebody who is not there."""
    stack.controller.send(signal.SIGINT)
    stack.controller.wait()
    length = len(stack.controller.text)
    nobody = [stack.controller.spec.parameters["arm_addresses"][0], NOBODY]
    stack.controller.start(arm_addresses=nobody, connect_timeout_s=30.0)
    return lambda: "connecting to left" in stack.controller.text[length:]


def starting(stack):
    fresh(stack)
    time.sleep(0.3)  # imports are under way


def connecting(stack):
    wait_until(fresh(stack), "the controller to connect")
    time.sleep(0.3)


def idle(stack):
    stack.wait_for_state(State.HOLDING)


def moving(stack):
    goal = MoveTo.Goal(joint_names=["follower_left_joint_0"], positions=[0.8])
    stack.kit.answer(stack.kit.mover.send_goal_async(goal))
    wait_until(lambda: stack.kit.status.state == State.MOVING and stack.kit.moving, "motion")


def ramping(stack):
    goal = MoveTo.Goal(joint_names=["follower_left_joint_0"], positions=[0.9])
    assert stack.kit.move(goal).success
    wait_until(lambda: not stack.kit.policy.missing, "the policy's inputs")
    assert stack.kit.call("/policy/start")[0]
    wait_until(lambda: stack.kit.status.state == State.RAMPING and stack.kit.moving, "a ramp")


def executing(stack):
    stack.begin_run()


def starved(stack):
    stack.begin_run()
    stack.server.answer = lambda _: {}
    stack.wait_for_state(State.STARVED)


def fault(stack):
    stack.arms.tell("fault 1 motor 3 is overheated")
    stack.wait_for_state(State.FAULT)


def estop(stack):
    assert stack.kit.call("/arm_controller/estop")[0]
    stack.wait_for_state(State.ESTOP)


PHASES = [starting, connecting, idle, moving, ramping, executing, starved, fault, estop]


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: phase.__name__)
def test_ctrl_c_of_the_controller(campaign, stack, phase):
    """It ends in order and in time, and the arms are on their brakes."""
    name = f"Ctrl-C of the controller: {phase.__name__}"
    with campaign.fault(stack, name, "ended", running=False) as fault:
        phase(stack)
        begun_s = time.monotonic()
        before = len(stack.controller.text)
        fault.inject(lambda: stack.controller.send(signal.SIGINT))
        fault.row.expected = "ended"
        status = stack.controller.wait()
        took_s = time.monotonic() - begun_s
        fault.row.seen = f"exit {status}"
        fault.holds(ENDS_S)
        assert took_s < ENDS_WITHIN_S
        assert stack.arms_idle()
        if phase is starting:  # Python itself ends it while it imports
            assert status in (0, -signal.SIGINT)
        else:
            assert status == 0, stack.controller.text[before:]
            assert "Traceback" not in stack.controller.text[before:]
        stack.undo()
        stack.end_run()


@pytest.mark.parametrize("phase", [idle, ramping, executing, starved], ids=lambda p: p.__name__)
def test_ctrl_c_of_the_policy(campaign, stack, phase):
    """It tells the controller to hold before it goes."""
    name = f"Ctrl-C of the policy: {phase.__name__}"
    with campaign.fault(stack, name, "HOLDING", running=False) as fault:
        phase(stack)
        before = len(stack.policy.text)
        fault.inject(lambda: stack.policy.send(signal.SIGINT))
        status = stack.policy.wait()
        assert status == 0, stack.policy.text[before:]
        assert "Traceback" not in stack.policy.text[before:]
        fault.holds(ENDS_S, State.HOLDING)
        assert MAX_CHUNK_AGE_S > ENDS_S  # it is told, and does not find out by the chunk's age


def test_ctrl_c_of_everything(campaign, stack):
    """As in a terminal: both nodes get the signal at once."""
    with campaign.fault(stack, "Ctrl-C of both nodes: executing", "ended", running=False) as fault:
        executing(stack)

        def act():
            stack.policy.send(signal.SIGINT)
            stack.controller.send(signal.SIGINT)

        fault.inject(act)
        statuses = (stack.policy.wait(), stack.controller.wait())
        fault.row.seen = f"exit {statuses[0]}"
        assert statuses == (0, 0)
        fault.holds(ENDS_S)
        assert stack.arms_idle()


def test_policy_ends_its_run_on_a_fault(campaign, stack):
    with campaign.fault(stack, "arm fault: what the policy does", "FAULT") as fault:
        fault.inject(lambda: stack.arms.tell("fault 0 motor 3 is overheated"))
        fault.holds(DRIVER_STALE_S, State.FAULT)
        fault.policy_says(PolicyState.ERROR, "arm controller: FAULT")
        fault.new_run_works()
