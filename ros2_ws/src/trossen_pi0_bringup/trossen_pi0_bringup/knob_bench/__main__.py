"""Runs the bench."""

import sys

from trossen_pi0_bringup.knob_bench.command import main

if __name__ == "__main__":
    sys.exit(main())
