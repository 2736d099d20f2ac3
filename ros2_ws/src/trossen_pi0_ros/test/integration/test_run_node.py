"""A node as a process: how it starts, what ends it, and with which exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from action_msgs.msg import GoalStatus
from lifecycle_msgs.msg import State, Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.action import ActionClient
from std_srvs.srv import Trigger

from trossen_pi0_msgs.action import MoveTo
from trossen_pi0_ros.process import PARENT_VARIABLE

if TYPE_CHECKING:
    from .conftest import Process, Ros

    Start = Callable[..., Process]


def behaving(behaviour: str) -> tuple[str, ...]:
    return ("--ros-args", "-p", f"behaviour:={behaviour}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(start: Start, number: signal.Signals) -> None:
    process = start()
    process.said("activate")
    code, seconds = process.signal(number)
    assert code == 0, process.error_text
    assert seconds < 2.0
    assert process.out == ["made", "configure", "activate", "deactivate", "cleanup"]
    assert "Traceback" not in process.error_text


def test_a_second_signal_does_not_disturb_the_end(start: Start) -> None:
    process = start()
    process.said("activate")
    process.popen.send_signal(signal.SIGINT)
    code, _ = process.signal(signal.SIGINT)
    assert code == 0
    assert process.out[-1] == "cleanup"


def test_any_number_of_signals_does_not_keep_it(start: Start) -> None:
    """A handler may interrupt a wait, or another handler, at any point."""
    process = start()
    process.said("activate")
    for _ in range(300):
        process.popen.send_signal(signal.SIGINT)
        process.popen.send_signal(signal.SIGTERM)
    code, _ = process.signal(signal.SIGTERM)
    assert code == 0, process.error_text
    assert process.out[-1] == "cleanup"


def test_a_node_without_lifecycle_and_close_is_run_as_well(start: Start) -> None:
    process = start("plain")
    process.said("made")
    code, seconds = process.signal(signal.SIGTERM)
    assert code == 0, process.error_text
    assert seconds < 2.0


def test_a_callback_that_raises_ends_it_with_the_traceback(start: Start, ros: Ros) -> None:
    process = start()
    process.said("activate")
    client = ros.node().create_client(Trigger, "/probe/raise")
    assert client.wait_for_service(15.0)
    client.call_async(Trigger.Request())
    assert process.end() == 1
    assert "RuntimeError: broken callback" in process.error_text
    assert "in _raise" in process.error_text
    assert process.out[-2:] == ["deactivate", "cleanup"]


def test_a_callback_that_hangs_does_not_keep_the_process(start: Start, ros: Ros) -> None:
    process = start()
    process.said("activate")
    client = ros.node().create_client(Trigger, "/probe/hang")
    assert client.wait_for_service(15.0)
    client.call_async(Trigger.Request())
    process.said("hanging")
    _, seconds = process.signal(signal.SIGINT)
    assert seconds < 4.0
    assert process.out[-1] == "cleanup"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gain:=2.0",), "error: gain: 2.0 lies outside [0, 1]"),
        (("gain:=high",), "error: gain: need float, got 'high' (str)"),
        (("behaviour:=evil",), "error: behaviour: 'evil' is not one of ['good', "),
        (
            ("gian:=0.2",),
            "error: unknown parameters ['gian'] of node 'probe'; did you mean 'gain'?; known are",
        ),
    ],
)
def test_a_bad_parameter_is_a_usage_error(
    start: Start, words: tuple[str, ...], message: str
) -> None:
    process = start("--ros-args", *(word for pair in words for word in ("-p", pair)))
    assert process.end() == 2
    assert message in process.error_text
    assert "Traceback" not in process.error_text
    assert process.out == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--ros-args", "--nonsense"), "--nonsense"),
        (("--ros-args", "--params-file", "/no/such/file.yaml"), "/no/such/file.yaml"),
        (("--ros-args", "-p", "gain"), "gain"),
    ],
)
def test_bad_ros_arguments_are_a_usage_error(
    start: Start, words: tuple[str, ...], message: str
) -> None:
    process = start(*words)
    assert process.end() == 2
    assert message in process.error_text
    assert process.error_text.startswith("error: ") or "\nerror: " in process.error_text
    assert "Traceback" not in process.error_text


@pytest.mark.parametrize(
    ("behaviour", "message", "steps"),
    [
        ("refuse_configure", "configure: no arm at 127.0.0.9", ["configure", "cleanup"]),
        ("break_configure", "KeyError: 'a bug'", ["configure", "cleanup"]),
        (
            "refuse_activate",
            "activate: the arm is asleep",
            ["configure", "activate", "deactivate", "cleanup"],
        ),
    ],
)
def test_a_start_that_is_refused_ends_it_with_the_reason(
    start: Start, behaviour: str, message: str, steps: list[str]
) -> None:
    process = start(*behaving(behaviour))
    assert process.end() == 1
    assert message in process.error_text
    assert process.out[1 : 1 + len(steps)] == steps
    assert ("Traceback" in process.error_text) == (behaviour == "break_configure")


def test_a_signal_ends_a_start_that_takes_long(start: Start) -> None:
    process = start(*behaving("wait_in_configure"))
    process.said("configure")
    code, seconds = process.signal(signal.SIGTERM)
    assert code == 0, process.error_text
    assert seconds < 3.0
    assert "configure: interrupted" in process.error_text
    assert process.out[-1] == "cleanup"


def test_without_autostart_it_waits_for_transitions(start: Start, ros: Ros) -> None:
    process = start("--ros-args", "-p", "autostart:=false")
    process.said("made")
    node = ros.node()
    change = node.create_client(ChangeState, "/probe/change_state")
    state = node.create_client(GetState, "/probe/get_state")

    def now() -> int:
        return ros.call(state, GetState.Request()).current_state.id

    assert now() == State.PRIMARY_STATE_UNCONFIGURED
    for transition, expected in (
        (Transition.TRANSITION_CONFIGURE, State.PRIMARY_STATE_INACTIVE),
        (Transition.TRANSITION_ACTIVATE, State.PRIMARY_STATE_ACTIVE),
        (Transition.TRANSITION_DEACTIVATE, State.PRIMARY_STATE_INACTIVE),
        (Transition.TRANSITION_CLEANUP, State.PRIMARY_STATE_UNCONFIGURED),
    ):
        request = ChangeState.Request(transition=Transition(id=transition))
        assert ros.call(change, request).success
        assert now() == expected
    assert process.out == ["made", "configure", "activate", "deactivate", "cleanup"]


def test_callbacks_have_one_thread_of_their_own(start: Start, ros: Ros) -> None:
    process = start()
    process.said("activate")
    client = ros.node().create_client(Trigger, "/probe/ping")
    assert ros.call(client, Trigger.Request()).message == "probe-callbacks"


def test_an_action_runs_as_a_coroutine_beside_other_callbacks(start: Start, ros: Ros) -> None:
    process = start()
    process.said("activate")
    node = ros.node()
    client = ActionClient(node, MoveTo, "/probe/count")
    ping = node.create_client(Trigger, "/probe/ping")
    assert client.wait_for_server(15.0)
    fractions: list[float] = []
    goal = ros.result(
        client.send_goal_async(
            MoveTo.Goal(pose="end"),
            feedback_callback=lambda message: fractions.append(message.feedback.fraction),
        )
    )
    assert goal.accepted
    result = goal.get_result_async()
    assert ros.call(ping, Trigger.Request()).success
    answer = ros.result(result)
    assert answer.status == GoalStatus.STATUS_SUCCEEDED
    assert answer.result.message == "10 ticks"
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0


def test_an_action_can_be_cancelled(start: Start, ros: Ros) -> None:
    process = start()
    process.said("activate")
    client = ActionClient(ros.node(), MoveTo, "/probe/count")
    assert client.wait_for_server(15.0)
    goal = ros.result(client.send_goal_async(MoveTo.Goal(pose="never")))
    assert goal.accepted
    result = goal.get_result_async()
    cancelled = ros.result(goal.cancel_goal_async())
    assert len(cancelled.goals_canceling) == 1
    assert ros.result(result).status == GoalStatus.STATUS_CANCELED


def test_a_signal_ends_it_during_an_action(start: Start, ros: Ros) -> None:
    process = start()
    process.said("activate")
    client = ActionClient(ros.node(), MoveTo, "/probe/count")
    assert client.wait_for_server(15.0)
    assert ros.result(client.send_goal_async(MoveTo.Goal(pose="never"))).accepted
    code, seconds = process.signal(signal.SIGINT)
    assert code == 0, process.error_text
    assert seconds < 2.0
    assert process.out[-1] == "cleanup"


def test_it_does_not_outlive_the_process_that_asked_for_that(start: Start) -> None:
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        # It is not this process's child that it names, so to it the parent has ended already.
        process = start(environment={PARENT_VARIABLE: str(parent.pid)})
        assert process.end() == 0, process.error_text
        alone = start(environment={PARENT_VARIABLE: str(os.getpid())})
        alone.said("activate")
    finally:
        parent.kill()
        parent.communicate()
