"""Quality of service as publishers offer it, and the diagnostics topic."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
)
from std_msgs.msg import String

from trossen_pi0_core.diagnostics import Aspect, Level
from trossen_pi0_ros.diagnostics import Diagnostics, inactive
from trossen_pi0_ros.qos import COMMANDS, STATUS, image_qos

if TYPE_CHECKING:
    from .conftest import Ros


def compatible(publisher: QoSProfile, subscription: QoSProfile) -> bool:
    return qos_check_compatible(publisher, subscription)[0] != QoSCompatibility.ERROR


def test_best_effort_pictures_match_any_publisher() -> None:
    assert compatible(image_qos("best_effort"), image_qos("best_effort"))
    assert compatible(image_qos("reliable"), image_qos("best_effort"))
    assert not compatible(image_qos("best_effort"), image_qos("reliable"))


def test_only_the_newest_pictures_wait() -> None:
    profile = image_qos("reliable", depth=1)
    assert (profile.depth, profile.reliability) == (1, ReliabilityPolicy.RELIABLE)
    assert image_qos("best_effort").depth == 2


def test_an_unknown_reliability_is_refused() -> None:
    with pytest.raises(KeyError, match="fairly"):
        image_qos("fairly")


def test_commands_are_reliable_and_not_repeated_to_late_subscribers() -> None:
    assert COMMANDS.reliability == ReliabilityPolicy.RELIABLE
    assert COMMANDS.durability != DurabilityPolicy.TRANSIENT_LOCAL


def test_a_late_subscriber_gets_the_last_status(ros: Ros) -> None:
    publisher = ros.node("early").create_publisher(String, "/status", STATUS)
    for text in ("first", "last"):
        publisher.publish(String(data=text))
    assert ros.wait_for_message(String, "/status", STATUS).data == "last"


def test_diagnostics_name_node_and_aspect_and_give_figures(ros: Ros) -> None:
    node = ros.node("arm_controller")
    diagnostics = Diagnostics(node)
    timing = Aspect("timing", "arms")
    timing.figures(
        {"latency [s]": 0.123456, "missing": math.nan, "state": "HOLDING", "ticks": 12345678}
    )
    timing.say(Level.WARN, "slow")

    node.create_timer(0.02, lambda: diagnostics.publish(timing, inactive("it rests")))
    message = ros.wait_for_message(DiagnosticArray, "/diagnostics", 10)
    assert message.header.stamp.sec > 1_600_000_000
    status, other = message.status
    assert status.level == DiagnosticStatus.WARN
    assert status.name == "arm_controller: timing"
    assert status.message == "slow"
    assert status.hardware_id == "arms"
    assert {pair.key: pair.value for pair in status.values} == {
        "latency [s]": "0.1235",
        "missing": "none",
        "state": "HOLDING",
        "ticks": "12345678",
    }
    assert (other.name, other.level, other.message) == (
        "arm_controller: state",
        DiagnosticStatus.WARN,
        "it rests",
    )


def test_levels_are_those_of_the_messages() -> None:
    for level in Level:
        assert bytes([level]) == getattr(DiagnosticStatus, level.name)
