"""Subscriptions of the recorder beside publishers that come later, over DDS."""

import time

import pytest
import rclpy
from domain_coordinator import domain_id
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy
from rclpy.serialization import deserialize_message
from rclpy.signals import SignalHandlerOptions

from trossen_pi0_data.recorded_topics import RecordedTopic
from trossen_pi0_data.topic_subscriptions import TopicSubscriptions
from trossen_pi0_msgs.msg import SimStatus
from trossen_pi0_ros.qos import STATUS

TOPIC = "/sim/status"
DEADLINE_S = 10.0


@pytest.fixture
def executor():
    with domain_id() as number:
        context = Context()
        rclpy.init(
            context=context, domain_id=number, signal_handler_options=SignalHandlerOptions.NO
        )
        executor = SingleThreadedExecutor(context=context)
        node = rclpy.create_node("recorder", context=context)
        executor.add_node(node)
        yield executor
        executor.shutdown()
        node.destroy_node()
        context.try_shutdown()


def test_what_a_latched_publisher_keeps_is_taken_once(executor):
    (node,) = executor.get_nodes()
    taken, lost, offered = [], [], []

    def spin_until(condition):
        end = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < end, (taken, lost, offered)
            executor.spin_once(timeout_sec=0.05)

    def take(topic, sample):
        taken.append(deserialize_message(sample.data, SimStatus).seed)

    subscriptions = TopicSubscriptions(
        node,
        [RecordedTopic(TOPIC, "trossen_pi0_msgs/msg/SimStatus")],
        2,
        now_ns=lambda: None,
        take=take,
        lost=lambda _, count: lost.append(count),
        offered=lambda _, qos: offered.append(qos),
    )

    def durability():
        (info,) = node.get_subscriptions_info_by_topic(TOPIC)
        return info.qos_profile.durability

    publisher = node.create_publisher(SimStatus, TOPIC, STATUS)
    spin_until(publisher.get_subscription_count)
    assert durability() == DurabilityPolicy.VOLATILE
    publisher.publish(SimStatus(seed=1))
    spin_until(lambda: taken)
    subscriptions.adapt()
    assert durability() == DurabilityPolicy.TRANSIENT_LOCAL
    spin_until(publisher.get_subscription_count)
    publisher.publish(SimStatus(seed=2))
    spin_until(lambda: 2 in taken)
    assert (taken, lost) == ([1, 2], [])
    subscriptions.close()
