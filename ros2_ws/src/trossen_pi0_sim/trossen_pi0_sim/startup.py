"""Entry points of the executables ``sim_node`` and ``sim_leaders``."""

from trossen_pi0_ros.startup import run_module


def main() -> None:
    """Runs the simulation's node and ends the process."""
    run_module("trossen_pi0_sim.node")


def sim_leaders() -> None:
    """Runs the node of the simulated leader arms and ends the process."""
    run_module("trossen_pi0_sim.leaders_node")
