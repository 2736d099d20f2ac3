"""Entry points of the executables ``recorder_node`` and ``replay_node``."""

from trossen_pi0_ros.startup import run_module


def recorder() -> None:
    """Runs the recorder's node and ends the process."""
    run_module("trossen_pi0_data.recorder_node")


def replay() -> None:
    """Runs the replay's node and ends the process."""
    run_module("trossen_pi0_data.replay_node")
