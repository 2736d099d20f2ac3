"""Entry point of the executable ``monitor_node``."""

from trossen_pi0_ros.startup import run_module


def main() -> None:
    """Runs the node and ends the process."""
    run_module("trossen_pi0_monitor.monitor_node")
