"""Judges a policy by what it does in the simulated kit, in closed loop and in virtual time::

    python -m trossen_pi0_training.evaluate --checkpoint DIR --episodes 100

Needs no ROS. The last line is the success rate: ``success NN.N %``.
"""

from __future__ import annotations

import sys

from trossen_pi0_bringup.evaluation.command import main

if __name__ == "__main__":
    sys.exit(main())
