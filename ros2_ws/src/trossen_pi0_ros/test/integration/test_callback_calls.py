"""Functions handed to the thread of the callbacks."""

import threading
import time

import pytest
import rclpy
from domain_coordinator import domain_id
from rclpy.node import Node

from trossen_pi0_ros.callbacks import CallbackThread


@pytest.fixture
def callbacks():
    with domain_id() as domain:
        rclpy.init(domain_id=domain)
        node = Node("calls")
        thread = CallbackThread(node)
        thread.start()
        yield thread
        thread.stop()
        node.destroy_node()
        rclpy.shutdown()


class PacedNode(Node):
    callback_period_s = 0.02


def result(future, timeout_s=10.0):
    deadline = time.monotonic() + timeout_s
    while not future.done():
        assert time.monotonic() < deadline, "no result"
        time.sleep(0.001)
    return future.result()


def test_a_call_runs_on_the_thread_and_returns_its_result(callbacks):
    name = result(callbacks.call(lambda: threading.current_thread().name))
    assert name == "calls-callbacks"
    assert result(callbacks.call(lambda: 3)) == 3


def test_calls_do_not_run_together(callbacks):
    inside, most = [], []

    def note(i):
        inside.append(i)
        time.sleep(0.001)
        most.append(len(inside))
        inside.remove(i)
        return i

    futures = [callbacks.call(lambda i=i: note(i)) for i in range(50)]
    assert [result(f) for f in futures] == list(range(50))
    assert max(most) == 1


def test_a_node_with_a_period_runs_one_callback_in_each():
    with domain_id() as domain:
        rclpy.init(domain_id=domain)
        node = PacedNode("paced")
        thread = CallbackThread(node)
        begun_s = time.monotonic()
        thread.start()
        futures = [thread.call(time.monotonic) for _ in range(10)]
        ended_s = sorted(float(result(future) or 0.0) - begun_s for future in futures)
        thread.stop()
        node.destroy_node()
        rclpy.shutdown()
    assert all(end_s >= 0.02 * (i + 1) for i, end_s in enumerate(ended_s))
