"""Entry points of the executables ``arm_controller`` and ``leader_arms``."""

from trossen_pi0_ros.startup import run_module


def main() -> None:
    """Runs the arm controller's node and ends the process."""
    run_module("trossen_pi0_control.node")


def leader_arms() -> None:
    """Runs the node of the leader arms and ends the process."""
    run_module("trossen_pi0_control.leader_node")
