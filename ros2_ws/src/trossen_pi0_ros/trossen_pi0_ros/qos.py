"""Quality of service of the suite's topics."""

from __future__ import annotations

from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSProfile,
    ReliabilityPolicy,
)

_RELIABILITIES = {
    "best_effort": ReliabilityPolicy.BEST_EFFORT,
    "reliable": ReliabilityPolicy.RELIABLE,
}


def image_qos(reliability: str, depth: int = 2) -> QoSProfile:
    """For pictures: the newest few; ``reliability`` is 'best_effort' or 'reliable'."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=_RELIABILITIES[reliability],
        durability=DurabilityPolicy.VOLATILE,
    )


COMMANDS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
"""For chunks, joint states and commands: every one arrives."""

STATUS = QoSProfile(
    depth=1,
    reliability=ReliabilityPolicy.RELIABLE,
    durability=DurabilityPolicy.TRANSIENT_LOCAL,
)
"""For status topics: a late subscriber gets the last one."""
