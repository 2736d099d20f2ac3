"""What the pages say of topics, services, actions and parameters, held against running nodes.

``ros2`` itself is not on PyPI: its commands are done by rclpy as it does them.
"""

import os
import time
from pathlib import Path

import pytest
import rclpy
import yaml
from domain_coordinator import domain_id
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.action import ActionClient
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_srvs.srv import Trigger

from doc_checks.pages import Page
from doc_checks.programs import is_placeholder, without_dots
from doc_checks.ros import message_class, message_of, split_options, surface
from trossen_pi0_bringup.arguments import LAUNCH_ARGUMENTS, Arguments
from trossen_pi0_bringup.nodes import node_specs
from trossen_pi0_bringup.supervisor import Supervisor

ROOT = Path(__file__).resolve().parents[3]
PAGES = (
    "README.md",
    "docs/safety.md",
    "docs/teleop.md",
    "docs/troubleshooting.md",
    "docs/tuning.md",
)
CHUNKS = "/policy/action_chunk"
DEADLINE_S = 60.0
LIFECYCLE = ("change_state", "get_state", "available_", "transition_graph")


class Kit:
    """All nodes of the simulated kit but the replay, and an operator who talks to them."""

    def __init__(self, folder):
        words = {
            "left_arm_address": "127.0.0.122",
            "right_arm_address": "127.0.0.123",
            "left_leader_address": "127.0.0.124",
            "right_leader_address": "127.0.0.125",
            "teleop": "true",
            "backend": "expert",
            "record": "true",
            "episodes_dir": str(folder / "episodes"),
            "camera_width": "64",
            "camera_height": "48",
            "camera_fps": "5",
        }
        self.specs = node_specs(Arguments(LAUNCH_ARGUMENTS, words))
        self.supervisor = Supervisor(folder, lambda _: None)
        self.supervisor.start(self.specs)
        self.context = Context()
        rclpy.init(args=[], context=self.context)
        self.node = rclpy.create_node("operator", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)

    def close(self):
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)
        self.supervisor.stop()

    def until(self, condition, what):
        end_s = time.monotonic() + DEADLINE_S
        while not (value := condition()):
            self.supervisor.check()
            assert time.monotonic() < end_s, f"waited {DEADLINE_S} s for {what}"
            self.executor.spin_once(0.02)
        return value

    def call(self, cls, name, request):
        client = self.node.create_client(cls, name)
        try:
            self.until(client.service_is_ready, name)
            future = client.call_async(request)
            self.until(future.done, f"an answer of {name}")
            return future.result()
        finally:
            self.node.destroy_client(client)


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    with domain_id() as domain, pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "ROS_DOMAIN_ID", str(domain))
        kit = Kit(tmp_path_factory.mktemp("kit"))
        try:
            kit.until(lambda: all(map(kit.node.count_publishers, published())), "all publishers")
            kit.until(lambda: services(kit).keys() >= served(), "all services")
            yield kit
        finally:
            kit.close()


def expected_topics():
    """Topics that the reference page names and that these nodes publish from their start on."""
    others = ("/clock", "/replay/", "/arm_controller/planned_command")
    found = surface().items()
    return {n for (kind, n), e in found if kind == "topic" and not n.startswith(others) and e.qos}


def served():
    return {n for kind, n in surface() if kind == "service" and not n.startswith("/replay/")}


def published():
    return {name for name in expected_topics() if surface()["topic", name].kind == "publisher"}


def topics(kit):
    names = dict(kit.node.get_topic_names_and_types())
    own = ("/rosout", "/parameter_events")
    return {
        name: types
        for name, types in names.items()
        if name not in own and not name.endswith("/transition_event") and "/_" not in name
    }


def services(kit):
    names = dict(kit.node.get_service_names_and_types())
    standard = ("parameter", "type_description", *LIFECYCLE)
    return {
        name: types
        for name, types in names.items()
        if not any(word in name.rpartition("/")[2] for word in standard) and "/_" not in name
    }


