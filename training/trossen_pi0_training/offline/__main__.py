"""Compares what a policy predicts with what was recorded, and writes an HTML report.

python -m trossen_pi0_training.offline --episodes DIR... --checkpoint DIR
"""

from __future__ import annotations

import sys

from trossen_pi0_training.offline.command import main

if __name__ == "__main__":
    sys.exit(main())
