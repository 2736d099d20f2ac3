"""Publishes a node's state on /diagnostics."""

from __future__ import annotations

import math

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from trossen_pi0_core.diagnostics import Aspect, Level


class Diagnostics:
    """The entries of a node, named as the diagnostic updater does: ``node: aspect``."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)

    def publish(self, *aspects: Aspect) -> None:
        """Publishes one entry each; floats are given four significant digits."""
        node = self._node.get_fully_qualified_name().lstrip("/")
        array = DiagnosticArray(
            status=[
                DiagnosticStatus(
                    level=bytes([aspect.level]),
                    name=f"{node}: {aspect.name}",
                    message=aspect.message,
                    hardware_id=aspect.hardware_id,
                    values=[KeyValue(key=k, value=_text(v)) for k, v in aspect.values.items()],
                )
                for aspect in aspects
            ]
        )
        array.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(array)


def inactive(text: str) -> Aspect:
    """The only entry of a node that is not active, which says so."""
    aspect = Aspect("state")
    aspect.say(Level.WARN, text)
    return aspect


def _text(value: object) -> str:
    if isinstance(value, float):
        return "none" if math.isnan(value) else f"{value:.4g}"
    return str(value)
