"""The monitor over DDS: what it hears, when, and the markers that come of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import rclpy
from domain_coordinator import domain_id
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from visualization_msgs.msg import Marker, MarkerArray

from fixtures.robots import sliding_kit
from trossen_pi0_core.contract import ActionChunk
from trossen_pi0_core.joints import JointMap
from trossen_pi0_monitor.monitor_node import MonitorNode
from trossen_pi0_msgs.msg import ActionChunk as ActionChunkMsg
from trossen_pi0_msgs.msg import ControllerStatus, PolicyStatus
from trossen_pi0_ros.convert import chunk_to_msg, joint_state_msg
from trossen_pi0_ros.qos import COMMANDS, STATUS

NAMES = JointMap().urdf_names
PERIOD_NS = 100_000_000


class Bench:
    """The monitor, the nodes whose topics it hears, and somebody who looks at its markers."""

    def __init__(self, context: Context, **overrides: Any) -> None:
        self.executor = SingleThreadedExecutor(context=context)
        values = [
            Parameter(name, value=value) for name, value in {"rate": 50.0, **overrides}.items()
        ]
        self.monitor = MonitorNode(context=context, parameter_overrides=values)
        self.kit = Node("kit", context=context)
        for node in (self.monitor, self.kit):
            self.executor.add_node(node)
        publisher = self.kit.create_publisher
        self.description = publisher(String, "/robot_description", STATUS)
        self.chunks = publisher(ActionChunkMsg, "/policy/action_chunk", COMMANDS)
        self.joints = publisher(JointState, "/joint_states", COMMANDS)
        self.policy = publisher(PolicyStatus, "/policy/status", STATUS)
        self.controller = publisher(ControllerStatus, "/arm_controller/status", STATUS)
        self.arrays: list[MarkerArray] = []
        self._viewer: Any = None

    def look(self) -> None:
        self._viewer = self.kit.create_subscription(
            MarkerArray, "/policy/chunk_markers", self.arrays.append, 10
        )
        heard = (self.chunks, self.joints, self.policy, self.controller)
        self.wait(lambda: all(p.get_subscription_count() for p in heard), "its subscriptions")
        self.wait(lambda: self.arrays, "a first array")

    def look_away(self) -> None:
        self.kit.destroy_subscription(self._viewer)

    def wait(self, condition: Callable[[], Any], what: str, deadline_s: float = 20.0) -> Any:
        end = time.monotonic() + deadline_s
        while not (value := condition()):
            assert time.monotonic() < end, f"waited {deadline_s} s for {what}"
            self.executor.spin_once(timeout_sec=0.05)
        return value

    def markers(self, condition: Callable[[dict[tuple[str, int], Marker]], Any], what: str) -> Any:
        """The first array from now on of which the condition is true, by namespace and id."""
        self.arrays.clear()

        def found() -> Any:
            while self.arrays:
                markers = {(m.ns, m.id): m for m in self.arrays.pop(0).markers}
                if condition(markers):
                    return markers
            return None

        return self.wait(found, what)

    def now_ns(self) -> int:
        return self.kit.get_clock().now().nanoseconds

    def send_chunk(self, number: int, rows: int = 30, names: tuple[str, ...] = NAMES) -> None:
        """Due since one second: the left gripper goes 0.01 m along x each row."""
        positions = np.zeros((rows, len(names)))
        positions[:, 0] = 0.01 * np.arange(rows)
        begun_ns = self.now_ns() - 10 * PERIOD_NS
        chunk = ActionChunk("run", number, begun_ns, begun_ns, PERIOD_NS, names, positions)
        self.chunks.publish(chunk_to_msg(chunk, begun_ns))

    def send_controller(self, state: int, **values: Any) -> None:
        message = ControllerStatus(state=state, run_id="run", mode="autonomous", **values)
        message.header.stamp = self.kit.get_clock().now().to_msg()
        self.controller.publish(message)


@pytest.fixture
def context() -> Iterator[Context]:
    with domain_id() as domain:
        made = Context()
        rclpy.init(context=made, domain_id=domain)
        yield made
        made.try_shutdown()


@pytest.fixture
def bench(context: Context) -> Iterator[Bench]:
    made = Bench(context)
    yield made
    made.executor.shutdown()
    made.monitor.destroy_node()
    made.kit.destroy_node()


def xs(marker: Marker) -> list[float]:
    return [point.x for point in marker.points]


def test_plan_trail_and_status_are_drawn(bench: Bench) -> None:
    bench.description.publish(String(data=sliding_kit()))
    bench.look()
    bench.policy.publish(PolicyStatus(state=PolicyStatus.RUNNING, backend="pi0", execution="rtc"))
    bench.send_controller(ControllerStatus.EXECUTING, chunk_age_s=0.2)
    bench.send_chunk(1)
    for i in range(3):
        bench.joints.publish(
            joint_state_msg(bench.now_ns() + i * PERIOD_NS, NAMES, np.full(14, 0.1 * i))
        )
    seen = bench.markers(
        lambda m: (
            ("executed/left", 0) in m and ("gone/right", 0) in m and "pi0" in m["status", 0].text
        ),
        "plan, trail and status",
    )
    plan, executed, text = seen["plan/left", 0], seen["executed/left", 0], seen["status", 0]
    np.testing.assert_allclose(xs(plan), 0.01 * np.arange(30), atol=1e-9)
    assert plan.type == executed.type == Marker.LINE_STRIP
    assert plan.header.frame_id == "world"
    assert xs(executed)[0] == 0.0
    assert 0.09 < xs(executed)[-1] <= 0.29
    assert (executed.color.a, round(plan.color.a, 2)) == (1.0, 0.35)
    assert plan.lifetime.sec == 2
    np.testing.assert_allclose(xs(seen["gone/right", 0]), [0.0, 0.1, 0.2], atol=1e-9)
    assert seen["opening/left", 0].type == Marker.LINE_LIST
    assert text.type == Marker.TEXT_VIEW_FACING
    assert text.text.split("\n")[0].startswith("policy RUNNING")
    assert "chunk age 200 ms" in text.text


def test_the_chunk_before_keeps_its_colour_of_age_and_what_is_gone_is_deleted(bench: Bench) -> None:
    bench.description.publish(String(data=sliding_kit()))
    bench.look()
    bench.send_chunk(1)
    bench.send_chunk(2)
    seen = bench.markers(lambda m: ("plan/left", 1) in m, "two plans")
    newer, older = seen["plan/left", 0].color, seen["plan/left", 1].color
    assert newer.g > newer.r
    assert older.r > older.g
    bench.monitor.set_parameters([Parameter("history", value=0)])
    seen = bench.markers(
        lambda m: ("plan/left", 1) in m and m["plan/left", 1].action == Marker.DELETE, "a deletion"
    )
    assert seen["plan/left", 0].action == Marker.ADD
    seen = bench.markers(lambda m: m, "the next array")
    assert ("plan/left", 1) not in seen


def test_it_hears_no_stream_while_nobody_looks(bench: Bench) -> None:
    bench.description.publish(String(data=sliding_kit()))
    bench.wait(bench.description.get_subscription_count, "its description topic")
    assert not bench.joints.get_subscription_count()
    bench.look()
    bench.wait(bench.joints.get_subscription_count, "its joint states")
    bench.look_away()
    bench.wait(lambda: not bench.joints.get_subscription_count(), "the end of its joint states")
    assert bench.description.get_subscription_count()


def test_without_a_usable_description_the_status_says_so(bench: Bench) -> None:
    bench.look()
    bench.send_chunk(1)
    bench.send_controller(ControllerStatus.ESTOP, reason="operator")
    seen = bench.markers(lambda m: "ESTOP" in m["status", 0].text, "the e-stop")
    assert list(seen) == [("status", 0)]
    assert "no robot description: no paths" in seen["status", 0].text
    assert seen["status", 0].color.r > 2 * seen["status", 0].color.g
    bench.description.publish(String(data="<robot/>"))
    bench.description.publish(String(data=sliding_kit()))
    bench.markers(lambda m: "no robot description" not in m["status", 0].text, "the better one")
    bench.send_chunk(2, names=NAMES[:7])  # of one arm alone: refused, and the node goes on
    bench.send_chunk(3)
    bench.joints.publish(joint_state_msg(bench.now_ns(), NAMES[:7], np.zeros(7)))
    bench.markers(lambda m: ("plan/left", 0) in m, "the plan of the good chunk")
