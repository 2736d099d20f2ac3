"""Entry points of the executables ``description_node`` and ``urdf``."""

import sys

from trossen_pi0_ros.startup import run_module


def main() -> None:
    """Runs the node and ends the process."""
    run_module("trossen_pi0_description.node")


def urdf() -> None:
    """Prints the kit's URDF and ends the process."""
    from trossen_pi0_description.urdf import main as print_urdf

    sys.exit(print_urdf())