@pytest.mark.timeout(240)
def test_the_reference_page_names_what_is_there_with_types_and_quality(kit):
    known = surface()
    there = topics(kit)
    assert set(there) == expected_topics()
    for name, types in there.items():
        end = known["topic", name]
        assert types == [end.type]
        infos = kit.node.get_publishers_info_by_topic(name)
        if end.kind == "publisher" and "image_reliability" not in end.qos:
            assert infos, f"nobody publishes {name}"
            quality = infos[0].qos_profile
            reliable = quality.reliability == ReliabilityPolicy.RELIABLE
            latched = quality.durability == DurabilityPolicy.TRANSIENT_LOCAL
            assert reliable == end.qos.startswith("reliable"), name
            assert latched == ("latched" in end.qos), name
    assert {name: known["service", name].type for name in served()} == {
        name: types[0] for name, types in services(kit).items()
    }


def recipes():
    """The ``ros2`` commands of the pages that can be done here, each once."""
    verbs = {("param", v) for v in ("set", "get", "describe")} | {
        ("service", "call"),
        ("action", "send_goal"),
        ("topic", "echo"),
        ("topic", "hz"),
    }
    found = {}
    for name in PAGES:
        for command in Page(ROOT / name).commands():
            words = without_dots(command.words)
            if words[0] == "ros2" and tuple(words[1:3]) in verbs:
                plain, _ = split_options(words[3:])
                if plain:
                    found.setdefault((*words[1:3], *plain), name)
    return list(found)


@pytest.mark.timeout(240)
def test_the_commands_of_the_pages_work(kit):
    commands = recipes()
    assert len(commands) > 12
    for area, verb, *words in commands:
        _DOERS[area](kit, verb, words)


def _parameter(kit, verb, words):
    node, name, *values = words
    if verb == "set":
        request = SetParameters.Request()
        value = yaml.safe_load(values[0])
        request.parameters = [Parameter(name, value=value).to_parameter_msg()]
        (result,) = kit.call(SetParameters, f"{node}/set_parameters", request).results
        assert result.successful, f"{words}: {result.reason}"
    elif not is_placeholder(name):
        cls = {"get": GetParameters, "describe": DescribeParameters}[verb]
        kit.call(cls, f"{node}/{verb}_parameters", cls.Request(names=[name]))


def _service(kit, _, words):
    name, type_name, *values = words
    cls = message_class(type_name)
    request = message_of(cls.Request, yaml.safe_load(values[0]) if values else {})
    answer = kit.call(cls, name, request)
    assert answer.success or answer.message, words


def _action(kit, _, words):
    name, type_name, goal = words
    cls = message_class(type_name)
    client = ActionClient(kit.node, cls, name)
    kit.until(client.server_is_ready, name)

    def accepted():
        """The policy refuses runs until its backend is ready."""
        sent = client.send_goal_async(message_of(cls.Goal, yaml.safe_load(goal)))
        kit.until(sent.done, f"an answer of {name}")
        handle = sent.result()
        return handle if handle is not None and handle.accepted else None

    handle = kit.until(accepted, f"{name} to take the goal")
    stopped = handle.cancel_goal_async()
    kit.until(stopped.done, "the goal's end")
    client.destroy()


def _topic(kit, _, words):
    (info, *_), heard = kit.node.get_publishers_info_by_topic(words[0]), []
    cls = message_class(info.topic_type)
    offered = info.qos_profile  # of which the history is not known
    qos = QoSProfile(depth=10, reliability=offered.reliability, durability=offered.durability)
    subscription = kit.node.create_subscription(cls, words[0], heard.append, qos)

    def has_come():
        if words[0] == CHUNKS and not heard:  # there are none without a run; the last one may end
            kit.call(Trigger, "/policy/start", Trigger.Request())
        return heard

    kit.until(has_come, f"a message on {words[0]}")
    kit.node.destroy_subscription(subscription)


_DOERS = {"param": _parameter, "service": _service, "action": _action, "topic": _topic}
