"""Sends what ROS-free code logs to a node's logger."""

from __future__ import annotations

import logging

from rclpy.node import Node
from typing_extensions import override


class _NodeHandler(logging.Handler):
    """Hands records to a node's logger."""

    def __init__(self, node: Node) -> None:
        super().__init__(logging.INFO)
        self._logger = node.get_logger()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        # rclpy ties a severity to the line of the call.
        if record.levelno >= logging.ERROR:
            self._logger.error(text)
        elif record.levelno >= logging.WARNING:
            self._logger.warning(text)
        else:
            self._logger.info(text)


def forward_logs(node: Node, *packages: str) -> None:
    """Sends the log of these Python packages, from INFO up, to the node's logger.

    Replaces the node that they were sent to before. The packages' loggers no longer propagate.
    """
    handler = _NodeHandler(node)
    for package in packages:
        logger = logging.getLogger(package)
        for old in [h for h in logger.handlers if isinstance(h, _NodeHandler)]:
            logger.removeHandler(old)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
