"""Prints the robot's description, as the node publishes it.

Usage: ``python -m trossen_pi0_description.urdf > kit.urdf``, or ``ros2 run trossen_pi0_description
urdf``; ``--help`` lists the options. Exit status: 0, or 2 with the reason on standard error.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from trossen_pi0_core.errors import TrossenPi0Error
from trossen_pi0_core.parameters import DescriptionParameters
from trossen_pi0_core.parameters.description import INSTALLED, MODEL
from trossen_pi0_description.sources import load_description


def main(words: Sequence[str] | None = None) -> int:
    """Prints the description and returns the exit status."""
    parser = argparse.ArgumentParser(prog="urdf", description="Prints the robot's URDF.")
    parser.add_argument(
        "--source",
        choices=(MODEL, INSTALLED),
        default=MODEL,
        help="the simulation's model, or stationary_ai of trossen_arm_description, if installed",
    )
    parser.add_argument("--urdf-file", default="", help="checks and prints this file instead")
    parser.add_argument(
        "--no-optical-frames",
        action="store_true",
        help="ends at <camera>_link, as a real camera's node publishes the frames below it",
    )
    given = parser.parse_args(words)
    try:
        text = load_description(
            DescriptionParameters(
                source=given.source,
                urdf_file=given.urdf_file,
                optical_frames=not given.no_optical_frames,
            )
        )
    except TrossenPi0Error as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
